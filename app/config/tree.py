"""Checks a YAML file's nodes before merge keys are resolved: duplicate keys, and secrets. Pure."""

from __future__ import annotations

import re

from yaml.constructor import ConstructorError, SafeConstructor
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

_MERGE = "tag:yaml.org,2002:merge"
# Keys of an entry or its `env` whose values are never shown
_SECRET_KEY = re.compile(r"(?:^|[_-])(?:keys?|token|secret|password)$", re.IGNORECASE)
_SECRET_FLAGS = ("--api-key", "-hft", "--hf-token")


class Tree:
    """One walk over all nodes. Raises ConstructorError if an anchor contains itself.

    `problems` are invalid keys with messages. `secrets` are the values that must not be shown.
    """

    def __init__(self, root: Node | None) -> None:
        self.problems: list[tuple[Node, str]] = []
        self.secrets: tuple[Node, ...] = ()
        self._constructor = SafeConstructor()
        self._seen: set[int] = set()
        self._open: set[int] = set()
        if isinstance(root, MappingNode):
            self._check_names(root)
        if root is not None:
            self._walk(root, "")

    def _check_names(self, root: MappingNode) -> None:
        for key, _ in root.value:
            if key.tag != _MERGE and not isinstance(self._name(key), str):
                self.problems.append((key, f"{key.value}: a setting's name is a word"))

    def _walk(self, node: Node, path: str) -> None:
        if id(node) in self._open:
            raise ConstructorError(None, None, "an anchor holds itself", node.start_mark)
        if id(node) in self._seen or isinstance(node, ScalarNode):
            return
        self._seen.add(id(node))
        self._open.add(id(node))
        if isinstance(node, MappingNode):
            self._find_twins(node, path)
            for key, value in node.value:
                if isinstance(key, ScalarNode) and _SECRET_KEY.search(key.value):
                    self._hide(value)
                self._walk(value, f"{path}{key.value}.")
        elif isinstance(node, SequenceNode):
            for before, item in zip([None, *node.value], node.value, strict=False):
                if isinstance(before, ScalarNode) and before.value in _SECRET_FLAGS:
                    self._hide(item)
                self._walk(item, path)
        self._open.remove(id(node))

    def _find_twins(self, node: MappingNode, path: str) -> None:
        first: dict[object, Node] = {}
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                continue
            name = "<<" if key.tag == _MERGE else self._name(key)
            before = first.setdefault(name, key)
            if before is not key:
                where = f"{path.rstrip('.')}: " if path else ""
                hint = "; write one, with a list: `<<: [*a, *b]`" if name == "<<" else ""
                line = before.start_mark.line + 1
                self.problems.append(
                    (key, f"{where}the key '{key.value}' is written twice, first in line {line}{hint}")
                )

    def _name(self, key: Node) -> object:
        try:
            name: object = self._constructor.construct_object(key, deep=True)
        except (ConstructorError, ValueError):  # reported when the value is constructed
            return key.value
        return name

    def _hide(self, value: Node) -> None:
        if not (isinstance(value, ScalarNode) and value.value.startswith("env:")):
            self.secrets = (*self.secrets, value)


def resolve_merges(node: Node | None, done: set[int] | None = None) -> None:
    """Replaces merge keys by their content. Written keys win, then the first item of a list.

    PyYAML does it during construction, and its version decides which item wins. Raises ConstructorError.
    """
    done = set() if done is None else done
    if node is None or isinstance(node, ScalarNode) or id(node) in done:
        return
    done.add(id(node))
    for inner in node.value:
        for part in inner if isinstance(inner, tuple) else (inner,):
            resolve_merges(part, done)
    if isinstance(node, MappingNode):
        own = [pair for pair in node.value if pair[0].tag != _MERGE]
        merged: dict[object, tuple[Node, Node]] = {}
        for _, value in (pair for pair in node.value if pair[0].tag == _MERGE):
            for source in value.value if isinstance(value, SequenceNode) else [value]:
                if not isinstance(source, MappingNode):
                    raise ConstructorError(None, None, "no mapping for merging", source.start_mark)
                for pair in source.value:
                    merged.setdefault(_identity(pair[0]), pair)
        written = {_identity(key) for key, _ in own}
        node.value = [pair for identity, pair in merged.items() if identity not in written] + own


def _identity(key: Node) -> object:
    return (key.tag, key.value) if isinstance(key, ScalarNode) else id(key)


def child(node: Node | None, key: int | str) -> tuple[Node, Node] | None:
    """Returns key and value of a mapping, or twice the item of a list. Merge keys must be resolved."""
    if isinstance(node, MappingNode):
        # Written keys follow merged ones
        return next((pair for pair in reversed(node.value) if pair[0].value == str(key)), None)
    if isinstance(node, SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key], node.value[key]
    return None


def is_block(node: Node) -> bool:
    """Tells whether the node uses indentation over several lines."""
    return isinstance(node, MappingNode | SequenceNode) and not node.flow_style
