"""The source of a gateway's settings, read at its start and at each reload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.config.settings import Settings, load_settings, settings_file
from app.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SettingsSource:
    """The file of `--config`, or None for the default, and other options of the command line by field name."""

    config: Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def read(self, *, unset_keys: bool = False) -> Settings:
        """Returns the current settings, with at least one model. `unset_keys` is as for `load_settings`.

        Raises ConfigError.
        """
        settings = load_settings(self.config, unset_keys=unset_keys, **self.overrides)
        if not settings.models:
            file = settings_file(self.config)
            there = file.is_file()
            missing = f"{file.name}: no models are configured" if there else f"there is no {file.name} in {file.parent}"
            raise ConfigError([f'{missing}; run "llama-tandem init", or "llama-tandem run NAME"'])
        return settings

    def files(self) -> tuple[Path, ...]:
        """Returns the settings files, whether they exist or not. Raises ConfigError."""
        return settings_file(self.config), Path.cwd() / ".env"
