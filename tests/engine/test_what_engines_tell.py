"""What is read off a real engine without loading a model."""

from app.engine.architectures import knows
from app.engine.devices import devices
from app.engine.locate import locate


def test_an_engine_tells_the_architectures_that_it_knows(engine: str) -> None:
    """Those of the tiny models, which the other tests load, and not the one that it refuses."""
    found = locate(engine)
    known = [knows(found, name) for name in ("llama", "qwen3", "gemma3", "glm4moe", "unicornlm")]
    assert known == [True, True, True, True, False]


def test_an_engine_tells_its_devices(engine: str) -> None:
    """However many the machine has; each has memory."""
    assert all(device.name and 0 < device.free <= device.total for device in devices(locate(engine)))
