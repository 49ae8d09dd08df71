"""Saved slots in `state_dir/conversations/<model>/<plan>/<when>-<rank>-<tokens>-<bytes>.slot`, mode 0700. Blocking.

Files hold the texts of conversations. They are deleted with their model, with their plan, and after `keep`. The oldest
are deleted if all take more than `disk`, or more than a tenth of the free space.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app import logs
from app.config.conversations import ConversationLimits

log = logs.get_logger("engine")

FOLDER = "conversations"
_SHARE_OF_FREE = 10
_NAME = re.compile(r"(\d{13})-(\d{4})-(\d+)-(\d+)\.slot")
PART = ".part"
_VERDICT = "verdict.json"
# llama.cpp's `llama_state_seq_save_file`: magic, version, count, then the tokens (b11434). Since 2026 llama-server
# wraps them: -1, kind, count, tokens, then data of media.
_HEAD = struct.Struct("<3I")
_MAGIC = 0x67677371
_WRAPPED, _WRAPPER = 0xFFFFFFFF, 3
_MOST_TOKENS = 1 << 26


@dataclass(frozen=True, slots=True)
class SavedSlot:
    """One file. `when` is in milliseconds since the epoch. `rank` orders files of one moment: 0 is the latest used."""

    path: Path
    when: int
    rank: int
    tokens: int
    size: int

    @classmethod
    def at(cls, path: Path) -> SavedSlot | None:
        """Reads the file's name; None if it is no saved slot's."""
        match = _NAME.fullmatch(path.name)
        return cls(path, *map(int, match.groups())) if match else None

    @property
    def whole(self) -> bool:
        """Whether the file has the size that it was saved with."""
        try:
            return self.path.stat().st_size == self.size
        except OSError:
            return False

    def read_tokens(self) -> list[int]:
        """The tokens that the slot had read; empty if the file does not contain them."""
        return tokens_in(self.path)


def is_whole(slot: SavedSlot) -> bool:
    return slot.whole


def slot_name(when: int, rank: int, tokens: int, size: int) -> str:
    return f"{when:013d}-{rank:04d}-{tokens}-{size}.slot"


def tokens_in(path: Path) -> list[int]:
    """The tokens at the beginning of a slot's file; empty if there are none, or in an unknown format."""
    with suppress(OSError, struct.error), path.open("rb") as file:
        magic, _, count = _HEAD.unpack(file.read(_HEAD.size))
        if magic != _MAGIC or not 0 < count < _MOST_TOKENS:
            return []
        words = struct.unpack(f"<{count}I", file.read(4 * count))
        if words[0] == _WRAPPED:
            words = words[_WRAPPER : _WRAPPER + words[2]] if count > _WRAPPER else ()
        # A number above 31 bits stands for media
        return list(words) if all(word < 1 << 31 for word in words) else []
    return []


