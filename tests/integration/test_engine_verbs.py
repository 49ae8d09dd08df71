"""Engines as an administrator sees and moves them, over HTTP and by commands, on a fake engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.gateway import Gateway, events, eventually, header_only
from tests.support.ports import free_port

Make = Callable[..., Gateway]


def entries(folder: Path, *names: str, **keys: Any) -> dict[str, Any]:
    """Models of one file; `args` and the rest are those of each."""
    file = str(header_only(folder / "model.gguf"))
    return {name: {"target": {"path": file}} | keys for name in names}


def act(gateway: Gateway, model: str, verb: str, **query: Any) -> httpx2.Response:
    return gateway.client.post(f"/admin/models/{model}/{verb}", params=query, headers=gateway.admin)


def engines(gateway: Gateway) -> dict[str, dict[str, Any]]:
    listed = gateway.client.get("/admin/engines", headers=gateway.admin).json()["data"]
    return {engine["alias"]: engine for engine in listed}


@pytest.mark.parametrize("slash", ["/", "%2F"])
def test_each_verb_answers_with_the_engine(make_gateway: Make, tmp_path: Path, slash: str) -> None:
    """By any of its names; the last segment is the verb, though a name has slashes."""
    models = entries(tmp_path, "org/m", "org/m/load") | {"far": {"url": "http://127.0.0.1:9"}}
    gateway = make_gateway(models=models, max_loaded=2)
    name = f"org{slash}m"
    assert [engine["state"] for engine in engines(gateway).values()] == ["stopped", "stopped"]
    loaded = act(gateway, name, "load", wait=1).json()
    assert (loaded["alias"], loaded["state"], loaded["slots"], loaded["mode"]) == ("org/m", "ready", 1, "none")
    assert loaded["pid"] in gateway.engines and loaded["port"] and loaded["load_seconds"] > 0
    assert act(gateway, f"{name}{slash}load", "load", wait=1).json()["alias"] == "org/m/load"
    assert act(gateway, f"{name}:plain", "pin").json()["alias"] == "org/m:plain"
    assert act(gateway, name, "pin").json()["pinned"] and not act(gateway, name, "unpin").json()["pinned"]
    assert act(gateway, name, "unload", wait=1).json()["state"] == "stopped"
    assert act(gateway, name, "reset").json()["state"] == "stopped"
    refused = {
        (name, "start"): (404, "not_found", "Unknown action 'start'. Use load, unload, pin"),
        ("nope", "load"): (404, "model_not_found", "Model 'nope' not found"),
        ("far", "unload"): (400, "attached_model", "'far' is attached at http://127.0.0.1:9"),
    }
    for (model, verb), (status, code, words) in refused.items():
        answer = act(gateway, model, verb)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert words in answer.json()["error"]["message"]
    for path in ("/admin/models/org/m/speculation", "/admin/aliases/org/m/speculation"):
        assert gateway.client.get(path, headers=gateway.admin).json()["alias"] == "org/m"


def test_a_load_need_not_be_waited_for(make_gateway: Make, tmp_path: Path) -> None:
    """The status says how far it is; what must fail is told at once, and the reason in words."""
    models = entries(tmp_path, "m", args=["--load-seconds", "3"])
    models |= {"gone": {"target": {"path": str(tmp_path / "no.gguf")}}, "other": models["m"]}
    gateway = make_gateway(models=models)
    assert act(gateway, "m", "load").json()["state"] == "starting"
    eventually(lambda: engines(gateway)["m"]["state"] == "ready")
    refused = act(gateway, "gone", "load")
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_start_failed")
    assert engines(gateway)["m"]["state"] == "ready"


def test_the_ways_of_llama_servers_router(make_gateway: Make, tmp_path: Path) -> None:
    """For admins only: they move engines under others' feet."""
    gateway = make_gateway(models=entries(tmp_path, "m", "n"))
    for prefix in ("", "/v1"):
        for verb, state in (("load", "ready"), ("unload", "stopped")):
            path = f"{prefix}/models/{verb}"
            answer = gateway.client.post(path, json={"model": "m"}, headers=gateway.admin)
            assert (answer.status_code, answer.json()) == (200, {"success": True})
            eventually(lambda state=state: engines(gateway)["m"]["state"] == state)
            assert gateway.client.post(path, json={"model": "m"}).status_code == 401
            assert gateway.client.post(path, json={"model": "x"}, headers=gateway.admin).status_code == 404
            missing = gateway.client.post(path, json={}, headers=gateway.admin)
            assert (missing.status_code, missing.json()["error"]["param"]) == (400, "model")


def test_an_unload_drains_and_now_cuts(make_gateway: Make, tmp_path: Path) -> None:
    """Cut, a stream ends with an error that says who did it, and never with [DONE]."""
    gateway = make_gateway(models=entries(tmp_path, "m", args=["--tps", "20", "--tokens", "60"]))
    with gateway.stream() as response:
        told = events(response)
        next(told)
        assert act(gateway, "m", "unload").json()["state"] == "draining"
        assert list(told)[-1] == "[DONE]"
    eventually(lambda: engines(gateway)["m"]["state"] == "stopped")
    with gateway.stream() as response:
        told = events(response)
        next(told)
        assert act(gateway, "m", "unload", now=1).status_code == 200
        seen: list[Any] = []
        with pytest.raises(httpx2.RemoteProtocolError):
            for event in told:
                seen.append(event)
    assert "unloaded by an administrator" in seen[-1]["error"]["message"]
    eventually(lambda: engines(gateway)["m"]["state"] == "stopped")
    assert gateway.chat().status_code == 200


