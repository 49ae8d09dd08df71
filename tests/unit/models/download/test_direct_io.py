"""Bytes past the page cache where that is possible, and the same bytes where it is not."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.models.download.direct_io import DirectFile

PAGE = mmap.PAGESIZE
DIRECT = getattr(os, "O_DIRECT", 0)


@contextmanager
def opened(path: Path) -> Iterator[DirectFile]:
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    bulk = DirectFile(path, file)
    try:
        yield bulk
    finally:
        bulk.close()
        os.close(file)


def random(size: int) -> memoryview:
    """At the start of a page."""
    room = mmap.mmap(-1, size)
    room.write(os.urandom(size))
    return memoryview(room)


def is_direct(file: int) -> bool:
    """As Linux tells of an open file."""
    flags = Path(f"/proc/self/fdinfo/{file}").read_text().split("flags:")[1].split()[0]
    return bool(int(flags, 8) & DIRECT)


@pytest.fixture(params=["as it is", "unknown", "refused"])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system as the tests' is; a platform without the flag; one that takes it and then wants no such write."""
    if request.param == "unknown":
        monkeypatch.delattr(os, "O_DIRECT", raising=False)
    if request.param == "refused" and DIRECT:
        for name in ("pwrite", "preadv"):
            monkeypatch.setattr(os, name, _refusing(getattr(os, name)))


def _refusing(real: Any) -> Any:
    def call(file: int, *args: Any) -> Any:
        if is_direct(file):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(file, *args)

    return call


@pytest.mark.usefixtures("disk")
@pytest.mark.parametrize(("at", "size"), [(0, 4 * PAGE), (8 * PAGE, 256 * PAGE), (5, 4 * PAGE), (PAGE, 77)])
def test_what_was_written_is_read(tmp_path: Path, at: int, size: int) -> None:
    """Wherever it begins and ends; an end of a file within what is asked for is told."""
    data, room = random(size), random(size + PAGE)
    with opened(tmp_path / "file") as bulk:
        bulk.write(at, data)
        count = bulk.read(at, room)
        assert count == size and room[:size] == data
    assert (tmp_path / "file").read_bytes()[at:] == data


@pytest.mark.usefixtures("disk")
def test_a_full_disk_is_no_reason_to_try_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with opened(tmp_path / "file") as bulk, pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        bulk.write(0, random(PAGE))


@pytest.mark.usefixtures("disk")
def test_a_write_that_the_kernel_cuts_short_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even in the middle of what a disk takes at once."""
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: real(file, bytes(data[:1000]), at))
    data = random(2 * PAGE)
    with opened(tmp_path / "file") as bulk:
        bulk.write(PAGE, data)
    assert (tmp_path / "file").read_bytes()[PAGE:] == data
