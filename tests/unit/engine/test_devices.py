"""The page of `--list-devices`."""

from app.engine.devices import Device, absent, parse

PAGE = """ggml_cuda_init: found 1 CUDA devices:
  Device 0: NVIDIA (1 MiB, 1 MiB free)
Available devices:
  CUDA0: NVIDIA GeForce RTX 4090 (24077 MiB, 23000 MiB free)
  RPC0: 127.0.0.1:50152 (24105 MiB, 24105 MiB free)
  Vulkan0: AMD Radeon (RADV (NAVI31)) (20464 MiB, 64 MiB free)
"""


def test_every_device_is_read_with_its_memory() -> None:
    """What a backend prints before the list is none; brackets in a name are part of it."""
    assert [(d.name, d.description, d.total >> 20, d.free >> 20) for d in parse(PAGE)] == [
        ("CUDA0", "NVIDIA GeForce RTX 4090", 24077, 23000),
        ("RPC0", "127.0.0.1:50152", 24105, 24105),
        ("Vulkan0", "AMD Radeon (RADV (NAVI31))", 20464, 64),
    ]
    assert isinstance(parse(PAGE)[0], Device)


def test_a_build_for_the_processor_has_none() -> None:
    assert parse("Available devices:\n  (none)\n") == () == parse("")


def test_a_device_that_nobody_has_is_named() -> None:
    """Names are compared as llama.cpp does it, and `none` is one that is always there."""
    there = parse(PAGE)
    assert absent("CUDA0,cuda1, vulkan0 ,Metal", there) == ["cuda1", "Metal"]
    assert absent("none", ()) == []
