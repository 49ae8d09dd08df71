"""What the OpenAI SDK makes of failures that a real engine does not have at hand: the fake one has them."""

from collections.abc import Callable

import openai
import pytest

from tests.support.gateway import Gateway

Make = Callable[..., Gateway]


def client_of(gateway: Gateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0)


def test_errors_are_the_sdks_own(make_gateway: Make) -> None:
    """NotFoundError, BadRequestError, InternalServerError, each with code and request id."""
    gateway = make_gateway(args=["--fail-load", "arch"])
    with client_of(gateway) as client:
        with pytest.raises(openai.NotFoundError) as missing:
            client.chat.completions.create(model="nope", messages=[{"role": "user", "content": "Hi"}])
        assert missing.value.code == "model_not_found"
        assert missing.value.request_id
        with pytest.raises(openai.InternalServerError) as failed:
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
        assert failed.value.status_code == 503
        assert failed.value.code == "engine_start_failed"


def test_error_in_a_stream_raises(make_gateway: Make) -> None:
    """An engine that dies mid-stream is an APIError with its message, not a short answer."""
    gateway = make_gateway(args=["--exit-after-tokens", "3", "--tps", "50"])
    with client_of(gateway) as client:
        stream = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}], stream=True)
        with pytest.raises(openai.APIError, match="went down"):
            list(stream)


def test_comments_of_a_cold_stream_are_invisible(make_gateway: Make) -> None:
    """The SDK skips the comments that a loading model sends."""
    gateway = make_gateway(args=["--load-seconds", "5.8"])
    with client_of(gateway) as client:
        stream = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}], stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
