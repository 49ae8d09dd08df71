"""Conversations survive a swap: what an engine has read is there again when its model comes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.engine.conftest import BINARY
from tests.support.gateway import Gateway, eventually

Serve = Callable[..., Gateway]
Models = dict[str, Path]

SHIPS = [{"role": "user", "content": "Tell me of ships. " + "They sail on the sea and they come home late. " * 12}]
BIRDS = [{"role": "user", "content": "And what of birds? " + "Above the hills their wings are white in May. " * 12}]
DRAFTED = pytest.param({"draft": True}, id="draft")
ROOMY = {"ctx_size": 4096, "parallel": 2}


def entries(models: Models, **more: Any) -> dict[str, dict[str, Any]]:
    """Two models of which one is loaded at a time."""
    target = {"path": str(models["target"])}
    if more.pop("draft", False):
        more["draft"] = {"path": str(models["draft"])}
    return {"m": {"target": target, **ROOMY, **more}, "other": {"target": target}}


def ask(gateway: Gateway, messages: list[dict[str, str]], model: str = "m") -> dict[str, Any]:
    answer = gateway.chat(model, messages=messages, max_tokens=12, temperature=0)
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


def text(answer: dict[str, Any]) -> str:
    said: str = answer["choices"][0]["message"]["content"]
    return said


def second_turn(first: dict[str, Any], messages: list[dict[str, str]]) -> list[dict[str, str]]:
    return [*messages, {"role": "assistant", "content": text(first)}, {"role": "user", "content": "Go on."}]


def swap(gateway: Gateway) -> None:
    """The other model takes the place of `m`."""
    ask(gateway, [{"role": "user", "content": "Hello"}], "other")


def saved(gateway: Gateway) -> list[Path]:
    return sorted((Path(gateway.settings["state_dir"]) / "conversations").rglob("*.slot"))


def counted(gateway: Gateway, outcome: str) -> float:
    return gateway.metric(f'conversations_total{{alias="m",outcome="{outcome}"}}') or 0


@pytest.mark.parametrize("more", [pytest.param({}, id="plain"), DRAFTED])
def test_two_conversations_survive_a_swap(serve: Serve, models: Models, more: dict[str, Any]) -> None:
    """Each goes on as it would have without a swap, and reads only what is new."""
    gateway = serve(**entries(models, **more))
    ships, birds = (second_turn(ask(gateway, turn), turn) for turn in (SHIPS, BIRDS))
    unswapped = [ask(gateway, turn) for turn in (ships, birds)]
    swap(gateway)
    assert len(saved(gateway)) == counted(gateway, "saved") == 2
    swapped = [ask(gateway, turn) for turn in (ships, birds)]
    assert [text(answer) for answer in swapped] == [text(answer) for answer in unswapped]
    for answer in swapped:
        assert answer["timings"]["cache_n"] > 256 > 40 > answer["timings"]["prompt_n"]
    assert counted(gateway, "restored") == 2 and counted(gateway, "failed") == 0
    assert eventually(lambda: gateway.metric('conversation_seconds_won{alias="m"}')) is not None
    plan = saved(gateway)[0].parent
    assert [path.stat().st_mode & 0o777 for path in (plan, plan.parent, plan.parent.parent)] == [0o700] * 3


def test_short_conversations_and_unused_slots_are_not_saved(serve: Serve, models: Models) -> None:
    """What they win is not worth a file; one that was restored keeps its file, used or not."""
    gateway = serve(**entries(models))
    ask(gateway, [{"role": "user", "content": "Hello"}])
    swap(gateway)
    assert saved(gateway) == []
    ask(gateway, SHIPS)
    swap(gateway)
    (kept,) = saved(gateway)
    ask(gateway, [{"role": "user", "content": "Hello"}])
    swap(gateway)
    assert saved(gateway) == [kept]
    assert ask(gateway, SHIPS)["timings"]["cache_n"] > 256


def test_conversations_that_run_at_the_swap(serve: Serve, models: Models) -> None:
    """Their answers end first, and both are kept, one a slot."""
    gateway = serve(**entries(models))
    ask(gateway, [{"role": "user", "content": "Hello"}])
    answers: dict[str, dict[str, Any]] = {}

    def tell(name: str, messages: list[dict[str, str]]) -> None:
        answers[name] = gateway.chat(messages=messages, max_tokens=600, temperature=0).json()

    telling = [Thread(target=tell, args=pair) for pair in (("ships", SHIPS), ("birds", BIRDS))]
    for thread in telling:
        thread.start()
    eventually(lambda: gateway.metric('requests_in_flight{alias="m"}') == 2 or len(answers) > 1)
    swap(gateway)
    for thread in telling:
        thread.join()
    # With the answers in them; a template may read these as other tokens than were said
    assert [int(path.name.split("-")[2]) > 256 + 600 for path in saved(gateway)] == [True] * 2
    for name, said in (("ships", SHIPS), ("birds", BIRDS)):
        assert ask(gateway, second_turn(answers[name], said))["timings"]["cache_n"] > 256


def test_a_conversation_that_fills_its_context(serve: Serve, models: Models) -> None:
    """It cannot go on, and says nothing of whether restores work; another one does."""
    gateway = serve(**entries(models, ctx_size=1024))
    gateway.chat(messages=SHIPS, max_tokens=600, temperature=0)
    swap(gateway)
    (full,) = saved(gateway)
    assert int(full.name.split("-")[2]) >= 511
    ask(gateway, BIRDS)
    assert gateway.logged("a conversation was not restored: llama-server says") and not full.exists()
    swap(gateway)
    assert ask(gateway, BIRDS)["timings"]["cache_n"] > 256
    assert "conversations_off" not in gateway.client.get("/v1/models/m").json()


@pytest.mark.skipif(BINARY is None, reason="no llama-server binary")
def test_a_disk_that_is_full(make_gateway: Callable[..., Gateway], models: Models, tmp_path: Path) -> None:
    """llama-server cannot write more than 64 KiB; the swap goes on, and no file is left."""
    script = tmp_path / "full"
    script.write_text(f"#!/bin/bash\nulimit -f 64\ntrap '' XFSZ\nexec {BINARY} \"$@\"\n")
    script.chmod(0o755)
    threads = {name: entry | {"threads": 1} for name, entry in entries(models).items()}
    gateway = make_gateway(models=threads, llama_server=str(script))
    ask(gateway, SHIPS)
    swap(gateway)
    assert saved(gateway) == [] and counted(gateway, "failed") == 1 and counted(gateway, "saved") == 0
    assert gateway.logged("a conversation was not saved")
    assert not list((Path(gateway.settings["state_dir"]) / "conversations").rglob("*.part"))
    assert ask(gateway, SHIPS)["timings"]["cache_n"] == 0


def test_a_file_that_was_cut_short_is_ignored(serve: Serve, models: Models) -> None:
    """With a line in the log; the model answers as after a cold start."""
    gateway = serve(**entries(models))
    ask(gateway, SHIPS)
    swap(gateway)
    (path,) = saved(gateway)
    path.write_bytes(path.read_bytes()[:-1000])
    assert ask(gateway, SHIPS)["timings"]["cache_n"] == 0
    assert not path.exists() and counted(gateway, "failed") == 1
    assert gateway.logged("a conversation was not restored: the file has another size")


def test_a_file_of_another_build_is_ignored(serve: Serve, models: Models) -> None:
    """llama-server refuses a version that it does not know."""
    gateway = serve(**entries(models))
    ask(gateway, SHIPS)
    swap(gateway)
    (path,) = saved(gateway)
    content = bytearray(path.read_bytes())
    content[4:8] = (99).to_bytes(4, "little")
    path.write_bytes(content)
    assert ask(gateway, SHIPS)["timings"]["cache_n"] == 0
    assert not path.exists() and counted(gateway, "failed") == 1


def test_a_replaced_model_begins_anew(serve: Serve, models: Models, tmp_path: Path) -> None:
    """What another file has read is no use to it."""
    model = tmp_path / "replaced.gguf"
    model.write_bytes(models["target"].read_bytes())
    gateway = serve(m={"target": {"path": str(model)}, **ROOMY}, other={"target": {"path": str(models["target"])}})
    ask(gateway, SHIPS)
    swap(gateway)
    (path,) = saved(gateway)
    model.write_bytes(models["target"].read_bytes())
    assert ask(gateway, SHIPS)["timings"]["cache_n"] == 0
    assert not path.exists() and counted(gateway, "failed") == 0


def test_a_removed_model_leaves_nothing(serve: Serve, models: Models) -> None:
    gateway = serve(**entries(models))
    ask(gateway, SHIPS)
    swap(gateway)
    assert len(saved(gateway)) == 1
    gateway.reload(models={"other": gateway.settings["models"]["other"]})
    eventually(lambda: saved(gateway) == [])


def test_off_keeps_nothing(serve: Serve, models: Models, make_gateway: Callable[..., Gateway], engine: str) -> None:
    """Nor does the engine get a folder."""
    gateway = serve(**entries(models))
    ask(gateway, SHIPS)
    gateway.reload(conversations="off")
    swap(gateway)
    assert saved(gateway) == []
    assert ask(gateway, SHIPS)["timings"]["cache_n"] == 0


def test_a_folder_of_the_entrys_own_is_left_alone(serve: Serve, models: Models, tmp_path: Path) -> None:
    """`/v1/models` and the log say that its conversations are not kept."""
    own = tmp_path / "own"
    own.mkdir()
    gateway = serve(**entries(models, args=["--slot-save-path", f"{own}/"]))
    ask(gateway, SHIPS)
    assert "separate folder" in gateway.client.get("/v1/models/m").json()["conversations_off"]
    assert gateway.logged("conversations are not kept")
    swap(gateway)
    assert saved(gateway) == [] and list(own.iterdir()) == []


@pytest.mark.parametrize("action", ["save", "restore", "erase", "%73ave"])
@pytest.mark.parametrize("path", ["/slots/0", "/v1/slots/0", "/slots/%30"])
def test_clients_never_reach_the_files(plain: Gateway, action: str, path: str) -> None:
    """An admin key is none to what others have said."""
    answer = plain.client.post(f"{path}?action={action}&model=m", json={"filename": "x"}, headers=plain.admin)
    assert answer.status_code == 400 and "--slot-save-path" in answer.json()["error"]["message"]
    assert plain.client.get("/__last_request?model=m").status_code == 404


def test_an_unload_now_saves_nothing(serve: Serve, models: Models) -> None:
    gateway = serve(**entries(models))
    ask(gateway, SHIPS)
    answer = gateway.client.post("/admin/models/m/unload?now=true&wait=true", headers=gateway.admin)
    assert answer.status_code < 300, answer.text
    swap(gateway)
    assert saved(gateway) == []
