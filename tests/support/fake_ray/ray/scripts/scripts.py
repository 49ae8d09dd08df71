"""`ray start` without Ray: says what Ray says, and has a child in a session of its own, as workers are.

FAKE_RAY chooses: `up`, `mismatch` (another version), `token` (a wrong one), or `ends` (once, after its start).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

MISMATCH = """\
RuntimeError: Version mismatch: The cluster was started with:
    Ray: 2.61.0
    Python: 3.11.7
This process on node 10.0.0.11 was started with:
    Ray: 2.60.0
    Python: 3.11.7
"""


def main() -> None:
    behaviour = os.environ["FAKE_RAY"]
    if os.environ["RAY_AUTH_MODE"] != "token" or not os.environ["RAY_AUTH_TOKEN"]:
        sys.exit("no token")
    if behaviour in ("mismatch", "token"):
        print(MISMATCH if behaviour == "mismatch" else "Unauthenticated: InvalidAuthToken", flush=True)
        sys.exit(1)
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    print("2026-11-27 19:13:46,000\tSUCC scripts.py:1085 -- Ray runtime started.", flush=True)
    mark = Path(os.environ["TANDEM_STATE_DIR"], "ended")
    if behaviour == "ends" and not mark.exists():
        mark.touch()
        print("2026-11-27 19:13:59,704\tERR scripts.py:87 -- raylet [exit code=-9]", flush=True)
        sys.exit(1)
    time.sleep(1000)


if __name__ == "__main__":
    main()
