"""The gateway is killed, or comes up beside others."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import psutil

from app.supervisor.orphans import MARKER
from tests.support.gateway import PATIENCE_S, Gateway, engines_of, events, eventually, fake_llama_server, header_only

Make = Callable[..., Gateway]


def test_kill_9_takes_the_engine_along(make_gateway: Make) -> None:
    """No orphan keeps the port, in READY or while loading."""
    for args in (["--tps", "10"], ["--load-seconds", "60"], ["--ignore-sigterm"]):
        gateway = make_gateway(args=args)
        eventually(lambda gateway=gateway: gateway.engines)  # type: ignore[misc]
        time.sleep(0.2)
        gateway.process.send_signal(signal.SIGKILL)
        gateway.process.wait()
        eventually(lambda gateway=gateway: not gateway.engines)  # type: ignore[misc]


def test_nobody_reads_its_output_any_more(tmp_path: Path) -> None:
    """`serve 2>&1 | head`: it serves on, and a SIGTERM still ends it well."""
    config = tmp_path / "tandem.yaml"
    config.write_text(
        json.dumps({"port": 0, "state_dir": str(tmp_path), "models": {"m": {"url": "http://127.0.0.1:9"}}})
    )
    command = [sys.executable, "-P", "-m", "llama_tandem", "serve", "--config", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        found = re.search(r"http://[\d.:]+", process.stdout.readline())
        assert found
        process.stdout.close()
        for _ in range(2):
            answer = httpx2.post(f"{found[0]}/v1/chat/completions", json={"model": "m"}, trust_env=False)
            assert answer.status_code == 502
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()


def test_orphan_of_a_gone_gateway_is_swept(make_gateway: Make) -> None:
    """A marked child whose gateway is gone ends at the next start; one whose gateway lives does not."""

    def marked(marker: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sleep", "60"], env={**os.environ, MARKER: marker})

    alive = f"{os.getpid()}:{psutil.Process().create_time():.2f}"
    gone = "999999999:1000.00"
    reused = f"{os.getpid()}:1000.00"
    children = [marked(gone), marked(reused), marked(alive)]
    try:
        gateway = make_gateway()
        assert children[0].wait(PATIENCE_S) == children[1].wait(PATIENCE_S) == -signal.SIGKILL
        assert children[2].poll() is None
        # Another gateway that starts on this machine now may have been faster with either.
        assert {line["pid"] for line in gateway.logged("left behind")} <= {child.pid for child in children[:2]}
    finally:
        for child in children:
            child.kill()
            child.wait()


def test_port_of_another_program_is_passed_over(make_gateway: Make) -> None:
    """engine_port is taken: the engine listens on the next free one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gateway = make_gateway(engine_port=taken.getsockname()[1])
        assert gateway.chat().status_code == 200


def test_port_lost_to_somebody_between_look_and_bind(make_gateway: Make) -> None:
    """The engine cannot bind though the port looked free: other ports are tried, and the cause is told."""
    gateway = make_gateway(args=["--bind-fails"])
    eventually(lambda: gateway.state() == "backoff")
    answer = gateway.chat()
    assert answer.json()["error"]["cause"] == "port_taken"
    eventually(lambda: len(gateway.logged("port taken by another process")) > 1)


def test_server_that_asks_for_no_key_is_not_ours(make_gateway: Make, tmp_path: Path) -> None:
    """Healthy is not enough: what answers without our key, for another model, is somebody else's engine."""
    script = tmp_path / "wrapper"
    # The inner shell ends at once, so that the server is nobody's child.
    server, theirs = fake_llama_server(tmp_path), header_only(tmp_path / "theirs.gguf")
    page = f'[ "$1" != --help ] || exec {server} --help'
    stranger = f'( env -u LLAMA_API_KEY {server} "$@" --model {theirs} & )'
    script.write_text(f"#!/bin/sh\n{page}\n{stranger}\nexec sleep 60\n")
    script.chmod(0o755)
    gateway = make_gateway(llama_server=str(script))
    answer = gateway.chat()
    assert answer.status_code == 503
    assert "Another server answers at" in answer.json()["error"]["message"]


def test_two_gateways_do_not_touch_each_other(make_gateway: Make) -> None:
    """The same engine_port for both: each has its own engine, and one's end is not the other's."""
    first = make_gateway()
    second = make_gateway(engine_port=first.settings["engine_port"])
    assert first.chat().status_code == second.chat().status_code == 200
    assert set(first.engines).isdisjoint(second.engines)
    first.terminate()
    assert second.chat().status_code == 200


def test_engine_that_ignores_sigterm_is_killed(make_gateway: Make) -> None:
    """SIGTERM, grace, SIGTERM, SIGKILL: the gateway ends within its time, and nobody is left."""
    gateway = make_gateway(args=["--ignore-sigterm"], stop_grace=0.5)
    gateway.chat()
    assert gateway.terminate() == 0
    assert engines_of(gateway.process.pid) == []


def test_port_of_the_gateway_taken_is_a_sentence(make_gateway: Make) -> None:
    """A second gateway on the same port says so and exits 1, without a traceback."""
    gateway = make_gateway()
    port = gateway.url.rsplit(":", 1)[1]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "llama_tandem", "serve", "--config", str(gateway.config), "--port", port],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert f"Cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_stream_survives_nothing_of_a_killed_gateway(make_gateway: Make) -> None:
    """A client of a killed gateway sees a broken connection, and the engine is gone."""
    gateway = make_gateway(args=["--tps", "10", "--tokens", "100"])
    try:
        with gateway.stream() as stream:
            parsed = events(stream)
            next(parsed)
            gateway.process.send_signal(signal.SIGKILL)
            rest = list(parsed)
        assert "[DONE]" not in rest
    except Exception as error:
        assert type(error).__name__ in ("RemoteProtocolError", "ReadError")
    gateway.process.wait()
    eventually(lambda: not gateway.engines)
