"""The measurements of one model on one machine, as they are sent to it: its own ledger has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from app.records.ledger import ColdStart, Measurement, TuningRecord

# Measurements of an alias that are sent, the latest ones
_MOST = 2_000


class ModeRecords(Protocol):
    """What the choice of `auto` goes by: a ledger, or a part of one."""

    def starts(self, key: str) -> list[ColdStart]: ...

    def measurements(self, alias: str | None = None) -> list[Measurement]: ...

    def tuned(self, key: str) -> TuningRecord | None: ...


@dataclass(frozen=True, slots=True)
class MeasuredModes:
    """The records of one alias under one measurement key."""

    cold_starts: tuple[ColdStart, ...] = ()
    rows: tuple[Measurement, ...] = ()
    tuning: TuningRecord | None = None

    @classmethod
    def of(cls, records: ModeRecords, alias: str, key: str) -> MeasuredModes:
        """Blocks."""
        rows = tuple(row for row in records.measurements(alias) if row.key == key)
        return cls(tuple(records.starts(key)), rows[-_MOST:], records.tuned(key))

    def starts(self, key: str) -> list[ColdStart]:
        return list(self.cold_starts)

    def measurements(self, alias: str | None = None) -> list[Measurement]:
        return list(self.rows)

    def tuned(self, key: str) -> TuningRecord | None:
        return self.tuning
