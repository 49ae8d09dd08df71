"""What crosses, and what does not."""

import pytest

from app.relay.headers import for_client, for_client_of_error, for_upstream, request_head


def test_client_credentials_and_conversation_never_reach_an_upstream() -> None:
    """Keys, cookies and X-Conversation-Id stay; the upstream gets its own key."""
    client = [
        (b"authorization", b"Bearer secret"),
        (b"x-api-key", b"secret"),
        (b"cookie", b"a=b"),
        (b"x-conversation-id", b"c1"),
        (b"x-tandem-metrics", b"body"),
        (b"host", b"gateway"),
        (b"anthropic-version", b"2023-06-01"),
    ]
    assert for_upstream(client, key="engine", request_id="r1", json=False) == [
        (b"anthropic-version", b"2023-06-01"),
        (b"x-request-id", b"r1"),
        (b"authorization", b"Bearer engine"),
    ]


@pytest.mark.parametrize(
    ("length", "close", "ends"),
    [
        (None, False, b"\r\n"),
        (0, False, b"Content-Length: 0\r\n\r\n"),
        (17, True, b"Content-Length: 17\r\nConnection: close\r\n\r\n"),
    ],
)
def test_a_requests_head_is_whole(length: int | None, close: bool, ends: bytes) -> None:
    """Line, host, headers as they are, and the framing."""
    head = request_head("GET", "/a?b=%2F", "h:1", [(b"x-a", b"\xe9")], length=length, close=close)
    assert head == b"GET /a?b=%2F HTTP/1.1\r\nHost: h:1\r\nx-a: \xe9\r\n" + ends


@pytest.mark.parametrize("headers", [[], [(b"content-type", b"application/x-www-form-urlencoded")]])
def test_json_is_called_so(headers: list[tuple[bytes, bytes]]) -> None:
    """A large body that is called a form, as `curl -d` does, is a 413 of llama-server's; others refuse any."""
    passed = for_upstream(headers, key=None, request_id="r", json=True)
    assert [value for name, value in passed if name == b"content-type"] == [b"application/json"]


def test_a_form_keeps_its_boundary() -> None:
    """Which stands in its content type."""
    form = (b"content-type", b"multipart/form-data; boundary=x")
    assert form in for_upstream([form], key=None, request_id="r", json=False)


def test_a_server_without_a_key_is_not_given_the_clients() -> None:
    """What somebody else runs has no business with the gateway's own keys."""
    client = [(b"authorization", b"Bearer secret")]
    assert for_upstream(client, key=None, request_id="r", json=False) == [(b"x-request-id", b"r")]


def test_hop_by_hop_headers_end_here() -> None:
    """Both the standard ones and those that Connection names, in both directions."""
    headers = [(b"connection", b"keep-alive, X-Hop"), (b"keep-alive", b"timeout=5"), (b"x-hop", b"1"), (b"x-end", b"2")]
    assert for_upstream(headers, key=None, request_id="r", json=False) == [(b"x-end", b"2"), (b"x-request-id", b"r")]
    assert for_client([(b"Transfer-Encoding", b"chunked"), *headers], [(b"x-request-id", b"r")]) == [
        (b"x-end", b"2"),
        (b"x-request-id", b"r"),
    ]


def test_content_length_of_an_answer_passes() -> None:
    """An answer's length is its own; without it a client could not see a short body."""
    assert (b"content-length", b"5") in for_client([(b"Content-Length", b"5")], [(b"x-request-id", b"r")])


def test_an_error_in_other_words_has_its_own_length_and_no_longer_wait_than_clients_take() -> None:
    """What described the upstream's bytes goes; a Retry-After above what SDKs obey is lowered to it."""
    theirs = [(b"Content-Length", b"999"), (b"Content-Encoding", b"gzip"), (b"Retry-After", b"600"), (b"X-A", b"1")]
    headers = dict(for_client_of_error(theirs, [(b"x-request-id", b"r")], 7))
    assert headers == {
        b"content-type": b"application/json",
        b"content-length": b"7",
        b"retry-after": b"120",
        b"x-a": b"1",
        b"x-request-id": b"r",
    }
