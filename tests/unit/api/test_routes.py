"""What is relayed, and under which name it goes out."""

import pytest

from app.api.routes import TARGETS, allowed, relayed

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
def test_an_engine_is_read_and_not_changed(path: str) -> None:
    """Its slots could be saved to its disk, its properties set."""
    assert not relayed("POST", path)
    assert "GET" in allowed(path) and "POST" not in allowed(path)
