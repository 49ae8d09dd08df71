"""A model as it was asked for, resolved: whatever is below the door takes a `ModelRef`, and splits no name.

`Catalog.resolve` makes them. A name is `ALIAS`, `ALIAS:PRESET`, or one of these with `:VARIANT`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from app.config.model_entry import AttachedEntry, LocalEntry
from app.config.speculation import AUTO, NONE, PLAIN, Chain, Step, named
from app.errors import FilesMissingError

# Pins of an alias to one way of decoding: `unsloth/GLM-4.7:plain`.
VARIANTS = ("plain", "draft", "ngram")


@dataclass(frozen=True, slots=True)
class ModelRef:
    """`alias` is the entry's own name, `variant` the way of decoding that it is pinned to, empty where it is not.

    `preset` changes requests alone: its name, empty for the entry itself.
    """

    alias: str
    entry: LocalEntry | AttachedEntry = field(compare=False, repr=False)
    variant: str = ""
    preset: str = ""

    def __str__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """What clients call it: unique in the catalog, and what answers, metrics and logs show."""
        name = f"{self.alias}:{self.preset}" if self.preset else self.alias
        return f"{name}:{self.variant}" if self.variant else name

    @property
    def engine_key(self) -> str:
        """Refs with one key share an engine, so it has all that changes a launch and nothing else.

        What changes requests alone belongs into `name`, and not here.
        """
        return f"{self.alias}:{self.variant}" if self.variant else self.alias

    @property
    def local_entry(self) -> LocalEntry:
        """Raises FilesMissingError for an attached server, which has no files and no launch plan."""
        if isinstance(self.entry, AttachedEntry):
            raise FilesMissingError(
                f"'{self.alias}' is attached at {self.entry.url}: it has no files and no launch plan here."
            )
        return self.entry

    @property
    def chain(self) -> Chain | None:
        """How to speculate; None where the entry leaves it to `auto`."""
        if isinstance(self.entry, AttachedEntry):
            return PLAIN
        return pinned(self.entry, self.variant) if self.variant else self.entry.chain

    @property
    def requested_mode(self) -> str:
        """The chain by its name: `auto`, `none`, or modes."""
        if isinstance(self.entry, AttachedEntry):
            return NONE
        chain = self.chain
        return AUTO if chain is None else named(chain)

    def pinned_to(self, variant: str) -> ModelRef:
        """The same entry and preset, decoded in one way; an empty `variant` leaves the way to the entry."""
        return replace(self, variant=variant)

    def with_preset(self, preset: str) -> ModelRef:
        """The same engine, asked with the defaults of a preset."""
        return replace(self, preset=preset)


def pinned(entry: LocalEntry, variant: str) -> Chain:
    """A variant's modes: the entry's own of that family with their options, else the family's usual one."""
    if variant == "plain":
        return PLAIN
    own = tuple(step for step in entry.chain or PLAIN if step.family == variant)
    if own:
        return own
    if variant == "ngram":
        return (Step("ngram-mod"),)
    return (Step("draft-simple" if entry.draft else "draft-mtp"),)
