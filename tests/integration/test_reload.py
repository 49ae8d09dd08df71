"""Settings that change while the gateway runs: only what differs is stopped or started, and nobody else notices."""

import json
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.support.gateway import Gateway, events, eventually, free_port, header_only

Make = Callable[..., Gateway]
SLOW = ["--tps", "40", "--tokens", "200"]


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(header_only(tmp_path / "model.gguf"))


def entry(model: str, *args: str, **keys: Any) -> dict[str, Any]:
    return {"target": {"path": model}, "args": list(args), **keys}


def lists(answer: dict[str, Any]) -> dict[str, list[str]]:
    """The parts of a reload's answer that say something."""
    return {name: names for name, names in answer.items() if names}


def names(gateway: Gateway) -> list[str]:
    return [row["id"] for row in gateway.client.get("/v1/models").json()["data"]]


# -- what is left alone ------------------------------------------------------------------------------------------


def test_without_a_change_nothing_happens(make_gateway: Make) -> None:
    gateway = make_gateway()
    eventually(lambda: gateway.state() == "ready")
    engines = gateway.engines
    assert lists(gateway.reload()) == {}
    assert gateway.engines == engines
    assert gateway.chat().status_code == 200


def test_the_way_in_which_something_is_written_is_no_change(make_gateway: Make, model: str) -> None:
    """Another order, a short form, a default written out."""
    gateway = make_gateway(models={"a": entry(model), "b": entry(model)})
    gateway.chat("a")
    engines = gateway.engines
    written = {"b": entry(model), "a": {"target": model, "args": [], "parallel": "1", "speculation": "none"}}
    gateway.reload(models=written)
    assert gateway.engines == engines
    assert gateway.state("a") == "ready"
    assert names(gateway) == ["b", "a"]


@pytest.mark.parametrize(
    "keys",
    [
        {"aliases": ["other"]},
        {"request": {"defaults": {"temperature": 0.5}}},
        {"speculation": {"on_logprobs": "pass"}},
    ],
    ids=lambda keys: next(iter(keys)),
)
def test_what_the_gateway_goes_by_changes_in_place(make_gateway: Make, model: str, keys: dict[str, Any]) -> None:
    """No engine needs to start again for it."""
    gateway = make_gateway(models={"a": entry(model)})
    eventually(lambda: gateway.state("a") == "ready")
    engines = gateway.engines
    assert lists(gateway.reload(models={"a": entry(model, **keys)})) == {"changed": ["a"]}
    assert gateway.engines == engines
    assert gateway.chat("a").status_code == 200


def test_another_name_counts_at_once(make_gateway: Make, model: str) -> None:
    gateway = make_gateway(models={"a": entry(model, aliases=["old"])})
    assert gateway.chat("old").status_code == 200
    gateway.reload(models={"a": entry(model, aliases=["new"])})
    assert gateway.chat("new").status_code == 200
    assert gateway.chat("old").status_code == 404


# -- what starts again -------------------------------------------------------------------------------------------


def test_a_changed_engine_starts_again_by_itself(make_gateway: Make, model: str) -> None:
    """It was up, so that somebody wants it up."""
    gateway = make_gateway(models={"a": entry(model), "b": entry(model)}, max_loaded=2)
    gateway.chat("a"), gateway.chat("b")
    (kept,) = [pid for pid in gateway.engines if "b" in psutil.Process(pid).cmdline()]
    answer = gateway.reload(models={"a": entry(model, ctx_size=2048), "b": entry(model)})
    assert lists(answer) == {"changed": ["a"], "restarted": ["a"]}
    eventually(lambda: gateway.state("a") == "ready" and len(gateway.engines) == 2)
    assert kept in gateway.engines
    (renewed,) = set(gateway.engines) - {kept}
    assert "2048" in psutil.Process(renewed).cmdline()


def test_one_that_is_not_up_stays_down(make_gateway: Make, model: str) -> None:
    gateway = make_gateway(models={"a": entry(model), "b": entry(model)})
    answer = gateway.reload(models={"a": entry(model, ctx_size=2048), "b": entry(model)})
    assert lists(answer) == {"changed": ["a"]}
    assert gateway.engines == []


