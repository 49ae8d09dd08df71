"""What the file system says, in words."""

import errno
import os
from pathlib import Path

import pytest

from app.errors import DiskFullError, StoreError
from app.models.disk.os_errors import in_words


@pytest.mark.parametrize(
    ("number", "kind", "said"),
    [
        (errno.ENOSPC, DiskFullError, "Make room and pull again"),
        (errno.EDQUOT, DiskFullError, "Make room and pull again"),
        (errno.EFBIG, DiskFullError, "the file is too large for the file system"),
        (errno.EACCES, StoreError, "Permission denied"),
    ],
)
def test_a_person_is_told_what_would_help(number: int, kind: type[StoreError], said: str) -> None:
    """Room is no help where a file may not be as large."""
    with pytest.raises(StoreError, match=said) as error, in_words(Path("/models/m.part")):
        raise OSError(number, os.strerror(number))
    assert type(error.value) is kind and str(error.value).startswith("/models/m.part: ")


def test_the_file_that_it_is_about_is_named() -> None:
    with pytest.raises(StoreError, match=r"^/models/m\.lock: Permission denied\.$"), in_words(Path("/models")):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/models/m.lock")


def test_who_reads_no_further_is_no_trouble_of_the_disk() -> None:
    """`verify --json | head -1` within its look at a file."""
    with pytest.raises(BrokenPipeError), in_words(Path("/models")):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
