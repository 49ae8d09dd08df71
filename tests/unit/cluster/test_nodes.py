"""Which nodes take no engines, and how that is said."""

from __future__ import annotations

import pytest

from app.cluster.nodes import differences

OWN = {"llama-tandem": "0.2.0", "Python": "3.11.7", "Ray": "2.60.0", "authentication": "token"}


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"llama-tandem": "0.1.0"}, "it has llama-tandem 0.1.0 instead of 0.2.0; install the same version on both"),
        ({"Python": "3.12.1"}, "it has Python 3.12.1 instead of 3.11.7; "),
        ({"Ray": "2.59.0", "Python": "3.12.1"}, "Python 3.12.1 instead of 3.11.7 and Ray 2.59.0 instead of 2.60.0; "),
        ({"authentication": ""}, "its Ray accepts programs without a token; start it with `llama-tandem node start`"),
        ({"authentication": "disabled"}, "without a token"),
    ],
)
def test_a_node_that_differs_is_refused_by_name(node: dict[str, str], words: str) -> None:
    assert words in differences(OWN | node, OWN)


def test_a_node_with_the_same_versions_is_taken() -> None:
    """Whatever the gateway's own process checks, since it is no node."""
    assert differences(OWN, OWN | {"authentication": ""}) == ""
    older = {name: version for name, version in OWN.items() if name != "Ray"}
    assert (
        differences(older, OWN)
        == "it has Ray of an unknown version instead of 2.60.0; install the same version on both"
    )
