"""What is told of a start that was not even tried."""

from pathlib import Path

import pytest

from app.errors import EngineNotFoundError, FilesMissingError, GgufError, LaunchRefusedError, ProbeError, TandemError
from app.supervisor.readiness import refusal


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FilesMissingError("models.m.target: missing in /m: a.gguf."), "missing_file"),
        (GgufError(Path("/m/a.gguf"), "is not a GGUF file: it is empty"), "not_gguf"),
        (LaunchRefusedError("args: this llama-server does not know --nope."), "refused"),
        (ProbeError("llama-server on PATH: --help failed: exit code 1"), "refused"),
        (EngineNotFoundError("llama_server: there is no file /x"), "refused"),
    ],
)
def test_a_refusal_has_one_line_of_cause_and_one_of_advice(error: TandemError, code: str) -> None:
    """As a failed start has; it would fail the same way again."""
    diagnosis = refusal(error)
    assert (diagnosis.code, diagnosis.permanent) == (code, True)
    assert diagnosis.cause == f"{str(error).rstrip('.')}."
    assert diagnosis.advice.endswith(".") and "\n" not in str(diagnosis)
