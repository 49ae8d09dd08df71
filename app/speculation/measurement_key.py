"""Computes the key of measurements: files, build, hardware and options. Modes are compared within one key."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path

from app.config.model_entry import LocalEntry
from app.engine.locate import EngineBinary
from app.errors import GgufError

_HEAD, _TAIL = 1 << 20, 1 << 16
# The fields of an entry that change its decoding speed, except speculation, which is compared.
_OPTIONS = ("device", "ctx_size", "parallel", "threads", "fit", "prio", "args", "env")


def key_of(entry: LocalEntry, target: Sequence[Path], draft: Sequence[Path], binary: EngineBinary) -> str:
    """Returns 32 hex digits. `target` and `draft` are all shards; `draft` is empty for an entry without one.

    Reads a megabyte of each file once. Raises GgufError if one cannot be read.
    """
    parts = [
        *(digest(path) for path in target),
        "draft",
        *(digest(path) for path in draft),
        binary.identity,
        hardware(),
        repr([(name, getattr(entry, name)) for name in _OPTIONS]),
        # Only if set, so that entries without it keep their key
        *([f"mmproj {entry.mmproj!r}"] if entry.mmproj is not None else []),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def digest(path: Path) -> str:
    """Fingerprints a model file by its size, its first megabyte and its end.

    It does not prove that all bytes are right.

    Reading a 45 GB shard would take a minute. Two quantizations of a model differ in the header's tensor types, two
    fine-tunes in the last tensor. Raises GgufError.
    """
    try:
        stat = path.stat()
        return _digest(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise GgufError(path, f"cannot be read: {error.strerror}") from None


@lru_cache(maxsize=256)
def _digest(path: Path, size: int, _mtime: int) -> str:
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_HEAD))
        file.seek(max(0, size - _TAIL))
        digest.update(file.read(_TAIL))
    return digest.hexdigest()


@cache
def hardware() -> str:
    """Names processor, cores and GPUs, as far as the system reports them without vendor libraries."""
    return "; ".join((_processor(), f"{os.cpu_count()} cores", *_gpus()))


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpus() -> Iterator[str]:
    for page in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        with suppress(OSError):
            for line in page.read_text(encoding="utf-8", errors="replace").splitlines():
                if line.startswith("Model:"):
                    yield line.partition(":")[2].strip()
