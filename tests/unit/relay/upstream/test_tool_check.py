"""Tools asked of models whose chat template does not know them."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import InvalidBodyError
from app.relay.amendments.tools import tool_use
from app.relay.request.body import routing
from app.relay.upstream.tool_check import ToolCheck
from app.supervisor.engine_facts import EngineFacts, LoadedFiles


def facts(tools: bool | None) -> EngineFacts:
    return EngineFacts(LoadedFiles((), None), tools=tools)


class Named:
    """As much of a ModelRef as is looked at."""

    name = "m"


REF: Any = Named()


def test_a_tool_that_has_to_be_called_is_refused_with_the_reason() -> None:
    with pytest.raises(InvalidBodyError, match="chat template of 'm'") as raised:
        ToolCheck().look(REF, facts(False), must=True)
    assert raised.value.param == "tool_choice"


def test_a_tool_that_may_be_called_is_warned_of_once_until_it_is_known() -> None:
    check = ToolCheck()
    assert check.warning("m") is None
    check.look(REF, facts(False), must=False)
    check.look(REF, facts(False), must=False)
    assert "'m'" in (check.warning("m") or "") and check.warning("other") is None
    check.look(REF, facts(True), must=False)
    assert check.warning("m") is None


@pytest.mark.parametrize("told", [None, facts(None), facts(True)])
def test_what_is_not_told_is_no_reason(told: EngineFacts | None) -> None:
    """Builds of 2025 write tools into any prompt."""
    ToolCheck().look(REF, told, must=True)


@pytest.mark.parametrize(
    ("body", "used"),
    [
        (b"{}", None),
        (b'{"tools": null}', None),
        (b'{"tools": []}', None),
        (b'{"tools": [1], "tool_choice": "none"}', None),
        (b'{"tools": [1]}', False),
        (b'{"tools": [1], "tool_choice": "auto"}', False),
        (b'{"tools": [1], "tool_choice": null}', False),
        (b'{"tools": [1], "tool_choice": "required"}', True),
        (b'{"tools": [1], "tool_choice": {"type": "function"}}', True),
    ],
)
def test_whether_a_tool_has_to_be_called(body: bytes, used: bool | None) -> None:
    assert tool_use(routing(body)) is used
