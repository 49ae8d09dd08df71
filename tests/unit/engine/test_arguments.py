"""An entry's `args` as the build at hand reads them, and what is said of a mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.config.model_entry import LocalEntry
from app.engine.arguments import EntryFlag, read_arguments
from app.engine.dialect import Dialect
from app.engine.translate import translate
from app.errors import LaunchRefusedError
from app.models.catalog import ModelSpec
from app.models.ref import ModelRef
from tests.support.paths import DATA


def page(build: str) -> Dialect:
    return Dialect.from_help((DATA / "help" / f"{build}.txt").read_text(encoding="utf-8"))


NEW, OLD = page("b11434"), page("2025-08")


@pytest.mark.parametrize(
    ("args", "given"),
    [
        (["-ngl", "99", "--no-warmup"], [("-ngl", "99"), ("--no-warmup",)]),
        (["-ngl", "auto", "-fa", "on"], [("-ngl", "auto"), ("-fa", "on")]),
        (["--threads-batch", "-1"], [("--threads-batch", "-1")]),
        (["--flash_attn", "1"], [("--flash-attn", "1")]),
        (["--control-vector-layer-range", "1", "4"], [("--control-vector-layer-range", "1", "4")]),
        (["--rope-freq-base", "1e6", "--top-k", " 40"], [("--rope-freq-base", "1e6"), ("--top-k", " 40")]),
        (["--batch-size", "512x"], [("--batch-size", "512x")]),  # llama.cpp reads 512
        (["--gone", "1", "--no-warmup"], [("--gone", "1"), ("--no-warmup",)]),
    ],
)
def test_flags_have_their_values(args: list[str], given: list[tuple[str, ...]]) -> None:
    """By the build's own spelling; what the build does not know keeps its words, for whoever translates it."""
    assert [(flag.name, *flag.values) for flag in read_arguments(args, NEW)] == given


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["-ngl 99"], """'-ngl 99' is one argument of several words; give each its own: ["-ngl", "99"]."""),
        (["--flash-attn on", "-b", "64"], '["--flash-attn", "on"]'),
        (["-fa"], "-fa takes a value ([on|off|auto]), and nothing follows"),
        (["-fa", "--no-warmup"], "-fa takes a value ([on|off|auto]), and --no-warmup follows"),
        (["--control-vector-layer-range", "1"], "takes two values (START END)"),
        (["--no-warmup", "yes"], "'yes' stands where a flag belongs: --no-warmup before it takes no value"),
        (["99"], "'99' stands where a flag belongs"),
        (["-ngl", "9", "9"], "-ngl before it takes one value, 9"),
        (
            ["--lora-scaled", "/m/a.gguf", "0.05"],
            "takes one word, FNAME:SCALE, on this llama-server: give /m/a.gguf:0.05",
        ),
        (["--flash-atn", "on"], "does not know --flash-atn; did you mean --flash-attn?"),
        (["--qqqqqqqq"], "does not know --qqqqqqqq; run `llama-server --help`"),
        (["-fa", "maybe"], "-fa takes on, off or auto, not 'maybe'"),
        (["-ctk", "q9"], "-ctk takes f32, f16, bf16, q8_0, q4_0, q4_1, iq4_nl, q5_0 or q5_1, not 'q9'"),
        (["--pooling", "sum"], "--pooling takes none, mean, cls, last or rank, not 'sum'"),
        (["-ngl", "many"], "-ngl takes a whole number, not 'many'"),
        (["--batch-size", "many"], "--batch-size takes a whole number, not 'many'"),
        (["--ctx-checkpoints", "99999999999"], "takes at most 2147483647, not '99999999999'"),
        (["-b", "0"], "-b 0: llama-server aborts with batches of fewer than 2 tokens"),
        (["--version"], "prints something and exits"),
    ],
)
def test_a_mistake_is_told_with_what_would_be_right(args: list[str], words: str) -> None:
    """Each of these ends llama-server b11434 before it loads anything, most with `stoi` or `invalid argument`."""
    entry = LocalEntry.model_validate({"target": {"path": "/m/t.gguf"}, "args": args})
    with pytest.raises(LaunchRefusedError) as refused:
        translate(ModelSpec(ModelRef("m", entry), Path("/m/t.gguf"), None), NEW, 8001)
    assert words in str(refused.value)


def test_builds_differ_in_what_takes_a_value() -> None:
    """In August 2025 -fa was a switch, and --lora-scaled took two words."""
    args = ["-fa", "--lora-scaled", "/m/a.gguf", "0.05"]
    assert list(read_arguments(args, OLD)) == [
        EntryFlag("-fa", "-fa"),
        EntryFlag("--lora-scaled", "--lora-scaled", ("/m/a.gguf", "0.05")),
    ]
    with pytest.raises(LaunchRefusedError, match="'on' stands where a flag belongs: -fa before it takes no value"):
        list(read_arguments(["-fa", "on"], OLD))
