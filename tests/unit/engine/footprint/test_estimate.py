"""Where an engine's memory goes, and what a command line changes of it; tests/engine asks real engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.engine.devices import Device
from app.engine.footprint.estimate import estimate
from app.engine.footprint.footprint import HOST, Footprint
from tests.support.architectures import WRITERS, write_experts, write_llama

GIB, MIB = 1 << 30, 1 << 20
CARD = Device("CUDA0", "NVIDIA GeForce RTX 4090", 24 * GIB, 23 * GIB)
SECOND = Device("CUDA1", "NVIDIA GeForce RTX 4090", 24 * GIB, 23 * GIB)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of 12 MiB in eight equal layers beside the embedding and the output."""
    return write_llama(tmp_path_factory.mktemp("models") / "m.gguf", blocks=8, vocabulary=4096)


def of(model: Path, *flags: str, devices: tuple[Device, ...] = (CARD,), host: int | None = None) -> Footprint:
    argv = ["llama-server", "-m", str(model), "--parallel", "1", *flags]
    return estimate(argv, devices, host)


def on(footprint: Footprint, device: str, use: str) -> int:
    return sum(part.size for part in footprint.parts if (part.device, part.use) == (device, use))


def test_without_a_device_all_is_on_the_host(model: Path) -> None:
    footprint = of(model, "-c", "4096", devices=())
    assert set(footprint.by_device()) == {HOST} and footprint.total == footprint.by_device()[HOST]


def test_a_device_takes_the_layers_and_the_host_keeps_the_embedding(model: Path) -> None:
    footprint = of(model, "-c", "4096")
    embedding = 4096 * 256 * 2
    assert on(footprint, HOST, "weights") == embedding
    assert on(footprint, HOST, "cache") == 0
    assert on(footprint, "CUDA0", "cache") == 4096 * 8 * 2 * 128 * 2
    assert on(footprint, "CUDA0", "weights") > 7 * MIB


def test_a_tied_output_is_copied_to_the_device(tmp_path: Path) -> None:
    tied = write_llama(tmp_path / "tied.gguf", vocabulary=4096, tied=True)
    plain = write_llama(tmp_path / "plain.gguf", vocabulary=4096)
    weights = [on(of(path, "-c", "4096"), "CUDA0", "weights") for path in (tied, plain)]
    assert weights[0] == weights[1]
    assert of(tied, "-c", "4096", devices=()).total < of(plain, "-c", "4096", devices=()).total


@pytest.mark.parametrize(("layers", "cached"), [("0", 0), ("1", 0), ("5", 4), ("9", 8), ("99", 8), ("all", 8)])
def test_layers_go_to_the_device_from_the_last_on(model: Path, layers: str, cached: int) -> None:
    """The output is the first of them to go."""
    footprint = of(model, "-c", "4096", "-ngl", layers)
    assert on(footprint, "CUDA0", "cache") == cached * 4096 * 2 * 128 * 2
    assert on(footprint, HOST, "cache") == (8 - cached) * 4096 * 2 * 128 * 2


def test_two_devices_share_by_their_free_memory_or_as_told(model: Path) -> None:
    both = (CARD, SECOND)
    even = of(model, "-c", "4096", devices=both)
    assert on(even, "CUDA0", "cache") / on(even, "CUDA1", "cache") == pytest.approx(5 / 3)
    told = of(model, "-c", "4096", "-ts", "1,3", devices=both)
    assert on(told, "CUDA0", "cache") < on(told, "CUDA1", "cache")
    one = of(model, "-c", "4096", "-sm", "none", "-mg", "1", devices=both)
    assert set(one.by_device()) == {HOST, "CUDA1"}
    named = of(model, "-c", "4096", "--device", "cuda1", devices=both)
    assert set(named.by_device()) == {HOST, "CUDA1"}
    assert set(of(model, "-c", "4096", "--device", "none", devices=both).by_device()) == {HOST}


def test_a_cache_may_stay_on_the_host(model: Path) -> None:
    footprint = of(model, "-c", "4096", "--no-kv-offload")
    assert on(footprint, "CUDA0", "cache") == 0 and on(footprint, HOST, "cache") == 4096 * 8 * 512


