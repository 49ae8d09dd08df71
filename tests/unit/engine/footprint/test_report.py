"""What an engine's log says of its memory, in the words of several builds."""

from __future__ import annotations

import json

import pytest

from app.engine.footprint.load_options import read_options
from app.engine.footprint.report import reported

MIB = 1 << 20
ALONE = read_options(["llama-server", "-m", "m.gguf"])
DRAFTED = read_options(["llama-server", "-m", "m.gguf", "-md", "d.gguf"])
TARGET = [
    "load_tensors:   CPU_Mapped model buffer size =    70.00 MiB",
    "0.00.1 I load_tensors:        CUDA0 model buffer size =  4000.00 MiB",
    "load_tensors:        CUDA1 model buffer size =  2000.00 MiB",
    "llama_context:  CUDA_Host  output buffer size =     0.50 MiB",
    "llama_kv_cache:      CUDA0 KV buffer size =   512.00 MiB",
    "llama_kv_cache:      CUDA0 KV buffer size =    64.00 MiB",
    "llama_kv_cache:      CUDA1 KV buffer size =   256.00 MiB",
    "sched_reserve:      CUDA0 compute buffer size =   300.00 MiB",
    "sched_reserve:  CUDA_Host compute buffer size =    10.00 MiB",
]
DRAFT = [
    "load_tensors:        CUDA1 model buffer size =   100.00 MiB",
    "llama_kv_cache:      CUDA1 KV buffer size =    20.00 MiB",
    "llama_context:      CUDA1 compute buffer size =    30.00 MiB",
]


def sizes(log: list[str], options: object = ALONE) -> dict[str, float] | None:
    held = reported(log, options, ("CUDA0", "CUDA1", "MTL0"))  # type: ignore[arg-type]
    return None if held is None else {name: one.size / MIB for name, one in held.items()}


def test_buffers_are_summed_by_device() -> None:
    """Those of the host are pinned or mapped; only the latter are pages of the file."""
    assert sizes(TARGET) == {"host": 80.5, "CUDA0": 4876, "CUDA1": 2256}
    held = reported(TARGET, ALONE, ("CUDA0", "CUDA1"))
    assert held is not None and held["host"].mapped == 70 * MIB and {one.source for one in held.values()} == {"engine"}


def test_a_drafts_buffers_are_added() -> None:
    assert sizes(TARGET + DRAFT, DRAFTED) == {"host": 80.5, "CUDA0": 4876, "CUDA1": 2406}


def test_buffers_that_are_planned_again_count_once() -> None:
    again = ["sched_reserve:      CUDA0 compute buffer size =   320.00 MiB"]
    assert sizes(TARGET + again) == {"host": 80.5, "CUDA0": 4896, "CUDA1": 2256}


def test_buffers_of_a_device_may_have_a_suffix() -> None:
    log = [
        "load_tensors: MTL0_Mapped model buffer size = 400.00 MiB",
        "llama_context: MTL0 compute buffer size = 8.00 MiB",
    ]
    assert sizes(log) == {"MTL0": 408, "host": 0}


@pytest.mark.parametrize(
    "log",
    [
        [],
        ["srv  llama_server: model loaded"],
        TARGET[:-2],
        ["load_tensors: CUDA_Split model buffer size = 8.00 MiB", *TARGET],
        ['{"type":"fit_memory_breakdown","data":{}}'],
        ['{"type":"fit_memory_breakdown"'],
    ],
    ids=["nothing", "no-figures", "cut-off", "spread", "another-form", "no-json"],
)
def test_a_log_that_does_not_tell_all_tells_nothing(log: list[str]) -> None:
    assert sizes(log) is None


def test_half_of_an_engine_is_not_told_for_the_whole() -> None:
    """A draft whose lines are missing; a projector's weights are in no line at all."""
    assert sizes(TARGET, DRAFTED) is None
    assert sizes(TARGET, read_options(["llama-server", "-m", "m", "--mmproj", "p"])) is None


def record(**rows: int) -> str:
    data = [
        {"kind": "host" if name == "Host" else "device", "name": name, "self": size, "model": size // 2}
        for name, size in rows.items()
    ]
    return json.dumps({"type": "fit_memory_breakdown", "data": {"unit": "MiB", "rows": data}})


def test_records_of_what_is_planned_hold_where_no_buffer_is_named() -> None:
    """The last ones: an earlier one is of a plan that was given up."""
    log = [record(CUDA0=9000, Host=10), record(CUDA0=5000, Host=10)]
    assert sizes(log) == {"host": 10, "CUDA0": 5000}
    assert sizes([*log, record(CUDA0=100, Host=4)], DRAFTED) == {"host": 14, "CUDA0": 5100}
