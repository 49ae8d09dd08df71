"""What a load does without a word: it reads, computes, or fills memory."""

from __future__ import annotations

import time


def busy(work: str, until: float) -> None:
    """`work` is read, compute or fill; ends at `until` of the monotonic clock."""
    filled: list[bytearray] = []
    with open("/dev/zero", "rb", buffering=0) as source:  # noqa: PTH123 - pathlib's import would cost a tenth of the start
        while time.monotonic() < until:
            if work == "read":
                source.read(1 << 20)
            elif work == "fill":
                filled.append(bytearray(b"\1") * (1 << 20))
            else:
                end = time.monotonic() + 0.1
                while time.monotonic() < end:
                    pass
            time.sleep(0 if work == "compute" else 0.1)
