"""Golden answers: each odd answer of llama-server's, as clients of every API see it (`tests/data/golden`)."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.golden import REQUESTS, Stage, cases

CASES = cases()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("golden"))
    yield made
    made.close()


@pytest.mark.parametrize("name", CASES)
def test_clients_see_what_is_written(stage: Stage, name: str) -> None:
    """Status, body or lines, and whether the end was a clean one."""
    assert stage.play(CASES[name]) == CASES[name]["clients"]


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_keeps_the_rules(name: str) -> None:
    """Of refusals, whatever the case: the shape of each API, and no 500 for a bad request."""
    case: dict[str, Any] = CASES[name]
    if case["upstream"]["status"] == 200:
        assert all(seen["status"] == 200 for seen in case["clients"].values())
        return
    assert case["clients"].keys() == REQUESTS.keys()
    for path, seen in case["clients"].items():
        error = seen["body"]["error"]
        if path.startswith("/api/"):
            assert isinstance(error, str) and error
        elif path == "/v1/messages":
            assert seen["body"]["type"] == "error" and error.keys() >= {"type", "message"}
        else:
            assert error.keys() >= {"message", "type", "param", "code"}
            assert error["code"] is None or isinstance(error["code"], str)
    # 529 is Anthropic's 503
    assert len({503 if seen["status"] == 529 else seen["status"] for seen in case["clients"].values()}) == 1
