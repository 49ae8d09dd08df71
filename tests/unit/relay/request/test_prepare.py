"""Where a body is decoded: here, in the worker, or not at all; and what the worker answers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import psutil
import pytest

from app.config.model_entry import Files, LocalEntry
from app.config.settings import Settings
from app.errors import BodyTooLargeError, InvalidBodyError, RemoteMediaRefusedError
from app.models.catalog import Catalog
from app.relay.request.parse import Call, CallReader
from app.relay.request.prepare import IN_PLACE_BRACKETS, decoding_needed, too_much_to_decode
from app.relay.request.scan import fields_in_steps
from app.relay.turns import at_once

CHAT = "/v1/chat/completions"
LARGE = "x" * (2 << 20)
FILES = Files.model_validate({"path": "/m.gguf"})


def body(**fields: Any) -> bytes:
    said = {"role": "user", "content": LARGE}
    return json.dumps({"model": "m", "stream": True, "messages": [said]} | fields).encode()


def read(*bodies: bytes, entry: LocalEntry | None = None, max_edit: int = 8 << 20, path: str = CHAT) -> list[Call]:
    async def main() -> list[Call]:
        settings = Settings(models={"m": entry or LocalEntry(target=FILES)})
        calls = CallReader(Catalog(settings), max_body=64 << 20, max_edit=max_edit)
        try:
            return [await calls.read(scope(path), receiver(each), "r-1") for each in bodies]
        finally:
            calls.close()

    return asyncio.run(main())


def scope(path: str) -> dict[str, Any]:
    return {"method": "POST", "path": path, "query_string": b"", "headers": []}


def receiver(content: bytes) -> Any:
    async def receive() -> Any:
        return {"type": "http.request", "body": content, "more_body": False}

    return receive


def children() -> int:
    return len(psutil.Process().children())


def test_a_large_body_that_needs_no_edit_is_never_decoded() -> None:
    """An image, and text with an address in it."""
    content = [{"type": "text", "text": "see http://a"}, {"type": "image_url", "image_url": {"url": f"data:{LARGE}"}}]
    original = body(messages=[{"role": "user", "content": content}])
    before = children()
    [call] = read(original)
    assert call.body is original and call.streaming and call.remote is None
    assert [span.name for span in call.spans or ()] == ["model", "stream", "messages"]
    assert children() == before


def test_what_is_not_json_inside_is_left_to_the_engine() -> None:
    [call] = read(b'{"model": "m", "messages": [' + b"1 2 " * (1 << 19) + b"]}", path="/tokenize")
    assert call.body is not None


@pytest.mark.parametrize(
    ("fields", "entry", "expected"),
    [
        ({"seed": None}, {}, {}),
        ({"messages": [{"role": "assistant", "content": LARGE, "name": None}]}, {}, {}),
        ({}, {"request": {"max_tokens": 7, "drop": ["top_k"]}}, {"max_tokens": 7}),
        ({"stop": ["", "a"]}, {}, {"stop": ["a"]}),
    ],
)
def test_a_large_body_is_edited_as_a_small_one(
    fields: dict[str, Any], entry: dict[str, Any], expected: dict[str, Any]
) -> None:
    """By the worker; what is null goes, filters hold."""
    [call] = read(body(**fields), entry=LocalEntry.model_validate({"target": FILES} | entry))
    assert call.body is not None
    sent = json.loads(call.body)
    assert None not in sent.values() and "name" not in sent["messages"][0]
    assert expected.items() <= sent.items()


def test_the_answer_of_a_large_request_is_changed_as_well() -> None:
    """`n` makes its usage a sum, which is counted here."""
    [call] = read(body(n=2))
    assert call.answer is not None and call.answer.per_prompt == 2 and call.answer.tally is not None


def test_the_worker_tells_whether_an_answer_can_be_assembled() -> None:
    calls = read(
        body(stream=False), body(stream=False, messages=[{"role": "assistant", "content": LARGE}]), body(stream=False)
    )
    assert [call.as_stream for call in calls] == [True, False, True]


@pytest.mark.parametrize("address", ["http://e.com/x", " HTTPS://e.com/x", r"\u0068ttp\u003a//e.com/x"])
def test_an_address_in_a_large_body_is_found_in_any_spelling(address: str) -> None:
    content = f'[{{"type": "image_url", "image_url": {{"url": "{address}"}}}}, {{"type": "text", "text": "{LARGE}"}}]'
    with pytest.raises(RemoteMediaRefusedError, match="e\\.com"):
        read(f'{{"model": "m", "stream": true, "messages": [{{"role": "user", "content": {content}}}]}}'.encode())


def test_a_body_beyond_the_limit_of_edits_is_refused_by_the_name_of_the_setting() -> None:
    """One that needs none is not."""
    with pytest.raises(BodyTooLargeError, match=r"larger than 1 MiB; max_edit_mb in tandem\.yaml"):
        read(body(n=2), max_edit=1 << 20)
    streamed, whole = read(body(), body(stream=False), max_edit=1 << 20)
    assert (streamed.as_stream, whole.as_stream) == (False, False)


def test_what_the_worker_refuses_is_a_refusal_here() -> None:
    """And the worker goes on."""

    async def main() -> None:
        calls = CallReader(Catalog(Settings(models={"m": LocalEntry(target=FILES)})), max_body=64 << 20)
        with pytest.raises(InvalidBodyError, match="dimensions") as caught:
            await calls.read(scope("/v1/embeddings"), receiver(body(input=LARGE, dimensions=0)), "r-1")
        assert caught.value.param == "dimensions"
        with pytest.raises(InvalidBodyError, match="not valid JSON"):
            await calls.read(
                scope(CHAT), receiver(b'{"model":"m","n":2,"a":' + b"[" * 3_000_000 + b"]" * 3_000_000 + b"}"), "r"
            )
        assert (await calls.read(scope(CHAT), receiver(body(n=2)), "r-1")).answer is not None
        calls.close()

    asyncio.run(main())


def test_a_worker_that_is_killed_is_replaced() -> None:
    async def main() -> None:
        calls = CallReader(Catalog(Settings(models={"m": LocalEntry(target=FILES)})), max_body=64 << 20)
        before = {child.pid for child in psutil.Process().children()}
        await calls.read(scope(CHAT), receiver(body(n=2)), "r-1")
        [worker] = [child for child in psutil.Process().children() if child.pid not in before]
        worker.kill()
        with pytest.raises(Exception, match="the process that edits large bodies died"):
            await calls.read(scope(CHAT), receiver(body(n=2)), "r-1")
        assert (await calls.read(scope(CHAT), receiver(body(n=2)), "r-1")).answer is not None
        calls.close()
        assert {child.pid for child in psutil.Process().children()} == before

    asyncio.run(main())


@pytest.mark.parametrize(
    ("content", "too_much"),
    [
        (b'{"a":"' + b"{" * 500_000 + b'"}', False),
        (b'{"a":"' + b'\\"{' * 200_000 + b'"}', False),
        (b'{"a":[' + b"{}," * (IN_PLACE_BRACKETS // 2) + b"1]}" + b" " * 65536, False),
        (b'{"a":[' + b"{}," * (IN_PLACE_BRACKETS * 4) + b"1]}", True),
        (b'{"a":"' + b"x" * (1 << 20) + b'"}', True),
    ],
)
def test_objects_count_and_not_the_brackets_of_texts(content: bytes, too_much: bool) -> None:
    assert at_once(too_much_to_decode(content)) is too_much


@pytest.mark.parametrize(
    ("fields", "needed"),
    [
        ({}, False),
        ({"tools": [{"type": "function"}]}, False),
        ({"tools": [{"type": "function", "strict": None}]}, True),
        ({"tool_choice": "auto"}, False),
        ({"tool_choice": {"type": "function"}}, True),
        ({"n": 1}, False),
        ({"n": 10}, True),
        ({"temperature": None}, True),
        ({"messages": [{"content": "null, or http://x"}]}, True),
        ({"messages": [{"content": "say http://x"}]}, False),
        ({"metadata": {"a": "http://x"}}, False),
        ({"input": ["http://x"]}, True),
    ],
)
def test_an_edit_is_expected_for_these_fields(fields: dict[str, Any], needed: bool) -> None:
    content = json.dumps({"model": "m"} | fields).encode()
    spans = at_once(fields_in_steps(content))
    assert at_once(decoding_needed(content, spans, CHAT, whole=False)) is needed


def test_a_small_limit_of_edits_holds_for_small_bodies_too() -> None:
    small = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], "seed": None}).encode()
    with pytest.raises(BodyTooLargeError, match="max_edit_mb"):
        read(small, max_edit=10)
    assert read(small.replace(b"null", b"1"), max_edit=10)[0].body is not None


def test_a_client_that_leaves_takes_no_answer_of_another() -> None:
    """Its job goes on, and the next one gets its own."""

    async def main() -> None:
        calls = CallReader(Catalog(Settings(models={"m": LocalEntry(target=FILES)})), max_body=64 << 20)
        for pause in (0.0, 0.02, 0.2):
            left = asyncio.ensure_future(calls.read(scope(CHAT), receiver(body(n=2, seed=1)), "r-1"))
            await asyncio.sleep(pause)
            left.cancel()
            call = await calls.read(scope(CHAT), receiver(body(n=3, seed=2)), "r-2")
            assert call.body is not None and json.loads(call.body)["seed"] == 2
        calls.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("prompt", "needed"), [("x", False), ([1, 2], False), (["x", "y"], True), ([[1], [2]], True), ([], False)]
)
def test_several_prompts_are_decoded_and_one_of_tokens_is_not(prompt: Any, needed: bool) -> None:
    content = json.dumps({"model": "m", "prompt": prompt}).encode()
    spans = at_once(fields_in_steps(content))
    assert at_once(decoding_needed(content, spans, "/v1/completions", whole=False)) is needed