def test_decisions_say_why(make_gateway: Make, tmp_path: Path) -> None:
    """In the log as in the answer."""
    gateway = make_gateway(models=entries(tmp_path, "a", "b"))
    for model in ("a", "b"):
        assert gateway.chat(model).status_code == 200
    listed = gateway.client.get("/admin/decisions", headers=gateway.admin).json()["data"]
    assert [(row["decision"], row["alias"]) for row in listed] == [("started", "b"), ("evicted", "a"), ("started", "a")]
    assert "b has waited" in listed[1]["why"]
    assert [line["event"] for line in gateway.logged("evicted a")] == [listed[1]["words"]]


def test_a_waiting_stream_is_told_how_many_are_before_it(make_gateway: Make, tmp_path: Path) -> None:
    """Beyond the slots of its engine; with headers, as soon as it has waited for five seconds."""
    gateway = make_gateway(models=entries(tmp_path, "m", args=["--tps", "10", "--tokens", "80"]))
    assert gateway.chat(max_tokens=1).status_code == 200

    def told() -> list[Any]:
        with gateway.stream() as response:
            return [event for event in events(response) if isinstance(event, str)]

    with ThreadPoolExecutor(3) as pool:
        streams = [pool.submit(told) for _ in range(3)]
        eventually(lambda: engines(gateway)["m"]["waiting"] == 2)
        everything = [stream.result() for stream in streams]
    assert all(lines[-1] == "[DONE]" for lines in everything)
    assert {line for lines in everything for line in lines if "before you" in line} >= {": waiting, 0 before you"}


def test_a_model_is_unloaded_by_the_clock_and_preloaded_at_the_start(make_gateway: Make, tmp_path: Path) -> None:
    """As tandem.yaml says; what cannot be preloaded is a warning."""
    models = entries(tmp_path, "a", preload=True, pin=True) | entries(tmp_path, "b", ttl="300ms")
    models |= {"c": {"target": {"path": str(tmp_path / "no.gguf")}, "preload": True}}
    gateway = make_gateway(models=models, max_loaded=2)
    eventually(lambda: engines(gateway)["a"]["state"] == "ready" and engines(gateway)["a"]["pinned"])
    eventually(lambda: gateway.logged("preload: 'c' is not loaded"))
    assert gateway.chat("b").status_code == 200
    eventually(lambda: engines(gateway)["b"]["state"] == "stopped")
    assert "the end of its ttl" in engines(gateway)["b"]["reason"] and engines(gateway)["a"]["state"] == "ready"


def test_a_full_queue_is_429(make_gateway: Make, tmp_path: Path) -> None:
    """In each API's words, with a Retry-After that clients keep to."""
    gateway = make_gateway(models=entries(tmp_path, "m", args=["--tps", "20", "--tokens", "60"]), queue=1)
    assert gateway.chat(max_tokens=1).status_code == 200
    with ThreadPoolExecutor(2) as pool:
        asks = [pool.submit(gateway.chat) for _ in range(2)]
        eventually(lambda: engines(gateway)["m"]["waiting"] == 1)
        full = gateway.chat()
        anthropic = gateway.client.post(
            "/v1/messages", json={"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hello"}]}
        )
        assert [ask.result().status_code for ask in asks] == [200, 200]
    assert (full.status_code, full.json()["error"]["code"]) == (429, "queue_full")
    assert 1 <= int(full.headers["retry-after"]) <= 60
    assert (anthropic.status_code, anthropic.json()["error"]["type"]) == (429, "rate_limit_error")


def test_commands_do_the_same(make_gateway: Make, tmp_path: Path) -> None:
    """With the settings' address and this machine's key; `ps --json` is for programs."""
    gateway = make_gateway(models=entries(tmp_path, "org/a", "b"), max_loaded=2, port=free_port())

    def said(*words: str) -> str:
        run = gateway.command(*words)
        assert run.returncode == 0, run.stderr
        return run.stdout

    assert said("ps") == "No engine is loaded. Load one: llama-tandem load MODEL\n"
    assert said("load", "org/a").startswith("Loaded org/a at port ")
    assert said("pin", "org/a") == "Pinned org/a until the gateway stops; it is ready.\n"
    [first, second] = json.loads(said("ps", "--json"))
    assert (first["alias"], first["pinned"], second["state"]) == ("org/a", True, "stopped")
    head, row = said("ps").splitlines()
    assert head.split()[:2] == ["model", "state"] and row.split()[:2] == ["org/a", "ready"] and "pinned" in row
    assert said("unpin", "org/a") == "Unpinned org/a.\n"
    assert said("stop", "org/a", "b") == "Stopped org/a.\nb is not loaded.\n"
    assert said("load", "b") and said("stop", "--all", "--now") == "Stopped b.\n"
    assert said("stop", "--all") == "No engine is loaded.\n"
    assert said("reset", "b").startswith("Reset b: it is stopped")


def test_commands_say_why_they_cannot(make_gateway: Make, tmp_path: Path) -> None:
    """An unknown model, a load that fails, a port that nobody knows, a gateway that is not there."""
    models = entries(tmp_path, "m")
    gateway = make_gateway(models=models | {"gone": {"target": {"path": str(tmp_path / "no.gguf")}}}, port=free_port())

    def refused(*words: str) -> str:
        run = gateway.command(*words)
        assert (run.returncode, run.stdout) == (1, "")
        return run.stderr

    assert "Model 'nope' not found" in refused("pin", "nope")
    assert "no.gguf" in refused("load", "gone")
    assert gateway.command("stop").returncode == gateway.command("stop", "m", "--all").returncode == 2
    gateway.terminate()
    message = refused("ps")
    assert "Start one: llama-tandem serve" in message and "Errno" not in message
    gateway.config.write_text(json.dumps(gateway.settings | {"port": 0}))
    assert "port: 0 picks a free port" in refused("ps")
