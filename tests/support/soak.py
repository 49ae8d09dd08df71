"""Random input for as long as a soak lasts; a failure names its seed."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

SECONDS = float(os.environ.get("SOAK_SECONDS", "120"))


def seed() -> int:
    """Of a test that is one long round; pytest shows it where that fails."""
    number = int(os.environ.get("SOAK_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"SOAK_SEED={number}")
    return number


def rounds() -> Iterator[random.Random]:
    """A generator of numbers for each round, until SOAK_SECONDS have passed; SOAK_SEED repeats one round."""
    if seed := os.environ.get("SOAK_SEED"):
        yield random.Random(int(seed))
        return
    end = time.monotonic() + SECONDS
    first = random.SystemRandom().randrange(1 << 32)
    number = 0
    while time.monotonic() < end:
        # pytest shows it where the round fails
        print(f"SOAK_SEED={first + number}")
        yield random.Random(first + number)
        number += 1
    print(f"{number} rounds")
