"""What an engine gets of the gateway's environment, and what is said of the rest."""

from pathlib import Path

import pytest

from app.engine.environment import child_environment, withheld, withheld_notes

HOME = Path("/state/empty")
ALWAYS = {"GGML_NO_BACKTRACE": "1", "XDG_CONFIG_HOME": str(HOME)}


def test_environment_is_an_allow_list() -> None:
    """llama-server reads LLAMA_ARG_* and keys from its environment; none of ours reaches it."""
    outside = {
        "PATH": "/bin",
        "HOME": "/h",
        "LLAMA_ARG_CTX_SIZE": "1",
        "LLAMA_API_KEY": "k",
        "HF_TOKEN": "t",
        "AIP_MODE": "PREDICTION",
        "OPENAI_API_KEY": "s",
        "XDG_CONFIG_HOME": "/h/.config",
        "LLAMA_SERVER_ROUTER_PORT": "1",
        "TANDEM_API_KEYS": "k",
    }
    assert child_environment(outside, {}, HOME) == {"PATH": "/bin", "HOME": "/h"} | ALWAYS


@pytest.mark.parametrize(
    "name",
    [
        *("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "__NV_PRIME_RENDER_OFFLOAD", "__GLX_VENDOR_LIBRARY_NAME"),
        *("HIP_VISIBLE_DEVICES", "HSA_OVERRIDE_GFX_VERSION", "ROCR_VISIBLE_DEVICES", "ROCBLAS_USE_HIPBLASLT"),
        *("HIPBLASLT_TENSILE_LIBPATH", "ROCM_PATH", "GPU_DEVICE_ORDINAL", "AMD_VULKAN_ICD", "RADV_PERFTEST"),
        *("ONEAPI_DEVICE_SELECTOR", "SYCL_CACHE_PERSISTENT", "ZE_AFFINITY_MASK", "ZES_ENABLE_SYSMAN", "INTEL_DEBUG"),
        *("UR_L0_ENABLE_RELAXED_ALLOCATION_LIMITS", "OCL_ICD_VENDORS", "NEOReadDebugKeys", "LIBVA_DRIVER_NAME"),
        *(
            "VK_ICD_FILENAMES",
            "VK_DRIVER_FILES",
            "VULKAN_SDK",
            "MESA_VK_DEVICE_SELECT",
            "DRI_PRIME",
            "LIBGL_DRIVERS_PATH",
        ),
        *("MUSA_VISIBLE_DEVICES", "MTHREADS_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES", "ASCEND_HOME_PATH"),
        *("GGML_VK_VISIBLE_DEVICES", "GGML_BACKEND_PATH", "MTMD_BACKEND_DEVICE", "MTL_CAPTURE_ENABLED"),
        *("XDG_RUNTIME_DIR", "XDG_DATA_DIRS", "DISPLAY", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH"),
        *(
            "OMP_NUM_THREADS",
            "KMP_AFFINITY",
            "GOMP_CPU_AFFINITY",
            "OPENBLAS_NUM_THREADS",
            "MKLROOT",
            "BLIS_NUM_THREADS",
        ),
        *("NEWMAKER_VISIBLE_DEVICES", "NEWMAKER_DEVICE"),
    ],
)
def test_what_selects_a_device_or_a_driver_is_handed_on(name: str) -> None:
    """Dropped, it would mean the wrong GPU or none, with no word of why."""
    assert child_environment({name: "1"}, {}, HOME) == {name: "1"} | ALWAYS


@pytest.mark.parametrize("name", ["NVIDIA_API_KEY", "INTEL_TOKEN", "AMD_CLIENT_SECRET", "VK_PASSWORD"])
def test_secrets_stay_whosever_they_are(name: str) -> None:
    """Makers of devices sell services too."""
    assert name not in child_environment({name: "s"}, {}, HOME)


def test_what_an_entry_says_is_handed_on_whatever_its_name() -> None:
    """`env` of an entry is said on purpose."""
    own = {"LLAMA_ARG_POLL": "0", "NVIDIA_API_KEY": "k"}
    assert child_environment({"LLAMA_ARG_POLL": "100"}, own, HOME) == own | ALWAYS


def test_what_llama_server_would_obey_is_named() -> None:
    """Whoever has set it would wait for its effect in vain; what is empty or not llama-server's needs no word."""
    names = ("LLAMA_ARG_CTX_SIZE", "LLAMA_API_KEY", "LLAMA_TRACE", "AIP_MODE")
    others = {
        "LLAMA_ARG_MODEL": "",
        "LLAMA_TANDEM_CHILD": "1",
        "HF_TOKEN": "t",
        "LLAMA_ARG_HOST": "127.0.0.1",
    }
    assert withheld(dict.fromkeys(names, "1") | others) == tuple(sorted(names))
    assert withheld({"LLAMA_ARG_HOST": "0.0.0.0"}) == ("LLAMA_ARG_HOST",)


def test_nothing_held_back_is_nothing_said(tmp_path: Path) -> None:
    """Most people see no line."""
    assert withheld_notes({"PATH": "/bin", "HOME": str(tmp_path)}) == []


@pytest.mark.parametrize("by", ["HOME", "XDG_CONFIG_HOME"])
def test_the_users_own_config_of_llama_cpp_is_named(tmp_path: Path, by: str) -> None:
    """A llama-server that is started by hand reads it, and engines do not."""
    config = tmp_path / (".config/llama.cpp" if by == "HOME" else "llama.cpp") / "config.ini"
    config.parent.mkdir(parents=True)
    config.write_text("ctx-size = 4096")
    (line,) = withheld_notes({by: str(tmp_path)})
    assert str(config) in line
