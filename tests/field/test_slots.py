"""Reports of slots that cannot be saved, restored or erased through a gateway, and of adapters that cannot be seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import Gateway

SAID = [{"role": "user", "content": "Tell me of the sea, and of the ships that are on it, and of the wind."}]


def test_a_slot_is_saved_erased_and_restored(
    serve: Callable[..., Gateway], models: dict[str, Path], tmp_path: Path
) -> None:
    """By who runs the gateway, the model in the query or, as llama-server's router has it, in the body."""
    target = {"path": str(models["target"])}
    gateway = serve(m={"target": target, "args": ["--slot-save-path", f"{tmp_path}/"]}, other={"target": target})

    def act(action: str, where: str = "&model=m", **body: Any) -> dict[str, Any]:
        path = f"/slots/0?action={action}{where}"
        answer = gateway.client.post(path, json=body, headers=gateway.admin)
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said

    assert gateway.chat(messages=SAID, max_tokens=1).status_code == 200
    saved = act("save", filename="talk.bin")["n_saved"]
    assert saved > 20 and (tmp_path / "talk.bin").exists()
    assert act("erase", "", model="m")["n_erased"] == saved
    assert act("restore", filename="talk.bin")["n_restored"] == saved
    erased = gateway.client.post("/v1/slots/0?action=erase&model=m", headers=gateway.admin)  # without a body
    assert erased.json()["n_erased"] == saved


def test_slots_without_a_folder_name_the_flag(serve: Callable[..., Gateway], models: dict[str, Path]) -> None:
    """llama-server's 501 would be sent again."""
    gateway = serve(m={"target": {"path": str(models["target"])}})
    answer = gateway.client.post("/slots/0?action=erase&model=m", headers=gateway.admin)
    assert answer.status_code == 400 and "--slot-save-path" in answer.json()["error"]["message"]


def test_adapters_are_listed_for_whoever_may_ask_and_set_by_an_admin(
    serve: Callable[..., Gateway], models: dict[str, Path]
) -> None:
    """The body is an array, so that only the query can say of which model."""
    gateway = serve(m={"target": {"path": str(models["target"])}}, other={"target": {"path": str(models["target"])}})
    listed = gateway.client.get("/lora-adapters?model=m")
    assert (listed.status_code, listed.json()) == (200, [])
    answer = gateway.client.post("/lora-adapters?model=m", json=[], headers=gateway.admin)
    assert answer.status_code == 200, answer.text
    nameless = gateway.client.post("/lora-adapters", json=[], headers=gateway.admin)
    assert (nameless.status_code, nameless.json()["error"]["code"]) == (400, "model_required")


@pytest.mark.parametrize("path", ["/slots/0?action=save&model=m", "/lora-adapters?model=m"])
def test_nobody_else_changes_an_engine(plain: Gateway, path: str) -> None:
    """Not even where no client needs a key; and a GET of one slot is nothing."""
    answer = plain.client.post(path, json={"filename": "x"})
    assert answer.status_code == 401 and "admin key" in answer.json()["error"]["message"]
    assert plain.client.get("/slots/0?model=m").status_code == 405
