"""Reports of settings of llama-server in the environment that have no effect, and of GPUs that are not found."""

from collections.abc import Callable

import psutil

from tests.support.gateway import Gateway

HELD_BACK = "engines do not get LLAMA_ARG_CTX_SIZE, LLAMA_ARG_N_GPU_LAYERS of the environment"


def test_serve_and_check_name_what_engines_do_not_get(make_gateway: Callable[..., Gateway]) -> None:
    """The variables that llama-server itself would obey, once at the start and in `check`."""
    gateway = make_gateway(env={"LLAMA_ARG_CTX_SIZE": "4096", "LLAMA_ARG_N_GPU_LAYERS": "99"})
    (line,) = gateway.logged(HELD_BACK)
    assert line["level"] == "warning" and "tandem.yaml" in line["event"]
    assert HELD_BACK in gateway.command("check").stdout


def test_an_engine_sees_what_selects_its_device(make_gateway: Callable[..., Gateway]) -> None:
    """A selector of a maker that few have is as good as CUDA's."""
    selectors = {"ONEAPI_DEVICE_SELECTOR": "level_zero:1", "VK_ICD_FILENAMES": "/etc/icd.json", "DRI_PRIME": "1"}
    gateway = make_gateway(env=selectors | {"LLAMA_ARG_CTX_SIZE": "4096"})
    assert gateway.chat().status_code == 200
    (pid,) = gateway.engines
    environment = psutil.Process(pid).environ()
    assert {name: environment[name] for name in selectors} == selectors
    assert "LLAMA_ARG_CTX_SIZE" not in environment
