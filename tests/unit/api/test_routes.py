"""What is relayed, and under which name it goes out."""

import pytest

from app.api.routes import TARGETS, allowed, relayed, upstream_path

OPENAI = [
    "/chat/completions",
    "/chat/completions/input_tokens",
    "/completions",
    "/embeddings",
    "/responses",
    "/responses/input_tokens",
    "/messages",
    "/messages/count_tokens",
    "/rerank",
    "/audio/transcriptions",
]
NATIVE = ["/completion", "/embedding", "/infill", "/tokenize", "/detokenize", "/apply-template"]


@pytest.mark.parametrize("path", OPENAI)
def test_an_api_of_others_goes_out_with_v1(path: str) -> None:
    """It is there with and without; llama-server's native twin without `/v1` is not what the client meant."""
    assert relayed("POST", path) and relayed("POST", f"/v1{path}")
    assert TARGETS[path] == f"/v1{path}".encode() and f"/v1{path}" not in TARGETS


@pytest.mark.parametrize(
    ("method", "path"), [*(("POST", path) for path in NATIVE), ("GET", "/slots"), ("GET", "/props")]
)
def test_llama_servers_own_goes_out_without(method: str, path: str) -> None:
    """It has no `/v1` before them, and clients whose base URL ends in it find them all the same."""
    assert relayed(method, path) and relayed(method, f"/v1{path}")
    assert TARGETS[f"/v1{path}"] == path.encode() and path not in TARGETS


@pytest.mark.parametrize("path", ["/slots", "/props", "/v1/slots"])
def test_an_engine_as_a_whole_is_read_and_not_changed(path: str) -> None:
    """Its properties could be set."""
    assert not relayed("POST", path)
    assert "GET" in allowed(path) and "POST" not in allowed(path)


@pytest.mark.parametrize("path", ["/slots/0", "/slots/12", "/lora-adapters"])
def test_one_slot_and_the_adapters_can_be_changed(path: str) -> None:
    """With and without `/v1`, which llama-server does not have before them."""
    for spelling in (path, f"/v1{path}"):
        assert relayed("POST", spelling) and "POST" in allowed(spelling)
        assert (upstream_path(spelling) or spelling.encode()) == path.encode()
    assert relayed("GET", path) is (path == "/lora-adapters")


@pytest.mark.parametrize(
    "path", ["/slots/", "/slots/x", "/slots/0/1", "/slots/99999", "/lora-adapters/0", "/v2/slots/0"]
)
def test_what_is_no_slot_is_not_relayed(path: str) -> None:
    assert not relayed("POST", path) and allowed(path) is None