def test_a_busy_engine_finishes_its_answer_first(make_gateway: Make, model: str) -> None:
    """Requests that come meanwhile wait for the engine of the new entry."""
    gateway = make_gateway(models={"a": entry(model, *SLOW)})
    with gateway.stream("a", max_tokens=200) as response, ThreadPoolExecutor(1) as pool:
        chunks = events(response)
        next(chunks)
        gateway.reload(models={"a": entry(model, ctx_size=2048)})
        later = pool.submit(gateway.chat, "a")
        rest = list(chunks)
        assert rest[-1] == "[DONE]"
        assert later.result(30).status_code == 200
    (engine,) = gateway.engines
    assert "2048" in psutil.Process(engine).cmdline()


def test_an_engine_that_loads_is_started_anew(make_gateway: Make, model: str) -> None:
    """Who waits for it gets the engine of the new entry."""
    gateway = make_gateway(models={"a": entry(model, "--load-seconds", "60")})
    eventually(lambda: gateway.state("a") == "starting" and gateway.engines)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(gateway.chat, "a")
        assert gateway.reload(models={"a": entry(model)})["restarted"] == ["a"]
        assert waiting.result(30).status_code == 200


def test_who_waits_for_a_place_gets_the_new_engine(make_gateway: Make, model: str) -> None:
    """Its start was checked by the old entry, while another model was busy."""
    gateway = make_gateway(models={"a": entry(model, *SLOW), "b": entry(model)})
    with gateway.stream("a", max_tokens=200) as response, ThreadPoolExecutor(1) as pool:
        chunks = events(response)
        next(chunks)
        waiting = pool.submit(gateway.chat, "b")
        eventually(lambda: gateway.metric('waiting{alias="b"}') == 1)
        gateway.reload(models={"a": entry(model, *SLOW), "b": entry(model, ctx_size=2048)})
        assert list(chunks)[-1] == "[DONE]"
        assert waiting.result(30).status_code == 200
    eventually(lambda: len(gateway.engines) == 1)
    assert "2048" in psutil.Process(gateway.engines[0]).cmdline()


def test_a_variant_starts_again_only_where_it_differs(make_gateway: Make, model: str) -> None:
    """A draft is nothing to the plain engine."""
    drafted = {"speculation": {"mode": "ngram-simple"}}
    gateway = make_gateway(models={"a": entry(model, **drafted), "b": entry(model)}, max_loaded=2)
    gateway.chat("a"), gateway.chat("a:plain")
    answer = gateway.reload(models={"a": entry(model, speculation="ngram-mod"), "b": entry(model)})
    assert answer["restarted"] == ["a"]
    assert gateway.state("a:plain") == "ready"


def test_a_correction_ends_a_final_failure(make_gateway: Make, model: str) -> None:
    """The entry was what failed."""
    gateway = make_gateway(models={"a": entry(model, "--no-such-flag"), "b": entry(model)})
    assert gateway.chat("a").status_code == 503
    gateway.reload(models={"a": entry(model), "b": entry(model)})
    assert gateway.chat("a").status_code == 200


def test_a_change_of_defaults_is_a_change_of_who_has_them(make_gateway: Make, model: str) -> None:
    gateway = make_gateway(models={"a": entry(model), "b": entry(model, ctx_size=512)}, max_loaded=2)
    gateway.chat("a"), gateway.chat("b")
    answer = gateway.reload(defaults={"ctx_size": 1024})
    assert lists(answer) == {"changed": ["a"], "restarted": ["a"]}


# -- models that come and go -------------------------------------------------------------------------------------


def test_a_new_model_can_be_asked_for(make_gateway: Make, model: str) -> None:
    gateway = make_gateway(models={"a": entry(model)})
    assert gateway.chat("b").status_code == 404
    assert lists(gateway.reload(models={"a": entry(model), "b": entry(model)})) == {"added": ["b"]}
    assert names(gateway) == ["a", "b"]
    assert gateway.chat("b").status_code == 200


