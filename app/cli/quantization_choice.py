"""Chooses the quantization of a repo that fits this machine best, if the user names none."""

from __future__ import annotations

from collections.abc import Sequence

from app.cli.hub_models import HubOffer
from app.engine.fit import needed
from app.errors import StoreError
from app.models.gguf.filenames import is_prediction_head
from app.terminal import memory_in_words, size_in_words

# Q4_K_M first, as in llama-server, Ollama and LM Studio. Then its neighbours, better ones, and smaller ones
_ORDER = (
    *("Q4_K_M", "UD-Q4_K_XL", "Q4_K_XL", "Q4_K_L", "Q4_K_S", "MXFP4", "MXFP4_MOE", "NVFP4"),
    *("IQ4_XS", "IQ4_NL", "Q4_0", "Q4_1", "UD-Q5_K_XL", "Q5_K_M", "Q5_K_S", "Q5_0", "Q5_1", "UD-Q6_K_XL", "Q6_K"),
    *("UD-Q8_K_XL", "Q8_0", "UD-Q3_K_XL", "Q3_K_L", "Q3_K_M", "IQ3_M", "Q3_K_S", "IQ3_XXS", "UD-Q2_K_XL", "Q2_K"),
)


def chosen(repo: str, offers: Sequence[HubOffer]) -> tuple[HubOffer, str]:
    """Returns a quantization, and a line with the reason. Raises StoreError if none fits."""
    models = [offer for offer in offers if not is_prediction_head(offer.quantization.paths[0])] or list(offers)
    begun = [offer for offer in models if offer.model is not None and offer.model.received]
    if len(begun) == 1:
        return begun[0], _line(repo, begun[0], models, "whose files are on disk already")
    whole = [offer for offer in models if offer.quantization.complete]
    fitting = [offer for offer in whole if offer.memory != "no"]
    if not fitting:
        raise StoreError(_none_fits(repo, whole or models))
    # The plan reports a lack of disk space
    best = min([offer for offer in fitting if offer.disk] or fitting, key=_rank)
    return best, _line(repo, best, models, f"fits in memory ({best.memory})")


def _rank(offer: HubOffer) -> tuple[int, int]:
    """Sorts known names in their order, and others from the largest."""
    name = offer.quantization.name.upper()
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), -offer.quantization.size)


def _line(repo: str, offer: HubOffer, offers: Sequence[HubOffer], why: str) -> str:
    name, size = offer.quantization.name, size_in_words(offer.quantization.size)
    others = [other.quantization.name for other in offers if other is not offer]
    more = f"; name another as {repo}:{others[-1]}" if others else ""
    return f"{repo}: takes {name} ({size}) of {len(offers)} quantizations, {why}{more}"


def _none_fits(repo: str, offers: Sequence[HubOffer]) -> str:
    smallest = min(offers, key=lambda offer: offer.quantization.size)
    name, size = smallest.quantization.name, memory_in_words(needed(smallest.quantization.size))
    names = ", ".join(offer.quantization.name for offer in offers)
    return (
        f"{repo}: no quantization fits in the memory of this machine; the smallest, {name}, needs about {size}. "
        f"To pull one anyway, name it, such as {repo}:{name}. There are: {names}."
    )
