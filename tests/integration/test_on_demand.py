"""`pull: on_demand`: the first request for a model that is not here brings it from a fake Hub."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from app.models.disk.layout import FileLocation
from app.models.download.journal import BLOCK
from app.models.download.partial import received_of
from tests.support.fake_hub import FakeHub, Fault
from tests.support.gateway import Gateway, events, eventually
from tests.support.hub_environment import hub_environment, hub_variables
from tests.support.hub_models import model, shards

REPO, DRAFT = "unsloth/GLM-4.7-GGUF", "unsloth/GLM-4.5-Air-GGUF"
# Some blocks each: progress is told by the block
FILES = shards("UD-Q2_K_XL/GLM-4.7-UD-Q2_K_XL", 2, size=4 * BLOCK)
FIRST = sorted(FILES)[0]
SIZE = sum(map(len, FILES.values()))
ENTRY: dict[str, Any] = {"target": {"repo": REPO, "include": "*UD-Q2_K_XL*"}, "pull": "on_demand"}
# So slow that a test can look on, until it is lifted
SLOW = Fault(rate=2_000_000, stays=True)


class Here:
    """A Hub, a folder for models, and gateways whose model `glm` is on that Hub alone."""

    def __init__(self, hub: FakeHub, folder: Path, make: Callable[..., Gateway]) -> None:
        self.hub = hub
        self.models = folder / "models"
        self.folder = folder
        self._make = make
        hub.add(REPO, dict(FILES))

    def gateway(self, entry: dict[str, Any] | None = None, **more: Any) -> Gateway:
        """A second model is there that nobody asks for, so that nothing is loaded without a request."""
        models = {"glm": entry or ENTRY, "other": {"url": "http://127.0.0.1:9"}}
        env = hub_variables(self.hub, self.folder)
        return self._make(models=models, models_dir=str(self.models), env=env, **more)

    def slow_down(self) -> None:
        for path in FILES:
            self.hub.order(path, SLOW)

    def hurry(self) -> None:
        self.hub.faults.clear()

    @property
    def complete(self) -> bool:
        places = {path: FileLocation(self.models, REPO, path).final for path in FILES}
        return all(place.is_file() and place.read_bytes() == FILES[path] for path, place in places.items())


@pytest.fixture
def here(tmp_path: Path, make_gateway: Callable[..., Gateway]) -> Iterator[Here]:
    with FakeHub() as hub:
        yield Here(hub, tmp_path, make_gateway)


def row(gateway: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = gateway.client.get("/v1/models/glm").json()
    return found


def downloading(gateway: Gateway) -> dict[str, Any] | None:
    """The row's `download` once bytes arrive, and more than the few that a file has beyond its last whole block."""
    found = row(gateway)
    return found["download"] if found["state"] == "downloading" and found["download"]["percent"] else None


def test_the_first_request_brings_the_model_and_a_stream_is_told_how_far_it_is(here: Here) -> None:
    """Headers within some seconds, then comments with percent, rate and time left, then the answer itself."""
    gateway = here.gateway()
    here.slow_down()
    assert row(gateway)["state"] == "stopped" and not here.hub.asked
    with gateway.stream("glm") as stream:
        assert stream.status_code == 200
        told = events(stream)
        comment = next(line for line in told if "left" in line)
        assert re.match(r": downloading glm: [\d.]+ % of [\d.]+ MB, [\d.]+ MB/s, \d+ s left$", comment)
        progress = eventually(lambda: (found := downloading(gateway)) and found["seconds_left"] and found)
        assert 0 < progress["percent"] < 100 and progress["size"] == SIZE and progress["rate"] > 0
        here.hurry()
        # Those that have begun stay slow
        here.hub.cut_all()
        assert [event for event in told if not isinstance(event, str)]
    assert here.complete and row(gateway)["state"] == "ready" and "download" not in row(gateway)
    assert eventually(lambda: gateway.logged("pull done"))


def test_a_whole_answer_is_not_waited_for_and_says_how_far_it_is(here: Here) -> None:
    """503 with Retry-After and the state in the error's body; once all is there the answer comes."""
    gateway = here.gateway()
    here.slow_down()
    gateway.chat("glm")
    eventually(lambda: downloading(gateway))
    refused = gateway.chat("glm")
    error = refused.json()["error"]
    assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
    assert (error["code"], error["state"], error["size"]) == ("model_downloading", "downloading", SIZE)
    assert 0 < error["percent"] < 100 and "downloading glm: " in error["message"]
    here.hurry()
    here.hub.cut_all()
    assert eventually(lambda: (answer := gateway.chat("glm")).status_code == 200 and answer)
    assert here.complete