def test_a_removed_model_finishes_its_streams(make_gateway: Make, model: str) -> None:
    """New requests get a 404 at once; the engine ends behind the last stream, and what it took is recorded."""
    gateway = make_gateway(models={"a": entry(model, *SLOW), "b": entry(model), "c": entry(model)}, max_loaded=2)
    assert names(gateway) == ["a", "b", "c"]  # with the imports that the first such request costs
    with gateway.stream("a", max_tokens=200) as response:
        chunks = events(response)
        next(chunks)
        assert lists(gateway.reload(models={"b": entry(model), "c": entry(model)})) == {"removed": ["a"]}
        assert gateway.chat("a").status_code == 404
        assert names(gateway) == ["b", "c"]
        assert len(gateway.engines) == 1
        assert list(chunks)[-1] == "[DONE]"
    eventually(lambda: gateway.engines == [])
    eventually(lambda: gateway.logged("POST /v1/chat/completions")[-1]["status"] == 200)
    assert gateway.metric('engine_state{alias="a",state="ready"}') == 0
    assert gateway.chat("b").status_code == 200


def test_who_waits_for_a_removed_model_is_told(make_gateway: Make, model: str) -> None:
    gateway = make_gateway(models={"a": entry(model, "--load-seconds", "60"), "b": entry(model)})
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(gateway.chat, "a")
        eventually(lambda: gateway.state("a") == "starting" and gateway.engines)
        gateway.reload(models={"b": entry(model), "c": entry(model)})
        assert waiting.result(30).status_code == 404
    eventually(lambda: gateway.engines == [])


def test_a_model_that_is_back_before_its_last_stream_ends(make_gateway: Make, model: str) -> None:
    gateway = make_gateway(models={"a": entry(model, *SLOW), "b": entry(model)})
    with gateway.stream("a", max_tokens=200) as response, ThreadPoolExecutor(1) as pool:
        chunks = events(response)
        next(chunks)
        gateway.reload(models={"b": entry(model), "c": entry(model)})
        gateway.reload(models={"a": entry(model), "b": entry(model)})
        again = pool.submit(gateway.chat, "a")
        assert list(chunks)[-1] == "[DONE]"
        assert again.result(30).status_code == 200


def test_an_entry_may_become_a_server_of_others(make_gateway: Make, model: str, plain: Gateway) -> None:
    gateway = make_gateway(models={"a": entry(model), "b": entry(model)})
    gateway.chat("a")
    gateway.reload(models={"a": {"url": plain.url, "model": "m"}, "b": entry(model)})
    assert gateway.chat("a").status_code == 200
    eventually(lambda: gateway.engines == [])
    gateway.reload(models={"a": entry(model), "b": entry(model)})
    assert gateway.chat("a").status_code == 200
    assert len(gateway.engines) == 1


# -- settings ----------------------------------------------------------------------------------------------------


def test_what_needs_a_restart_is_named_and_the_rest_applies(make_gateway: Make, model: str) -> None:
    gateway = make_gateway(models={"a": entry(model)})
    answer = gateway.reload(
        port=free_port(), host="127.0.0.2", engine_port=free_port(), models={"a": entry(model), "b": entry(model)}
    )
    assert lists(answer) == {"added": ["b"], "restart_needed": ["engine_port", "host", "port"]}
    assert gateway.chat("b").status_code == 200
    # Written as it was, nothing is left to do
    del gateway.settings["host"]
    assert "host" not in gateway.reload()["restart_needed"]


def test_keys_change_in_place(make_gateway: Make) -> None:
    gateway = make_gateway()
    assert gateway.chat().status_code == 200
    assert gateway.reload(api_keys="first-secret")["settings"] == ["api_keys"]
    assert gateway.chat().status_code == 401
    gateway.client.headers["authorization"] = "Bearer first-secret"
    assert gateway.chat().status_code == 200
    gateway.reload(api_keys="second-secret")
    assert gateway.chat().status_code == 401
    gateway.reload(api_keys=None, no_auth=True)
    del gateway.client.headers["authorization"]
    assert gateway.chat().status_code == 200


