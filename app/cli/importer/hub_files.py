"""Finds the files of `-hf ORG/REPO[:QUANT]` in a repo's list, as llama-server would. Pure."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence

from app.models.gguf.filenames import is_gguf, is_prediction_head, model_of, quantization_of
from app.models.hub.quantizations import Quantization, quantizations

# Returns a repo's files, or None if they are unknown
RepoFiles = Callable[[str], Sequence[str] | None]
_PREFERRED = "Q4_K_M"


def unknown_files(_: str) -> None:
    """Returns None without asking the Hub."""
    return


def files_meant(paths: Sequence[str] | None, quant: str) -> tuple[dict[str, str], str]:
    """Returns the keys beside `repo`, and the end of a note on them. `quant` may be empty."""
    pattern = {"include": f"*{glob.escape(quant or _PREFERRED)}*"}
    if paths is None:
        return pattern, "" if quant else (
            f"; without a quant llama-server takes {_PREFERRED}, else the repo's first file: "
            "correct include where it has no such file, since the Hub could not be asked"
        )
    offers = [
        offer
        for offer in quantizations({path: 0 for path in paths if is_gguf(path)})
        if not is_prediction_head(offer.paths[0])
    ]
    names = ", ".join(offer.name for offer in offers)
    wanted = (quant or _PREFERRED).lower()
    named = [offer for offer in offers if offer.name.lower() == wanted]
    named = named or [offer for offer in offers if wanted in offer.paths[0].lower()]
    if not offers or (quant and not named):
        return pattern, f"; but the repo has {names or 'no GGUF model'}"
    if named:
        return _entry(named[0]), "" if quant else f"; without a quant llama-server prefers {_PREFERRED}"
    first = min(offers, key=lambda offer: offer.paths)
    return _entry(first), f"; without a quant llama-server takes the first file, where there is no {_PREFERRED}"


def _entry(offer: Quantization) -> dict[str, str]:
    """Returns the quantization if it identifies one model of the repo."""
    first = offer.paths[0]
    if offer.name == quantization_of(model_of(first)):
        return {"quantization": offer.name}
    return {"include": glob.escape(first) if len(offer.paths) == 1 else f"{glob.escape(model_of(first))}-*"}
