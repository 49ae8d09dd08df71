"""`python -P -m llama_tandem.sidecar SOCKET` is the process of the gateway that speaks Ray, with our own `app`.

The gateway starts it in an empty folder, since Ray puts the folder of a driver before all others on its nodes.
"""

import sys

from llama_tandem import import_own_app


def main() -> None:
    """Runs until the gateway closes the socket."""
    import_own_app()
    from app.cluster.sidecar import run

    run(sys.argv[1])


if __name__ == "__main__":
    main()