def test_limits_change_in_place(make_gateway: Make) -> None:
    gateway = make_gateway()
    big = [{"role": "user", "content": "x" * 200_000}]
    assert gateway.chat(messages=big).status_code == 200
    assert gateway.reload(max_body_mb=0.1)["settings"] == ["max_body_mb"]
    assert gateway.chat(messages=big).status_code == 413
    assert gateway.client.post("/api/show", content=b"x" * 200_000).status_code == 413


def test_origins_and_hosts_change_in_place(make_gateway: Make) -> None:
    gateway = make_gateway()
    page, box = {"origin": "https://app.example"}, {"host": "box.lan"}
    assert gateway.client.get("/v1/models", headers=page).status_code == 403
    assert gateway.client.get("/v1/models", headers=box).status_code == 421
    gateway.reload(cors_origins="https://app.example", allowed_hosts=["box.lan"])
    answer = gateway.client.get("/v1/models", headers=page)
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert gateway.client.get("/v1/models", headers=box).status_code == 200
    gateway.reload(cors_origins=None, allowed_hosts=None)
    assert gateway.client.get("/v1/models", headers=page).status_code == 403


def test_hosts_of_media_change_in_place(make_gateway: Make) -> None:
    """The address is refused for another reason then: nobody has a name under .invalid."""
    gateway = make_gateway()
    image = {"type": "image_url", "image_url": {"url": "http://pictures.invalid/a.png"}}

    def code() -> str:
        answer = gateway.chat(messages=[{"role": "user", "content": [image]}])
        return str(answer.json()["error"]["code"])

    assert code() == "remote_media_refused"
    gateway.reload(allow_remote_media="pictures.invalid")
    assert code() == "remote_media_failed"


def test_fewer_engines_may_be_up(make_gateway: Make, model: str) -> None:
    """Those beyond the new number end, the least recently used first."""
    gateway = make_gateway(models={name: entry(model) for name in "abc"}, max_loaded=3)
    for name in "abc":
        gateway.chat(name)
    gateway.reload(max_loaded=1)
    eventually(lambda: len(gateway.engines) == 1)
    assert gateway.state("c") == "ready"


def test_more_engines_may_be_up(make_gateway: Make, model: str) -> None:
    gateway = make_gateway(models={name: entry(model) for name in "ab"})
    gateway.reload(max_loaded=2)
    gateway.chat("a"), gateway.chat("b")
    assert len(gateway.engines) == 2


def test_the_log_takes_another_level(make_gateway: Make) -> None:
    """Lines of the engines are seen from then on, and not any more after that."""
    gateway = make_gateway(log_level="error")
    gateway.chat()
    assert gateway.log == []
    gateway.reload(log_level="info")
    gateway.chat()
    eventually(lambda: gateway.logged("POST /v1/chat/completions"))


def test_another_llama_server_is_used_from_then_on(make_gateway: Make, model: str, tmp_path: Path) -> None:
    gateway = make_gateway(models={"a": entry(model), "b": entry(model)})
    gateway.chat("a")
    other = tmp_path / "other-llama-server"
    other.write_bytes(Path(gateway.settings["llama_server"]).read_bytes())
    other.chmod(0o755)
    answer = gateway.reload(llama_server=str(other))
    assert lists(answer) == {"settings": ["llama_server"], "restarted": ["a"]}
    eventually(lambda: gateway.state("a") == "ready")
    (engine,) = gateway.engines
    assert str(other) in psutil.Process(engine).cmdline()


def test_the_environment_still_wins(make_gateway: Make, model: str) -> None:
    gateway = make_gateway(models={"a": entry(model)}, env={"TANDEM_MAX_BODY_MB": "0.1"})
    assert lists(gateway.reload(max_body_mb=64)) == {}
    assert gateway.chat("a", messages=[{"role": "user", "content": "x" * 200_000}]).status_code == 413


