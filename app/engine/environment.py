"""Selects the variables of the gateway's environment that an engine gets."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

_SYSTEM = (
    *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TMP", "TEMP", "TZ", "LANG", "LANGUAGE", "LC_*"),
    # Sockets, manifests (Vulkan's `icd.d`) and shader caches of drivers
    *("XDG_RUNTIME_DIR", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_DATA_DIRS", "XDG_CONFIG_DIRS"),
    *("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY"),
    # The dynamic loader and the allocator
    *("LD_*", "DYLD_*", "NIX_LD*", "GLIBC_TUNABLES", "MALLOC_*", "MIMALLOC_*", "TCMALLOC_*", "JEMALLOC_*"),
)
# By maker or interface; the names are from the manuals of drivers and libraries.
_DEVICES = (
    *("CUDA_*", "CUBLAS*", "CUDNN_*", "NVIDIA_*", "NV_*", "NCCL_*", "__NV_*", "__GL_*", "__GLX_*", "__EGL_*"),
    *("HIP*", "HSA_*", "ROCR_*", "ROCM_*", "ROC_*", "ROCBLAS_*", "ROCPROFILER_*", "TENSILE_*", "RCCL_*", "MIOPEN_*"),
    *("AMD_*", "AMDGPU_*", "AMDVLK_*", "GPU_*", "RADV_*", "RADEON_*", "ACO_*"),
    *("ONEAPI_*", "SYCL_*", "DPCPP_*", "ZE_*", "ZES_*", "ZET_*", "ZEL_*", "UR_*", "PI_*", "INTEL_*", "IGC_*", "NEO*"),
    *("OverrideDefaultFP64Settings", "ONEDNN_*", "DNNL_*", "CCL_*", "I_MPI_*", "ANV_*", "LIBVA_*", "OPENVINO_*"),
    *("VK_*", "VULKAN_*", "MESA_*", "GALLIUM_*", "LIBGL_*", "EGL_*", "GBM_*", "DRI_*", "DRM_*", "NIR_*", "ZINK_*"),
    *("LP_*", "LAVAPIPE_*", "TU_*", "FD_*", "PAN_*", "PANVK_*", "V3D_*", "V3DV_*", "VN_*", "NVK_*", "NOUVEAU_*"),
    *("D3D12_*", "DXVK_*", "DZN_*", "NODEVICE_SELECT", "ENABLE_*LAYER*", "DISABLE_*LAYER*", "WGPU_*", "DAWN_*"),
    *("OCL_*", "OPENCL_*", "CL_*", "POCL_*", "RUSTICL_*", "METAL_*", "MTL_*", "MVK_*"),
    *("MUSA_*", "MTHREADS_*", "MTGPU_*", "MCCL_*", "ASCEND_*", "ACL_*", "CANN_*", "HCCL_*", "ATB_*"),
    *("HEXAGON_*", "QNN_*", "ADSP_*", "CDSP_*", "DSP_*", "RKNN_*", "ZDNN_*", "NNPA_*", "TPU_*"),
    *("SPACEMIT_*", "VIRTGPU_*", "VIRGL_*", "APIR_*"),
    # By common parts of names
    *(
        "*_DEVICE",
        "*_DEVICES",
        "*_GPU_*",
        "*DEVICE_ORDINAL",
        "*DEVICE_ORDER",
        "*DEVICE_SELECTOR",
        "*ICD_FILENAMES",
        "*DRIVER_FILES",
    ),
)
_PROCESSOR = (
    *("OMP_*", "GOMP_*", "KMP_*", "LIBOMP_*", "OPENBLAS_*", "GOTO_*", "MKL_*", "MKLROOT", "BLIS_*", "BLAS_*"),
    *("VECLIB_*", "FLEXIBLAS*", "ARMPL_*", "NVPL_*", "AOCL_*", "ATLAS_*", "TBB_*", "TBBROOT", "HWLOC_*", "NUMA_*"),
)
# MTMD_BACKEND_DEVICE selects the projector's device (b11434).
_INHERITED = (*_SYSTEM, *_DEVICES, *_PROCESSOR, "GGML_*", "MTMD_*")
# Such as NVIDIA_API_KEY: no driver needs one.
_OF_A_LOGIN = (
    *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TMP", "TEMP", "TZ", "LANG", "LANGUAGE", "LC_*", "XDG_*"),
    *("DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY"),
)
_SECRETS = ("*_KEY", "*_TOKEN", "*SECRET*", "*PASSWORD*")
# Of the cluster, such as RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES: nothing for engines
_OF_RAY = ("RAY_*",)
# llama-server's own (b11434). They would change every engine against its entry.
_ENGINES_OWN = ("LLAMA_*", "AIP_*")
_NOT_OURS = ("LLAMA_TANDEM_*",)
# The value that engines get anyway, and that docker/Dockerfile.cuda sets
_AGREED = {"LLAMA_ARG_HOST": "127.0.0.1"}


def child_environment(environ: Mapping[str, str], own: Mapping[str, str], config_home: Path) -> dict[str, str]:
    """An allow-list of `environ`, fixed variables of every engine, and the entry's `env`, which wins.

    `config_home` is a folder without files: llama-server reads `$XDG_CONFIG_HOME/llama.cpp/config.ini`.
    """
    kept_back = (*_SECRETS, *_OF_RAY)
    inherited = {
        name: value for name, value in environ.items() if _matches(name, _INHERITED) and not _matches(name, kept_back)
    }
    # Without GGML_NO_BACKTRACE a failed assertion starts gdb, which is slow and can hang.
    return {**inherited, "GGML_NO_BACKTRACE": "1", "XDG_CONFIG_HOME": str(config_home), **own}


def without_login_variables(env: Mapping[str, str]) -> dict[str, str]:
    """Drops variables that differ between logins and do not affect engines."""
    return {name: value for name, value in env.items() if not _matches(name, _OF_A_LOGIN)}


def withheld(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The names of variables that llama-server would read and engines do not get, sorted. Empty ones have no effect.

    Credentials of the Hub are not among them: the gateway itself uses them, and engines download nothing.
    """
    return tuple(
        sorted(
            name
            for name, value in environ.items()
            if value and _matches(name, _ENGINES_OWN) and not _matches(name, _NOT_OURS) and _AGREED.get(name) != value
        )
    )


def user_config(environ: Mapping[str, str]) -> Path:
    """The path of a user's llama-server settings, which engines do not read."""
    home = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME', '')}/.config"
    return Path(home, "llama.cpp", "config.ini")


def withheld_notes(environ: Mapping[str, str]) -> list[str]:
    """One line on the variables and one on the user's config.ini, if there are any, with the alternative."""
    lines = []
    if names := withheld(environ):
        instead = "set them in tandem.yaml, by an entry's keys, args or env"
        lines.append(f"engines do not get {', '.join(names)} of the environment: {instead}")
    if (config := user_config(environ)).is_file():
        lines.append(f"engines do not read {config}: move its settings to the entries of tandem.yaml")
    return lines


@lru_cache(maxsize=4096)
def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Cached, since `check` calls it for each of hundreds of entries."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)
