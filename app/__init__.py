"""llama-tandem: an OpenAI-compatible gateway in front of llama.cpp's llama-server."""


def version() -> str:
    """The installed version; a tree that was never installed has none."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("llama-tandem")
    except PackageNotFoundError:
        return "0+unknown"
