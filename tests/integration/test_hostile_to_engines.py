"""Input that no client sends by accident, on its way to engines of ours: asked for as streams, and put together."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.gateway import Gateway, eventually, header_only
from tests.support.hostile import FEW, bodies

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/completion", "/api/chat")
# What is enough for each of them: else most would be refused before an engine is asked.
ASKED = '{"model":"m","messages":[{"role":"user","content":"x"}],"prompt":"x","input":"x"'


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One engine that is up, with a few slots and short answers."""
    folder: Path = tmp_path_factory.mktemp("engines")
    model = header_only(folder / "model.gguf")
    entry = {"target": {"path": str(model)}, "args": ["--tokens", "3"], "parallel": 4}
    made = Gateway(folder, models={"m": entry})
    assert made.chat().status_code == 200
    yield made
    made.close()


@FEW
@given(path=st.sampled_from(PATHS), body=bodies(begin=ASKED) | bodies())
def test_bodies(gateway: Gateway, path: str, body: bytes) -> None:
    """Whatever is asked, the answer is whole or a refusal, the engine lives on, and nothing is held."""
    with gateway.client.stream("POST", path, content=body) as answer:
        text = answer.read()
    assert answer.status_code < 500, text
    assert gateway.state() != "backoff"


def test_nothing_is_held_afterwards(gateway: Gateway) -> None:
    """No request, no slot, no failure of ours in the log; and the same engine still answers."""
    before = gateway.engines
    assert gateway.chat().json()["choices"][0]["message"]["content"] == "t0 t1 t2"
    assert gateway.engines == before and len(before) == 1
    eventually(lambda: gateway.metric('in_flight{alias="m"}') == 0)
    assert not any(slot["is_processing"] for slot in gateway.client.get("/slots?model=m").json())
    assert [line for line in gateway.log if line.get("level") == "error"] == []
