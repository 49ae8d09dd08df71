"""Saves and restores of conversations that something cuts short: no file that is half written is ever restored."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.gateway import Gateway, eventually, header_only

Make = Callable[..., Gateway]

TOLD = [{"role": "user", "content": "They sail on the sea and they come home late. " * 40}]
NEVER_S = "60"


def pair(folder: Path, *args: str, **more: Any) -> dict[str, Any]:
    """Two models that take turns; `args` are the first one's."""
    target = {"path": str(header_only(folder / "model.gguf"))}
    return {"m": {"target": target, "args": list(args), "ctx_size": 8192, **more}, "other": {"target": target}}


def swap(gateway: Gateway) -> None:
    assert gateway.chat("other").status_code == 200


def told(gateway: Gateway) -> int:
    """Tells the story; returns how much of it the engine already knew."""
    answer = gateway.chat(messages=TOLD)
    assert answer.status_code == 200, answer.text
    cached: int = answer.json()["timings"]["cache_n"]
    return cached


def files(gateway: Gateway, kind: str = "slot") -> list[Path]:
    return sorted((Path(gateway.settings["state_dir"]) / "conversations").rglob(f"*.{kind}"))


def counted(gateway: Gateway, outcome: str) -> float:
    return gateway.metric(f'conversations_total{{alias="m",outcome="{outcome}"}}')


def begun_swap(gateway: Gateway) -> threading.Thread:
    """A swap whose save has begun and will not end."""

    def wait() -> None:
        try:
            swap(gateway)
        except httpx2.HTTPError:  # the gateway is gone
            return

    thread = threading.Thread(target=wait)
    thread.start()
    eventually(lambda: files(gateway, "part"))
    return thread


def test_the_story_is_known_after_a_swap(make_gateway: Make, tmp_path: Path) -> None:
    """So that the other tests of this file mean something."""
    gateway = make_gateway(models=pair(tmp_path))
    assert told(gateway) == 0
    swap(gateway)
    assert told(gateway) > 256
    assert (counted(gateway, "saved"), counted(gateway, "restored"), counted(gateway, "failed")) == (1, 1, 0)
    assert gateway.metric("conversation_bytes") == files(gateway)[0].stat().st_size


def test_kill_9_in_the_midst_of_a_save(make_gateway: Make, tmp_path: Path) -> None:
    """What was half written is deleted by the next gateway, whether the model is loaded again or not."""
    models = pair(tmp_path, "--save-seconds", NEVER_S)
    gateway = make_gateway(models=models)
    told(gateway)
    waiting = begun_swap(gateway)
    gateway.process.send_signal(signal.SIGKILL)
    gateway.process.wait()
    waiting.join()
    assert files(gateway, "part") and not files(gateway)
    again = make_gateway(models=models, state_dir=gateway.settings["state_dir"])
    eventually(lambda: not files(again, "part"))
    assert told(again) == 0 and counted(again, "restored") == counted(again, "failed") == 0


def test_a_save_that_takes_too_long_delays_the_swap_by_two_seconds(make_gateway: Make, tmp_path: Path) -> None:
    """The engine, which is still writing, gets no grace for that."""
    gateway = make_gateway(models=pair(tmp_path, "--save-seconds", NEVER_S), stop_grace=60)
    told(gateway)
    swap(gateway)
    assert gateway.logged("conversations were not saved: it took longer than 2 s")
    assert files(gateway) == files(gateway, "part") == [] and counted(gateway, "failed") == 1
    assert told(gateway) == 0


def test_an_unload_now_ends_a_save(make_gateway: Make, tmp_path: Path) -> None:
    gateway = make_gateway(models=pair(tmp_path, "--save-seconds", NEVER_S))
    told(gateway)
    waiting = begun_swap(gateway)
    answer = gateway.client.post("/admin/models/m/unload?now=true&wait=true", headers=gateway.admin)
    assert answer.status_code < 300, answer.text
    waiting.join()
    assert files(gateway) == files(gateway, "part") == []


