"""Reads an engine's own report of its memory from its log, if the build logs one. Pure.

Older builds log buffers by default, b11434 with `-lv 4`. `--log-jsonl` of b11434 logs the planned sizes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from app.engine.footprint.footprint import HOST
from app.engine.footprint.load_options import LoadOptions
from app.records.footprints import HeldMemory

SOURCE = "engine"
_MIB = 1 << 20
# `load_tensors:   CPU_Mapped model buffer size =     5.01 MiB`
_BUFFER = re.compile(r"(\w+): +(\S+) +(model|KV|RS|output|compute|LoRA) buffer size *= *([\d.]+) MiB")
_RECORD = '"fit_memory_breakdown"'
# Buffers of the host whose names are no device's
_HOST_BUFFERS = ("CPU", "BLAS", "AMX", "Host")


def reported(
    log: Iterable[str], options: LoadOptions, devices: Collection[str] = ()
) -> Mapping[str, HeldMemory] | None:
    """Place in memory -> bytes, from the whole `log` of a start; None if it does not cover the whole engine."""
    if options.projector is not None:
        return None  # its weights are in no line
    lines = list(log)
    return _buffers(lines, options, devices) or _planned(lines, options)


def _buffers(lines: Sequence[str], options: LoadOptions, devices: Collection[str]) -> dict[str, HeldMemory] | None:
    sizes: Counter[str] = Counter()
    mapped = 0.0
    weights = contexts = 0
    # A context may plan its buffers more than once: the last size counts
    compute: dict[tuple[str, str], float] = {}
    before = ""
    for writer, buffer, use, amount in (match.groups() for line in lines for match in _BUFFER.finditer(line)):
        place = _place_of(buffer, devices)
        if place is None:
            return None
        size = float(amount) * _MIB
        weights += use == "model" and before != "model"
        if use == "compute":
            contexts += before != "compute"
            sizes[place] += int(size - compute.get((writer, buffer), 0.0))
            compute[writer, buffer] = size
        else:
            if before == "compute":
                compute = {}
            sizes[place] += int(size)
            mapped += size if use == "model" and place == HOST and buffer.endswith("_Mapped") else 0.0
        before = use
    if weights < _models(options) or contexts < _contexts(options):
        return None
    sizes[HOST] += 0
    return {place: HeldMemory(size, int(mapped) if place == HOST else 0, SOURCE) for place, size in sizes.items()}


def _place_of(buffer: str, devices: Collection[str]) -> str | None:
    """The device or the host; None for a buffer that is spread over several."""
    name = buffer.partition("[")[0]
    for candidate in (name, name.rpartition("_")[0]):
        if candidate in devices:
            return candidate
    if name.endswith("_Host") or name.partition("_")[0] in _HOST_BUFFERS:
        return HOST
    return None


def _planned(lines: Sequence[str], options: LoadOptions) -> dict[str, HeldMemory] | None:
    """The last record of each model: earlier ones belong to discarded plans."""
    models = _models(options)
    if options.mtp and options.draft is None:
        return None  # the number of records is unknown
    records = [rows for line in lines if _RECORD in line for rows in _rows(line)]
    if len(records) < models:
        return None
    sizes: Counter[str] = Counter({HOST: 0})
    mapped = 0
    for row in (row for rows in records[-models:] for row in rows):
        place = HOST if row.get("kind") == "host" else str(row.get("name"))
        sizes[place] += int(row.get("self", 0)) * _MIB
        mapped += int(row.get("model", 0)) * _MIB if place == HOST and options.maps_files else 0
    return {place: HeldMemory(size, mapped if place == HOST else 0, SOURCE) for place, size in sizes.items()}


def _rows(line: str) -> list[list[dict[str, int | str]]]:
    """The rows of a record; empty if it has another form."""
    try:
        rows = json.loads(line)["data"]["rows"]
        return [rows] if all(isinstance(row["self"], int) for row in rows) else []
    except (ValueError, KeyError, TypeError):
        return []


def _models(options: LoadOptions) -> int:
    return 1 + (options.draft is not None)


def _contexts(options: LoadOptions) -> int:
    return 1 + (options.draft is not None or options.mtp)
