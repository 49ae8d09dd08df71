"""The gateway that a folder of saved slots belongs to, as a file in the folder.

Gateways with different settings files may share `state_dir`. None deletes the conversations of another's models.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from platform import node

from app.config.conversations import ConversationLimits
from app.supervisor.orphans import orphaned

_FILE = "owner.json"


@dataclass(frozen=True, slots=True)
class Owner:
    """`config` is the settings file, `gateway` the process's marker on `machine`, `keep` its setting in seconds."""

    config: str = ""
    gateway: str = ""
    machine: str = field(default_factory=node)
    keep: float = ConversationLimits().keep

    @classmethod
    def of(cls, folder: Path) -> Owner | None:
        """The owner of a plan's folder; None without a readable file."""
        try:
            words = json.loads((folder / _FILE).read_text())
            config, gateway, machine = (str(words[name]) for name in ("config", "gateway", "machine"))
            return cls(config, gateway, machine, float(words["keep"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @property
    def gone(self) -> bool:
        """Whether its process has ended; False if it runs on another machine, as far as known here."""
        return self.machine == node() and orphaned(self.gateway)

    def write(self, folder: Path) -> None:
        """Makes `folder` this gateway's. Without a file it is any gateway's."""
        with suppress(OSError):
            (folder / _FILE).write_text(json.dumps(asdict(self)))
