#!/usr/bin/env -S python3 -S -E
"""An executable that plays llama-server, with faults on order; `--help` lists them under "fake params".

Standard library only, and without `site`: it listens about 40 ms after exec, where the real binary needs 10.
"""

from fake_engine.main import main

if __name__ == "__main__":
    main()