@dataclass(frozen=True, slots=True)
class RestoreVerdict:
    """Whether the engine uses restored slots of a plan, and the reason if it does not."""

    works: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class PlanFolder:
    """The files of one launch plan."""

    path: Path

    def make(self) -> None:
        """Creates the folder with mode 0700. Raises OSError."""
        for folder in (self.path.parent.parent, self.path.parent, self.path):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.stat().st_mode & 0o077:
                folder.chmod(0o700)

    def slots(self) -> list[SavedSlot]:
        """The saved slots, the most recent first."""
        return sorted(_slots_in(self.path), key=lambda slot: (-slot.when, slot.rank))

    def remove_parts(self) -> None:
        """Deletes the files of unfinished saves."""
        for path in self.path.glob(f"*{PART}"):
            _remove(path)

    def keep_only(self, most: int) -> None:
        """Deletes files beyond the `most` recent ones, and those whose conversation a later file continues."""
        later: list[list[int]] = []
        for at, slot in enumerate(self.slots()):
            tokens = slot.read_tokens()
            if at >= most or any(_continued_by(tokens, other) for other in later):
                _remove(slot.path)
            else:
                later.append(tokens)

    @property
    def verdict(self) -> RestoreVerdict | None:
        """The stored verdict; None before the first restore."""
        try:
            words = json.loads((self.path / _VERDICT).read_text())
            return RestoreVerdict(bool(words["works"]), str(words["reason"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def judge(self, verdict: RestoreVerdict) -> None:
        """Stores the verdict. If restores do not work, deletes all slots of this plan."""
        if not verdict.works:
            for slot in self.slots():
                _remove(slot.path)
        with suppress(OSError):
            (self.path / _VERDICT).write_text(json.dumps({"works": verdict.works, "reason": verdict.reason}))


@dataclass(slots=True)
class KeptSlots:
    """The saved slots of one running engine. `why_not` is the reason for saving none, if users cannot know it."""

    alias: str
    folder: PlanFolder | None = None
    why_not: str = ""


def verdict_of(folder: PlanFolder) -> RestoreVerdict | None:
    return folder.verdict


@dataclass(frozen=True, slots=True)
class ConversationFiles:
    """The saved slots of all models, below one folder."""

    state_dir: Path

    @property
    def root(self) -> Path:
        return self.state_dir / FOLDER

    def folder(self, alias: str, fingerprint: str) -> PlanFolder:
        """Creates the folder of this plan, and deletes those of the model's other plans. Raises OSError."""
        here = PlanFolder(self._of(alias) / fingerprint[:32])
        for other in self._of(alias).glob("*"):
            if other != here.path:
                shutil.rmtree(other, ignore_errors=True)
        here.make()
        here.remove_parts()
        return here

    def forget(self, alias: str) -> None:
        """Deletes the files of a removed model."""
        shutil.rmtree(self._of(alias), ignore_errors=True)

    def forget_all_but(self, aliases: Sequence[str]) -> None:
        """Deletes the files of all models that are not in `aliases`."""
        known = {self._of(alias) for alias in aliases}
        for path in self.root.glob("*"):
            if path not in known:
                shutil.rmtree(path, ignore_errors=True)

    def expire(self, limits: ConversationLimits, now: float) -> None:
        """Deletes files that are too old, and the oldest beyond the limit of bytes. If `off`, deletes all."""
        if not limits.on:
            shutil.rmtree(self.root, ignore_errors=True)
            return
        total, room = 0, self.room(limits)
        for slot in sorted(self._all(), key=lambda slot: (-slot.when, slot.rank)):
            total += slot.size
            too_old = slot.when < (now - limits.keep) * 1000
            if too_old or total > room:
                total -= slot.size
                _remove(slot.path)
                why = "it is older than `keep`" if too_old else "no room is left for it"
                log.info("saved conversation deleted", tokens=slot.tokens, why=why)

    def size(self) -> int:
        """Bytes of all saved slots."""
        return sum(slot.size for slot in self._all())

    def room(self, limits: ConversationLimits) -> float:
        """Bytes that all saved slots together may take now."""
        try:
            free = shutil.disk_usage(self.root).free + self.size()
        except OSError:
            return 0
        return min(limits.disk, free / _SHARE_OF_FREE)

    def _of(self, alias: str) -> Path:
        return self.root / hashlib.sha256(alias.encode("utf-8", "surrogateescape")).hexdigest()[:32]

    def _all(self) -> Iterator[SavedSlot]:
        for folder in self.root.glob("*/*"):
            yield from _slots_in(folder)


def tidy(files: ConversationFiles, folder: PlanFolder, limits: ConversationLimits, now: float) -> int:
    """Deletes the rest of a save, and what is too old or too much; returns the bytes of all saved slots."""
    folder.remove_parts()
    files.expire(limits, now)
    return files.size()


def size_of_file(path: Path) -> int:
    """Raises OSError."""
    return path.stat().st_size


def rename_file(path: Path, name: str) -> None:
    """Raises OSError."""
    path.rename(path.with_name(name))


def remove_file(path: Path) -> None:
    """Raises OSError, but not for a file that is gone."""
    path.unlink(missing_ok=True)


def _slots_in(folder: Path) -> Iterator[SavedSlot]:
    for path in folder.glob("*.slot"):
        if (slot := SavedSlot.at(path)) is not None:
            yield slot


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _continued_by(tokens: Sequence[int], later: Sequence[int]) -> bool:
    """Whether `later` begins with nearly all of `tokens`. Templates may drop a part, such as reasoning."""
    if not tokens:
        return False
    same = next((at for at, (one, other) in enumerate(zip(tokens, later, strict=False)) if one != other), None)
    same = min(len(tokens), len(later)) if same is None else same
    return same >= 0.9 * len(tokens)