def test_experts_may_stay_on_the_host(tmp_path: Path) -> None:
    path = write_experts(tmp_path / "moe.gguf")
    experts = 3 * 8 * 512 * 256 * 2
    base = on(of(path, "-c", "4096"), HOST, "weights")
    for flags, layers in ((["-cmoe"], 4), (["-ncmoe", "3"], 3), (["-ot", r"blk\.[01]\.ffn_.*_exps=CPU"], 2)):
        assert on(of(path, "-c", "4096", *flags), HOST, "weights") == base + layers * experts


def test_an_override_may_name_another_device(tmp_path: Path) -> None:
    path = write_experts(tmp_path / "moe.gguf")
    footprint = of(path, "-c", "4096", "-ngl", "0", "-ot", "exps=CUDA1", devices=(CARD, SECOND))
    assert on(footprint, "CUDA1", "weights") == 4 * 3 * 8 * 512 * 256 * 2


def test_fit_moves_layers_to_the_host_where_they_do_not_fit(tmp_path: Path) -> None:
    path = write_llama(tmp_path / "large.gguf", blocks=32)
    # A GiB stays free, and the cache of 64 Ki tokens is 32 MiB for each layer
    small = Device("CUDA0", "small", 2 * GIB, GIB + 400 * MIB)
    footprint = of(path, "-c", "65536", devices=(small,))
    assert 250 * MIB < footprint.by_device()["CUDA0"] <= 400 * MIB
    assert on(footprint, HOST, "cache") > 0
    for fixed in (["-ngl", "99"], ["--fit", "off"]):
        assert on(of(path, "-c", "65536", *fixed, devices=(small,)), HOST, "cache") == 0


def test_fit_leaves_as_much_free_as_it_is_told(tmp_path: Path) -> None:
    """In MiB for each device, a GiB where nothing is said; a single figure is for all."""
    path = write_llama(tmp_path / "m.gguf", blocks=8)
    cards = tuple(Device(name, "", 24 * GIB, 3 * GIB // 2) for name in ("CUDA0", "CUDA1"))

    def context(*flags: str, devices: tuple[Device, ...] = cards[:1]) -> int:
        return of(path, "--ubatch-size", "64", *flags, devices=devices).context

    assert context("-fitt", "0") == 65536 and 4096 <= context("--fit-target", "1500") < 65536
    assert context("-fitt", "1500", devices=cards) == context("-fitt", "1500,1500", devices=cards)
    assert context("-fitt", "1500,1500", devices=cards) < context("-fitt", "0,0", devices=cards)
    three = (*cards, Device("CUDA2", "", 24 * GIB, 3 * GIB // 2))
    assert context("-fitt", "0,0", devices=three) == context("-fitt", "0,0,1024", devices=three)


def test_fit_shrinks_a_context_that_nobody_gave(tmp_path: Path) -> None:
    path = write_llama(tmp_path / "large.gguf", blocks=32)
    assert of(path, devices=(), host=8 * GIB).context == 65536
    shrunk = of(path, devices=(), host=GIB + 400 * MIB)
    assert 4096 < shrunk.context < 65536 and shrunk.by_device()[HOST] <= 400 * MIB
    assert of(path, "-c", "65536", devices=(), host=GIB + 400 * MIB).context == 65536


def test_the_last_of_several_flags_holds(model: Path) -> None:
    assert of(model, "-c", "4096", "--ctx-size", "8192").context == 8192


@pytest.mark.parametrize("architecture", WRITERS)
def test_more_context_never_takes_less(tmp_path: Path, architecture: str) -> None:
    path = WRITERS[architecture](tmp_path / "m.gguf")
    sizes = [of(path, "-c", str(context)).total for context in (256, 4096, 4097, 65536, 131072)]
    assert sizes == sorted(sizes)


def test_a_draft_has_its_targets_context_and_its_own_cache_types(tmp_path: Path, model: Path) -> None:
    draft = write_llama(tmp_path / "draft.gguf", blocks=2, vocabulary=4096)
    flags = ["-c", "8192", "-md", str(draft), "--spec-type", "draft-simple", "-ctk", "q8_0", "-ctv", "q8_0"]
    uses = of(model, *flags).by_use()
    assert uses["draft", "cache"] == 8192 * 2 * 512
    assert uses["target", "cache"] == 8192 * 8 * 512 * 34 // 64
    quantized = of(model, *flags, "-ctkd", "q4_0").by_use()
    assert quantized["draft", "cache"] < uses["draft", "cache"]
    assert "CUDA0" not in {
        part.device for part in of(model, *flags, "-ngld", "0").parts if part.whose == "draft" and part.use == "cache"
    }
