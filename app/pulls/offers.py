"""Offers of a Hub repo: each quantization, whether it fits the memory, and compatible drafts.

The footprint has the size of the files, and the cache and buffers from the header. Only headers are fetched.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from app.config.settings import Settings
from app.engine.footprint.estimate import estimate
from app.engine.footprint.footprint import HOST
from app.errors import GgufError, StoreError, TandemError
from app.models.catalog import Catalog
from app.models.disk.inventory import inventory
from app.models.disk.layout import room_below
from app.models.disk.local_model import LocalModel
from app.models.download.journal import FileVersion
from app.models.download.plan import MARGIN
from app.models.gguf.filenames import is_projector, quantization_of
from app.models.gguf.header_cache import header_of
from app.models.hub.client import Hub
from app.models.hub.headers import header_file
from app.models.hub.listing import Listing
from app.models.hub.quantizations import Quantization, quantizations
from app.speculation.compat import Outcome, verdict

Fits = Literal["fits", "fits without draft", "does not fit", "unknown"]
# A draft above this share of its target rarely pays
_LARGEST_SHARE = 0.2
# Repos of which headers are fetched, and local files that are compared
_COMPARED = 3
_SEARCHED = 60
# Quantizations of a draft, the best compromise of quality and speed first
_PREFERRED = ("q4_k_m", "q4_0", "q8_0", "q4_k_s")
# `Qwen3`, `Llama-3`, `gemma-3`, `gpt`: a name up to its first number
_FAMILY = re.compile(r"(?:meta-)?(?P<family>[a-z]+(?:-?\d+(?![\d.]*[bm]\b))?)", re.IGNORECASE)
_PARAMETERS = re.compile(r"[-_](?P<count>\d+(?:\.\d+)?)(?P<unit>[bm])\b", re.IGNORECASE)
# Models that may share the vocabulary but cannot draft
_OF_ANOTHER_KIND = re.compile(r"embed|rerank|guard|[-_]vl\b|vision|omni|audio|tts|asr|reward", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DraftOffer:
    """A draft that llama-server takes for the repo's models; `source` is its entry's `draft`."""

    name: str
    source: Mapping[str, str]
    size: int
    needs: int
    outcome: Outcome
    reason: str
    here: bool

    def fields(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("name", "source", "size", "needs", "reason", "here")}
        return own | {"outcome": str(self.outcome), "source": dict(self.source)}


@dataclass(frozen=True, slots=True)
class QuantizationOffer:
    """One quantization; `needs` are bytes of memory, `where` those that hold it, empty for none."""

    quantization: Quantization
    needs: int
    fits: Fits
    where: str
    disk: bool
    here: str | None
    entry: str

    def fields(self, repo: str) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("needs", "fits", "where", "disk", "here", "entry")}
        quantization = self.quantization
        named = quantization_of(quantization.paths[0]) == quantization.name
        item = {"name": f"hf:{repo}:{quantization.name}"} if named else {"name": f"hf:{repo}"}
        include = {} if named else {"include": f"{quantization.name}*"}
        fields = {"name": quantization.name, "size": quantization.size, "files": len(quantization.paths)}
        return fields | {"complete": quantization.complete, "pull": item | include} | own


@dataclass(frozen=True, slots=True)
class RepoOffers:
    """`basis` says in sentences what the judgement rests on."""

    repo: str
    revision: str
    context: int
    basis: tuple[str, ...]
    offers: tuple[QuantizationOffer, ...]
    drafts: tuple[DraftOffer, ...]

    def fields(self) -> dict[str, Any]:
        """Returns the JSON form, with sizes in bytes."""
        rows = [offer.fields(self.repo) for offer in self.offers]
        drafts = [draft.fields() for draft in self.drafts]
        fields = {"object": "list", "repo": self.repo, "revision": self.revision, "context": self.context}
        return fields | {"basis": list(self.basis), "data": rows, "drafts": drafts}


def offers_of(
    settings: Settings, repo: str, hub: Hub, budgets: Mapping[str, int], *, context: int, drafts: bool
) -> RepoOffers:
    """Returns the offers of a repo. `budgets` are bytes by place, empty if unknown. With `drafts` it also finds drafts.

    Blocks. Raises StoreError.
    """
    listing = hub.listing(repo)
    offered = quantizations({path: file.size for path, file in listing.files.items()})
    here = inventory(settings, Catalog(settings))
    beside, basis, header = 0, [], None
    if (sample := next((each for each in offered if each.complete), None)) is not None:
        try:
            header = _header(hub, listing, sample, settings.cache_dir)
            beside, context = _beside_weights(header, context)
            basis.append(
                f"The estimate adds {_mebibytes(beside)} for a context of {context:,} tokens and buffers to the files."
            )
        except (GgufError, StoreError) as error:
            basis.append(f"The estimate counts only the files, since the header cannot be used: {error}")
    found: tuple[DraftOffer, ...] = ()
    if drafts and header is not None and sample is not None:
        search = _DraftSearch(settings, hub, header, max(each.size for each in offered), context)
        found = search.drafts(repo, here)
    if not budgets:
        basis.append("The memory of this machine's devices is unknown, and so is what fits.")
    judge = _OfferJudge(settings, listing.repo, budgets, room_below(settings.models_dir), beside, found, here)
    return RepoOffers(repo, listing.revision, context, tuple(basis), tuple(map(judge.offer, offered)), found)


@dataclass(frozen=True, slots=True)
class _OfferJudge:
    settings: Settings
    repo: str
    budgets: Mapping[str, int]
    free: int
    beside: int
    drafts: Sequence[DraftOffer]
    here: Sequence[LocalModel]

    def offer(self, quantization: Quantization) -> QuantizationOffer:
        needs = quantization.size + self.beside
        draft = next((each for each in self.drafts if each.size <= quantization.size * _LARGEST_SHARE), None)
        where = _where(needs + draft.needs, self.budgets) if draft else _where(needs, self.budgets)
        fits: Fits = "unknown" if not self.budgets else "fits" if where else "does not fit"
        if draft and not where and (where := _where(needs, self.budgets)):
            fits = "fits without draft"
        model = self._local(quantization)
        to_come = quantization.size - (model.received if model else 0)
        entry = _entry(self.repo, quantization, draft if fits == "fits" else None)
        disk = to_come <= 0 or to_come + MARGIN <= self.free
        return QuantizationOffer(quantization, needs, fits, where, disk, model.state if model else None, entry)

    def _local(self, quantization: Quantization) -> LocalModel | None:
        first = self.settings.models_dir / self.repo / quantization.paths[0]
        return next((model for model in self.here if model.parts and model.parts[0].path == first), None)


def _where(needs: int, budgets: Mapping[str, int]) -> str:
    """`devices`, `devices and host` or `host`; empty where nothing holds it."""
    host = budgets.get(HOST, 0)
    devices = sum(size for place, size in budgets.items() if place != HOST)
    if devices and needs <= devices:
        return "devices"
    if needs <= devices + host:
        return "devices and host" if devices else "host"
    return ""


def _header(hub: Hub, listing: Listing, quantization: Quantization, cache_dir: Path) -> Path:
    path = quantization.paths[0]
    file = listing.files[path]
    identity = FileVersion(listing.repo, path, listing.revision, file.digest, file.size)
    return header_file(hub, identity, cache_dir / "headers")


def _beside_weights(header: Path, context: int) -> tuple[int, int]:
    """Bytes of cache and buffers, and the context that they are for: no model gets more than it was trained for."""
    context = min(context, header_of(header).context_length or context)
    footprint = estimate(["--model", str(header), "--ctx-size", str(context)])
    return sum(part.size for part in footprint.parts if part.use != "weights"), context


def _entry(repo: str, quantization: Quantization, draft: DraftOffer | None) -> str:
    """Lines for tandem.yaml."""
    named = quantization_of(quantization.paths[0]) == quantization.name
    files = f"quantization: {quantization.name}" if named else f'include: "{quantization.name}*"'
    lines = ["models:", f"  {repo}:", f"    target: {{repo: {repo}, {files}}}"]
    if draft is not None:
        source = ", ".join(f"{key}: {value}" for key, value in draft.source.items())
        lines.append(f"    draft: {{{source}}}")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class _DraftSearch:
    settings: Settings
    hub: Hub
    target: Path
    target_size: int
    context: int

    def drafts(self, repo: str, here: Sequence[LocalModel]) -> tuple[DraftOffer, ...]:
        """Returns compatible drafts, local ones first. Leaves out files that cannot be read."""
        return (*self._here(repo, here), *self._on_hub(repo))

    def _here(self, repo: str, here: Sequence[LocalModel]) -> list[DraftOffer]:
        found: list[DraftOffer] = []
        for model in here:
            small = model.received <= self.target_size * _LARGEST_SHARE
            if model.state != "complete" or not small or model.repo == repo or is_projector(model.parts[0].path.name):
                continue
            path = model.parts[0].path
            quantized = (
                {"repo": model.repo, "quantization": model.quantization} if model.repo and model.quantization else {}
            )
            source = quantized or {"path": str(path)}
            with suppress(TandemError, OSError):
                found += self._judged(model.name, source, model.received, path, here=True)
            if len(found) >= _COMPARED:
                break
        return found

    def _on_hub(self, repo: str) -> list[DraftOffer]:
        found: list[DraftOffer] = []
        for name in smaller(repo, [row.repo for row in self.hub.search(family_of(repo), _SEARCHED)])[:_COMPARED]:
            with suppress(TandemError, OSError):
                listing = self.hub.listing(name)
                small = [
                    each
                    for each in quantizations({path: file.size for path, file in listing.files.items()})
                    if each.complete and each.size <= self.target_size * _LARGEST_SHARE
                ]
                if small:
                    chosen = min(small, key=_preference)
                    path = _header(self.hub, listing, chosen, self.settings.cache_dir)
                    source = {"repo": name, "quantization": chosen.name}
                    found += self._judged(f"{name}:{chosen.name}", source, chosen.size, path, here=False)
        return found

    def _judged(self, name: str, source: Mapping[str, str], size: int, path: Path, *, here: bool) -> list[DraftOffer]:
        judged = verdict([self.target], [path], translates=False)
        if judged.outcome is not Outcome.COMPATIBLE:
            return []
        needs = size + _beside_weights(path, self.context)[0]
        return [DraftOffer(name, source, size, needs, judged.outcome, judged.reason, here)]


def _preference(quantization: Quantization) -> tuple[int, int]:
    name = quantization.name.lower()
    return (_PREFERRED.index(name) if name in _PREFERRED else len(_PREFERRED)), quantization.size


def family_of(repo: str) -> str:
    """Returns the family in a name, such as `Qwen3` of `unsloth/Qwen3-Coder-30B`. A family may share a vocabulary."""
    match = _FAMILY.match(repo.rpartition("/")[2])
    return match["family"] if match else repo


def smaller(repo: str, names: Sequence[str]) -> list[str]:
    """Returns the family's repos with at most a fifth of the parameters: those of the owner, then the smallest."""
    own = _parameters(repo)
    family, owner = family_of(repo).lower(), repo.partition("/")[0]
    fitting: list[tuple[bool, float, int, str]] = []
    for name in names:
        size = _parameters(name)
        if name == repo or not size or _OF_ANOTHER_KIND.search(name):
            continue
        if family_of(name).lower() == family and (own is None or size <= own * _LARGEST_SHARE):
            fitting.append((name.partition("/")[0] != owner, size, len(fitting), name))
    return [name for *_, name in sorted(fitting)]


def _parameters(repo: str) -> float | None:
    """Returns the billions of parameters in a name, all experts included."""
    match = _PARAMETERS.search(repo.rpartition("/")[2])
    return float(match["count"]) / (1 if match["unit"].lower() == "b" else 1000) if match else None


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
