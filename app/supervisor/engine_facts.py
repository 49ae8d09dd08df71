"""Reads the facts of a running engine and of the files that it was started with, for lists of models."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.models.gguf.header import Header
from app.models.purpose import header_of

if TYPE_CHECKING:
    from app.supervisor.readiness import EngineAddress

# Seconds until an answer is late. The engine has answered `/props` a moment before.
_ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class FileStamp:
    """A file at one moment; `size` is in bytes. `identity` changes if another file takes its place."""

    path: Path
    size: int
    mtime_ns: int
    identity: tuple[int, int]

    @classmethod
    def of(cls, path: Path) -> FileStamp | None:
        """None for a missing file."""
        try:
            stat = path.stat()
        except OSError:
            return None
        return cls(path, stat.st_size, stat.st_mtime_ns, (stat.st_dev, stat.st_ino))


@dataclass(frozen=True, slots=True)
class LoadedFiles:
    """The files of all models of a start, as they were before it; `header` is the target's.

    Files that are not `here`, but on another machine, are not compared later.
    """

    stamps: tuple[FileStamp, ...]
    header: Header | None
    here: bool = True

    @classmethod
    def of(cls, files: Iterable[Path]) -> LoadedFiles:
        """Stamps `paths`, and reads the target's header unless it is cached."""
        paths = list(files)
        stamps = tuple(stamp for path in paths if (stamp := FileStamp.of(path)) is not None)
        return cls(stamps, header_of(paths[0]) if paths else None)

    @property
    def size(self) -> int:
        """Bytes of all files. A missing file counts as none."""
        return sum(stamp.size for stamp in self.stamps)

    @property
    def changed(self) -> str:
        """Describes the changes of the files since then; empty without any."""
        now = [(stamp, FileStamp.of(stamp.path)) for stamp in self.stamps if self.here]
        gone = [stamp.path.name for stamp, found in now if found is None]
        other = [stamp.path.name for stamp, found in now if found not in (None, stamp)]
        parts = [f"{', '.join(names)} was {what}" for names, what in ((gone, "deleted"), (other, "replaced")) if names]
        return f"{' and '.join(parts)} since the engine was started: it still runs the old files" if parts else ""


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """Facts of a running engine; None for each unreported one. `context` is that of one slot, in tokens."""

    files: LoadedFiles
    context: int | None = None
    trained: int | None = None
    parameters: int | None = None
    template: str | None = None
    # Whether the template supports tools
    tools: bool | None = None
    vision: bool | None = None
    audio: bool | None = None
    # The engine's own version, such as `b11434-4227c9b`
    build: str | None = None


async def facts_of(address: EngineAddress, files: LoadedFiles) -> EngineFacts:
    """Requests `/props` and `/v1/models` of a READY engine. Without an answer all facts are None."""
    import httpx2  # imported here, since the import takes 80 ms

    from app.supervisor.engine_client import engine_client

    props: dict[str, Any] = {}
    listed: dict[str, Any] = {}
    async with engine_client(address.base_url, address.key, _ANSWER_S) as client:
        with suppress(httpx2.HTTPError, ValueError):
            props = _object((await client.get("/props")).json())
            listed = _object((await client.get("/v1/models")).json())
    return read(props, listed, files)


def read(props: dict[str, Any], listed: dict[str, Any], files: LoadedFiles) -> EngineFacts:
    """Reads the facts from the two responses, whatever their contents."""
    caps, modalities = _object(props.get("chat_template_caps")), _object(props.get("modalities"))
    rows = listed.get("data")
    meta = _object(_object(rows[0]).get("meta")) if isinstance(rows, list) and rows else {}
    words = [word for key in ("supports_tools", "supports_tool_calls") if (word := _truth(caps.get(key))) is not None]
    template, build = props.get("chat_template"), props.get("build_info")
    return EngineFacts(
        files,
        context=_count(_object(props.get("default_generation_settings")).get("n_ctx")),
        trained=_count(meta.get("n_ctx_train")),
        parameters=_count(meta.get("n_params")),
        template=template if isinstance(template, str) else None,
        tools=any(words) if words else None,
        vision=_truth(modalities.get("vision")),
        audio=_truth(modalities.get("audio")),
        build=build[:80] if isinstance(build, str) else None,
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
