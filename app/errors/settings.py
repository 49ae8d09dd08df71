"""Errors in settings, files or the engine, before a start."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from app.errors.base import TandemError


class ConfigError(TandemError):
    """`problems` are `<source>: <key>: <what is wrong, what would be right>`, with the line of the file below."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


class UnreadableKeysError(ConfigError):
    """The API keys in the database cannot be read. `newer` means that a later version wrote it, maybe with keys."""

    def __init__(self, reason: str, *, newer: bool) -> None:
        self.newer = newer
        super().__init__([f"The API keys cannot be read: {reason}"])


class ReloadRefusedError(TandemError):
    """Changed settings are invalid. The text has the problems."""


class NotImportableError(TandemError):
    """A command line of llama.cpp that `import` cannot turn into an entry; names the flag and its value."""


class GgufError(TandemError):
    """A file cannot be read as GGUF. `reason` says why, without the path. `code` is that of a Diagnosis."""

    def __init__(self, path: Path, reason: str, *, code: str = "not_gguf") -> None:
        self.path = path
        self.code = code
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class FilesMissingError(TandemError):
    """An entry's files are missing, all or some. `repo` tells that the Hub may have them.

    `advice` is the command that fetches them, or empty.
    """

    def __init__(
        self, message: str, *, advice: str = "Put them there, or correct the model's entry.", repo: bool = False
    ) -> None:
        self.advice = advice
        self.repo = repo
        super().__init__(message)


class EngineNotFoundError(TandemError):
    """There is no llama-server to run. The text says how to install one."""


class RayNotInstalledError(TandemError):
    """The setting `cluster`, or the `what` of a command, needs Ray."""

    def __init__(self, what: str = "") -> None:
        otherwise = "" if what else " Or leave it out."
        super().__init__(
            f"{what or 'cluster'} needs Ray, which is not installed: pip install 'llama-tandem[ray]'.{otherwise}"
        )


class NodeNotStartedError(TandemError):
    """This machine cannot be a node of the cluster. The text says what would be right."""


class ProbeError(TandemError):
    """The binary did not print a usable `--help`."""


class LaunchRefusedError(TandemError):
    """An entry that this build of llama-server does not support or would refuse. `code` is that of a Diagnosis."""

    def __init__(self, message: str, *, code: str = "refused") -> None:
        self.code = code
        super().__init__(message)
