"""Merges the sources of the settings and finds each value's: command line, environment, `.env` or `tandem.yaml`."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from app.config.defaults import errors_in, with_defaults
from app.config.document import Document, Problem, read_document
from app.config.files import FILE_NAME, PREFIX, find_file, read_dotenv
from app.config.messages import in_words, unknown
from app.config.placed_error import THE_KEY, Keys, PlacedError

# Settings that a variable holds as JSON
_JSON = {"models": '{"tiny": {"target": {"path": "models/tiny.gguf"}}}', "defaults": '{"ctx_size": 8192}'}
# Tags of the union of entries in pydantic's places. No file has them.
_TAGS = ("local", "attached")


class Sources:
    """All sources in their current state, for the settings `model`. Raises ConfigError for an unreadable file.

    `settings` is the merged content, the nearer source over the farther. `problems` are mistakes in its form.
    """

    def __init__(self, config: Path | None, overrides: Mapping[str, Any], model: type[BaseModel]) -> None:
        self._model = model
        self.overrides = dict(overrides)
        self.environment: dict[str, str] = {**read_dotenv(Path(".env")), **os.environ}
        self.file = find_file(config, self.environment)
        self._document = read_document(self.file) if self.file else Document(Path(FILE_NAME), {})
        self.problems: list[Problem] = [*self._document.problems]
        self._variables = self._from_environment(model.model_fields)
        self.settings = _over(_over(self._document.settings, self._variables), self.overrides)
        defaults = self.settings.get("defaults")
        self._defaults: dict[str, Any] = dict(defaults) if isinstance(defaults, dict) else {}
        for error in list(errors_in(self._defaults)):
            self.problems += self.wrong(error)
            # Reported once, not again for each entry
            self._defaults.pop(str(error["loc"][1]), None)

    def _from_environment(self, known: Collection[str]) -> dict[str, Any]:
        variables = {f"{PREFIX}{field.upper()}": field for field in known}
        values: dict[str, Any] = {}
        for name, value in self.environment.items():
            if not name.startswith(PREFIX) or name == f"{PREFIX}CONFIG":
                continue
            if (field := variables.get(name)) is None:
                self._add(f"{self._origin(name)}: {name}: no such setting{unknown(name, sorted(variables))}")
            elif value:  # compose passes unset variables as empty ones
                try:
                    values[field] = json.loads(value) if field in _JSON else value
                except (ValueError, RecursionError):
                    self._add(f"{self._origin(name)}: {name}: must be JSON, such as {_JSON[field]}")
        return values

    def _add(self, text: str) -> None:
        self.problems.append(Problem(None, text))

    def _origin(self, variable: str) -> str:
        return "environment" if variable in os.environ else ".env"

    def entries(self) -> Iterator[tuple[str, dict[str, Any], tuple[str, ...]]]:
        """Yields name, entry merged with `defaults`, and the keys from there."""
        models = self.settings.get("models")
        for name, entry in models.items() if isinstance(models, dict) else ():
            if isinstance(entry, dict) and isinstance(name, str):
                yield name, *with_defaults(entry, self._defaults)

    def wrong(self, error: Mapping[str, Any]) -> list[Problem]:
        """Returns the problems in one of pydantic's errors on the settings."""
        if isinstance(cause := error.get("ctx", {}).get("error"), PlacedError):
            return [self.problem((*error["loc"], *keys), text) for keys, text in cause.problems]
        text, keys = in_words(error, self._model), error["loc"]
        if text.startswith("has both"):  # about the entry, whose name is the subject
            return [self.problem(keys[:2], text, of_key=True, joint=" ")]
        return [self.problem(keys, text, of_key=error["type"] == "extra_forbidden")]

    def problem(self, keys: Keys, text: str, *, of_key: bool = False, joint: str = ": ") -> Problem:
        """Returns the problem at these keys, with the source that holds them."""
        # An invalid key is reported under its own name
        if keys[-1:] == (THE_KEY,):
            keys, of_key = keys[:-1], True
        keys = tuple(key for at, key in enumerate(keys) if not (at == 2 and key in _TAGS))
        field = str(keys[0]) if keys else ""
        # The place shows which item of a list is wrong
        words = keys[:-1] if len(keys) > 2 and isinstance(keys[-1], int) else keys
        path = ".".join(map(str, words))
        if field in self.overrides:
            return Problem(None, f"--{field.replace('_', '-')}: {text}")
        if self.by_variable(keys):
            variable = f"{PREFIX}{field.upper()}"
            return Problem(None, f"{self._origin(variable)}: {variable}{path.removeprefix(field)}{joint}{text}")
        text, place = f"{path or 'settings'}{joint}{text}", self._document.place(keys, of_key=of_key)
        return Problem(place, text if place is not None else f"{self._document.path}: {text}")

    def by_variable(self, keys: Keys) -> bool:
        """Tells whether a variable holds the value, not the file."""
        if not keys or keys[0] not in self._variables:
            return False
        value = self._variables[keys[0]]
        # Entries of the file and of the variable make one catalog
        return len(keys) < 2 or not isinstance(value, dict) or keys[1] in value or not self._document.has(keys[:2])

    def shown(self, problems: Collection[Problem]) -> list[str]:
        """Returns problems with their places: first those outside the file, then in the file's order."""
        in_order = sorted(dict.fromkeys(problems), key=lambda problem: problem.place or (0, 0))
        return [self._document.shown(problem) for problem in in_order]

    def where(self, keys: Keys) -> str:
        """Returns the place of a value: `tandem.yaml:3`, or its variable."""
        if self.by_variable(keys):
            return f"{PREFIX}{str(keys[0]).upper()}"
        place = self._document.place(keys, of_key=True)
        return f"{self._document.path.name}:{place.line}" if place else self._document.path.name


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Merges mappings by key. Otherwise `above` wins."""
    both = {
        key: _over(value, above[key])
        for key, value in below.items()
        if key in above and isinstance(value, dict) and isinstance(above[key], dict)
    }
    return {**below, **above, **both}
