"""A preset's system message: before a conversation that has none, in each API's own place."""

from __future__ import annotations

import pytest

from tests.support import filtering
from tests.support.filtering import CHAT

RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"


def filtered(body: str, path: str = CHAT, system: str = 'Be "brief".', **written: object) -> str:
    return filtering.filtered(body, path, system, **written)


OURS = '{"role":"system","content":"Be \\"brief\\"."}'


@pytest.mark.parametrize("path", [CHAT, "/v1/chat/completions/input_tokens", "/apply-template"])
def test_it_is_put_before_the_messages(path: str) -> None:
    """Every other byte stays."""
    body = '{ "messages" : [ {"role": "user","content":"[\\ud83d\\ude00"} ], "x":1}'
    assert filtered(body, path) == f'{{ "messages" : [{OURS},{{"role": "user","content":"[\\ud83d\\ude00"}} ], "x":1}}'


def test_it_is_put_into_an_empty_conversation() -> None:
    assert filtered('{"messages": [ ]}') == f'{{"messages": [{OURS}]}}'


@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize("before", ["", '{"role":"user","content":"Hi"},'])
def test_a_clients_own_stands_alone(role: str, before: str) -> None:
    """Wherever in the conversation it is."""
    body = f'{{"messages":[{before}{{"content":[{{"type":"text","text":"Mine"}}],"role":"{role}"}}]}}'
    assert filtered(body) == body


@pytest.mark.parametrize("messages", ['"text"', "null", "5", "{}", '[{"role":5}]', '["text"]', "[[]]"])
def test_what_is_no_conversation_is_the_engines_to_refuse(messages: str) -> None:
    body = f'{{"messages":{messages}}}'
    assert filtered(body) == body


def test_of_messages_written_twice_the_last_counts() -> None:
    """As it does upstream."""
    user, own = '{"role":"user"}', '{"role":"system"}'
    assert filtered(f'{{"messages":[{user}],"messages":[{own}]}}') == f'{{"messages":[{user}],"messages":[{own}]}}'
    assert filtered(f'{{"messages":[{own}],"messages":[{user}]}}').count(OURS) == 2


@pytest.mark.parametrize(
    ("path", "field"),
    [
        *((MESSAGES, "system"), ("/v1/messages/count_tokens", "system")),
        *((RESPONSES, "instructions"), ("/v1/responses/input_tokens", "instructions")),
    ],
)
def test_it_is_a_field_in_other_apis(path: str, field: str) -> None:
    assert filtered('{"input":"Hi"}', path) == f'{{"{field}":"Be \\"brief\\".","input":"Hi"}}'
    assert filtered(f'{{"{field}":null}}', path) == f'{{"{field}":"Be \\"brief\\"."}}'
    for own in ('"Mine"', '""', '[{"type":"text","text":"Mine"}]'):
        assert filtered(f'{{"{field}":{own}}}', path) == f'{{"{field}":{own}}}'


def test_a_message_among_the_items_of_a_response_is_the_clients_own() -> None:
    body = '{"input":[{"role":"developer","content":"Mine"},{"type":"function_call_output","output":"1"}]}'
    assert filtered(body, RESPONSES) == body
    assert '"instructions"' in filtered(body.replace("developer", "user"), RESPONSES)


@pytest.mark.parametrize("path", ["/v1/completions", "/completion", "/infill", "/v1/embeddings", "/tokenize"])
def test_a_mere_text_has_no_place_for_it(path: str) -> None:
    body = '{"prompt":"Hi","content":"Hi","input":"Hi"}'
    assert filtered(body, path) == body


def test_defaults_and_the_system_message_go_together() -> None:
    assert filtered('{"messages":[]}', defaults={"seed": 1}) == f'{{"seed":1,"messages":[{OURS}]}}'
    assert filtered("{}", MESSAGES, fixed={"system": "Fixed"}) == '{"system":"Fixed"}'
