"""`speculation: auto` through a gateway: chosen at cold starts, told in a sentence, pinned by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.gateway import Gateway, header_only

Make = Callable[..., Gateway]


def explained(gateway: Gateway, alias: str = "m") -> dict[str, Any]:
    found: dict[str, Any] = gateway.client.get(f"/admin/aliases/{alias}/speculation", headers=gateway.admin).json()
    return found


def test_cold_starts_try_the_arms_in_turn(make_gateway: Make, tmp_path: Path) -> None:
    """Header-only models: the draft's verdict is unsure, so n-grams begin, by rule; then plain, then the draft."""
    files = {name: {"path": str(header_only(tmp_path / f"{name}.gguf"))} for name in ("target", "draft", "other")}
    entry = {"target": files["target"], "draft": files["draft"], "speculation": "auto"}
    gateway = make_gateway(models={"org/m": entry, "other": {"target": files["other"]}})
    before = explained(gateway, "org/m")
    assert before["why"] == "" and before["next_start"]["why"].startswith("ngram-mod by rule")
    seen, whys = [], []
    for _ in range(3):
        gateway.chat("org/m").raise_for_status()
        now = explained(gateway, "org/m")
        assert (now["requested"], now["alias"]) == ("auto", "org/m")
        seen.append(now["mode"])
        whys.append(now["why"])
        gateway.chat("other").raise_for_status()
    assert seen == ["ngram-mod", "none", "draft-simple"]
    assert [why.split()[0] for why in whys] == seen and whys[0] == before["next_start"]["why"]
    assert whys[1] == "none is being tried: nothing is known of it yet."
    assert explained(gateway, "org/m")["next_start"]["figures"]["none"]["cold_starts"] == 1


def test_an_explicit_mode_is_explained_too(make_gateway: Make) -> None:
    """And an unknown alias is a 404 like everywhere."""
    gateway = make_gateway()
    gateway.chat().raise_for_status()
    found = explained(gateway)
    assert found["why"] == found["next_start"]["why"] == "none: the entry says so."
    assert explained(gateway, "m:ngram")["next_start"]["why"] == "ngram-mod: the name says so."
    assert gateway.client.get("/admin/aliases/nope/speculation", headers=gateway.admin).status_code == 404
