"""How loads fail: llama-server's own last words, kind by kind, and its exits."""

from __future__ import annotations

import os
import resource
import signal
from typing import NoReturn

from .log import Log, write

GGUF_OPEN = "gguf_init_from_file: failed to open GGUF file '{model}' (No such file or directory)"
LOAD = "llama_model_load: error loading model: "
REJECTED = [
    "llama_model_load_from_file_impl: failed to load model",
    "cmn  common_init_: failed to load model '{model}'",
]
GAVE_UP = ["srv    load_model: failed to load model, '{model}'"]
NO_LOADER = LOAD + "llama_model_loader: failed to load model from {model}"
NO_CONTEXT = "llama_init_from_model: failed to initialize the context: "
NOT_CREATED = ["srv    load_model: failed to create_context with model '{model}'"]
DRAFT_GAVE_UP = [
    "common_speculative_init_result: failed to load draft model, '{draft}'",
    "srv    load_model: failed to load draft model, '{draft}'",
]

# The E lines of a load that ends with exit 1, in order.
LINES: dict[str, list[str]] = {
    "missing": [GGUF_OPEN, NO_LOADER, *REJECTED, *GAVE_UP],
    "magic": [
        "gguf_init_from_reader: invalid magic characters: 'junk', expected 'GGUF'",
        NO_LOADER,
        *REJECTED,
        *GAVE_UP,
    ],
    "empty": ["gguf_init_from_reader: failed to read magic", NO_LOADER, *REJECTED, *GAVE_UP],
    "truncated": [
        LOAD + "tensor 'token_embd.weight' data is not within the file bounds, model is corrupted or incomplete",
        *REJECTED,
        *GAVE_UP,
    ],
    "arch": [LOAD + "unknown model architecture: 'unicornlm'", *REJECTED, *GAVE_UP],
    "memory-kv": [
        "ggml_aligned_malloc: insufficient memory (attempted to allocate 1024.00 MB)",
        "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 1073741824",
        NO_CONTEXT + "failed to allocate buffer for kv cache",
        *NOT_CREATED,
    ],
    "memory-cuda": [
        "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4096.00 MiB on device 0: "
        "cudaMalloc failed: out of memory",
        "alloc_tensor_range: failed to allocate CUDA0 buffer of size 4294967296",
        LOAD + "unable to allocate CUDA0 buffer",
        *REJECTED,
        *GAVE_UP,
    ],
    "memory-compute": [
        "ggml_gallocr_reserve_n: failed to allocate CUDA0 buffer of size 4294967296",
        NO_CONTEXT + "failed to allocate compute pp buffers",
        *NOT_CREATED,
    ],
    "draft": [
        GGUF_OPEN.replace("{model}", "{draft}"),
        NO_LOADER.replace("{model}", "{draft}"),
        REJECTED[0],
        *DRAFT_GAVE_UP,
    ],
    "mtp": ["srv    load_model: failed to create MTP context"],
    "ssl": ["srv  init_listene: the server is built without SSL support"],
}
# Deaths without a word of farewell: the raw line, if any, and the signal.
DEATHS: dict[str, tuple[str, signal.Signals]] = {
    "assert": ("llama-context.cpp:1: GGML_ASSERT(n_tokens_all <= cparams.n_batch) failed", signal.SIGABRT),
    "dflash": (
        'speculative.cpp:1: GGML_ASSERT(target_layer_ids_n > 0 && "DFlash model has no target_layer_ids") failed',
        signal.SIGABRT,
    ),
    "sigill": ("", signal.SIGILL),
    "sigkill": ("", signal.SIGKILL),
    "sigsegv": ("", signal.SIGSEGV),
}
# These end before the load: a bad argument, and a set of devices that is not there.
KINDS = [*LINES, *DEATHS, "bad-device", "exit"]


def die(number: signal.Signals | None = None, code: int = 1) -> NoReturn:
    """By signal, without a core file, or by `os._exit`: no clean-up either way."""
    if number is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.kill(os.getpid(), number)
        signal.pause()
    os._exit(code)


def fail_load(kind: str, log: Log, model: str, draft: str) -> NoReturn:
    """Says what the real one says, and ends."""
    if kind in DEATHS:
        line, number = DEATHS[kind]
        log("I", "cmn          init: llama threadpool init, n_threads = 2")
        if line:
            write(line)
        die(number)
    for line in LINES.get(kind, []):
        log("E", line.format(model=model, draft=draft or "draft.gguf"))
    if kind != "exit":
        log("I", "srv    operator(): operator(): cleaning up before exit...")
        log("E", "srv  llama_server: exiting due to model loading error")
    die()


def fail_bind(log: Log, host: str, port: int) -> NoReturn:
    log("E", f"srv         start: couldn't bind HTTP server socket, hostname: {host}, port: {port}")
    log("I", "srv    operator(): operator(): cleaning up before exit...")
    log("E", "srv  llama_server: exiting due to HTTP server error")
    die()
