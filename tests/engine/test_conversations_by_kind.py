"""Conversations of models that llama.cpp keeps in other ways than all tokens of all layers: kept, or told why not."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engine.test_conversations import counted, saved, swap
from tests.field.test_check_agrees import write_adapter
from tests.support import architectures, tiny_projectors
from tests.support.gateway import Gateway, eventually

Serve = Callable[..., Gateway]
Models = dict[str, Path]

SHIPS = "the ship sailed home in the rain and the crew sang to the sea as they had done each year " * 5
# Letters only, so that the answer is read again as it was said
LETTERS = "root ::= [a-z]+"


def complete(gateway: Gateway, prompt: str, model: str = "m", **more: Any) -> tuple[str, int, int]:
    """The answer, and how much of the prompt was known and read."""
    body = {"model": model, "prompt": prompt, "n_predict": 8, "temperature": 0, "grammar": LETTERS} | more
    answer = gateway.client.post("/completion", json=body)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    return said["content"], said["timings"]["cache_n"], said["timings"]["prompt_n"]


def why(gateway: Gateway) -> str:
    reason: str = gateway.client.get("/v1/models/m").json().get("conversations_off", "")
    return reason


def entries(model: Path, other: Path, **more: Any) -> dict[str, Any]:
    return {"m": {"target": {"path": str(model)}, "ctx_size": 4096} | more, "other": {"target": {"path": str(other)}}}


@pytest.fixture(scope="session")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("kinds")
    names = ("gemma3", "lfm2", "mamba", "qwen3", "deepseek2")
    return {
        name: architectures.with_random_weights(architectures.WRITERS[name](folder / f"{name}.gguf")) for name in names
    }


@pytest.mark.parametrize(
    ("kind", "args"),
    [
        ("qwen3", []),
        ("deepseek2", []),
        ("gemma3", ["--swa-full"]),
        ("lfm2", []),
        ("mamba", []),
        ("qwen3", ["-ctk", "q8_0", "-ctv", "q8_0", "-fa", "on"]),
        ("qwen3", ["--kv-unified"]),
    ],
    ids=["attention", "latent", "sliding, all kept", "hybrid", "recurrent", "quantized cache", "unified"],
)
def test_a_conversation_goes_on(serve: Serve, models: Models, kinds: Models, kind: str, args: list[str]) -> None:
    """As without a swap, and only what is new is read."""
    gateway = serve(**entries(kinds[kind], models["target"], args=args))
    first, *_ = complete(gateway, SHIPS)
    swap(gateway)
    assert len(saved(gateway)) == 1
    further = f"{SHIPS}{first} and then"
    swapped, cached, read = complete(gateway, further)
    assert cached > 400 and read < 30 and why(gateway) == ""
    swap(gateway)
    gateway.reload(conversations="off")
    unswapped, cached, _ = complete(gateway, further)
    assert (swapped, cached) == (unswapped, 0)


def test_a_sliding_window_is_kept_or_told(serve: Serve, models: Models, kinds: Models) -> None:
    """b11434 reads the whole prompt again, and the flag that helps is named; the embedded engine goes on."""
    gateway = serve(**entries(kinds["gemma3"], models["target"]))
    first, *_ = complete(gateway, SHIPS)
    swap(gateway)
    _, cached, read = complete(gateway, f"{SHIPS}{first} and then")
    if why(gateway) == "":
        assert cached > 400 and read < 30
        return
    assert "does not use restored slots" in why(gateway) and "--swa-full" in why(gateway)
    assert gateway.logged(why(gateway))
    swap(gateway)
    assert saved(gateway) == [] and counted(gateway, "failed") == 1


def picture(shade: int) -> dict[str, Any]:
    """A PNG of 64 times 64 points of one grey."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes([shade] * 64) for _ in range(64))
    head = struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(png).decode()}}


@pytest.mark.parametrize("before", ["Look: ", SHIPS], ids=["image first", "text first"])
def test_an_image_is_remembered(serve: Serve, models: Models, tmp_path: Path, before: str) -> None:
    """Where this build saves slots beside a projector; where it does not, its words are told."""
    projector = tiny_projectors.write_projector(tmp_path / "mmproj.gguf")
    gateway = serve(**entries(models["target"], models["target"], mmproj={"path": str(projector)}))

    def told(shade: int) -> int:
        parts = [{"type": "text", "text": before}, picture(shade), {"type": "text", "text": SHIPS}]
        answer = gateway.chat(messages=[{"role": "user", "content": parts}], max_tokens=4, temperature=0)
        assert answer.status_code == 200, answer.text
        cached: int = answer.json()["timings"]["cache_n"]
        return cached

    assert told(30) == 0
    swap(gateway)
    cached = told(30)
    if why(gateway):
        assert "multimodal" in why(gateway) and saved(gateway) == [] and cached == 0
        return
    assert cached > 250 and counted(gateway, "restored") == 1 and counted(gateway, "failed") == 0
    swap(gateway)
    assert told(200) < len(before) + 20  # another image is not taken for it


def test_what_an_adapters_scale_has_made_is_not_saved(serve: Serve, models: Models, tmp_path: Path) -> None:
    """Another request would go on from what it would not have read so."""
    write_adapter(adapter := tmp_path / "adapter.gguf")
    gateway = serve(**entries(models["target"], models["target"], args=["--lora", str(adapter)]))
    complete(gateway, SHIPS, lora=[{"id": 0, "scale": 0.5}])
    swap(gateway)
    assert saved(gateway) == []
    complete(gateway, SHIPS)
    swap(gateway)
    assert len(saved(gateway)) == 1


def test_a_sleeping_engine_is_not_woken(serve: Serve, models: Models) -> None:
    """It has freed its slots, so a save would load the model for nothing."""
    gateway = serve(**entries(models["target"], models["target"], args=["--sleep-idle-seconds", "1"]))
    complete(gateway, SHIPS)
    url, key = gateway.engine("m")

    def asleep() -> bool:
        answer = gateway.client.get(f"{url}/props", headers={"authorization": f"Bearer {key}"})
        return bool(answer.json().get("is_sleeping"))

    eventually(asleep)
    swap(gateway)
    assert saved(gateway) == [] and counted(gateway, "failed") == 0 and why(gateway) == ""
