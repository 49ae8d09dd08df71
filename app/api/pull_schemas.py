"""The bodies of `/admin/pulls`, as FastAPI checks and documents them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.pulls.pull import Pull, PullState


class StartPull(BaseModel):
    """What to pull, as `llama-tandem pull` has it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(description="An alias of the catalog, or `hf:ORG/REPO[:QUANTIZATION]`.", examples=["hf:org/m"])
    include: str | None = Field(None, description="Which files of `hf:ORG/REPO`.", examples=["*Q4_K_M*"])
    update: bool = Field(False, description="Replace what has changed on the Hub.")


class PullView(BaseModel):
    """One pull. Times are seconds since 1970; null is what is not known yet."""

    object: Literal["pull"] = "pull"
    id: str
    name: str = Field(description="As it was asked for; the alias, where a request for it began the pull.")
    state: PullState
    error: str | None = Field(description="Why it failed or was cancelled.")
    phase: Literal["asking", "downloading", "waiting", "checking"] = Field(
        description="`waiting`: another process pulls these files, and has got so far."
    )
    received: int = Field(description="Bytes of all files that are here.")
    size: int | None = Field(description="Bytes of all files.")
    percent: float | None
    rate: int | None = Field(description="Bytes a second.")
    seconds_left: int | None
    notes: list[str] = Field(
        description="What a person may want to know of it, the last twenty: that the Hub is busy, that files were used "
        "in place, that the engine here does not know the architecture."
    )
    created_at: float
    ended_at: float | None


class PullList(BaseModel):
    """The latest first; of those that have ended the last fifty."""

    object: Literal["list"] = "list"
    data: list[PullView]


def view(pull: Pull) -> PullView:
    """The pull as it is now."""
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
