"""Two models that do not fit into memory together: the idle one makes room, and what does not fit takes turns."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import Gateway, events, eventually, fake_llama_server, header_only

Make = Callable[..., Gateway]

CUDA = (
    "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4096.00 MiB on device 0: cudaMalloc failed: out of memory"
)
WORDS = [
    CUDA,
    "ggml_vulkan: Device memory allocation of size 4294967296 failed.",
    "ggml_aligned_malloc: insufficient memory (attempted to allocate 4096.00 MB)",
    "llama_init_from_model: failed to initialize the context: failed to allocate buffer for kv cache",
]


def small_memory(folder: Path, words: str, *, holds: int = 1) -> str:
    """A llama-server that says `words` and ends where `holds` others run already, or where a file `taken` is there."""
    fake = fake_llama_server(folder)
    path = folder / "small-memory"
    path.write_text(
        f"""#!/bin/sh
[ $# -gt 2 ] || exec "{fake}" "$@"
others=0
for file in "{folder}"/up.*; do
    kill -0 "${{file##*.}}" 2>/dev/null && others=$((others + 1))
done
if [ $others -ge {holds} ] || [ -e "{folder}/taken" ]; then
    echo "0.00.100.000 E {words}" >&2
    exit 1
fi
touch "{folder}/up.$$"
exec "{fake}" "$@"
"""
    )
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def make(make_gateway: Make, tmp_path: Path) -> Make:
    """`make(words, args of a model...)`: models a, b, ... with a place for each."""

    def made(words: str, *args: list[str], holds: int = 1, **more: Any) -> Gateway:
        target = {"path": str(header_only(tmp_path / "model.gguf"))}
        models = {name: {"target": target, "args": flags} for name, flags in zip("abcd", args, strict=False)}
        server = small_memory(tmp_path, words, holds=holds)
        return make_gateway(models=models, llama_server=server, max_loaded=len(models), **more)

    return made


def states(gateway: Gateway) -> dict[str, str]:
    return {row["id"]: row["state"] for row in gateway.client.get("/v1/models").json()["data"]}


@pytest.mark.parametrize("words", WORDS)
def test_an_idle_engine_makes_room(make: Make, words: str) -> None:
    """The request is served, and nobody gets a 503 or has to know of `max_loaded`."""
    gateway = make(words, [], [])
    assert gateway.chat("a").status_code == 200
    assert gateway.chat("b").status_code == 200
    assert states(gateway) == {"a": "stopped", "b": "ready"}
    (line,) = gateway.logged("evicted a")
    assert "b has waited" in line["event"]


def test_what_does_not_fit_together_takes_turns(make: Make) -> None:
    """The failure is found out once; from then on room is made before the start."""
    gateway = make(CUDA, [], [])
    for name in "ababab":
        assert gateway.chat(name).status_code == 200
    assert gateway.metric('engine_exits_total{alias="b",cause="device_memory"}') == 1
    assert gateway.metric('engine_exits_total{alias="a",cause="device_memory"}') == 0


def test_the_least_recently_used_of_several_makes_room(make: Make) -> None:
    """One is enough, so the other stays."""
    gateway = make(CUDA, [], [], [], holds=2)
    for name in ("a", "b", "a", "c"):
        assert gateway.chat(name).status_code == 200
    assert states(gateway) == {"a": "ready", "b": "stopped", "c": "ready"}


def test_a_busy_engine_ends_its_answer_first(make: Make) -> None:
    """Its stream comes to [DONE]; the other request waits, and is served."""
    gateway = make(CUDA, ["--tps", "20", "--tokens", "60"], [])
    answers: list[int] = []
    with gateway.stream("a") as stream:
        parsed = events(stream)
        next(parsed)
        other = threading.Thread(target=lambda: answers.append(gateway.chat("b").status_code))
        other.start()
        assert list(parsed)[-1] == "[DONE]"
    other.join()
    assert answers == [200]


def test_memory_that_another_program_holds_is_waited_for(make: Make, tmp_path: Path) -> None:
    """Without any of ours it fails as well: that is told, with Retry-After, and the model comes up once it is free."""
    gateway = make(CUDA, [], [])
    assert gateway.chat("a").status_code == 200
    (tmp_path / "taken").touch()
    answer = gateway.chat("b")
    error = answer.json()["error"]
    assert (answer.status_code, error["cause"], "retry-after" in answer.headers) == (503, "device_memory", True)
    (tmp_path / "taken").unlink()
    eventually(lambda: gateway.chat("b").status_code == 200)