def test_the_sdk_waits_for_it_by_itself(here: Here) -> None:
    """It retries a 503 after the seconds that it is told."""
    gateway = here.gateway()
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=4) as client:
        messages: Any = [{"role": "user", "content": "Hello"}]
        answer = client.with_options(timeout=60).chat.completions.create(model="glm", messages=messages)
    assert answer.choices[0].message.content and here.complete


def test_a_pull_in_a_terminal_is_seen_too(here: Here) -> None:
    """By a gateway that pulls nothing itself; percent are of all shards, those that are to come among them."""
    gateway = here.gateway({"target": ENTRY["target"]})
    here.slow_down()
    env = hub_environment(here.hub, here.folder, TANDEM_MODELS_DIR=str(here.models))
    command = [sys.executable, "-m", "app", "pull", f"hf:{REPO}"]
    with subprocess.Popen(command, cwd=here.folder, env=env, stderr=subprocess.DEVNULL) as pulling:
        seen = eventually(lambda: downloading(gateway))
        assert (seen["phase"], seen["size"], seen["rate"]) == ("waiting", SIZE, None) and 0 < seen["percent"] < 100
        here.hurry()
        here.hub.cut_all()
        assert pulling.wait(timeout=60) == 0
    eventually(lambda: row(gateway)["state"] == "stopped")
    assert here.complete


def test_never_is_the_default(here: Here) -> None:
    """Without the key nothing is asked of the Hub, and who asks is told what would fetch it."""
    gateway = here.gateway({"target": ENTRY["target"]})
    refused = gateway.chat("glm")
    assert refused.status_code == 503 and refused.json()["error"]["code"] == "engine_start_failed"
    assert "`llama-tandem pull glm`" in refused.json()["error"]["message"] and not here.hub.asked


def test_the_only_model_is_not_pulled_before_it_is_asked_for(
    here: Here, make_gateway: Callable[..., Gateway], tmp_path: Path
) -> None:
    """Nor started without its files; once they are here, the next start loads it at once."""
    alone = {"models": {"glm": ENTRY}, "models_dir": str(here.models), "env": hub_variables(here.hub, tmp_path)}
    gateway = make_gateway(**alone)
    eventually(lambda: any("is ready at" in line for line in gateway.output))
    assert row(gateway)["state"] == "stopped" and not here.hub.asked
    assert [event for event in events_of(gateway) if not isinstance(event, str)]
    assert gateway.terminate() == 0
    again = make_gateway(**alone)
    eventually(lambda: row(again)["state"] == "ready")


def events_of(gateway: Gateway) -> list[Any]:
    """All of one stream."""
    with gateway.stream("glm") as stream:
        return list(events(stream))


def test_a_draft_is_brought_too(here: Here) -> None:
    """The engine starts when both are there."""
    here.hub.add(DRAFT, {"GLM-4.5-Air-UD-Q4_K_XL.gguf": model()})
    draft = {"repo": DRAFT, "include": "*Q4*"}
    gateway = here.gateway(ENTRY | {"draft": draft, "speculation": {"mode": "draft-simple", "force": True}})
    assert [event for event in events_of(gateway) if not isinstance(event, str)]
    assert here.complete and (here.models / DRAFT / "GLM-4.5-Air-UD-Q4_K_XL.gguf").is_file()