def test_aliases_are_listed_from_then_on(make_gateway: Make, model: str) -> None:
    """As rows of their own: some clients offer what is listed and nothing else."""
    gateway = make_gateway(models={"a": entry(model, aliases=["small", "fast"]), "b": entry(model)})
    assert names(gateway) == ["a", "b"]
    gateway.reload(list_aliases=True)
    assert names(gateway) == ["a", "small", "fast", "b"]
    rows = {row["id"]: row for row in gateway.client.get("/v1/models").json()["data"]}
    assert rows["small"] | {"id": "a", "aliases": ["small", "fast"]} == rows["a"] | {"root": "a"}
    tags = gateway.client.get("/api/tags").json()["models"]
    assert [row["name"] for row in tags] == ["a", "small", "fast", "b"]
    assert gateway.chat("fast").status_code == 200


def test_a_reload_leads_where_a_start_does(make_gateway: Make, model: str) -> None:
    """Whatever the gateway was before, it lists and does what a new one does with the file."""
    files: list[dict[str, Any]] = [
        {"models": {"a": entry(model, aliases=["x"]), "b": entry(model)}},
        {"models": {"b": entry(model, ctx_size=4096, parallel=2), "a": entry(model)}, "list_aliases": True},
        {"models": {"x": entry(model, speculation="ngram-mod"), "a": {"url": "http://127.0.0.1:9", "aliases": ["b"]}}},
        {"models": {"a": entry(model, aliases=["b", "x:plain"]), "x": entry(model)}, "defaults": {"ctx_size": 1024}},
        {"models": {"x": entry(model, aliases=["a"], request={"drop": ["seed"]})}, "list_aliases": True},
    ]
    gone = {"list_aliases": None, "defaults": None}
    asked = ("a", "b", "x", "x:plain")

    def seen(gateway: Gateway) -> dict[str, Any]:
        """What is listed, and by whom each name is answered."""
        rows = gateway.client.get("/v1/models?variants=true").json()["data"]
        answers = {}
        for name in asked:
            status = gateway.chat(name).status_code
            row = gateway.client.get(f"/v1/models/{name}").json()
            answers[name] = (status, row.get("id"), row.get("context_length"), row.get("speculation"))
        return {"rows": [(row["id"], row["aliases"], row.get("root")) for row in rows], "answers": answers}

    fresh = []
    for file in files:
        gateway = make_gateway(**file)
        fresh.append(seen(gateway))
        gateway.terminate()
    running = make_gateway(**files[0])
    for before in range(len(files)):
        for after in range(len(files)):
            running.reload(**(gone | files[before]))
            running.chat("x")
            running.reload(**(gone | files[after]))
            assert seen(running) == fresh[after], (before, after)


def test_a_model_that_is_alone_from_now_on_is_loaded_as_at_a_start(make_gateway: Make, model: str) -> None:
    """Behind what another has begun to answer; and only when it becomes the only one."""
    gateway = make_gateway(models={"a": entry(model, *SLOW), "b": entry(model)})
    with gateway.stream("a", max_tokens=100) as response:
        chunks = events(response)
        next(chunks)
        gateway.reload(models={"b": entry(model)})
        assert list(chunks)[-1] == "[DONE]"
    eventually(lambda: gateway.state("b") == "ready")
    gateway.client.post("/admin/models/b/unload", headers=gateway.admin)
    eventually(lambda: gateway.state("b") == "stopped")
    gateway.reload(models={"b": entry(model, aliases=["x"])})
    assert gateway.state("b") == "stopped"
    gateway.reload(models={"new": entry(model)})
    eventually(lambda: gateway.state("new") == "ready")


def test_pins_that_leave_no_place_are_told(make_gateway: Make, model: str) -> None:
    """By the start, a reload and `check`; nothing is refused for it."""
    one = {"a": entry(model, pin=True), "b": entry(model)}
    gateway = make_gateway(models=one)
    warning = "pin: a takes all of max_loaded (1) once up: no place is left for b"
    assert eventually(lambda: gateway.logged(warning))[0]["level"] == "warning"
    assert gateway.reload(max_loaded=2)["warnings"] == []
    assert gateway.reload(models=one | {"b": entry(model, pin=True)}, max_loaded=1)["warnings"] == [
        "pin: a and b are pinned, and max_loaded is 1: they cannot all be up"
    ]
    checked = gateway.command("check")
    assert "warning: pin: a and b are pinned, and max_loaded is 1" in checked.stdout
    assert checked.returncode == 0


