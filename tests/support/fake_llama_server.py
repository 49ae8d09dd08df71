#!/usr/bin/env -S python3 -S -E
"""An executable that plays llama-server, with faults on order; `--help` lists them under "fake params".

Standard library only, and without `site`: it listens about 40 ms after exec, where the real binary needs 10.
"""

from fake_engine.main import main  # type: ignore[import-not-found]  # the folder of a script is on its path

if __name__ == "__main__":
    main()
