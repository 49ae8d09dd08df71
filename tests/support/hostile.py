"""Bodies that no client sends by accident."""

from __future__ import annotations

import json

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# Deterministic, and as many as a test run has time for.
FEW = settings(max_examples=120, derandomize=True, suppress_health_check=list(HealthCheck))
FIELDS = (
    *("model", "stream", "messages", "prompt", "input", "max_tokens", "options", "tools", "format", "n", "a", "é"),
    *("stop", "logprobs", "stream_options", "timings_per_token", "documents"),
)


def values() -> st.SearchStrategy[str]:
    """JSON, or what takes itself for it."""
    depth = st.sampled_from([10, 500, 1_000, 100_000])
    brackets = st.sampled_from(["[]", "{}", '{"a":}'])
    return st.one_of(
        st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5).map(
            json.dumps
        ),
        st.builds(lambda pair, n: pair[:-1] * n + "1" + pair[-1] * n, brackets, depth),
        st.sampled_from(["1e999", "-1e999", "9" * 5000, "-0", "1." + "0" * 400, "0x1", "01", "NaN", "Infinity", "1e"]),
        st.sampled_from([r'"\ud800"', r'"\udc00\ud800"', r'"\ud83d\ude00"', r'"\u0000"', '"\x01"', r'"\x"', '"']),
    )


@st.composite
def bodies(draw: st.DrawFn, begin: str = '{"model":"m"') -> bytes:
    """Of fields that nobody expects behind those that each begins with."""
    fields = draw(st.lists(st.tuples(st.sampled_from(FIELDS), values()), max_size=5))
    tail = draw(st.sampled_from(["}", "}", "}", "", "}}", ",}", "}\x00", "} \n"]))
    body = begin + "".join(f",{json.dumps(name)}:{value}" for name, value in fields) + tail
    return body.encode("utf-8", "surrogatepass")
