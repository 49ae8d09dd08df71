"""One gateway for all clients, with real engines on small models."""

from collections.abc import Iterator

import pytest

from tests.support import small_models
from tests.support.gateway import Gateway
from tests.support.small_models import CHAT, EMBEDDER, SPEAKER, THINKER


@pytest.fixture(scope="package")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """`CHAT` talks nonsense, `EMBEDDER` embeds, `THINKER` thinks, `SPEAKER` has learnt to speak; all are up at once."""
    folder = tmp_path_factory.mktemp("conformance")
    models = {
        CHAT: small_models.chat(folder),
        EMBEDDER: small_models.embedder(folder),
        THINKER: small_models.thinker(folder),
    }
    if (speaker := small_models.speaker(folder)) is not None:
        models[SPEAKER] = speaker
    gateway = Gateway(folder, models=models, llama_server="embedded", max_loaded=4)
    yield gateway
    gateway.close()


@pytest.fixture
def speaking(real: Gateway) -> Gateway:
    """The same gateway, for tests that need a model which can be shown how to call a tool."""
    if SPEAKER not in real.settings["models"]:
        pytest.skip("no small model that has learnt to speak")
    return real
