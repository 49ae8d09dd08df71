"""The admin API keeps to its own description, whatever schemathesis makes of that."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import positive_data_acceptance

from tests.support.gateway import Gateway, header_only

# Deterministic, and as many as a test run has time for.
FEW = settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
# Each waits for a Hub that is nowhere
SLOW = settings(FEW, max_examples=6)

# It has no end: tests/integration/test_page.py follows it.
ENDLESS = "GET /admin/events"

# A name has rules that no schema tells: hf:, an alias that is there.
SAID_IN_WORDS: Any = [positive_data_acceptance]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Its Hub is nowhere: a pull that is asked for fails at once."""
    folder: Path = tmp_path_factory.mktemp("openapi")
    model = str(header_only(folder / "model.gguf"))
    models = {"m": {"target": {"path": model}}, "other": {"url": "http://127.0.0.1:9"}}
    made = Gateway(folder, models=models, env={"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(folder / "hub")})
    yield made
    assert [line for line in made.log if line.get("level") == "error"] == []
    made.close()


def test_admin_api(gateway: Gateway) -> None:
    """Statuses, content types and bodies are those that are written; no 500; without a key nobody comes in."""
    found: Any = schemathesis.openapi.from_url(f"{gateway.url}/openapi.json")
    operations = [result.ok() for result in found.include(path_regex="^/admin/").get_all_operations()]
    labels = {operation.label for operation in operations}
    assert {"POST /admin/pulls", "GET /admin/pulls/{pull_id}/events", ENDLESS} <= labels

    for operation in operations:
        assert gateway.client.request(operation.method, operation.path).status_code == 401
        if operation.label == ENDLESS:
            continue

        @(SLOW if "/admin/hub/" in operation.label else FEW)
        @given(case=operation.as_strategy())
        def asked(case: schemathesis.Case) -> None:
            case.call_and_validate(headers=gateway.admin, timeout=30, excluded_checks=SAID_IN_WORDS)

        asked()
