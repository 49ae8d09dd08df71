"""The core's errors in OpenAI's words: status, headers, body, event."""

import json
from typing import Any

import pytest

from app.api.formats.openai import OpenAIFormat, no_such_route
from app.api.formats.status_codes import LONGEST_RETRY_AFTER_S, http_error, text
from app.errors import (
    BodyTooLargeError,
    ConfigError,
    Diagnosis,
    DownloadingError,
    EngineUnavailableError,
    InvalidBodyError,
    ModelRequiredError,
    NotOnHubError,
    PullFailedError,
    QueueTimeoutError,
    RequestError,
    ShuttingDownError,
    StartFailedError,
    TandemError,
    UnknownAliasError,
    UnknownPullError,
    UpstreamDiedError,
    UpstreamError,
    UpstreamKeyRefusedError,
    UpstreamUnreachableError,
)

DIAGNOSIS = Diagnosis("missing_file", "The file x is gone.", "Fetch it.", permanent=True, log_tail=("one", "two"))
INVALID, SERVER = "invalid_request_error", "server_error"


def reply(error: Exception) -> tuple[int, dict[bytes, bytes], Any]:
    response = OpenAIFormat().error(error, request_id="r-1")
    headers = dict(response.headers)
    assert len(headers) == len(response.headers)
    assert headers[b"content-length"] == str(len(response.body)).encode()
    return response.status, headers, json.loads(response.body)["error"]


@pytest.mark.parametrize(
    ("error", "status", "kind", "code", "param"),
    [
        (InvalidBodyError("x"), 400, INVALID, "invalid_body", None),
        (ModelRequiredError("x"), 400, INVALID, "model_required", "model"),
        (UnknownAliasError("a", ["b"]), 404, INVALID, "model_not_found", "model"),
        (BodyTooLargeError("x"), 413, INVALID, "body_too_large", None),
        (StartFailedError("a", DIAGNOSIS), 503, SERVER, "engine_start_failed", None),
        (DownloadingError("a", "x", {}, retry_after=10), 503, SERVER, "model_downloading", None),
        (PullFailedError("a", "x", retry_after=10), 503, SERVER, "pull_failed", None),
        (UnknownPullError("x"), 404, INVALID, "pull_not_found", None),
        (NotOnHubError("x"), 400, INVALID, "cannot_pull", "name"),
        (QueueTimeoutError("x", retry_after=10), 503, SERVER, "queue_timeout", None),
        (ShuttingDownError("x", retry_after=5), 503, SERVER, "shutting_down", None),
        (UpstreamUnreachableError("x"), 502, SERVER, "upstream_unreachable", None),
        (UpstreamDiedError("x"), 502, SERVER, "upstream_died", None),
        (UpstreamKeyRefusedError("a", "other:1", key_sent=True), 502, SERVER, "upstream_key_refused", None),
        (ConfigError(["x"]), 500, SERVER, "internal_error", None),
    ],
)
def test_every_error_has_its_status_and_its_four_fields(
    error: TandemError, status: int, kind: str, code: str, param: str | None
) -> None:
    """SDKs choose their exception by the status and show `message`; `code` is a word and `param` is always there."""
    sent, headers, body = reply(error)
    assert (sent, body["type"], body["code"], body["param"]) == (status, kind, code, param)
    assert body["message"] == str(error)
    assert (headers[b"content-type"], headers[b"x-request-id"]) == (b"application/json", b"r-1")


def leaves(kind: type[Exception]) -> list[type[Exception]]:
    below = kind.__subclasses__()
    return [leaf for child in below for leaf in leaves(child)] if below else [kind]


def test_no_error_of_a_request_is_forgotten() -> None:
    """A class added to the tree below what a request can meet does not come out as a 500."""
    kinds = [leaf for root in (RequestError, EngineUnavailableError, UpstreamError) for leaf in leaves(root)]
    assert len(kinds) >= 9
    for kind in kinds:
        bare = kind.__new__(kind)
        bare.retry_after = bare.param = None  # type: ignore[attr-defined]
        assert http_error(bare).status != 500, kind


def test_an_unforeseen_error_tells_nothing_of_our_insides() -> None:
    """Its text may hold anything: a path, a key, a line of somebody's prompt."""
    status, _, body = reply(KeyError("secret"))
    assert (status, body["code"]) == (500, "internal_error")
    assert "secret" not in json.dumps(body)
    assert "log" in text(KeyError("secret"))


