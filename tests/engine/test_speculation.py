"""Speculation on real engines: proven to be on, or off with the reason, and never in the way of an answer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.gateway import Gateway, eventually

Serve = Callable[..., Gateway]
Models = dict[str, Path]


def entry(models: Models, draft: str | None = None, speculation: Any = None) -> dict[str, Any]:
    found: dict[str, Any] = {"target": {"path": str(models["target"])}}
    if draft:
        found["draft"] = {"path": str(models[draft])}
    return found | ({} if speculation is None else {"speculation": speculation})


def status(gateway: Gateway, model: str = "m") -> dict[str, Any]:
    found: dict[str, Any] = gateway.client.get(f"/v1/models/{model}").json()["speculation"]
    return found


def test_a_draft_is_proven_before_the_first_answer(serve: Serve, models: Models) -> None:
    """Not loaded: null. Loaded: the warm-up has drafted, and nothing is left to explain."""
    gateway = serve(m=entry(models, "draft"), other=entry(models))
    assert status(gateway) == {"requested": "draft-simple", "active": None, "mode": "none", "reason": ""}
    gateway.chat("m", max_tokens=4).raise_for_status()
    assert status(gateway) == {"requested": "draft-simple", "active": True, "mode": "draft-simple", "reason": ""}
    assert gateway.metric('speculation_active{alias="m",mode="draft-simple",requested="draft-simple"}') == 1
    assert eventually(lambda: gateway.logged("speculation is on"))


def test_a_chain_with_n_grams_is_on(serve: Serve, models: Models) -> None:
    """/slots proves n-gram modes, which draft only on repetition."""
    gateway = serve(
        n=entry(models, speculation="ngram-mod"), c=entry(models, "draft", ["draft-simple", "ngram-simple"])
    )
    for name, mode in (("n", "ngram-mod"), ("c", "draft-simple,ngram-simple")):
        gateway.chat(name, max_tokens=2).raise_for_status()
        assert status(gateway, name) == {"requested": mode, "active": True, "mode": mode, "reason": ""}


def test_another_vocabulary_is_known_before_the_load(serve: Serve, models: Models) -> None:
    """The draft is not even loaded; the answer is there all the same, and the reason with it."""
    gateway = serve(m=entry(models, "text"), other=entry(models))
    gateway.chat("m", max_tokens=2).raise_for_status()
    found = status(gateway)
    assert (found["requested"], found["active"], found["mode"]) == ("draft-simple", False, "none")
    assert "Token 300" in found["reason"]
    assert not any("draft" in line["event"] for line in gateway.log if line.get("pid"))


def test_what_is_left_of_a_chain_says_where_the_rest_is(serve: Serve, models: Models) -> None:
    """The n-grams go on without the draft, and are on; the draft's reason is kept."""
    gateway = serve(m=entry(models, "text", ["draft-simple", "ngram-mod"]), other=entry(models))
    gateway.chat("m", max_tokens=2).raise_for_status()
    found = status(gateway)
    assert (found["active"], found["mode"]) == (True, "ngram-mod")
    assert "Token 300" in found["reason"]


def test_force_tries_and_the_engine_has_the_last_word(serve: Serve, models: Models) -> None:
    """llama-server drops the draft with a line in its log; we tell that line."""
    gateway = serve(m=entry(models, "text", {"force": True}), other=entry(models))
    gateway.chat("m", max_tokens=2).raise_for_status()
    found = status(gateway)
    assert (found["active"], found["mode"]) == (False, "none")
    assert "/slots says that it is off" in found["reason"] and "vocab" in found["reason"]


def test_on_inert_fail_refuses_to_start(serve: Serve, models: Models) -> None:
    """Whether the headers say it, or only the engine."""
    gateway = serve(
        m=entry(models, "text", {"on_inert": "fail"}),
        forced=entry(models, "text", {"on_inert": "fail", "force": True}),
    )
    for name, words in (("m", "Token 300"), ("forced", "Speculation is not on: ")):
        answer = gateway.chat(name, max_tokens=2)
        assert answer.status_code == 503
        assert words in answer.json()["error"]["message"]


def test_a_draft_that_kills_the_start_is_left_out_once_and_for_all(serve: Serve, models: Models) -> None:
    """An architecture that nobody knows: served plain, and the next cold start does not try it again."""
    gateway = serve(m=entry(models, "arch"), other=entry(models))
    for _ in range(2):
        gateway.chat("m", max_tokens=2).raise_for_status()
        found = status(gateway)
        assert (found["active"], found["mode"]) == (False, "none")
        assert "unicornlm" in found["reason"]
        gateway.chat("other", max_tokens=2).raise_for_status()
    assert len(eventually(lambda: gateway.logged("trying again without speculation"))) == 1


def test_variants_are_engines_of_their_own(serve: Serve, models: Models) -> None:
    """Pinned by name; listed when asked for; the answer says which one it was."""
    gateway = serve(m=entry(models, "draft"), max_loaded=3)
    for variant, mode in (("plain", "none"), ("draft", "draft-simple"), ("ngram", "ngram-mod")):
        answer = gateway.chat(f"m:{variant}", max_tokens=16, temperature=0).raise_for_status().json()
        assert answer["model"] == f"m:{variant}"
        assert ("draft_n" in answer["timings"]) == (variant == "draft")
        assert status(gateway, f"m:{variant}")["mode"] == mode
    listed = [row["id"] for row in gateway.client.get("/v1/models?variants=true").json()["data"]]
    assert listed == ["m", "m:plain", "m:draft", "m:ngram"]
    assert [row["id"] for row in gateway.client.get("/v1/models").json()["data"]] == ["m"]
