"""Converts a request's images, audio and files to parts of a chat message. Pure.

URLs stay URLs: the relay fetches them if `allow_remote_media` lists their host.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Any

from app.api.translated.fields import Fields

Part = dict[str, Any]
_PDF = b"%PDF-"


def text_part(text: str) -> Part:
    return {"type": "text", "text": text}


def image_part(url: str, detail: str | None = None) -> Part:
    return {"type": "image_url", "image_url": {"url": url} | ({"detail": detail} if detail else {})}


def audio_part(data: str, kind: str) -> Part:
    return {"type": "input_audio", "input_audio": {"data": data, "format": kind}}


def content_of(parts: list[Part], between: str = "\n") -> str | list[Part]:
    """Returns plain text if there are no other parts, since old servers take nothing else."""
    if all(part["type"] == "text" for part in parts):
        return between.join(part["text"] for part in parts)
    return parts


def file_part(holder: Fields, name: str, data: str, kind: str, title: str | None) -> Part:
    """Converts a base64 file: text to text, images and audio to media. Raises InvalidBodyError for other files.

    Its content decides what is text, since the types of source code are many (`.ts` is `video/mp2t` to some clients).
    """
    kind = kind.partition(";")[0].strip().lower()
    if kind.startswith("image/"):
        return image_part(f"data:{kind};base64,{data}")
    if kind.startswith("audio/"):
        return audio_part(data, {"mpeg": "mp3", "x-wav": "wav"}.get(kind[6:], kind[6:]))
    try:
        content = b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise holder.wrong(name, "must be base64") from None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text or kind == "application/pdf" or content.startswith(_PDF):
        what = kind or "a binary file"
        raise holder.wrong(name, f"cannot be read: send {what} as text, or as images of its pages")
    return text_part(titled(text, title))


def titled(text: str, title: str | None) -> str:
    return f"{title}\n\n{text}" if title else text


def split_data_url(url: str) -> tuple[str, str] | None:
    """Returns media type and base64 of a data URL, or None for any other text."""
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        return None
    return head.removeprefix("data:").removesuffix(";base64"), data
