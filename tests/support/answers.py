"""What two answers to the same request may differ in."""

import copy
from typing import Any


def comparable(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer without ids and times; that there is an id, and which timings there are, stays."""
    answer = copy.deepcopy(answer)
    for name in ("id", "created"):
        answer[name] = name in answer
    for name in answer.get("timings", ()):
        if name.endswith(("_ms", "_per_second")):
            answer["timings"][name] = "a time"
    for choice in answer["choices"]:
        for call in choice.get("message", {}).get("tool_calls", ()):
            call["id"] = bool(call["id"])
    return answer
