"""The bodies of `/admin/pulls`, as FastAPI checks and documents them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.pulls.pull import Pull, PullState


class StartPull(BaseModel):
    """A pull, with the options of `llama-tandem pull`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(description="An alias of the catalog, or `hf:ORG/REPO[:QUANTIZATION]`.", examples=["hf:org/m"])
    include: str | None = Field(None, description="Pattern of file names in `hf:ORG/REPO`.", examples=["*Q4_K_M*"])
    update: bool = Field(False, description="Replace files that have changed on the Hub.")


class PullView(BaseModel):
    """One pull. Times are in seconds since 1970. Null means unknown."""

    object: Literal["pull"] = "pull"
    id: str
    name: str = Field(description="The requested name, or the alias whose request started the pull.")
    state: PullState
    error: str | None = Field(description="Why it failed or was cancelled.")
    phase: Literal["asking", "downloading", "waiting", "checking"] = Field(
        description="`waiting`: another process downloads these files; the figures are its progress."
    )
    received: int = Field(description="Received bytes of all files.")
    size: int | None = Field(description="Size of all files in bytes.")
    percent: float | None
    rate: int | None = Field(description="Bytes per second.")
    seconds_left: int | None
    notes: list[str] = Field(
        description="The last twenty notes, such as: the Hub is busy, a file of the Hub's cache is used, the engine "
        "does not know the architecture."
    )
    created_at: float
    ended_at: float | None


class PullList(BaseModel):
    """Latest first. Has the last fifty of those that have ended."""

    object: Literal["list"] = "list"
    data: list[PullView]


def view(pull: Pull) -> PullView:
    """Returns the current state of the pull."""
    return PullView(
        id=pull.id,
        name=pull.name,
        state=pull.state,
        error=pull.reason or None,
        created_at=pull.began,
        ended_at=pull.ended,
        notes=list(pull.progress.notes),
        **pull.progress.fields(),
    )
