"""Responses that clients go on from, over a fake engine."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai.types.responses import Response
from openai.types.responses.response_item_list import ResponseItemList

from tests.support.gateway import Gateway, eventually

Make = Callable[..., Gateway]
KEYS = "first-secret-key,second-secret-key"


def ask(gateway: Gateway, key: str = "", **fields: Any) -> httpx2.Response:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return gateway.client.post("/v1/responses", json={"model": "m", "input": "x"} | fields, headers=headers)


def test_a_conversation_goes_on(make_gateway: Make) -> None:
    """By the id of its last response, streamed or not; its parts can be read and deleted."""
    gateway = make_gateway(args=["--tokens", "3"])
    first = ask(gateway, input="one").json()
    assert first["store"] is True
    second = ask(gateway, input=[{"role": "user", "content": "two"}], previous_response_id=first["id"]).json()
    assert second["previous_response_id"] == first["id"]
    assert second["usage"]["input_tokens"] > first["usage"]["input_tokens"] + 10
    read = gateway.client.get(f"/v1/responses/{second['id']}")
    assert Response.model_validate(read.json()) and read.json() == second
    page = gateway.client.get(f"/responses/{second['id']}/input_items", params={"order": "asc", "limit": 2}).json()
    assert ResponseItemList.model_validate(page)
    assert [item["content"][0]["text"] for item in page["data"]] == ["one", "t0 t1 t2"]
    assert page["has_more"]
    rest = gateway.client.get(
        f"/v1/responses/{second['id']}/input_items", params={"order": "asc", "after": page["last_id"]}
    ).json()
    assert [item["content"][0]["text"] for item in rest["data"]] == ["two"]
    assert gateway.client.delete(f"/v1/responses/{first['id']}").json()["deleted"] is True
    gone = ask(gateway, previous_response_id=second["id"])
    assert (gone.status_code, gone.json()["error"]["param"]) == (400, "previous_response_id")
    assert first["id"] in gone.json()["error"]["message"]


def test_a_streamed_response_is_kept_before_its_last_event(make_gateway: Make) -> None:
    """Whoever reads `response.completed` may go on from it at once; `store: false` keeps nothing."""
    gateway = make_gateway(args=["--tokens", "3"])
    for store in (True, False):
        with gateway.client.stream(
            "POST", "/v1/responses", json={"model": "m", "input": "x", "stream": True, "store": store}
        ) as stream:
            lines = [line for line in stream.iter_lines() if line.startswith("data: ")]
        response = json.loads(lines[-1][6:])["response"]
        found = gateway.client.get(f"/v1/responses/{response['id']}")
        assert found.status_code == (200 if store else 404)
        assert response["store"] is store


def test_an_item_may_be_named_instead_of_sent(make_gateway: Make) -> None:
    """By the ids that responses give."""
    gateway = make_gateway(args=["--tokens", "3"])
    first = ask(gateway, input="one").json()
    named = [{"type": "item_reference", "id": first["output"][0]["id"]}, {"role": "user", "content": "two"}]
    assert ask(gateway, input=named).status_code == 200
    named[0]["id"] = "msg_" + "0" * 48 + "00"
    refused = ask(gateway, input=named)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input[0].id")


def test_responses_belong_to_their_key(make_gateway: Make) -> None:
    """Another one's is told as one that does not exist, in OpenAI's shape."""
    gateway = make_gateway(env={"TANDEM_API_KEYS": KEYS})
    mine, other = KEYS.split(",")
    response_id = ask(gateway, mine).json()["id"]
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/input_items")):
        answer = gateway.client.request(
            method, f"/v1/responses/{response_id}{path}", headers={"authorization": f"Bearer {other}"}
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "response_not_found")
    assert ask(gateway, other, previous_response_id=response_id).status_code == 400
    assert ask(gateway, mine, previous_response_id=response_id).status_code == 200
    assert gateway.client.get(f"/v1/responses/{response_id}").status_code == 401


def test_a_revoked_key_takes_its_responses_with_it(make_gateway: Make) -> None:
    """From the disk, within seconds, whatever key has its name later."""
    gateway = make_gateway()

    def keys(*words: str) -> str:
        command = [sys.executable, "-m", "app", "keys", *words, "--config", str(gateway.config)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    secret = next(word for word in keys("create", "--name", "laptop").split() if word.startswith("lt-"))
    eventually(lambda: ask(gateway).status_code == 401)
    response_id = ask(gateway, secret, input="the secret word").json()["id"]
    path = Path(gateway.settings["state_dir"]) / "responses.sqlite3"
    eventually(lambda: path.exists() and response_id.encode() in path.read_bytes())
    assert path.stat().st_mode & 0o777 == 0o600
    keys("revoke", "laptop")
    eventually(lambda: b"the secret word" not in path.read_bytes() and response_id.encode() not in path.read_bytes())


def test_where_nothing_is_kept_that_is_said(make_gateway: Make) -> None:
    """No file is made; the response says `store: false`."""
    gateway = make_gateway(responses_keep=0)
    first = ask(gateway).json()
    assert first["store"] is False
    refused = ask(gateway, previous_response_id=first["id"])
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "previous_response_id")
    assert "responses_keep" in refused.json()["error"]["message"]
    assert gateway.client.get(f"/v1/responses/{first['id']}").status_code == 404
    assert not (Path(gateway.settings["state_dir"]) / "responses.sqlite3").exists()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/responses/resp_x?stream=true", 400),
        ("GET", "/v1/responses/resp_x", 404),
        ("POST", "/v1/responses/resp_x/cancel", 400),
        ("POST", "/v1/responses/compact", 400),
        ("GET", "/v1/responses/resp_x/input_items?limit=0", 400),
    ],
)
def test_refusals(plain: Gateway, method: str, path: str, status: int) -> None:
    """In OpenAI's shape."""
    answer = plain.client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"].keys() >= {"message", "type", "param", "code"}