@pytest.mark.parametrize(("delay", "seconds"), [(0.0, 1), (0.2, 1), (1.0, 1), (7.01, 8), (1e6, LONGEST_RETRY_AFTER_S)])
def test_retry_after_is_whole_seconds_within_what_clients_wait(delay: float, seconds: int) -> None:
    """Never 0, never before the moment itself, never so long that openai-python would not retry at all."""
    _, headers, _ = reply(StartFailedError("a", DIAGNOSIS, retry_after=delay))
    assert headers[b"retry-after"] == str(seconds).encode()
    assert b"x-should-retry" not in headers


def test_what_waiting_cannot_help_is_not_to_be_retried() -> None:
    """SDKs retry every 503; one that would end the same way says so, and other statuses need no word."""
    _, headers, _ = reply(StartFailedError("a", DIAGNOSIS))
    assert headers[b"x-should-retry"] == b"false"
    assert b"retry-after" not in headers
    assert not {b"x-should-retry", b"retry-after"} & reply(UpstreamDiedError("x"))[1].keys()


def test_a_failed_start_carries_its_diagnosis() -> None:
    """Cause and advice apart, and the engine's last lines, beside OpenAI's fields."""
    *_, body = reply(StartFailedError("a", DIAGNOSIS))
    assert (body["cause"], body["advice"], body["log"]) == ("missing_file", "Fetch it.", ["one", "two"])
    assert "The file x is gone. Fetch it." in body["message"]


def test_a_streams_error_is_one_event_with_the_same_body() -> None:
    """A client that reads events sees in a stream what it would have seen without one."""
    error = StartFailedError("a", DIAGNOSIS)
    event = OpenAIFormat().error_event(error)
    assert event.startswith(b"data: ") and event.endswith(b"\n\n") and event.count(b"\n") == 2
    assert event.removeprefix(b"data: ").strip() == OpenAIFormat().error(error, request_id="r").body


@pytest.mark.parametrize(
    ("status", "body", "message", "kind", "code"),
    [
        (400, b'{"error":{"code":400,"message":"too long","type":"exceed"}}', "too long", "exceed", None),
        (500, b'{"error":"text"}', "text", SERVER, "internal_error"),
        (404, b'{"detail":"Not Found"}', "Not Found", INVALID, "not_found"),
        (401, b'{"error":{"message":"no key"}}', "no key", INVALID, "invalid_api_key"),
        (502, b"<html>Bad Gateway</html>", "The engine answered 502.", SERVER, "upstream_died"),
        (500, b'{"error":null}', "The engine answered 500.", SERVER, "internal_error"),
        (500, b'["error"]', "The engine answered 500.", SERVER, "internal_error"),
        (500, b'{"error":{"message":"\xff"}}', "The engine answered 500.", SERVER, "internal_error"),
        (500, b"", "The engine answered 500.", SERVER, "internal_error"),
    ],
)
def test_an_upstreams_error_becomes_an_event(
    status: int, body: bytes, message: str, kind: str, code: str | None
) -> None:
    """llama-server's words with a `code` of OpenAI's; whatever cannot be read is told by its status."""
    event = OpenAIFormat().upstream_error_event(status, body)
    error = json.loads(event.removeprefix(b"data: "))["error"]
    assert error == {"message": message, "type": kind, "param": None, "code": code}
    assert event.endswith(b"\n\n")


def test_a_comment_is_nothing_to_a_reader_of_events() -> None:
    """A line that begins with a colon, and the blank line that lets it through."""
    assert OpenAIFormat().comment("waiting") == b": waiting\n\n"


def test_a_wrong_method_names_the_right_ones() -> None:
    """405 says in words what is allowed; 404 says what was asked for."""
    error, message = no_such_route("PUT", "/health", 405, {"allow": "GET"})
    assert (error.status, message) == (405, "/health does not allow PUT. Allowed: GET.")
    error, message = no_such_route("GET", "/nowhere", 404)
    assert (error.code, message) == ("not_found", "Not found: GET /nowhere.")


def test_a_download_tells_how_far_it_is() -> None:
    """Beside OpenAI's four fields, where SDKs keep it; and when to come again."""
    fields = {"phase": "downloading", "percent": 25.0, "received": 1, "size": 4}
    _, headers, body = reply(DownloadingError("a", "downloading a: 25 %", fields, retry_after=12.3))
    assert headers[b"retry-after"] == b"13" and b"x-should-retry" not in headers
    assert body["state"] == "downloading" and body.items() >= fields.items()
