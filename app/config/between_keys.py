"""Checks keys of one entry against each other, each of which is valid by itself. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

from app.config.speculation import PLAIN, wants_draft_model

if TYPE_CHECKING:
    from app.config.model_entry import LocalEntry


def problems(entry: LocalEntry, wrong: Collection[str] = ()) -> Iterator[str]:
    """Yields a message per conflict, except those that involve a `wrong` key."""
    for keys, check in _CHECKS:
        if keys.isdisjoint(wrong) and (problem := check(entry)):
            yield problem


def _no_draft(entry: LocalEntry) -> str:
    if entry.draft is None and wants_draft_model(entry.chain or PLAIN):
        return "speculation needs a draft model: name its files under draft"
    return ""


def _too_long_a_draft(entry: LocalEntry) -> str:
    problem = entry.too_long(entry.chain or PLAIN)
    return f"speculation: {problem}" if problem else ""


def _nothing_to_pull(entry: LocalEntry) -> str:
    if entry.pull == "on_demand" and not any(part.repo for part in (entry.target, entry.draft) if part):
        return "pull: on_demand takes files of a repo; name one under target or draft"
    return ""


def _pulled_to_a_node(entry: LocalEntry) -> str:
    if entry.nodes and entry.pull == "on_demand":
        return "pull: on_demand brings files to this machine only; put them on the nodes, and leave pull or nodes out"
    return ""


def _no_room_in_a_slot(entry: LocalEntry) -> str:
    if entry.ctx_size and entry.ctx_size < entry.parallel:
        return f"ctx_size {entry.ctx_size} is shared by parallel {entry.parallel} slots: too small"
    return ""


_CHECKS: tuple[tuple[frozenset[str], Callable[[LocalEntry], str]], ...] = (
    (frozenset(("speculation", "draft")), _no_draft),
    (frozenset(("speculation", "draft", "parallel", "args")), _too_long_a_draft),
    (frozenset(("pull", "target", "draft")), _nothing_to_pull),
    (frozenset(("pull", "nodes")), _pulled_to_a_node),
    (frozenset(("ctx_size", "parallel")), _no_room_in_a_slot),
)
