"""`/admin/pulls`: a pull that a person starts, follows and cancels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.models.disk.layout import FileLocation
from app.models.download.journal import BLOCK
from app.models.download.partial import received_of
from tests.support.fake_hub import FakeHub, Fault
from tests.support.gateway import Gateway, eventually
from tests.support.hub_environment import hub_variables
from tests.support.hub_models import model

REPO = "unsloth/GLM-4.7-GGUF"
Q2, Q4 = "GLM-4.7-Q2_K.gguf", "GLM-4.7-Q4_K_M.gguf"
FILES = {Q2: model(10_000_000), Q4: model(1_000)}
SLOW = Fault(rate=2_000_000, stays=True)


class Here:
    """A gateway that never pulls by itself, and what its admin asks it."""

    def __init__(self, hub: FakeHub, folder: Path, make: Callable[..., Gateway]) -> None:
        self.hub = hub
        self.models = folder / "models"
        hub.add(REPO, dict(FILES))
        entries = {"glm": {"target": {"repo": REPO, "include": "*Q2*"}}, "far": {"url": "http://127.0.0.1:9"}}
        self.gateway = make(models=entries, models_dir=str(self.models), env=hub_variables(hub, folder))

    def ask(self, method: str, path: str = "", **more: Any) -> httpx2.Response:
        more.setdefault("headers", self.gateway.admin)
        return self.gateway.client.request(method, f"/admin/pulls{path}", **more)

    def start(self, **body: Any) -> dict[str, Any]:
        answer = self.ask("POST", json=body)
        assert answer.status_code == 202, answer.text
        pull: dict[str, Any] = answer.json()
        assert answer.headers["location"] == f"/admin/pulls/{pull['id']}"
        return pull

    def pull(self, pull: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", f"/{pull['id']}").json()
        return found

    def ended(self, pull: dict[str, Any]) -> dict[str, Any]:
        return eventually(lambda: (now := self.pull(pull))["state"] != "running" and now)  # type: ignore[no-any-return]

    def events(self, pull: dict[str, Any]) -> Iterator[dict[str, Any]]:
        url = f"/admin/pulls/{pull['id']}/events"
        with self.gateway.client.stream("GET", url, headers=self.gateway.admin) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def has(self, path: str) -> bool:
        place = FileLocation(self.models, REPO, path)
        return place.final.is_file() and place.final.read_bytes() == FILES[path]

    def received(self, path: str) -> set[int]:
        """Blocks that are here of what was begun."""
        found = received_of(FileLocation(self.models, REPO, path))
        return set(found.received) if found else set()


@pytest.fixture
def here(tmp_path: Path, make_gateway: Callable[..., Gateway]) -> Iterator[Here]:
    with FakeHub() as hub:
        yield Here(hub, tmp_path, make_gateway)


def test_an_alias_is_pulled_and_followed_to_its_end(here: Here) -> None:
    """Each event is the whole pull as it is then; the last one says how it ended, and ends the stream."""
    here.hub.order(Q2, Fault(rate=5_000_000))
    pull = here.start(name="glm")
    told = list(here.events(pull))
    assert told[0]["state"] == "running" and told[-1]["state"] == "done"
    assert told[-1]["percent"] == 100 and told[-1]["size"] == len(FILES[Q2]) and told[-1]["error"] is None
    assert [event["received"] for event in told] == sorted(event["received"] for event in told)
    assert here.has(Q2) and not here.has(Q4)
    assert here.gateway.chat("glm").status_code == 200


def test_a_pull_warns_of_what_the_engine_at_hand_does_not_know(
    tmp_path: Path, make_gateway: Callable[..., Gateway]
) -> None:
    """The files are kept: a newer engine may load them."""
    engine = tmp_path / "llama-server"
    engine.write_bytes(b"unknown model architecture: '\0gemma3\0")
    engine.chmod(0o755)
    with FakeHub() as hub:
        here = Here(hub, tmp_path, lambda **more: make_gateway(llama_server=str(engine), **more))
        ended = here.ended(here.start(name="glm"))
        assert ended["state"] == "done" and here.has(Q2)
        assert [note for note in ended["notes"] if "does not know the architecture llama" in note] == ended["notes"]


def test_the_row_of_a_model_that_a_person_pulls_says_so(here: Here) -> None:
    """Whether or not its entry lets requests do it."""
    here.hub.order(Q2, SLOW)
    here.start(name="glm")
    assert here.gateway.state("glm") == "downloading"


@pytest.mark.parametrize("body", [{"name": f"hf:{REPO}:Q4_K_M"}, {"name": f"hf:{REPO}", "include": "*Q4*"}])
def test_a_name_of_the_hub_is_pulled_by_quantization_or_pattern(here: Here, body: dict[str, str]) -> None:
    """It adds nothing to the catalog."""
    assert here.ended(here.start(**body))["state"] == "done"
    assert here.has(Q4) and not here.has(Q2)
    assert len(here.gateway.client.get("/v1/models").json()["data"]) == 2


def test_the_same_pull_is_not_begun_twice(here: Here) -> None:
    here.hub.order(Q2, SLOW)
    first, again, other = here.start(name="glm"), here.start(name="glm"), here.start(name=f"hf:{REPO}:Q4_K_M")
    assert first["id"] == again["id"] != other["id"]
    here.ended(other)
    listed = here.ask("GET").json()
    assert listed["object"] == "list" and [pull["id"] for pull in listed["data"]] == [other["id"], first["id"]]


def test_a_cancelled_pull_keeps_what_it_has_and_is_gone_on_with(here: Here) -> None:
    """Who follows it is told; a second DELETE changes nothing."""
    here.hub.order(Q2, SLOW)
    pull = here.start(name="glm")
    eventually(lambda: here.received(Q2))
    told = here.events(pull)
    next(told)
    cancelled = here.ask("DELETE", f"/{pull['id']}").json()
    assert cancelled["state"] == "cancelled" and "kept" in cancelled["error"]
    assert list(told)[-1]["state"] == "cancelled"
    assert here.ask("DELETE", f"/{pull['id']}").json() == cancelled
    kept = here.received(Q2)
    here.hub.faults.clear()
    here.hub.fetched.clear()
    again = here.start(name="glm")
    assert again["id"] != pull["id"] and here.ended(again)["state"] == "done"
    asked = {n for a in here.hub.fetched for n in range((a.start or 0) // BLOCK, -(-(a.stop or 0) // BLOCK))}
    assert here.has(Q2) and kept and not asked & kept


def test_a_failure_says_why(here: Here) -> None:
    pull = here.ended(here.start(name="hf:org/nothing"))
    assert pull["state"] == "failed" and "org/nothing is not on the Hub" in pull["error"] and pull["ended_at"]
    assert list(here.events(pull)) == [pull]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": "nobody"}, 404, "model_not_found"),
        ({"name": "far"}, 400, "cannot_pull"),
        ({"name": "glm", "include": "*"}, 400, "cannot_pull"),
        ({"name": "hf:../../etc"}, 400, "cannot_pull"),
        ({"name": f"hf:{REPO}:Q4_K_M", "include": "*"}, 400, "cannot_pull"),
        ({}, 400, "invalid_parameter"),
        ({"name": "glm", "force": True}, 400, "invalid_parameter"),
        ({"name": 7}, 400, "invalid_parameter"),
        ([], 400, "invalid_body"),
    ],
)
def test_what_cannot_be_pulled_is_refused_in_openais_shape(here: Here, body: Any, status: int, code: str) -> None:
    refused = here.ask("POST", json=body)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["type"]) == (status, code, "invalid_request_error")
    assert error["message"] and "param" in error and not here.hub.asked


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"name=glm"])
def test_what_is_no_json_is_refused_in_the_same_shape(here: Here, content: bytes) -> None:
    refused = here.ask("POST", content=content, headers=here.gateway.admin | {"content-type": "application/json"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_body")


def test_json_that_is_sent_as_something_else_is_told_so(here: Here) -> None:
    """As curl sends it when nobody says otherwise."""
    sent_as = {"content-type": "application/x-www-form-urlencoded"}
    refused = here.ask("POST", content=b'{"name": "glm"}', headers=here.gateway.admin | sent_as)
    assert refused.status_code == 400 and "sent as Content-Type application/json" in refused.json()["error"]["message"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/0"), ("DELETE", "/0"), ("GET", "/0/events")])
def test_an_unknown_pull_is_a_404(here: Here, method: str, path: str) -> None:
    refused = here.ask(method, path)
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "pull_not_found")


def test_nobody_else_may(here: Here) -> None:
    """Without the admin's key there is nothing to see, and nothing to start."""
    for method, path in (("GET", ""), ("POST", ""), ("DELETE", "/0"), ("GET", "/0/events")):
        refused = here.gateway.client.request(method, f"/admin/pulls{path}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")


