"""Where the settings of a gateway are read from, at its start and again at each reload."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.config.settings import Settings, load_settings, settings_file
from app.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SettingsSource:
    """The file that `--config` names, None for the usual one, and what else the command line says, by field name."""

    config: Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def read(self) -> Settings:
        """The settings as they are written now, with a model at least; raises ConfigError."""
        settings = load_settings(self.config, **self.overrides)
        if not settings.models:
            name = settings_file(self.config).name
            first = "`llama-tandem init` writes a file to start from, `llama-tandem run NAME` needs none"
            raise ConfigError([f"{name}: no models are configured; {first}"])
        return settings

    def files(self) -> tuple[Path, ...]:
        """The files that settings stand in, whether they are there or not; raises ConfigError."""
        return settings_file(self.config), Path.cwd() / ".env"
