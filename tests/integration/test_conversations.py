"""Which ends of an engine keep its conversations, on a fake engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.test_conversations_interrupted import counted, files, pair, swap, told
from tests.support.gateway import Gateway, eventually

Make = Callable[..., Gateway]


def test_the_end_of_the_time_to_live_keeps_them(make_gateway: Make, tmp_path: Path) -> None:
    gateway = make_gateway(models=pair(tmp_path, ttl=0.1))
    assert told(gateway) == 0
    eventually(lambda: files(gateway) and gateway.state() == "stopped")
    assert told(gateway) > 256


def test_an_unload_keeps_them(make_gateway: Make, tmp_path: Path) -> None:
    """By the API, or by the command."""
    gateway = make_gateway(models=pair(tmp_path))
    told(gateway)
    answer = gateway.client.post("/admin/models/m/unload?wait=true", headers=gateway.admin)
    assert answer.status_code < 300, answer.text
    assert len(files(gateway)) == 1
    assert told(gateway) > 256
    assert gateway.command("stop", "m").returncode == 0
    eventually(lambda: gateway.state() == "stopped")
    assert told(gateway) > 256


def test_a_command_to_stop_now_does_not(make_gateway: Make, tmp_path: Path) -> None:
    gateway = make_gateway(models=pair(tmp_path))
    told(gateway)
    done = gateway.command("stop", "m", "--now")
    assert done.returncode == 0, done.stderr
    eventually(lambda: gateway.state() == "stopped")
    assert files(gateway) == [] and told(gateway) == 0


def test_a_changed_entry_begins_anew(make_gateway: Make, tmp_path: Path) -> None:
    """Another context is another launch plan; what was saved under the last one is deleted."""
    gateway = make_gateway(models=pair(tmp_path))
    told(gateway)
    swap(gateway)
    (path,) = files(gateway)
    changed: dict[str, Any] = pair(tmp_path) | {"m": gateway.settings["models"]["m"] | {"ctx_size": 4096}}
    gateway.reload(models=changed)
    assert told(gateway) == 0 and not path.exists() and counted(gateway, "failed") == 0


def test_a_time_to_keep_that_has_passed(make_gateway: Make, tmp_path: Path) -> None:
    """The file is deleted before the model is loaded again."""
    gateway = make_gateway(models=pair(tmp_path), conversations={"keep": 0.05})
    told(gateway)
    swap(gateway)
    assert told(gateway) == 0 and counted(gateway, "saved") == 1 and counted(gateway, "restored") == 0


def test_a_restart_of_the_gateway_loses_nothing_that_was_saved(make_gateway: Make, tmp_path: Path) -> None:
    """What was up at its end is lost, what had made room before is not."""
    models = pair(tmp_path)
    gateway = make_gateway(models=models)
    told(gateway)
    swap(gateway)
    gateway.terminate()
    same = {name: gateway.settings[name] for name in ("state_dir", "cache_dir", "llama_server")}
    assert told(make_gateway(models=models, **same)) > 256
