"""Where engines of a real cluster start: by places, memory and files of each machine, and after a loss."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cluster.conftest import Nodes, entry
from tests.support.gateway import Gateway, eventually, header_only

Make = Callable[..., Gateway]
_EVERYWHERE = ["box1", "box2", "box3", "local"]


def anywhere(nodes: Nodes) -> dict[str, Any]:
    """A model without `nodes`, whose file is on every machine."""
    made = entry(nodes)
    del made["nodes"]
    return made


def machines(gateway: Gateway) -> dict[str, str]:
    rows = gateway.client.get("/admin/engines", headers=gateway.admin).json()["data"]
    return {row["alias"]: row["host"] for row in rows if row["state"] == "ready"}


def memory(gateway: Gateway) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = gateway.client.get("/admin/memory", headers=gateway.admin).json()["data"]
    return rows


def test_models_without_nodes_use_all_machines(nodes: Nodes, gateway: Make) -> None:
    """This one first, then one on each; the last machine of a model comes first again."""
    names = ["a", "b", "c", "d"]
    made = gateway(models={name: anywhere(nodes) for name in names}, max_loaded=1)
    for name in names:
        assert made.chat(name).status_code == 200
    first = machines(made)
    assert first["a"] == "local" and sorted(first.values()) == _EVERYWHERE
    for name in ("b", "c"):
        assert made.client.post(f"/admin/models/{name}/unload?wait=true", headers=made.admin).status_code == 200
    for name in ("c", "b"):
        assert made.chat(name).status_code == 200
    assert machines(made) == first
    decisions = made.client.get("/admin/decisions", headers=made.admin).json()["data"]
    assert any(f"on {first['b']}" in each["why"] for each in decisions if each["alias"] == "b")


def test_memory_is_told_and_limited_by_machine(nodes: Nodes, gateway: Make) -> None:
    """Each has its own budget, and its own engines count there. `max_loaded` is not needed then."""
    made = gateway(
        models={"a": entry(nodes, "box1"), "b": entry(nodes, "box1"), "c": entry(nodes, "box2")}, max_loaded=None
    )
    for name in ("a", "b", "c"):
        assert made.chat(name).status_code == 200, made.chat(name).text
    assert machines(made) == {"a": "box1", "b": "box1", "c": "box2"}
    rows = eventually(lambda: memory(made) if len(memory(made)) >= 3 else None)
    there = {row["node"]: row for row in rows if row["name"] == "host"}
    assert set(there) >= {"box1", "box2"} and all(row["budget"] > 0 for row in rows)
    assert set(there["box1"]["engines"]) == {"a", "b"} and set(there["box2"]["engines"]) == {"c"}
    told = made.command("ps").stdout
    assert "box1" in told and "box2" in told

    def checked() -> bool:
        """Agents of another process, which may come late on a busy machine."""
        told = made.command("check").stdout
        return told.count("GiB for engines") == 3 and "ok on box1" in told

    eventually(checked, within=150)


def test_a_model_whose_file_is_on_one_machine_starts_there(nodes: Nodes, gateway: Make, tmp_path: Path) -> None:
    """And is refused with what is missing if it is on none."""
    model = nodes.folder / "for-a-while.gguf"
    header_only(model)
    made = gateway(models={"a": {**anywhere(nodes), "target": {"path": str(model)}}}, max_loaded=1)
    assert made.chat("a").status_code == 200
    assert made.client.post("/admin/models/a/unload?wait=true", headers=made.admin).status_code == 200
    model.unlink()
    refused = made.chat("a")
    assert refused.status_code == 503 and "for-a-while.gguf" in refused.json()["error"]["message"]
    header_only(model)
    eventually(lambda: made.chat("a").status_code == 200)


def test_a_model_whose_node_is_lost_starts_elsewhere(nodes: Nodes, gateway: Make) -> None:
    """At the next request, with its node's memory given back. The agent dies, and the node comes back."""
    made = gateway(models={"a": entry(nodes, "box1", "box2")}, max_loaded=1)
    assert made.chat("a").status_code == 200
    lost = machines(made)["a"]
    agents = [one for one in nodes.processes if any("AgentActor" in word for word in one.cmdline())]
    assert agents
    engine = next(iter(made.client.get("/admin/engines", headers=made.admin).json()["data"]))
    holder = next(one for one in agents if engine["pid"] in [child.pid for child in one.children()])
    holder.kill()
    eventually(lambda: machines(made).get("a") is None)
    eventually(lambda: made.chat("a").status_code == 200, within=30)
    assert machines(made)["a"] in {"box1", "box2"}
    assert made.logged(f"node {lost} is lost")
