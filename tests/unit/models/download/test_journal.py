"""The journal: what was written is read back, and what is damaged is left out."""

import zlib
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from app.models.download.journal import FileVersion, Ranges, line, parse

SHA = "sha256:" + "0" * 64


def ranges(size: int, block: int = 10) -> Ranges:
    return Ranges(FileVersion("org/m", "UD/m-Ω.gguf", "f" * 40, SHA, size), block)


def journal(of: Ranges) -> bytes:
    return of.head() + b"".join(line(number, checksum) for number, checksum in of.received.items())


sizes = st.integers(0, 2000)
checksums = st.integers(0, 2**32 - 1)


@st.composite
def some(draw: st.DrawFn) -> Ranges:
    made = ranges(draw(sizes))
    if made.count:
        made.received = draw(st.dictionaries(st.integers(0, made.count - 1), checksums))
    return made


@given(some())
def test_a_whole_journal_says_what_was_received(of: Ranges) -> None:
    assert parse(journal(of)) == of


@given(some(), st.data())
def test_a_torn_journal_says_less_and_nothing_else(of: Ranges, data: st.DataObject) -> None:
    """Cut anywhere, and gone on with after the cut: never a block that was not received."""
    whole = journal(of)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    ranges = parse(cut)
    if ranges is None:
        assert len(cut) <= len(of.head())
        return
    assert ranges.received.items() <= of.received.items()
    if of.count:
        again = parse(cut + b"\n" + line(0, 7))
        assert again is not None and again.received == ranges.received | {0: 7}


@given(some(), st.data())
def test_a_flipped_bit_costs_a_block_at_most(of: Ranges, data: st.DataObject) -> None:
    body = bytearray(journal(of))
    start = len(of.head())
    if start == len(body):
        return
    body[data.draw(st.integers(start, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 6))
    ranges = parse(bytes(body))
    assert ranges is not None and ranges.received.items() <= of.received.items()
    assert len(ranges.received) >= len(of.received) - 2  # a line's end joins two


@given(some())
def test_what_is_missing_and_what_is_received_make_the_file(of: Ranges) -> None:
    """In order, in runs that do not touch."""
    runs = list(of.missing())
    missing = [number for run in runs for number in run]
    assert missing == sorted(set(range(of.count)) - of.received.keys())
    assert all(run for run in runs) and all(run.stop < next_.start for run, next_ in pairwise(runs))
    assert of.bytes_received + sum(of.length(number) for number in missing) == of.identity.size


def test_a_block_received_again_replaces_the_first() -> None:
    assert parse(ranges(100).head() + line(3, 1) + line(3, 2)).received == {3: 2}  # type: ignore[union-attr]


def test_what_is_no_journal_is_none() -> None:
    for text in (b"", b"{}\n", b"[]\n", b"null\n", b'{"block": 4}\n', b"\xff\n", ranges(5).head()[:-9]):
        assert parse(text) is None


def test_a_block_beyond_the_file_is_ignored() -> None:
    assert parse(ranges(25).head() + line(3, zlib.crc32(b"x"))).received == {}  # type: ignore[union-attr]