# -- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["models: {a: {target: {path: a.gguf}, ctx_siez: 5}}", "models: [", "port: {", "", "models: {}", "host: 1.2.3.4\n"],
    ids=["key", "yaml", "more yaml", "empty", "no models", "neither"],
)
def test_a_bad_file_changes_nothing_and_says_why(make_gateway: Make, text: str) -> None:
    """In the words of `check`, with the places; in the answer and in the log."""
    gateway = make_gateway()
    eventually(lambda: gateway.state() == "ready")
    engines = gateway.engines
    gateway.config.write_text(text)
    refused = gateway.client.post("/admin/reload", headers=gateway.admin)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["code"] == "invalid_settings"
    checked = gateway.command("check")
    assert checked.returncode == 1
    assert [line.removeprefix("llama-tandem: ") for line in checked.stderr.splitlines()] == error[
        "message"
    ].splitlines()
    eventually(lambda: gateway.logged("reload refused"))
    assert gateway.logged("reload refused")[0]["error"] == error["message"]
    assert gateway.engines == engines
    assert gateway.chat().status_code == 200


def test_a_missing_file_changes_nothing(make_gateway: Make) -> None:
    gateway = make_gateway()
    gateway.config.unlink()
    refused = gateway.client.post("/admin/reload", headers=gateway.admin)
    assert refused.status_code == 400
    assert "there is no file" in refused.json()["error"]["message"]
    assert gateway.chat().status_code == 200


def test_an_open_door_is_refused_as_at_the_start(make_gateway: Make, model: str) -> None:
    """The key of the settings was the only one, and the gateway listens to a network."""
    gateway = make_gateway(models={"a": entry(model)}, host="0.0.0.0", api_keys="first-secret")
    gateway.client.headers["authorization"] = "Bearer first-secret"
    gateway.rewrite(api_keys=None)
    refused = gateway.client.post("/admin/reload", headers=gateway.admin)
    assert refused.status_code == 400
    assert "without an API key" in refused.json()["error"]["message"]
    assert gateway.chat("a").status_code == 200
    del gateway.client.headers["authorization"]
    assert gateway.chat("a").status_code == 401


def test_only_admins_reload(make_gateway: Make) -> None:
    gateway = make_gateway(api_keys="first-secret")
    for headers, status in (({}, 401), ({"authorization": "Bearer first-secret"}, 403)):
        assert gateway.client.post("/admin/reload", headers=headers).status_code == status


def test_a_model_that_cannot_start_is_a_warning(make_gateway: Make, model: str, tmp_path: Path) -> None:
    """Its files may be on their way."""
    gateway = make_gateway(models={"a": entry(model)})
    answer = gateway.reload(models={"a": entry(model), "b": entry(str(tmp_path / "gone.gguf"))})
    assert answer["added"] == ["b"]
    (warning,) = answer["warnings"]
    assert warning.startswith("b cannot start: ") and "gone.gguf" in warning


# -- by command and by signal --------------------------------------------------------------------------------------


def test_the_command_reloads(make_gateway: Make, model: str) -> None:
    """It finds the gateway wherever that listens, and tells what has changed."""
    gateway = make_gateway(models={"a": entry(model)})
    gateway.rewrite(models={"a": entry(model), "b": entry(model)}, port=free_port(), max_loaded=2)
    done = gateway.command("reload")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["added: b", "settings: max_loaded", "a restart is needed for: port"]
    assert gateway.chat("b").status_code == 200
    assert gateway.command("reload").stdout.splitlines() == ["a restart is needed for: port"]


def test_the_command_tells_of_a_bad_file(make_gateway: Make) -> None:
    gateway = make_gateway()
    gateway.config.write_text("models: {a: {}}\nprot: 5\n")
    refused = gateway.command("reload")
    assert refused.returncode == 1
    assert "tandem.yaml:2:1: prot: no such key" in refused.stderr
    assert refused.stdout == ""
    assert gateway.chat().status_code == 200


