"""Engines as requests see them: started, joined, shared, evicted, drained."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.gateway import PATIENCE_S, Gateway, events, eventually, header_only

Make = Callable[..., Gateway]


def entries(folder: Path, **args: list[str]) -> dict[str, object]:
    """One model per keyword, each with its own fake flags."""
    model = str(header_only(folder / "model.gguf"))
    return {name: {"target": {"path": model}, "args": flags} for name, flags in args.items()}


def test_single_model_loads_at_the_start(make_gateway: Make) -> None:
    """With one alias nobody has to ask first, and the greeting says when it is ready."""
    gateway = make_gateway()
    eventually(lambda: gateway.state() == "ready")
    eventually(lambda: any("is ready at" in line for line in gateway.output))
    assert any("llama-tandem chat m" in line for line in gateway.output)


def test_with_several_models_the_first_request_loads(make_gateway: Make, tmp_path: Path) -> None:
    """Nothing is loaded until it is asked for; /v1/models never loads."""
    gateway = make_gateway(models=entries(tmp_path, a=[], b=[]))
    assert [row["state"] for row in gateway.client.get("/v1/models").json()["data"]] == ["stopped", "stopped"]
    assert gateway.engines == []
    assert gateway.chat("b").json()["model"] == "b"
    assert (gateway.state("a"), gateway.state("b")) == ("stopped", "ready")


def test_an_engine_that_never_ran_is_not_said_to_stop(make_gateway: Make, tmp_path: Path) -> None:
    """The log of a shutdown tells of those that had something to stop."""
    gateway = make_gateway(models=entries(tmp_path, a=[], b=[]))
    gateway.chat("b")
    gateway.terminate()
    eventually(lambda: gateway.logged("engine stopped"))
    assert {line["alias"] for line in gateway.logged("engine stopped")} == {"b"}


def test_requests_join_one_start(make_gateway: Make, tmp_path: Path) -> None:
    """Eight requests for a cold model start one engine; one that leaves does not abort it for the others."""
    gateway = make_gateway(models=entries(tmp_path, a=["--load-seconds", "1"], b=[]))
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(gateway.chat, "a") for _ in range(7)]
        with socket.create_connection(("127.0.0.1", int(gateway.url.rsplit(":", 1)[1]))) as leaver:
            body = b'{"model": "a", "messages": [{"role": "user", "content": "Hi"}]}'
            leaver.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(body)
                + body
            )
            time.sleep(0.2)
        assert [answer.result().status_code for answer in answers] == [200] * 7
    assert gateway.metric('engine_starts_total{alias="a"}') == 1


def test_other_model_takes_the_place(make_gateway: Make, tmp_path: Path) -> None:
    """With max_loaded 1 the idle engine is stopped before the other starts: never two at once."""
    gateway = make_gateway(models=entries(tmp_path, a=[], b=["--load-seconds", "0.5"]))
    gateway.chat("a")
    (first,) = gateway.engines
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(gateway.chat, "b")
        while not answer.done():
            assert len(gateway.engines) <= 1
            time.sleep(0.05)
    assert answer.result().status_code == 200
    assert first not in gateway.engines


def test_two_places_hold_two_engines(make_gateway: Make, tmp_path: Path) -> None:
    """max_loaded 2: both stay, the third evicts the least recently used."""
    gateway = make_gateway(models=entries(tmp_path, a=[], b=[], c=[]), max_loaded=2)
    for name in ("a", "b", "a", "c"):
        assert gateway.chat(name).status_code == 200
    assert [gateway.state(name) for name in "abc"] == ["ready", "stopped", "ready"]


def test_eviction_waits_for_a_running_stream(make_gateway: Make, tmp_path: Path) -> None:
    """The stream on the old engine comes to its end while the request for the other model waits."""
    gateway = make_gateway(models=entries(tmp_path, a=["--tps", "20", "--tokens", "30"], b=[]))
    with ThreadPoolExecutor(1) as pool, gateway.stream("a") as stream:
        parsed = events(stream)
        next(parsed)
        other = pool.submit(gateway.chat, "b")
        assert list(parsed)[-1] == "[DONE]"
        assert other.result().status_code == 200


def test_steady_traffic_does_not_shut_out_another(make_gateway: Make, tmp_path: Path) -> None:
    """Requests for A that overlap without a gap: the one for B is served within a bounded time."""
    gateway = make_gateway(models=entries(tmp_path, a=["--tps", "20", "--tokens", "20"], b=[]))
    gateway.chat("a")
    stop = threading.Event()

    def traffic() -> None:
        while not stop.is_set():
            gateway.chat("a")

    with ThreadPoolExecutor(3) as pool:
        loops = [pool.submit(traffic) for _ in range(2)]
        time.sleep(0.5)
        answer = gateway.chat("b")
        stop.set()
        assert answer.status_code == 200
        for loop in loops:
            loop.result()


def test_queue_timeout_is_a_503_with_retry_after(make_gateway: Make, tmp_path: Path) -> None:
    """Who waits longer than queue_timeout is told so."""
    gateway = make_gateway(models=entries(tmp_path, a=["--tps", "5", "--tokens", "1000"], b=[]), queue_timeout=4)
    with gateway.stream("a") as stream:
        parsed = events(stream)  # held: a dropped generator would close the stream
        next(parsed)
        answer = gateway.chat("b")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "queue_timeout"
    assert int(answer.headers["retry-after"]) <= 120


def test_broken_model_does_not_evict(make_gateway: Make, tmp_path: Path) -> None:
    """A model whose file is missing, or is no GGUF, is refused while the working one stays loaded."""
    models = entries(tmp_path, a=[])
    (tmp_path / "html.gguf").write_text("<html>")
    models["gone"] = {"target": {"path": str(tmp_path / "gone.gguf")}}
    models["foreign"] = {"target": {"path": str(tmp_path / "html.gguf")}}
    models["flag"] = {"target": {"path": str(tmp_path / "model.gguf")}, "args": ["--no-such-flag"]}
    gateway = make_gateway(models=models)
    gateway.chat("a")
    before = gateway.engines
    for name, words in (("gone", "gone.gguf"), ("foreign", "not a GGUF"), ("flag", "--no-such-flag")):
        answer = gateway.chat(name)
        assert answer.status_code == 503
        assert words in answer.json()["error"]["message"]
        assert answer.headers["x-should-retry"] == "false"
    assert gateway.engines == before


def test_fatal_is_reset_when_the_file_changes(make_gateway: Make, tmp_path: Path) -> None:
    """A model that cannot start is not tried again and again, until its file is another one."""
    gateway = make_gateway(args=["--fail-load", "truncated"])
    eventually(lambda: gateway.state() == "fatal")
    assert gateway.chat().status_code == 503
    assert gateway.metric('engine_starts_total{alias="m"}') == 1
    header_only(gateway.folder / "model.gguf", "changed")
    gateway.chat()
    assert gateway.metric('engine_starts_total{alias="m"}') == 2


def test_sigterm_lets_streams_end_and_leaves_nobody(make_gateway: Make) -> None:
    """No new requests, the stream comes to its [DONE], engines stop, exit code 0."""
    gateway = make_gateway(args=["--tps", "20", "--tokens", "20"])
    with gateway.stream() as stream:
        parsed = events(stream)
        next(parsed)
        gateway.process.send_signal(signal.SIGTERM)
        rest = list(parsed)
    assert rest[-1] == "[DONE]"
    assert gateway.process.wait(PATIENCE_S) == 0
    assert gateway.engines == []


def test_who_waits_for_an_engine_is_sent_away_by_sigterm(make_gateway: Make, tmp_path: Path) -> None:
    """No engine is started any more: a 503 at once, while the stream that runs goes on to its end."""
    gateway = make_gateway(models=entries(tmp_path, a=["--tps", "20", "--tokens", "80"], b=[]))
    with ThreadPoolExecutor(1) as pool, gateway.stream("a") as stream:
        parsed = events(stream)
        next(parsed)
        other = pool.submit(gateway.chat, "b")
        eventually(lambda: gateway.metric('waiting{alias="b"}') == 1)
        gateway.process.send_signal(signal.SIGTERM)
        refused = other.result()
        assert list(parsed)[-1] == "[DONE]"
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
    assert gateway.process.wait(PATIENCE_S) == 0


def test_drain_timeout_ends_streams_with_an_error(make_gateway: Make) -> None:
    """A stream that takes longer than drain_timeout gets an error event and a broken connection."""
    gateway = make_gateway(args=["--tps", "5", "--tokens", "500"], drain_timeout=0.5)
    parsed = []
    try:
        with gateway.stream() as stream:
            for event in events(stream):
                if not parsed:
                    gateway.process.send_signal(signal.SIGTERM)
                parsed.append(event)
    except Exception as error:
        assert type(error).__name__ in ("RemoteProtocolError", "ReadError")
    assert parsed[-1]["error"]["code"] == "shutting_down"
    assert gateway.process.wait(PATIENCE_S) == 0
    assert gateway.engines == []


def test_second_sigterm_is_at_once(make_gateway: Make) -> None:
    """Two signals do not wait for streams, nor for an engine that takes its time."""
    gateway = make_gateway(args=["--tps", "5", "--tokens", "500", "--ignore-sigterm"], stop_grace=60)
    with gateway.stream() as stream:
        parsed = events(stream)
        next(parsed)
        gateway.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert gateway.process.poll() is None
        gateway.process.send_signal(signal.SIGTERM)
        gateway.process.wait(PATIENCE_S)
    assert gateway.engines == []


def test_stop_during_the_load_leaves_nobody(make_gateway: Make) -> None:
    """SIGTERM while the engine loads ends both."""
    gateway = make_gateway(args=["--load-seconds", "60"])
    eventually(lambda: gateway.engines)
    assert gateway.terminate() == 0
    assert gateway.engines == []


def test_engine_gets_a_clean_environment(make_gateway: Make) -> None:
    """No LLAMA_ARG_*, no token; the entry's own env and a random key are there."""
    gateway = make_gateway(env={"LLAMA_ARG_CTX_SIZE": "1", "HF_TOKEN": "secret", "GGML_X": "1"})
    (pid,) = eventually(lambda: gateway.engines)
    environ = dict(
        entry.split("=", 1) for entry in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in entry
    )
    assert "LLAMA_ARG_CTX_SIZE" not in environ and "HF_TOKEN" not in environ
    assert environ["GGML_X"] == "1" and environ["GGML_NO_BACKTRACE"] == "1"
    assert len(environ["LLAMA_API_KEY"]) > 30
    assert environ["LLAMA_API_KEY"] not in Path(f"/proc/{pid}/cmdline").read_text()
    assert os.getpgid(pid) == pid


def test_a_request_right_behind_a_stream_finds_a_good_connection(make_gateway: Make) -> None:
    """llama-server closes after each stream without having said so; whole answers are streams to it, too."""
    gateway = make_gateway(args=["--tokens", "2"])
    for _ in range(5):
        with gateway.stream() as stream:
            assert list(events(stream))[-1] == "[DONE]"
        assert gateway.chat().status_code == gateway.chat().status_code == 200
    assert eventually(lambda: gateway.metric('requests_total{alias="m",status="200"}') == 15)
