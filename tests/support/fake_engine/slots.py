"""What slots have read, and `POST /slots/{id}?action=...`: files as b11434 writes them, with zeros for the cache.

Only restored tokens are ever found cached: answers stay the same on every run.
"""

from __future__ import annotations

import json
import struct
import time
import zlib
from pathlib import Path
from typing import Any

from .options import Options
from .wire import Request, error

MAGIC, VERSION, WRAPPED = 0x67677371, 3, 0xFFFFFFFF
BYTES_A_TOKEN = 64
INVALID = "Unable to restore slot, no available space in KV cache or invalid slot save file"


class SlotFiles:
    def __init__(self, options: Options) -> None:
        self._options = options
        self._tokens: dict[int, list[int]] = {}
        self._tasks: dict[int, int] = {}
        self._restored: dict[int, list[int]] = {}

    def read(self, slot: int, task: int, request: dict[str, Any]) -> int:
        """Notes what a slot reads; returns how much of it was restored."""
        tokens, restored = _tokens_of(request), self._restored.get(slot, [])
        self._tokens[slot], self._tasks[slot] = tokens, task
        if self._options.on("--restore-inert"):
            return 0
        same = (at for at, (one, other) in enumerate(zip(tokens, restored, strict=False)) if one != other)
        return next(same, min(len(tokens) - 1, len(restored)))

    def row(self, slot: int) -> dict[str, int]:
        """What `GET /slots` says of a used slot."""
        if slot not in self._tasks:
            return {}
        return {"id_task": self._tasks[slot], "n_prompt_tokens": len(self._tokens.get(slot, []))}

    def act(self, request: Request) -> tuple[int, object]:
        folder, body = self._options.text("--slot-save-path"), json.loads(request.body or b"{}")
        if not folder:
            message = "This server does not support slots action. Start it with `--slot-save-path`"
            return 501, error(501, message, "not_supported_error")
        slot, action = int(request.path.rpartition("/")[2]), request.query.partition("action=")[2].partition("&")[0]
        if action == "erase":
            erased = len(self._tokens.pop(slot, []))
            return 200, {"id_slot": slot, "n_erased": erased}
        if not isinstance(body.get("filename"), str):
            return 500, error(500, "[json.exception.out_of_range.403] key 'filename' not found", "server_error")
        path = Path(folder + body["filename"])
        return self._save(slot, path) if action == "save" else self._restore(slot, path)

    def _save(self, slot: int, path: Path) -> tuple[int, object]:
        tokens = self._tokens.get(slot, [])
        words = [WRAPPED, 1, len(tokens), *tokens, 0]
        data = struct.pack(f"<3I{len(words)}I", MAGIC, VERSION, len(words), *words) + bytes(len(tokens) * BYTES_A_TOKEN)
        half = len(data) // 2
        with path.open("wb") as file:
            file.write(data[:half])
            file.flush()
            time.sleep(self._options.number("--save-seconds"))
            file.write(data[half : half if self._options.on("--save-short") else None])
        return 200, {"id_slot": slot, "filename": path.name, "n_saved": len(tokens), "n_written": len(data)}

    def _restore(self, slot: int, path: Path) -> tuple[int, object]:
        data = path.read_bytes() if path.exists() else b""
        magic, version, count = struct.unpack_from("<3I", data.ljust(12, b"\0"))
        if (magic, version) != (MAGIC, VERSION):
            return 400, error(400, INVALID, "invalid_request_error")
        words = struct.unpack_from(f"<{count}I", data, 12)
        self._tokens[slot] = self._restored[slot] = list(words[3:-1])
        return 200, {"id_slot": slot, "filename": path.name, "n_restored": count - 4, "n_read": len(data)}


def _tokens_of(request: dict[str, Any]) -> list[int]:
    """A number for four letters; a prompt of tokens is its own."""
    prompt = request.get("messages") or request.get("prompt") or ""
    if isinstance(prompt, list) and all(isinstance(token, int) for token in prompt):
        return prompt
    text = json.dumps(prompt)
    return [zlib.crc32(text[at : at + 4].encode()) >> 1 for at in range(0, len(text), 4)]