def test_the_command_tells_what_only_the_gateway_refuses(make_gateway: Make) -> None:
    """The variable is the command's, and not the gateway's."""
    gateway = make_gateway()
    gateway.rewrite(models={"a": {"url": "http://127.0.0.1:9", "api_key": "env:THEIR_KEY"}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(gateway._env, "THEIR_KEY", "secret-of-theirs")
        refused = gateway.command("reload")
    assert refused.returncode == 1
    assert "the environment variable THEIR_KEY is not set" in refused.stderr


def test_the_command_without_a_gateway(make_gateway: Make) -> None:
    gateway = make_gateway(port=free_port())
    gateway.terminate()
    alone = gateway.command("reload")
    assert alone.returncode == 1
    assert f"No gateway answers at http://127.0.0.1:{gateway.settings['port']}" in alone.stderr


def test_the_command_with_an_admin_port(make_gateway: Make, model: str) -> None:
    gateway = make_gateway(models={"a": entry(model)}, admin_port=free_port())
    gateway.rewrite(models={"b": entry(model)})
    assert gateway.command("reload").stdout.splitlines() == ["added: b", "removed: a"]


def test_a_hangup_by_hand_reloads(make_gateway: Make, model: str) -> None:
    gateway = make_gateway(models={"a": entry(model)})
    gateway.rewrite(models={"a": entry(model), "b": entry(model)})
    gateway.process.send_signal(signal.SIGHUP)
    eventually(lambda: gateway.logged("reloaded"))
    assert gateway.logged("reloaded")[0]["added"] == ["b"]
    assert gateway.chat("b").status_code == 200
    gateway.config.write_text("models: [")
    gateway.process.send_signal(signal.SIGHUP)
    eventually(lambda: gateway.logged("reload refused"))
    assert "tandem.yaml:1" in gateway.logged("reload refused")[0]["error"]
    assert gateway.chat("b").status_code == 200


# -- all of it together ------------------------------------------------------------------------------------------


def test_a_stream_beside_reloads_is_what_it_is_alone(make_gateway: Make, model: str) -> None:
    """Byte for byte: the file changes for the other model again and again, which streams as well."""
    models = {"quiet": entry(model, *SLOW), "busy": entry(model, *SLOW, ctx_size=512)}
    gateway = make_gateway(models=models, max_loaded=2)
    body = {"messages": [{"role": "user", "content": "Hello"}], "stream": True}

    def streamed(name: str, tokens: int) -> bytes:
        request = body | {"model": name, "max_tokens": tokens}
        with httpx2.Client(base_url=gateway.url, timeout=60, trust_env=False) as client:
            return bytes(client.post("/v1/chat/completions", json=request).content)

    alone = streamed("quiet", 200)
    assert b"[DONE]" in alone
    over, cut = threading.Event(), []

    def keep_busy() -> None:
        while not over.is_set():
            cut.append(b"[DONE]" not in streamed("busy", 20))

    with ThreadPoolExecutor(2) as pool:
        other = pool.submit(keep_busy)
        quiet = pool.submit(streamed, "quiet", 200)
        reloads = 0
        while not quiet.done():
            reloads += 1
            assert gateway.reload(models=models | {"busy": entry(model, *SLOW, ctx_size=512 + reloads)})
            time.sleep(0.7)
        over.set()
        other.result(60)
    assert reloads > 2
    assert _without_ids(quiet.result()) == _without_ids(alone)
    assert len(cut) > 1 and not any(cut)


def _without_ids(stream: bytes) -> list[bytes]:
    """Each completion has an id and times of its own."""
    lines = []
    for line in stream.split(b"\n"):
        if line.startswith(b"data: {"):
            chunk = json.loads(line.removeprefix(b"data: "))
            for own in ("id", "created", "timings"):
                chunk.pop(own, None)
            line = b"data: " + json.dumps(chunk).encode()
        lines.append(line)
    return lines
