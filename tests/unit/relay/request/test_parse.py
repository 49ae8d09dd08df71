"""Requests, read: who is meant, and what goes there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.config.model_entry import AttachedEntry, Entry, Files, LocalEntry
from app.config.settings import Settings
from app.errors import ModelRequiredError, UnknownAliasError
from app.models.catalog import Catalog
from app.relay.request.parse import Call, CallReader

FILES = Files.model_validate({"path": "/m.gguf"})
OTHER = AttachedEntry(url="http://other:9001", aliases=("o",))


def calls(**entries: Entry) -> CallReader:
    return CallReader(Catalog(Settings(models=entries)), max_body=1 << 20)


def read(reader: CallReader, body: bytes, path: str = "/v1/chat/completions", **headers: str) -> Call:
    """As the relay would, of a POST."""
    scope = {
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    return asyncio.run(reader.read(scope, receive, "r-1"))


def test_a_request_without_a_model_means_the_only_one() -> None:
    """With several, or none, it has to say which; any name of an entry gives the entry's own."""
    assert calls(a=OTHER).named(None).name == calls(a=OTHER).named("o").name == "a"
    with pytest.raises(ModelRequiredError, match="'a', 'b'"):
        calls(a=OTHER, b=LocalEntry(target=FILES)).named(None)
    with pytest.raises(UnknownAliasError, match="'c'"):
        calls(a=OTHER).named("c")


def test_a_body_goes_on_as_it_came() -> None:
    """What routing needs is read off it."""
    body = b'{ "model" : "o", "stream": true, "logprobs": 1 }'
    call = read(calls(a=OTHER), body)
    assert (call.ref.name, call.body, call.streaming, call.fields.wants_logprobs) == ("a", body, True, True)


def test_log_probabilities_are_decoded_plainly_where_the_entry_says_so() -> None:
    """`on_logprobs: plain` sends them to the plain variant, if the entry speculates at all."""
    entry = LocalEntry.model_validate({"target": FILES, "speculation": {"mode": "ngram-mod", "on_logprobs": "plain"}})
    assert read(calls(a=entry), b'{"logprobs": true}').ref.name == "a:plain"
    assert read(calls(a=entry), b"{}").ref.name == "a"


def test_an_entrys_filters_are_at_work_before_anything_is_decided() -> None:
    """By the path that the upstream gets, for variants as for the alias; what was dropped is not asked for."""
    request = {"max_tokens": 9, "drop": ["logprobs"]}
    reader = calls(a=LocalEntry.model_validate({"target": FILES, "request": request}), b=OTHER)
    assert read(reader, b'{"model": "a:plain", "logprobs": true}').body == b'{"max_tokens":9,"model": "a:plain"}'
    assert not read(reader, b'{"model": "a", "logprobs": true}').fields.wants_logprobs
    assert read(reader, b'{"model": "b", "logprobs": true}').body == b'{"model": "b", "logprobs": true}'
    # Half a surrogate pair in a key hinders nothing
    assert read(reader, b'{"model": "a", "\\ud800": 1}').body == b'{"max_tokens":9,"model": "a", "\\ufffd": 1}'


def test_forms_have_no_fields_to_filter() -> None:
    """A file passes as it is."""
    reader = calls(a=AttachedEntry.model_validate({"url": "http://other:9001", "request": {"fixed": {"x": 1}}}))
    form = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\na\r\n--B--\r\n'
    assert read(reader, form, content_type="multipart/form-data; boundary=B").body == form
