"""The verdict on a pair, beside what a real engine does with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from app.speculation.compat import Outcome, verdict
from tests.support import tiny_models
from tests.support.gateway import Gateway
from tests.support.tiny_models import Tokens

TARGET = Tokens()


def with_token(number: int, text: str) -> Tokens:
    texts = list(TARGET.texts)
    texts[number] = text
    return replace(TARGET, texts=texts)


# Target, draft: beside the drafts that break a rule each, pairs at the edge of one.
PAIRS = {
    "same": (TARGET, TARGET),
    "bos-that-nobody-adds": (replace(TARGET, add_bos=False), replace(TARGET, add_bos=False, bos=tiny_models.PAD)),
    "bos-by-default": (TARGET, replace(TARGET, add_bos=None, pre="llama-bpe")),
    "bos-not-said-by-either": (replace(TARGET, add_bos=None), replace(TARGET, add_bos=None)),
    "bos-by-override": (TARGET, replace(TARGET, add_bos=False, model="gemma4")),
    "eos-that-nobody-adds": (TARGET, replace(TARGET, eos=tiny_models.PAD)),
    "eos-of-another-id": (replace(TARGET, add_eos=True), replace(TARGET, add_eos=True, eos=tiny_models.PAD)),
    "129-fewer": (TARGET, replace(TARGET, texts=TARGET.texts[:-129])),
    "token-4": (TARGET, with_token(4, "four")),
    "token-5": (TARGET, with_token(5, "five")),
    "last-token": (TARGET, with_token(tiny_models.VOCABULARY - 1, "last")),
    "empty-token": (with_token(300, ""), with_token(300, "[EMPTY_300]")),
    "nul-in-a-token": (with_token(300, "three\0a"), with_token(300, "three\0b")),
    "pre-tokenizer": (TARGET, replace(TARGET, pre="qwen2")),
}


def test_engine_drafts_where_the_verdict_says_so(
    serve: Callable[..., Gateway], tmp_path: Path, models: dict[str, Path]
) -> None:
    """And nowhere else. All pairs behind one gateway; `speculative` in /slots is the engine's own word."""
    pairs = {name: (models["target"], models[name]) for name in tiny_models.INCOMPATIBLE_DRAFTS}
    for name, (target, draft) in PAIRS.items():
        pairs[name] = (
            tiny_models.write_tokens(tmp_path / f"{name}-target.gguf", target),
            tiny_models.write_tokens(tmp_path / f"{name}-draft.gguf", draft),
        )
    larger = tiny_models.write_draft_larger_vocabulary(tmp_path / "larger.gguf", more=128)
    pairs["128-more"] = (models["target"], larger)
    # forced: or the verdict itself would keep the engine from being asked
    forced = {"speculation": {"force": True}}
    entries = {n: {"target": {"path": str(t)}, "draft": {"path": str(d)}} | forced for n, (t, d) in pairs.items()}
    gateway = serve(**entries)
    drafts = {}
    for name in pairs:
        # tokens that all of them have
        body = {"model": name, "prompt": [10, 20, 30], "n_predict": 1}
        assert gateway.client.post("/completion", json=body).status_code == 200
        drafts[name] = gateway.client.get("/slots", params={"model": name}).json()[0]["speculative"]
    said = {name: verdict([t], [d], translates=False).outcome for name, (t, d) in pairs.items()}
    assert said == {name: Outcome.COMPATIBLE if on else Outcome.INCOMPATIBLE for name, on in drafts.items()}
    assert set(said.values()) == {Outcome.COMPATIBLE, Outcome.INCOMPATIBLE}


def test_engine_dies_of_a_token_that_one_side_lacks(
    serve: Callable[..., Gateway], tmp_path: Path, models: dict[str, Path]
) -> None:
    """Which is what the verdict warns of, and the warm-up finds out before a client does: it is served plain.

    Once a build survives it, the warning is out of date.
    """
    shorter = tiny_models.write_tokens(tmp_path / "shorter.gguf", replace(TARGET, texts=TARGET.texts[:-128]))
    beyond = tiny_models.write_draft_beyond_target(tmp_path / "beyond.gguf")
    target = {"target": {"path": str(models["target"])}}
    gateway = serve(**{draft.stem: target | {"draft": {"path": str(draft)}} for draft in (shorter, beyond)})
    for draft in (shorter, beyond):
        assert gateway.chat(draft.stem, max_tokens=100, temperature=0).status_code == 200
        status = gateway.client.get(f"/v1/models/{draft.stem}").json()["speculation"]
        assert status["active"] is False and "only one of them has the token" in status["reason"], status
        found = verdict([models["target"]], [draft], translates=False)
        assert found.outcome is Outcome.COMPATIBLE and "aborts" in found.warnings[0]
