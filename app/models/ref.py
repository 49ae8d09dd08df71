"""A resolved model name. Below the API every function takes a `ModelRef` and parses no name.

`Catalog.resolve` creates refs. A name is `ALIAS` or `ALIAS:PRESET`, optionally followed by `:VARIANT`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from app.config.model_entry import AttachedEntry, LocalEntry
from app.config.speculation import AUTO, NONE, PLAIN, Chain, Step, named
from app.errors import FilesMissingError

# Variants, which fix an alias to one speculation mode: `unsloth/GLM-4.7:plain`.
VARIANTS = ("plain", "draft", "ngram")


@dataclass(frozen=True, slots=True)
class ModelRef:
    """`alias` is the entry's own name. `variant` is the fixed speculation mode, or empty.

    `preset` is the name of a preset, which changes requests only, or empty.
    """

    alias: str
    entry: LocalEntry | AttachedEntry = field(compare=False, repr=False)
    variant: str = ""
    preset: str = ""

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """The unique name that clients send, and that responses, metrics and logs show."""
        name = f"{self.alias}:{self.preset}" if self.preset else self.alias
        return f"{name}:{self.variant}" if self.variant else name

    @property
    def engine_key(self) -> str:
        """Refs with the same key share an engine. The key has everything that changes a launch.

        Anything that changes requests only belongs in `name`.
        """
        return f"{self.alias}:{self.variant}" if self.variant else self.alias

    @property
    def local_entry(self) -> LocalEntry:
        """Returns the entry. Raises FilesMissingError for an attached server, which has no files and no launch plan."""
        if isinstance(self.entry, AttachedEntry):
            raise FilesMissingError(
                f"'{self.alias}' is attached at {self.entry.url}: it has no files and no launch plan here."
            )
        return self.entry

    @property
    def chain(self) -> Chain | None:
        """The speculation modes, or None if `auto` chooses them."""
        if isinstance(self.entry, AttachedEntry):
            return PLAIN
        return pinned(self.entry, self.variant) if self.variant else self.entry.chain

    @property
    def requested_mode(self) -> str:
        """The configured chain's name: `auto`, `none`, or modes."""
        if isinstance(self.entry, AttachedEntry):
            return NONE
        chain = self.chain
        return AUTO if chain is None else named(chain)

    def pinned_to(self, variant: str) -> ModelRef:
        """Returns the ref of the same entry and preset with one variant.

        An empty `variant` means the entry's own modes.
        """
        return replace(self, variant=variant)

    def with_preset(self, preset: str) -> ModelRef:
        """Returns the ref of a preset on the same engine."""
        return replace(self, preset=preset)


def pinned(entry: LocalEntry, variant: str) -> Chain:
    """Returns a variant's modes: the entry's own of that family with their options, else the family's default."""
    if variant == "plain":
        return PLAIN
    own = tuple(step for step in entry.chain or PLAIN if step.family == variant)
    if own:
        return own
    if variant == "ngram":
        return (Step("ngram-mod"),)
    return (Step("draft-simple" if entry.draft else "draft-mtp"),)
