"""The head of a saved slot's file, as llama-server writes it: the tokens of the conversation."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# llama.cpp's `llama_state_seq_save_file`: magic, version, count, then the tokens (b11434). Since 2026 llama-server
# wraps them: -1, kind, count, tokens, then the number of media, and their places and digests.
_HEAD = struct.Struct("<3I")
_MAGIC = 0x67677371
_WRAPPED, _WRAPPER = 0xFFFFFFFF, 3
_MOST_TOKENS = 1 << 26
# A number above 31 bits stands for a part of a medium
_MEDIUM = 1 << 31


@dataclass(frozen=True, slots=True)
class SlotHead:
    """`tokens` are those of the whole conversation, `media` its media's places and digests, in order."""

    tokens: Sequence[int] = ()
    media: Sequence[int] = ()

    @classmethod
    def of(cls, path: Path) -> SlotHead:
        """Reads a file; empty if it has no tokens, or an unknown format."""
        with suppress(OSError, struct.error), path.open("rb") as file:
            magic, _, count = _HEAD.unpack(file.read(_HEAD.size))
            if magic != _MAGIC or not 0 < count < _MOST_TOKENS:
                return cls()
            words = struct.unpack(f"<{count}I", file.read(4 * count))
            if words[0] != _WRAPPED:
                return cls(words)
            if count > _WRAPPER:
                end = _WRAPPER + words[2]
                return cls(words[_WRAPPER:end], words[end + 1 :])
        return cls()

    @property
    def has_media(self) -> bool:
        return any(token >= _MEDIUM for token in self.tokens)

    @property
    def text(self) -> list[int]:
        """The tokens before the first medium."""
        end = next((at for at, token in enumerate(self.tokens) if token >= _MEDIUM), len(self.tokens))
        return list(self.tokens[:end])

    def continued_by(self, later: SlotHead) -> bool:
        """Whether `later` begins with nearly all of it. Templates may drop a part, such as reasoning."""
        if not self.tokens or self.media != later.media[: len(self.media)]:
            return False
        pairs = enumerate(zip(self.tokens, later.tokens, strict=False))
        end = min(len(self.tokens), len(later.tokens))
        same = next((at for at, (one, other) in pairs if one != other), end)
        return same >= 0.9 * len(self.tokens)


def tokens_in(path: Path) -> list[int]:
    """The tokens at the beginning of a slot's file, up to the first medium."""
    return SlotHead.of(path).text
