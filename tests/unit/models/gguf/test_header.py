"""The header reader against files that `gguf` wrote, and against files that nobody should have written."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import GgufError
from app.models.gguf.header import check_magic, read_header
from app.models.gguf.tensors import check_whole, parameter_count
from tests.support import tiny_models
from tests.support.headers import write_header

# The folder is shared by the examples of one test, each of which overwrites its file.
shared_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
# gguf leaves out what is empty
scalars = st.one_of(st.integers(0, 2**32 - 1), st.booleans(), texts.filter(bool))
lists = st.one_of(
    st.lists(texts, min_size=1, max_size=20), st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=20)
)
keys = st.text("abcdefghijklmnopqrstuvwxyz._", min_size=1, max_size=20).map("x.".__add__)


def raw(path: Path, *, version: int = 3, tensors: int = 0, keys: int = 0, rest: bytes = b"") -> Path:
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + rest)
    return path


def entry(kind: int, value: bytes, key: bytes = b"k") -> bytes:
    return struct.pack("<Q", len(key)) + key + struct.pack("<I", kind) + value


def reason(path: Path) -> str:
    with pytest.raises(GgufError) as caught:
        read_header(path)
    assert caught.value.path == path
    return caught.value.reason


@shared_folder
@given(values=st.dictionaries(keys, scalars | lists, max_size=8))
def test_reads_back_what_gguf_wrote(tmp_path: Path, values: dict[str, Any]) -> None:
    """Scalars are in `metadata`, arrays in `arrays`, each with the value that was written."""
    header = read_header(write_header(tmp_path / "m.gguf", values))
    assert header.metadata == {"general.architecture": "llama"} | {
        key: value for key, value in values.items() if not isinstance(value, list)
    }
    assert {key: list(array) for key, array in header.arrays.items()} == {
        key: value for key, value in values.items() if isinstance(value, list)
    }


def test_describes_a_model(tmp_path: Path) -> None:
    """What is asked for by name: sizes, tokenizer, architecture."""
    path = tiny_models.write_target(tmp_path / "target.gguf")
    header = read_header(path)
    assert (header.version, header.architecture, header.name) == (3, "llama", "tiny target")
    assert (header.context_length, header.block_count) == (tiny_models.CONTEXT, tiny_models.TARGET_BLOCKS)
    assert (header.tokenizer, header.vocabulary_size) == ("gpt2", tiny_models.VOCABULARY)
    assert header.number("tokenizer.ggml.bos_token_id") == tiny_models.BOS
    assert header.metadata["tokenizer.ggml.add_bos_token"] is True
    assert list(header.arrays["tokenizer.ggml.tokens"])[: len(tiny_models.SPECIALS)] == tiny_models.SPECIALS
    assert header.file_size == path.stat().st_size
    assert header.split_count == 1


def test_first_shard_speaks_for_all(tmp_path: Path) -> None:
    """The first of three shards has the metadata, and says that there are three."""
    shards = [read_header(path) for path in tiny_models.write_sharded(tmp_path / "big", 3)]
    assert [shard.split_count for shard in shards] == [3, 3, 3]
    assert [shard.number("split.no") for shard in shards] == [0, 1, 2]
    assert shards[0].context_length == tiny_models.CONTEXT
    assert sum(shard.tensor_count for shard in shards) == shards[0].number("split.tensors.count")


def test_parameters_are_counted_from_the_list_of_tensors(tmp_path: Path) -> None:
    """Without their data; shards have their own, and together as many as the whole model."""
    whole = tiny_models.write_target(tmp_path / "target.gguf")
    expected = sum(int(tensor.n_elements) for tensor in gguf.GGUFReader(whole).tensors)
    assert parameter_count(read_header(whole)) == expected > 1000
    shards = tiny_models.write_sharded(tmp_path / "big", 3)
    assert sum(parameter_count(read_header(path)) for path in shards) == expected


@pytest.mark.parametrize(
    ("tensors", "rest", "words"),
    [
        (1 << 40, b"", "tensors"),
        (1, struct.pack("<QI", 0, 1 << 30), "dimensions"),
        (2, struct.pack("<QIQIQ", 0, 1, 5, 0, 0), "cut off"),
    ],
)
def test_a_damaged_list_of_tensors_is_refused(tensors: int, rest: bytes, words: str, tmp_path: Path) -> None:
    """In words, and before it costs anything."""
    header = read_header(raw(tmp_path / "x.gguf", tensors=tensors, rest=rest))
    with pytest.raises(GgufError, match=words):
        parameter_count(header)


def test_absent_keys_are_none(tmp_path: Path) -> None:
    """A header that says next to nothing is still a header."""
    header = read_header(write_header(tmp_path / "bare.gguf", {}))
    assert (header.name, header.context_length, header.vocabulary_size, header.tokenizer) == (None,) * 4


def test_number_of_another_type_is_none(tmp_path: Path) -> None:
    """A text, or a truth value, where a number belongs does not pass for one."""
    values = {"llama.context_length": "long", "llama.block_count": True}
    header = read_header(write_header(tmp_path / "odd.gguf", values))
    assert (header.context_length, header.block_count) == (None, None)


def test_absent_flag_is_not_false(tmp_path: Path) -> None:
    """Three answers: yes, no, not said; a number is not said."""
    header = read_header(write_header(tmp_path / "m.gguf", {"x.on": True, "x.off": False, "x.one": 1}))
    assert [header.flag(key) for key in ("x.on", "x.off", "x.one", "x.none")] == [True, False, None, None]


def test_header_is_enough(tmp_path: Path) -> None:
    """Tensors are never looked at: a file that breaks off in them has a good header."""
    whole = read_header(tiny_models.write_target(tmp_path / "whole.gguf"))
    part = read_header(tiny_models.write_truncated(tmp_path / "part.gguf"))
    assert part.arrays.keys() == whole.arrays.keys()
    assert part.context_length == whole.context_length


def test_cut_off_anywhere_is_an_error(tmp_path: Path) -> None:
    """Every cut inside the header gives a GgufError, and no other exception."""
    values = {"x.name": "value", "x.tokens": ["a", "bc", ""], "x.kinds": [1, 2, 3], "x.on": True}
    data = write_header(tmp_path / "m.gguf", values).read_bytes()
    cut = tmp_path / "cut.gguf"
    for size in range(len(data)):
        cut.write_bytes(data[:size])
        try:
            header = read_header(cut)
        except GgufError:
            continue
        # only the padding behind the last key is missing
        assert header.metadata["x.on"] is True
        assert len(data) - size < 32


@shared_folder
@given(data=st.data())
def test_damage_never_surprises(tmp_path: Path, data: st.DataObject) -> None:
    """Any byte changed to any other: a GgufError or a header whose arrays can be read, or say that they cannot."""
    values = {"x.name": "value", "x.tokens": ["a", "bc"], "x.kinds": [1, 2, 3]}
    path = write_header(tmp_path / "m.gguf", values)
    content = bytearray(path.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        header = read_header(path)
        for array in header.arrays.values():
            list(array)
    except GgufError:
        pass


@shared_folder
@given(rest=st.binary(max_size=300), keys=st.integers(0, 20))
def test_noise_never_surprises(tmp_path: Path, rest: bytes, keys: int) -> None:
    """A right magic and then anything: a GgufError or a header."""
    try:
        read_header(raw(tmp_path / "noise.gguf", keys=keys, rest=rest))
    except GgufError as error:
        assert error.reason


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"<!doctype html>", "not a GGUF"),
        (b"GG", "not a GGUF"),
        (b"GGUF", "cut off"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack("<IQQ", 4, 0, 0), "version 4"),
    ],
)
def test_what_is_not_readable_gguf(tmp_path: Path, content: bytes, words: str) -> None:
    """Each has its own reason, and the quick look at the first bytes finds the same."""
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    assert words in reason(path)
    with pytest.raises(GgufError, match=words):
        check_magic(path)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"keys": 2**63}, "claims"),
        ({"keys": 1, "rest": struct.pack("<Q", 2**62)}, "cut off"),
        ({"keys": 1, "rest": entry(8, struct.pack("<Q", 2**64 - 1))}, "cut off"),
        ({"keys": 1, "rest": entry(9, struct.pack("<IQ", 8, 2**64 - 1))}, "array is longer than the file"),
        ({"keys": 1, "rest": entry(9, struct.pack("<IQ", 4, 2**63))}, "cut off"),
        ({"keys": 1, "rest": entry(9, struct.pack("<IQ", 9, 1) * 9)}, "array of an unknown type"),
        ({"keys": 1, "rest": entry(9, struct.pack("<IQQ", 8, 1, 2**63))}, "cut off"),
        ({"keys": 1, "rest": entry(99, b"")}, "unknown value type"),
    ],
)
def test_absurd_sizes_are_refused(tmp_path: Path, header: dict[str, Any], words: str) -> None:
    """A length that the file cannot hold is an error at once: nothing of that size is allocated or looped over."""
    assert words in reason(raw(tmp_path / "m.gguf", **header))


def test_missing_file_is_a_gguf_error(tmp_path: Path) -> None:
    """So callers need no second kind of exception."""
    assert "No such file" in reason(tmp_path / "gone.gguf")


def test_vocabulary_is_decoded_on_demand(tmp_path: Path) -> None:
    """Text that is not UTF-8 in an array does no harm: it is stepped over, and replaced when read."""
    value = struct.pack("<IQ", 8, 1) + struct.pack("<Q", 2) + b"\xff\xfe"
    header = read_header(raw(tmp_path / "m.gguf", keys=1, rest=entry(9, value)))
    assert len(header.arrays["k"]) == 1
    assert list(header.arrays["k"]) == ["\ufffd\ufffd"]


@shared_folder
@given(values=lists, start=st.integers(0, 25))
def test_raw_bytes_are_what_gguf_wrote(tmp_path: Path, values: list[Any], start: int) -> None:
    """From any item on, beyond the last one too: so equal bytes are equal items."""
    array = read_header(write_header(tmp_path / "m.gguf", {"x.list": values})).arrays["x.list"]
    if isinstance(values[0], int):
        assert array.raw(start) == struct.pack(f"<{len(values[start:])}i", *values[start:])
    else:
        encoded = [text.encode() for text in values[start:]]
        assert array.raw(start) == b"".join(struct.pack("<Q", len(text)) + text for text in encoded)


@shared_folder
@given(values=st.lists(texts, min_size=1, max_size=20))
def test_texts_are_undecoded_items(tmp_path: Path, values: list[str]) -> None:
    """One a token, in order."""
    array = read_header(write_header(tmp_path / "m.gguf", {"x.list": values})).arrays["x.list"]
    assert array.holds_texts
    assert list(array.texts()) == [text.encode() for text in values]


def test_numbers_are_no_texts(tmp_path: Path) -> None:
    """A file whose tokens are numbers is at fault, not the caller."""
    array = read_header(write_header(tmp_path / "m.gguf", {"x.list": [1, 2]})).arrays["x.list"]
    assert not array.holds_texts
    with pytest.raises(GgufError, match="numbers"):
        list(array.texts())


@pytest.mark.parametrize("replace", [lambda old: old.replace(b"abc", b"a\xff" * 8), lambda old: old[:-20]])
def test_file_that_changes_after_its_header_was_read(tmp_path: Path, replace: Callable[[bytes], bytes]) -> None:
    """Arrays are read later than the header: what was overwritten meanwhile is a GgufError."""
    path = raw(
        tmp_path / "m.gguf", keys=1, rest=entry(9, struct.pack("<IQ", 8, 3) + struct.pack("<Q3s", 3, b"abc") * 3)
    )
    array = read_header(path).arrays["k"]
    path.write_bytes(replace(path.read_bytes()))
    with pytest.raises(GgufError):
        list(array.texts())


def test_a_file_without_its_last_tensors_is_not_whole(tmp_path: Path) -> None:
    """Wherever the download was cut off, be it in the list of tensors; a whole file passes."""
    path = tiny_models.write_target(tmp_path / "m.gguf")
    header, whole = read_header(path), path.read_bytes()
    check_whole(header)
    for size in (header.tensors_at, header.tensors_at + 100, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(GgufError, match="download it again"):
            check_whole(read_header(path))


def test_a_file_without_tensors_is_whole(tmp_path: Path) -> None:
    """A vocabulary alone, or a shard that holds the metadata."""
    check_whole(read_header(raw(tmp_path / "m.gguf")))
