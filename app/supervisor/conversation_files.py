"""Saved slots in `state_dir/conversations/<model>/<plan>/<when>-<rank>-<tokens>-<bytes>.slot`, mode 0700. Blocking.

Files hold the texts of conversations. They are deleted with their model, with their plan, and after `keep`. The oldest
are deleted if all take more than `disk`, or more than a tenth of the free space.

Gateways may share `state_dir`. None deletes the files of another's models, except those older than the other's `keep`.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from platform import node

from app import logs
from app.config.conversations import ConversationLimits
from app.engine.launch import LaunchPlan
from app.supervisor.conversation_owner import Owner
from app.supervisor.orphans import marker
from app.supervisor.slot_format import SlotHead, tokens_in

log = logs.get_logger("engine")

FOLDER = "conversations"
_SHARE_OF_FREE = 10
_NAME = re.compile(r"(\d{13})-(\d{4})-(\d+)-(\d+)\.slot")
PART = ".part"
_VERDICT = "verdict.json"


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
        """The tokens that the slot had read, up to the first medium; empty if the file does not contain them."""
        return tokens_in(self.path)

    def read_head(self) -> SlotHead:
        return SlotHead.of(self.path)


def is_whole(slot: SavedSlot) -> bool:
    return slot.whole


def slot_name(when: int, rank: int, tokens: int, size: int) -> str:
    return f"{when:013d}-{rank:04d}-{tokens}-{size}.slot"


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
        later: list[SlotHead] = []
        for slot in self.slots():
            head = slot.read_head()
            if len(later) >= most or any(head.continued_by(other) for other in later):
                _remove(slot.path)
            else:
                later.append(head)

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
    """The saved slots of one running engine. `why_not` is the reason for saving none, if users cannot know it.

    `fingerprint` is the launch plan's before the start. `tasks` are the last tasks of its slots before it was READY.
    """

    alias: str
    folder: PlanFolder | None = None
    why_not: str = ""
    plan: LaunchPlan | None = None
    fingerprint: str = ""
    tasks: dict[int, int | None] = field(default_factory=dict)


def verdict_of(folder: PlanFolder) -> RestoreVerdict | None:
    return folder.verdict


@dataclass(frozen=True, slots=True)
class ConversationFiles:
    """The saved slots of one gateway's models. `config` is its settings file.

    A folder belongs to the gateway that has used it last. A folder without an owner belongs to each.
    """

    state_dir: Path
    config: Path | None = None
    # Of the gateway, even where another machine works on the files
    gateway: str = field(default_factory=marker)
    machine: str = field(default_factory=node)

    @property
    def root(self) -> Path:
        return self.state_dir / FOLDER

    def folder(self, alias: str, fingerprint: str, keep: float = ConversationLimits().keep) -> PlanFolder:
        """Creates the folder of this plan, and deletes those of the model's other plans. Raises OSError.

        Those of a running gateway with other settings stay, since its model of this name is another. `keep` is in
        seconds.
        """
        here = PlanFolder(self._of(alias) / fingerprint[:32])
        for other in self._of(alias).glob("*"):
            if other != here.path and (self._is_own(other) or _is_left(other)):
                shutil.rmtree(other, ignore_errors=True)
        here.make()
        here.remove_parts()
        Owner(str(self.config or ""), self.gateway, self.machine, keep).write(here.path)
        return here

    def forget(self, alias: str) -> None:
        """Deletes the files of a removed model."""
        self._delete(plan for plan in self._of(alias).glob("*") if self._is_own(plan))

    def forget_all_but(self, aliases: Sequence[str]) -> None:
        """Deletes the files of all models that are not in `aliases`."""
        known = {self._of(alias) for alias in aliases}
        self._delete(plan for plan in self._own() if plan.parent not in known)

    def remove_parts(self) -> None:
        """Deletes the files of saves that were interrupted by the end of their gateway."""
        for plan in self._plans():
            if self._is_own(plan) or _is_left(plan):
                PlanFolder(plan).remove_parts()

    def expire(self, limits: ConversationLimits, now: float) -> None:
        """Deletes files that are too old, and the oldest beyond the limit of bytes. If `off`, deletes all."""
        if not limits.on:
            self._delete(self._own())
            return
        total, room = 0, self.room(limits)
        for slot in sorted(_slots_of(self._own()), key=lambda slot: (-slot.when, slot.rank)):
            total += slot.size
            too_old = slot.when < (now - limits.keep) * 1000
            if too_old or total > room:
                total -= slot.size
                _remove(slot.path)
                why = "it is older than `keep`" if too_old else "no room is left for it"
                log.info("saved conversation deleted", tokens=slot.tokens, why=why)
        for plan in self._of_others():
            # Their gateways may never start again
            keep = (Owner.of(plan) or Owner()).keep
            for slot in _slots_in(plan):
                if slot.when < (now - keep) * 1000:
                    _remove(slot.path)

    def size(self) -> int:
        """Bytes of all saved slots."""
        return _size(self._own())

    def room(self, limits: ConversationLimits) -> float:
        """Bytes that all saved slots together may take now."""
        others = _size(self._of_others())
        try:
            free = shutil.disk_usage(self.root if self.root.exists() else self.root.parent).free
        except OSError:
            return 0
        return min(limits.disk, (free + self.size() + others) / _SHARE_OF_FREE - others)

    def _of(self, alias: str) -> Path:
        return self.root / _digest(alias)[:32]

    def _plans(self) -> list[Path]:
        return [path for path in self.root.glob("*/*") if path.is_dir()]

    def _is_own(self, plan: Path) -> bool:
        owner = Owner.of(plan)
        return owner is None or owner.config == str(self.config or "")

    def _own(self) -> list[Path]:
        return [plan for plan in self._plans() if self._is_own(plan)]

    def _of_others(self) -> list[Path]:
        return [plan for plan in self._plans() if not self._is_own(plan)]

    def _delete(self, plans: Iterable[Path]) -> None:
        for plan in list(plans):
            shutil.rmtree(plan, ignore_errors=True)
            for folder in (plan.parent, self.root):
                with suppress(OSError):  # it holds other plans, or other models
                    folder.rmdir()


def tidy(files: ConversationFiles, folder: PlanFolder, limits: ConversationLimits, now: float) -> int:
    """Deletes the rest of a save, and what is too old or too much; returns the bytes of all saved slots."""
    folder.remove_parts()
    files.expire(limits, now)
    return files.size()


def size_of_file(path: Path) -> int:
    """Bytes; 0 if there is no such file."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def rename_file(path: Path, name: str) -> None:
    """Raises OSError."""
    path.rename(path.with_name(name))


def remove_file(path: Path) -> None:
    """Raises OSError, but not for a file that is gone."""
    path.unlink(missing_ok=True)


def _is_left(plan: Path) -> bool:
    owner = Owner.of(plan)
    return owner is None or owner.gone


def _slots_of(plans: Iterable[Path]) -> Iterator[SavedSlot]:
    for plan in plans:
        yield from _slots_in(plan)


def _size(plans: Iterable[Path]) -> int:
    return sum(slot.size for slot in _slots_of(plans))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _slots_in(folder: Path) -> Iterator[SavedSlot]:
    for path in folder.glob("*.slot"):
        if (slot := SavedSlot.at(path)) is not None:
            yield slot


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
