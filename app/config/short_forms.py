"""Reads a model's files from one text, `models/tiny.gguf` or `ORG/REPO:QUANTIZATION`. Pure."""

from __future__ import annotations

import re
from typing import Any

REPO = r"^\w[\w.-]*/\w[\w.-]*$"
_HUB_NAME = re.compile(r"(?:hf:)?(?P<repo>\w[\w.-]*/\w[\w.-]*?)(?::(?P<quantization>\w[\w.-]*))?")
_HUB_ADDRESS = re.compile(
    r"(?:https?://)?(?:hf\.co|huggingface\.co)/(?P<repo>[\w.-]+/[\w.-]+)"
    r"(?:(?:/(?:resolve|blob)/[^/]+/(?P<file>[^?#]+))|:(?P<quantization>[\w.-]+))?.*"
)
# No repo's name begins with a dot or a tilde. A backslash is matched for a hint about Windows paths.
_PATH = re.compile(r"[./~$%]|[A-Za-z]:[\\/]|\\\\")


def files_of(text: str) -> dict[str, Any]:
    """Returns the mapping that the text stands for. Raises ValueError with a message for the user."""
    if match := _HUB_ADDRESS.fullmatch(text):
        repo, file, quantization = match.groups()
        right = f"{{repo: {repo}, include: {file}}}" if file else ":".join(filter(None, (repo, quantization)))
        raise ValueError(f"is an address; write {right}")
    if _PATH.match(text) or (text.lower().endswith(".gguf") and not text.startswith("hf:")):
        return {"path": text}
    if match := _HUB_NAME.fullmatch(text):
        return {key: value for key, value in match.groupdict().items() if value is not None}
    raise ValueError(
        "must be a mapping such as {path: models/tiny.gguf}, or text: a path that ends in .gguf, "
        f"or ORG/REPO:QUANTIZATION; not {text!r}"
    )


def as_mapping(value: Any) -> Any:
    """Applies `files_of` to a text. Returns other values, and invalid texts, unchanged."""
    try:
        return files_of(value) if isinstance(value, str) else value
    except ValueError:
        return value