def test_clients_that_leave_do_not_abort_it(here: Here) -> None:
    """Though it was theirs alone."""
    gateway = here.gateway()
    here.slow_down()
    body = json.dumps({"model": "glm", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    with socket.create_connection(("127.0.0.1", int(gateway.url.rsplit(":", 1)[1]))) as leaver:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
        leaver.sendall(head % len(body) + body)
        eventually(lambda: downloading(gateway))
    eventually(lambda: gateway.metric('requests_total{alias="glm",status="499"}') == 1)
    assert downloading(gateway)
    here.hurry()
    here.hub.cut_all()
    eventually(lambda: here.complete)


def test_a_failed_pull_is_said_and_not_tried_again_by_each_request(here: Here) -> None:
    """Streams and others get the reason and when to come again; `/v1/models` has it too."""
    del here.hub.repos[REPO]
    gateway = here.gateway()
    with gateway.stream("glm") as stream:
        refused = json.loads(stream.read())
        assert stream.status_code == 503 and 1 <= int(stream.headers["retry-after"]) <= 10
    assert refused["error"]["code"] == "pull_failed" and f"{REPO} is not on the Hub" in refused["error"]["message"]
    asked = len(here.hub.asked)
    for _ in range(3):
        answer = gateway.chat("glm")
        assert answer.status_code == 503 and answer.json()["error"]["code"] == "pull_failed"
    assert len(here.hub.asked) == asked
    assert (row(gateway)["state"], f"{REPO} is not" in row(gateway)["download"]["error"]) == ("stopped", True)


def test_files_that_others_bring_meanwhile_are_used(here: Here) -> None:
    """A failure that is over holds nobody up: what counts is what is here."""
    kept = here.hub.repos.pop(REPO)
    gateway = here.gateway()
    with gateway.stream("glm") as stream:
        assert stream.status_code == 503
    here.hub.repos[REPO] = kept
    for path, content in FILES.items():
        file = here.models / REPO / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    assert gateway.chat("glm").status_code == 200 and "download" not in row(gateway)


def test_a_stream_that_waits_hears_of_the_failure(here: Here) -> None:
    """After its headers: an error event and a broken connection, as ever."""
    gateway = here.gateway()
    here.slow_down()
    with (
        pytest.raises(openai.APIError, match="cannot be pulled"),
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none") as client,
    ):
        messages: Any = [{"role": "user", "content": "Hello"}]
        stream = client.chat.completions.create(model="glm", messages=messages, stream=True)
        here.hurry()
        for path in FILES:
            here.hub.order(path, Fault(status=429, retry_after="3600", stays=True))
        here.hub.cut_all()
        list(stream)


def test_sigterm_stops_it_in_order_and_the_next_start_goes_on_from_there(here: Here) -> None:
    """The stream that waited is told; nothing that had arrived whole is fetched again."""
    gateway = here.gateway()
    here.slow_down()
    told: list[Any] = []

    def ask() -> None:
        with gateway.stream("glm") as stream:
            told.append(json.loads(stream.read()))

    asking = threading.Thread(target=ask)
    asking.start()
    eventually(lambda: received_blocks(here))
    assert gateway.terminate() == 0
    asking.join()
    assert told[0]["error"]["code"] == "shutting_down"
    assert eventually(lambda: gateway.logged("pull cancelled"))
    kept = received_blocks(here)
    assert kept
    here.hurry()
    here.hub.fetched.clear()
    again = here.gateway()
    assert [event for event in events_of(again) if not isinstance(event, str)]
    assert not asked_blocks(here) & kept


def received_blocks(here: Here) -> set[tuple[str, int]]:
    return {
        (path, number)
        for path in FILES
        if (found := received_of(FileLocation(here.models, REPO, path))) is not None
        for number in found.received
    }


def asked_blocks(here: Here) -> set[tuple[str, int]]:
    return {
        (asked.path, number)
        for asked in here.hub.fetched
        for number in range((asked.start or 0) // BLOCK, -(-(asked.stop or 0) // BLOCK))
    }


def test_two_gateways_pull_as_one(here: Here) -> None:
    """The second waits and shows how far the first is; each byte is fetched once, and both serve."""
    first, second = here.gateway(), here.gateway()
    here.slow_down()
    first.chat("glm")
    eventually(lambda: downloading(first))
    second.chat("glm")
    waiting = eventually(lambda: (found := downloading(second)) and found["phase"] == "waiting" and found)
    assert waiting["size"] == SIZE
    here.hurry()
    here.hub.cut_all()
    for gateway in (first, second):
        assert eventually(lambda g=gateway: g.chat("glm").status_code == 200)  # type: ignore[misc]
    assert here.complete


def test_a_busy_pull_leaves_the_loop_alone(here: Here) -> None:
    """Other requests are answered at once while bytes come in as fast as they can."""
    gateway = here.gateway()
    gateway.chat("glm")
    slowest = 0.0
    while (found := row(gateway))["state"] == "downloading":
        began = time.monotonic()
        assert gateway.client.get("/health").status_code == 200
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 2 and "download" not in found
