"""Forms: two fields are read, everything else passes byte for byte."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidBodyError
from app.relay.request import multipart
from app.relay.request.multipart import boundary_of, fields_in_steps, routing, with_model
from app.relay.turns import at_once

LINE = b"\r\n"


def part(name: str, value: bytes, more: str = "") -> bytes:
    return f'--B\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + LINE


FILE = part("file", b"\x00RIFF" * 4000, '; filename="model.wav"\r\nContent-Type: audio/wav')
END = b"--B--\r\n"


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        (b"multipart/form-data; boundary=B", b"B"),
        (b'Multipart/Form-Data; charset=x; boundary="a b"', b"a b"),
        (b"multipart/form-data", None),
        (b"multipart/mixed; boundary=B", None),
        (b"application/json", None),
        (b"", None),
    ],
)
def test_what_is_a_form(kind: bytes, boundary: bytes | None) -> None:
    """Only this type, with its boundary."""
    assert boundary_of(kind) == boundary


def test_model_and_stream_are_read_wherever_they_stand() -> None:
    """Before the file or after it; names in file names do not count."""
    for body in (
        part("model", b"org/m") + part("stream", b"true") + FILE + END,
        b"preamble\r\n" + FILE + part("stream", b"true") + part("model", b"org/m") + END,
    ):
        fields = routing(body, b"B")
        assert (fields.model, fields.stream) == ("org/m", True)
    fields = routing(FILE + END, b"B")
    assert (fields.model, fields.stream) == (None, False)


def test_only_the_models_value_is_exchanged() -> None:
    """Or added where there is none."""
    body = FILE + part("model", b"a") + part("x", b"a") + END
    assert with_model(body, b"B", "theirs") == FILE + part("model", b"theirs") + part("x", b"a") + END
    assert with_model(FILE + END, b"B", "theirs") == part("model", b"theirs") + FILE + END


@pytest.mark.parametrize("body", [b"", b"{}", b"--C\r\n", b"--B\r\n", b"--B--", part("model", b"\xff") + END])
def test_what_cannot_be_read_is_told(body: bytes) -> None:
    """A 400, in words."""
    with pytest.raises(InvalidBodyError):
        routing(body, b"B")


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """Never a fault of ours."""
    with suppress(InvalidBodyError):
        routing(b"--B" + body, b"B")


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64])
def test_a_large_form_is_searched_in_steps(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A boundary is found wherever a step ends."""
    body = FILE + part("model", b"org/m") + part("stream", b"true") + END
    whole = at_once(fields_in_steps(body, b"B"))
    monkeypatch.setattr(multipart, "_STEP", step)
    assert at_once(fields_in_steps(body, b"B")) == whole
    assert len(list(fields_in_steps(body, b"B"))) > len(FILE) // (2 * step) - 2
    assert with_model(body, b"B", "theirs", whole) == FILE + part("model", b"theirs") + part("stream", b"true") + END


def test_more_parts_than_any_api_has_are_refused() -> None:
    with pytest.raises(InvalidBodyError, match="more than 1000 parts"):
        routing(part("x", b"1") * 1001 + END, b"B")
