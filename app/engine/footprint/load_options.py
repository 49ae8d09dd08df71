"""Reads the options of a command line that concern memory, with llama-server's defaults (b11434). Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.config.speculation import MODES, Mode
from app.engine.arguments import spelt

_OFF = frozenset({"off", "disabled", "false", "0"})
# Every layer, and the output: more than any model has.
ALL_LAYERS = 1 << 20
_CONTEXT, _BATCH, _UBATCH = 0, 2048, 512
_FIT_MARGIN = 1 << 30
# Further spellings of a draft mode's `n_max`
_DRAFT_MAX = ("--draft", "--draft-n")
_EMBEDDING = ("--embedding", "--embeddings", "--rerank", "--reranking")


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """The devices of one model's weights and cache.

    `layers` is the number of layers on devices, from the end; None for as many as fit. `cpu_experts` is the number of
    layers, from the start, whose experts stay on the host.
    """

    devices: tuple[str, ...] | None = None
    layers: int | None = None
    cpu_experts: int = 0
    cpu_ffn: int = 0
    overrides: tuple[tuple[str, str], ...] = ()
    split: tuple[float, ...] = ()
    split_mode: str = "layer"
    main: int = 0
    key_type: str = "f16"
    value_type: str = "f16"


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """`context` is 0 for the model's own. `drafted` is the number of tokens that a step may propose.

    `maps_files`: weights on the host are pages of their file, which the system may drop and read again.
    """

    target: str
    draft: str | None
    projector: str | None
    adapters: tuple[str, ...]
    place: ModelPlace
    draft_place: ModelPlace
    context: int = _CONTEXT
    slots: int = 1
    unified: bool = False
    batch: int = _BATCH
    ubatch: int = _UBATCH
    flash: bool = True
    # Whether the engine may turn flash attention off
    flash_auto: bool = True
    full_windows: bool = False
    cache_on_devices: bool = True
    projector_on_device: bool = True
    # Whether a device computes large steps for layers on the host
    helps: bool = True
    fits: bool = True
    # Bytes that --fit leaves free on each device, in order; a single one is for all
    margins: tuple[int, ...] = (_FIT_MARGIN,)
    least_context: int = 4096
    embeddings: bool = False
    drafted: int = 0
    mtp: bool = False
    maps_files: bool = True

    def margin(self, device: int) -> int:
        """The bytes that --fit leaves free on the device with this number."""
        own = self.margins * (device + 1) if len(self.margins) == 1 else self.margins
        return own[device] if device < len(own) else _FIT_MARGIN


class _Line:
    """Looks flags up in a command line; of repeated flags the last counts."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = [spelt(arg) if arg.startswith("--") else arg for arg in argv]
        self._raw = argv

    def text(self, *names: str) -> str | None:
        return next(iter(self.texts(*names)), None)

    def texts(self, *names: str) -> Iterator[str]:
        """The values of these names, the last first."""
        for at in range(len(self._argv) - 2, -1, -1):
            if self._argv[at] in names:
                yield self._raw[at + 1]

    def number(self, default: int, *names: str) -> int:
        try:
            return int(self.text(*names) or default)
        except ValueError:
            return default

    def switch(self, default: bool, on: Sequence[str], off: Sequence[str] = ()) -> bool:
        last = next((arg for arg in reversed(self._argv) if arg in on or arg in off), None)
        return default if last is None else last in on

    def has(self, *names: str) -> bool:
        return any(arg in names for arg in self._argv)


def read_options(argv: Sequence[str]) -> LoadOptions:
    """The options of a whole command line, in any build's spelling, with llama-server's defaults."""
    line = _Line(argv)
    unified = line.switch(False, ("-kvu", "--kv-unified"), ("-no-kvu", "--no-kv-unified"))
    slots, per_slot = line.number(1, "-np", "--parallel"), line.number(0, "--kv-unified-per-slot")
    batch = line.number(_BATCH, "-b", "--batch-size")
    context = line.number(_CONTEXT, "-c", "--ctx-size")
    place = _target_place(line)
    return LoadOptions(
        target=line.text("-m", "--model") or "",
        draft=line.text("-md", "--model-draft", "--spec-draft-model"),
        projector=line.text("-mm", "--mmproj"),
        adapters=tuple(file for text in line.texts("--lora", "--lora-scaled") for file in _adapters(text)),
        place=place,
        draft_place=_draft_place(line, place),
        context=context or (per_slot * max(slots, 1) if per_slot > 0 else _CONTEXT),
        slots=max(slots, 1),
        unified=unified,
        batch=batch,
        ubatch=min(line.number(_UBATCH, "-ub", "--ubatch-size"), batch),
        flash=_flash(line),
        flash_auto=(line.text("-fa", "--flash-attn") or "auto") in ("auto", "-1"),
        full_windows=line.has("--swa-full"),
        cache_on_devices=line.switch(True, ("-kvo", "--kv-offload"), ("-nkvo", "--no-kv-offload")),
        projector_on_device=line.switch(True, ("--mmproj-offload",), ("--no-mmproj-offload",)),
        helps=line.switch(True, ("--op-offload",), ("--no-op-offload",)),
        fits=(line.text("-fit", "--fit") or "on") not in _OFF,
        margins=_margins(line.text("-fitt", "--fit-target")),
        least_context=line.number(4096, "-fitc", "--fit-ctx"),
        embeddings=line.has(*_EMBEDDING),
        drafted=_drafted(line),
        mtp="draft-mtp" in _modes(line),
        maps_files=_maps_files(line),
    )


