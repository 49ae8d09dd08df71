"""`python -m benchmarks.hub FOLDER`: the tests' fake Hub with the files below FOLDER, in a process of its own.

Prints the Hub's address, then the address of each file's bytes, one a line, and serves until its stdin ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.fake_hub import FakeHub
from tests.support.fake_hub.repos import File

REPO = "bench/set-GGUF"


def main() -> int:
    folder = Path(sys.argv[1])
    files = {path.name: File(path) for path in sorted(folder.glob("*.gguf"))}
    with FakeHub() as hub:
        repo = hub.add(REPO, files)
        for file in files.values():
            _ = file.sha256  # now, so that nobody waits for it later
        print(hub.url, *(f"{hub.bytes_url}/{REPO}/{repo.head}/{path}" for path in files), sep="\n", flush=True)
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
