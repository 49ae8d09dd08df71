"""Checks a start without loading: finds errors, and settings with surprising effects.

`check` and a start call the same functions, so both refuse with the same messages.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from app.engine.architectures import doubt
from app.engine.arguments import EntryFlag, read_arguments
from app.engine.dialect import Dialect
from app.engine.flag_files import named_files, problem
from app.engine.kv_cache import cache_problem, least_cache
from app.engine.locate import EngineBinary
from app.engine.memory import host_memory
from app.engine.translate import Note
from app.errors import LaunchRefusedError
from app.models.catalog import ModelSpec
from app.models.gguf.filenames import shards
from app.models.gguf.header_cache import check_whole_of, header_of
from app.models.gguf.places import misplaced_projector, misplaced_target, mixed_shards
from app.terminal import memory_in_words


def check_files(spec: ModelSpec, engine: EngineBinary) -> None:
    """Checks that target and projector are complete, belong together and fit their keys. `settle` checks drafts.

    Raises GgufError or LaunchRefusedError.
    """
    for path in (spec.target, spec.mmproj):
        if path is None:
            continue
        for shard in shards(path):
            check_whole_of(shard)
        if mixed := mixed_shards(shards(path)):
            raise LaunchRefusedError(mixed, code="split")
    header = header_of(spec.target)
    if wrong := misplaced_target(header):
        raise LaunchRefusedError(f"target: {wrong}", code="wrong_kind")
    if spec.mmproj is not None and (wrong := misplaced_projector(header_of(spec.mmproj))):
        raise LaunchRefusedError(f"mmproj: {wrong}", code="projector")
    if (text := doubted(engine, header.architecture)) is not None:
        raise LaunchRefusedError(f"target: {text}.", code="unknown_architecture")


def check_draft(spec: ModelSpec, engine: EngineBinary) -> None:
    """Checks that this engine can load the draft, if plain decoding is not allowed instead.

    Raises LaunchRefusedError or GgufError.
    """
    if spec.draft is None or not spec.chain or spec.options.speculation.on_inert != "fail":
        return
    if (text := doubted(engine, header_of(spec.draft).architecture)) is not None:
        way = "on_inert: plain would start without it"
        raise LaunchRefusedError(f"draft: {text}; {way}.", code="unknown_architecture")


def check_arguments(spec: ModelSpec, dialect: Dialect) -> tuple[Path, ...]:
    """Checks flags, the files that they name, and the cache; returns these files. Raises LaunchRefusedError."""
    given, header = _given(spec, dialect), header_of(spec.target)
    files = tuple(named_files(given, dialect))
    for file in files:
        if wrong := problem(file, header):
            raise LaunchRefusedError(wrong, code="lora_failed" if file.path.is_file() else "missing_file")
    if wrong := _impossible(spec):
        raise LaunchRefusedError(wrong, code="bad_value")
    if wrong := cache_problem(given, dialect, header) or _too_much(spec, given):
        raise LaunchRefusedError(wrong, code="cache_type")
    return tuple(file.path for file in files if not file.folder)


def advice(spec: ModelSpec) -> Iterator[Note]:
    """Notes on settings that start but have surprising effects. Raises GgufError."""
    trained, context = header_of(spec.target).context_length, spec.options.ctx_size or 0
    unified = {"-kvu", "--kv-unified"} & set(spec.options.args)
    slot = context // (1 if unified else spec.options.parallel)
    if trained and slot > trained:
        text = (
            f"a slot gets {trained} tokens, which the model was trained for, not {slot}: "
            f"more than {trained * spec.options.parallel} here only takes memory"
        )
        yield Note("ctx_size", text)
    size = sum(path.stat().st_size for path in shards(spec.target))
    if size > host_memory() and spec.options.device is None:
        text = f"the files have {memory_in_words(size)}, and this machine has {memory_in_words(host_memory())}"
        yield Note("target", f"{text}: without a device for the rest, the files are read from disk repeatedly")


def _given(spec: ModelSpec, dialect: Dialect) -> list[EntryFlag]:
    return list(read_arguments(spec.options.args, dialect))


# LLAMA_MAX_SEQ since 2025
_MOST_SLOTS = 256
# Limits of a process's threads: the system's, and memory mappings, of which each thread takes two.
_LIMITS_OF_THREADS = ((Path("/proc/sys/kernel/threads-max"), 1), (Path("/proc/sys/vm/max_map_count"), 2))


def _impossible(spec: ModelSpec) -> str:
    """A sentence if a number exceeds what llama-server or this machine can do."""
    if spec.options.parallel > _MOST_SLOTS:
        return f"parallel: llama-server supports at most {_MOST_SLOTS} slots, not {spec.options.parallel}."
    threads = spec.options.threads or 0
    for path, each in _LIMITS_OF_THREADS:
        with suppress(OSError, ValueError):
            if threads > (most := int(path.read_text()) // each):
                return f"threads: this machine supports at most {most}, not {threads}; use its number of cores."
    return ""


# The memory of all devices together is at most this multiple of the host's.
_MOST = 16


def _too_much(spec: ModelSpec, given: list[EntryFlag]) -> str:
    """A sentence if the context's cache exceeds any memory here: llama-server would try for minutes."""
    context = spec.options.ctx_size or 0
    if context == 1:
        return "ctx_size: llama-server aborts with a context of one token; give 2 or more, or 0 for the model's own."
    least = least_cache(header_of(spec.target), context, given)
    if least <= host_memory() * (1 if spec.options.device == "none" else _MOST):
        return ""
    return f"ctx_size: the cache of {context} tokens takes {memory_in_words(least)}, far more than this machine has."


def doubted(engine: EngineBinary, architecture: str | None) -> str | None:
    """Like `doubt`, cached while the engine stays the same."""
    return _doubt(engine, engine.identity, architecture)


@lru_cache(maxsize=256)
def _doubt(engine: EngineBinary, _identity: str, architecture: str | None) -> str | None:
    return doubt(engine, architecture)