def _maps_files(line: _Line) -> bool:
    """By the flags of builds before `--load-mode`, and by `--load-mode`."""
    if (mode := line.text("-lm", "--load-mode")) is not None:
        return mode in ("auto", "mmap")
    mapped = line.switch(True, ("--mmap",), ("--no-mmap", "-dio", "--direct-io"))
    return mapped and not line.has("--mlock")


def _target_place(line: _Line) -> ModelPlace:
    return ModelPlace(
        devices=_devices(line.text("-dev", "--device")),
        layers=_layers(line.text("-ngl", "--gpu-layers", "--n-gpu-layers")),
        cpu_experts=ALL_LAYERS if line.has("-cmoe", "--cpu-moe") else line.number(0, "-ncmoe", "--n-cpu-moe"),
        cpu_ffn=line.number(0, "-ncffn", "--n-cpu-ffn"),
        overrides=_overrides(line.texts("-ot", "--override-tensor")),
        split=_split(line.text("-ts", "--tensor-split")),
        split_mode=line.text("-sm", "--split-mode") or "layer",
        main=line.number(0, "-mg", "--main-gpu"),
        key_type=line.text("-ctk", "--cache-type-k") or "f16",
        value_type=line.text("-ctv", "--cache-type-v") or "f16",
    )


def _draft_place(line: _Line, target: ModelPlace) -> ModelPlace:
    """A draft follows its target's devices and split, and no other options of the target."""
    experts = line.has("-cmoed", "--cpu-moe-draft", "--spec-draft-cpu-moe")
    own = line.text("-devd", "--device-draft", "--spec-draft-device")
    return ModelPlace(
        devices=_devices(own) if own is not None else target.devices,
        layers=_layers(line.text("-ngld", "--gpu-layers-draft", "--n-gpu-layers-draft", "--spec-draft-ngl")),
        cpu_experts=ALL_LAYERS if experts else line.number(0, "-ncmoed", "--n-cpu-moe-draft", "--spec-draft-n-cpu-moe"),
        overrides=_overrides(line.texts("-otd", "--override-tensor-draft", "--spec-draft-override-tensor")),
        split=target.split,
        split_mode=target.split_mode,
        main=target.main,
        key_type=line.text("-ctkd", "--cache-type-k-draft", "--spec-draft-type-k") or "f16",
        value_type=line.text("-ctvd", "--cache-type-v-draft", "--spec-draft-type-v") or "f16",
    )


def _devices(text: str | None) -> tuple[str, ...] | None:
    """None for all devices."""
    if text is None:
        return None
    return tuple(name for name in map(str.strip, text.split(",")) if name and name.lower() != "none")


def _layers(text: str | None) -> int | None:
    if text is None or text == "auto":
        return None
    if text == "all":
        return ALL_LAYERS
    try:
        number = int(text)
    except ValueError:
        return None
    return number if number >= 0 else None


def _overrides(texts: Iterator[str]) -> tuple[tuple[str, str], ...]:
    """Pattern and buffer type; the first that matches a tensor's name applies."""
    pairs = (pair.rpartition("=") for text in reversed(list(texts)) for pair in text.split(","))
    return tuple((pattern, kind) for pattern, _, kind in pairs if pattern)


def _split(text: str | None) -> tuple[float, ...]:
    try:
        return tuple(float(share) for share in (text or "").replace("/", ",").split(",") if share.strip())
    except ValueError:
        return ()


def _margins(text: str | None) -> tuple[int, ...]:
    """From MiB; llama-server refuses what is no number."""
    try:
        return tuple(int(size) << 20 for size in (text or "1024").split(","))
    except ValueError:
        return (_FIT_MARGIN,)


def _adapters(text: str) -> list[str]:
    """`FILE:SCALE,...` in recent builds, `FILE` before."""
    return [
        file if scale.replace(".", "", 1).isdigit() and file else item
        for item in text.split(",")
        for file, _, scale in [item.rpartition(":")]
    ]


def _flash(line: _Line) -> bool:
    """`auto` is on if a device has the kernels, as all common ones do."""
    return (line.text("-fa", "--flash-attn") or "auto") not in _OFF


def _modes(line: _Line) -> list[str]:
    return [mode for mode in (line.text("--spec-type") or "").split(",") if mode not in ("", "none")]


def _drafted(line: _Line) -> int:
    """The most tokens that a step proposes, over all modes of the chain."""
    modes = _modes(line)
    if not modes and line.has("-md", "--model-draft", "--spec-draft-model") and not line.has("--spec-type"):
        modes = ["draft-simple"]
    return max((_longest(line, MODES[mode]) for mode in modes if mode in MODES), default=0)


def _longest(line: _Line, mode: Mode) -> int:
    option = mode.options.get("n_max") or mode.options.get("size_m")
    more = _DRAFT_MAX if mode.family == "draft" else ()
    return line.number(mode.longest, *option.flags, *more) if option else mode.longest