def test_who_follows_is_told_when_the_gateway_goes(here: Here) -> None:
    """The stream ends by itself: it does not hold up the gateway's end."""
    here.hub.order(Q2, SLOW)
    told = here.events(here.start(name="glm"))
    next(told)
    assert here.gateway.terminate() == 0
    assert list(told)[-1]["state"] == "cancelled"


def test_the_openapi_page_has_it_all_typed(here: Here) -> None:
    """What is sent, what comes back, and each refusal in its shape."""
    page = here.gateway.client.get("/openapi.json").json()
    paths = {path: set(page["paths"][path]) for path in page["paths"] if path.startswith("/admin/pulls")}
    assert paths == {
        "/admin/pulls": {"get", "post"},
        "/admin/pulls/{pull_id}": {"get", "delete"},
        "/admin/pulls/{pull_id}/events": {"get"},
    }
    post = page["paths"]["/admin/pulls"]["post"]
    refused = post["responses"]["400"]["content"]["application/json"]["schema"]
    assert refused == {"$ref": "#/components/schemas/ErrorBody"}
    assert "422" not in {status for path in paths for of in page["paths"][path].values() for status in of["responses"]}
    follow = page["paths"]["/admin/pulls/{pull_id}/events"]["get"]["responses"]["200"]["content"]
    assert set(follow) == {"text/event-stream"}