def test_a_crash_saves_nothing(make_gateway: Make, tmp_path: Path) -> None:
    gateway = make_gateway(models=pair(tmp_path, "--exit-on", "Die now"))
    told(gateway)
    assert gateway.chat(messages=[{"role": "user", "content": "Die now"}]).status_code >= 500
    assert files(gateway) == [] and counted(gateway, "saved") == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_end_of_the_gateway_saves_nothing(make_gateway: Make, tmp_path: Path, number: signal.Signals) -> None:
    gateway = make_gateway(models=pair(tmp_path))
    told(gateway)
    gateway.process.send_signal(number)
    gateway.process.wait(30)
    assert files(gateway) == files(gateway, "part") == []


def test_a_disk_that_takes_half_a_file(make_gateway: Make, tmp_path: Path) -> None:
    """Whatever the engine says that it has written."""
    gateway = make_gateway(models=pair(tmp_path, "--save-short"))
    told(gateway)
    swap(gateway)
    (line,) = gateway.logged("a conversation was not saved")
    assert "the disk took" in line["event"]
    assert files(gateway) == files(gateway, "part") == [] and told(gateway) == 0


def test_a_file_larger_than_the_limit(make_gateway: Make, tmp_path: Path) -> None:
    """It goes at once; nothing else is in its place."""
    gateway = make_gateway(models=pair(tmp_path), conversations={"disk": 1000})
    told(gateway)
    swap(gateway)
    assert gateway.logged("a conversation was not saved: its file takes") and files(gateway) == []
    assert told(gateway) == 0


def test_a_first_file_that_outgrows_the_limit_is_cut_off(make_gateway: Make, tmp_path: Path) -> None:
    """Its size is not known before, and the disk is somebody else's too."""
    models = pair(tmp_path, "--save-seconds", NEVER_S)
    gateway = make_gateway(models=models, conversations={"disk": 1000}, stop_grace=60)
    told(gateway)
    swap(gateway)
    assert gateway.logged("conversations were not saved: its file takes")
    assert files(gateway) == files(gateway, "part") == [] and counted(gateway, "failed") == 1


def test_a_restore_without_effect_is_told(make_gateway: Make, tmp_path: Path) -> None:
    """Once: from then on nothing is saved, by the next gateway neither."""
    models = pair(tmp_path, "--restore-inert")
    gateway = make_gateway(models=models)
    told(gateway)
    swap(gateway)
    assert told(gateway) == 0
    why = gateway.client.get("/v1/models/m").json()["conversations_off"]
    assert "does not use restored slots: it reuses 0 of" in why and gateway.logged(why)
    swap(gateway)
    assert files(gateway) == [] and counted(gateway, "failed") == 1
    gateway.terminate()
    # The same launch plan
    same = {name: gateway.settings[name] for name in ("state_dir", "cache_dir", "llama_server")}
    again = make_gateway(models=models, **same)
    told(again)
    assert again.client.get("/v1/models/m").json()["conversations_off"] == why
    swap(again)
    assert files(again) == []


def test_slots_that_are_not_listed_are_told(make_gateway: Make, tmp_path: Path) -> None:
    """With `--no-slots` nobody can know what there is to save."""
    gateway = make_gateway(models=pair(tmp_path, "--no-slots"))
    told(gateway)
    swap(gateway)
    told(gateway)
    assert "does not list its slots" in gateway.client.get("/v1/models/m").json()["conversations_off"]
    assert counted(gateway, "saved") == 0


def test_a_gateway_with_other_models_leaves_the_files_of_this_one(make_gateway: Make, tmp_path: Path) -> None:
    """`run` and `serve` have the same state_dir, and each has a model that the other does not know."""
    gateway = make_gateway(models=pair(tmp_path))
    told(gateway)
    swap(gateway)
    (path,) = files(gateway)
    target = {"path": str(header_only(tmp_path / "another.gguf"))}
    state_dir = gateway.settings["state_dir"]
    beside = make_gateway(models={"m": {"target": target}, "x": {"target": target}}, state_dir=state_dir)
    swap_of_theirs = [beside.chat(model).status_code for model in ("x", "m", "x")]
    assert swap_of_theirs == [200] * 3 and path.exists()
    beside.reload(conversations="off")
    assert path.exists() and told(gateway) > 256
