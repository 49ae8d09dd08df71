"""Fields of a wrong type or range, over the wire."""

from __future__ import annotations

from tests.support.gateway import Gateway
from tests.support.wrong_fields import RIGHT, WRONG, asked


def test_a_wrong_field_is_a_400_with_its_place(plain: Gateway) -> None:
    """Whatever the engine would do with it."""
    for path, name, value, place in WRONG:
        answer = plain.client.post(path, json={"model": "m"} | asked(path, name, value))
        error = answer.json()["error"]
        assert (answer.status_code, error["type"]) == (400, "invalid_request_error"), (name, value)
        assert error["param"] == place, (name, value)


def test_an_unusual_field_is_served(plain: Gateway) -> None:
    for path in ("/v1/chat/completions", "/v1/completions", "/completion"):
        for name, value in RIGHT:
            answer = plain.client.post(path, json={"model": "m"} | asked(path, name, value))
            assert answer.status_code == 200, (name, value, answer.text)


def test_other_apis_name_their_own_places(plain: Gateway) -> None:
    """The engine's own fields pass through Messages and Responses, and are checked as in a chat."""
    message = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
    answer = plain.client.post("/v1/messages", json=message | {"top_k": "x"})
    assert answer.status_code == 400 and "'top_k'" in answer.json()["error"]["message"], answer.text
    answer = plain.client.post("/v1/responses", json={"model": "m", "input": "x", "logit_bias": {"1": "x"}})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "logit_bias.1")
    options = {"model": "m", "messages": message["messages"], "options": {"temperature": "x"}}
    answer = plain.client.post("/api/chat", json=options)
    assert answer.status_code == 400 and "options.temperature" in answer.json()["error"], answer.text
