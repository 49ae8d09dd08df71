"""Patterns of llama-server's error messages, each with a cause and an advice. Pure.

The messages are b11434's unless a comment says otherwise. The first match wins, so specific patterns come first.
"""

from __future__ import annotations

from app.engine.diagnose_file_rules import FILE_RULES, log_rule
from app.engine.wheel import GET_WHEEL

RULES = (
    *FILE_RULES,
    log_rule(
        "port_taken",
        r"couldn't bind HTTP server socket, hostname: \S+, port: (\d+)",
        "Port {0} is taken by another program.",
        "The next free port is tried.",
        permanent=False,
    ),
    log_rule(
        "unknown_flag",
        r"error: invalid argument: (.+)",
        "This llama-server does not know the flag {0}.",
        "Remove it from the entry's args, or use a build that has it.",
    ),
    log_rule(
        "bad_device",
        r'(?:error while handling argument "([^"]+)": )?invalid device: (\S+)',
        "The device {1}, which {0} names, does not exist.",
        "Run `llama-server --list-devices` to list them.",
    ),
    log_rule(
        "removed_flag",
        r'error while handling argument "([^"]+)": (the argument has been removed[^\n]*)',
        "This llama-server no longer has the flag {0}: {1}.",
        "Use the new flag in the entry's args.",
    ),
    log_rule(
        "bad_value",
        r'error while handling argument "([^"]+)": (.+)',
        "llama-server refuses the value of {0}: {1}.",
        "Correct it in the model's entry.",
    ),
    log_rule(
        "bad_value",
        r'error while handling environment variable "([^"]+)": (.+)',
        "llama-server refuses the value of {0}: {1}.",
        "Correct it in the entry's env, or in the gateway's environment.",
    ),
    log_rule(
        "bad_value",
        r"tools setup failed: (.+)",
        "llama-server refuses the value of --tools: {0}.",
        "Correct it in the model's entry.",
    ),
    log_rule(
        "grammar",
        r"parse: error parsing grammar: (.+)",
        "The grammar does not parse: {0}.",
        "Correct it; --grammar, --grammar-file or a JSON schema in the entry's args names it.",
    ),
    log_rule(
        "too_many_slots",
        r"n_seq_max must be <= (\d+)",
        "llama-server supports at most {0} slots.",
        "Lower parallel in the model's entry.",
    ),
    log_rule(
        "missing_library",
        r"error while loading shared libraries: ([^:\n]+)",
        "llama-server needs the library {0}, which is not found.",
        "Install it, or add its folder to LD_LIBRARY_PATH.",
    ),
    log_rule(
        "missing_wheel",
        r"llama-tandem: the embedded engine needs the wheel (\w+)",
        "The embedded engine needs the wheel {0}, which is not installed.",
        f"Run {GET_WHEEL}.",
    ),
    log_rule(
        "unfit_wheel",
        r"llama-tandem: the embedded engine does not work with (xllamacpp [^:\n]+)",
        "The embedded engine does not work with {0}.",
        f"Run {GET_WHEEL} for a supported version.",
    ),
    log_rule(
        "missing_file",
        r"failed to open GGUF file '([^']+)'( \([^)]+\))?",
        "The file {0} cannot be opened {1}.",
        "Check the path and its permissions.",
    ),
    log_rule(
        "not_gguf",
        r"invalid magic characters: '[^']*'",
        "{model} is not GGUF.",
        "Download it again. It may be a saved error page.",
    ),
    log_rule(
        "not_gguf",
        r"gguf_init_from_\w+: failed to read magic",
        "{model} is empty.",
        "Download it again.",
    ),
    log_rule(
        "truncated",
        r"data is not within the file bounds|model is corrupted or incomplete|failed to read (?:header|key|tensor)",
        "{model} is incomplete.",
        "Download it again.",
    ),
    log_rule(
        "unknown_architecture",
        r"unknown model architecture: '([^']*)'",
        "{model} has the architecture {0}, which this llama-server does not know.",
        "Use a newer build of llama.cpp.",
    ),
    log_rule(
        "device_memory",
        r"allocating ([\d.]+ MiB) on device (\d+): cudaMalloc failed",
        "Not enough memory on device {1}: {0} could not be allocated.",
        "Lower ctx_size, offload fewer layers (--n-gpu-layers in args), or use a smaller quantization.",
        permanent=False,
    ),
    log_rule(
        "device_memory",
        # CUDA and HIP, Vulkan, SYCL and Metal, from their users' reports
        r"unable to allocate (?!CPU)\S+ buffer|failed to allocate (?!CPU)\S+ buffer of size|CUDA error: out of memory|"
        r"Device memory allocation of size \d+ failed|ErrorOutOfDeviceMemory|OUT_OF_DEVICE_MEMORY|"
        r"ErrorOutOfMemory\)|ggml_metal\w*: error: failed to allocate buffer",
        "Not enough memory on a device.",
        "Lower ctx_size, offload fewer layers (--n-gpu-layers in args), or use a smaller quantization.",
        permanent=False,
    ),
    log_rule(
        "host_memory",
        r"insufficient memory \(attempted to allocate\s+([\d.]+ MB)\)",
        "Not enough memory on the host: {0} could not be allocated.",
        "Lower ctx_size or parallel, or use a smaller quantization.",
        permanent=False,
    ),
    log_rule(
        "host_memory",
        r"ErrorOutOfHostMemory|OUT_OF_HOST_MEMORY|mmap(?: failed|[^\n]*):? Cannot allocate memory",
        "Not enough memory on the host.",
        "Lower ctx_size or parallel, or use a smaller quantization.",
        permanent=False,
    ),
    log_rule(
        "memory",
        r"failed to allocate (?:buffer for kv cache|compute \w+ buffers)|std::bad_alloc",
        "Not enough memory for the context.",
        "Lower ctx_size or parallel.",
        permanent=False,
    ),
    log_rule(
        "draft_failed",
        r"failed to load draft model, '([^']*)'",
        "The draft model {0} cannot be loaded.",
        "Check the file, or remove draft.",
    ),
    log_rule(
        "mtp_missing",
        r"failed to create MTP context",
        "The model has no layers for multi-token prediction.",
        "Use another speculation mode.",
    ),
    log_rule(
        "lora_failed",
        r"failed to load lora adapter '([^']+)'|failed to apply lora adapter",
        "The LoRA adapter {0} cannot be loaded.",
        "Name an adapter that was made for this model (GGUF with general.type adapter).",
    ),
    log_rule(
        "projector",
        r"clip_init: failed to load model '([^']+)': ([^\n]+)",
        "The multimodal projector {0} cannot be loaded: {1}.",
        "Name the projector that was made for this model as mmproj, or remove mmproj.",
    ),
    log_rule(
        "projector",
        r"[Ff]ailed to load CLIP model from ([^\n]+)|failed to load multimodal model,? '([^']+)'",
        "{0}{1} cannot be loaded as a multimodal projector.",
        "Name the projector that was made for this model as mmproj, or remove mmproj.",
    ),
    log_rule(
        "assertion",
        r"(\S+:\d+: GGML_ASSERT\(.+\) failed.*)",
        "llama.cpp stopped at an assertion: {0}.",
        "Try another llama.cpp build or other options. Search for the assertion above in llama.cpp's issues.",
    ),
    log_rule(
        "draft_vocabulary",
        # Before the general abort, which has the same form. Seen on b11434 if the vocabularies of target and draft
        # differ by up to 128 tokens, which passes llama-server's own check. The warm-up is always the same, so it fails
        # each time.
        r"get_sub_batch: failed to add token (\d+)",
        "Target and draft have different vocabularies: only one of them has the token {0}.",
        "Use a draft model with the target's vocabulary, or remove draft.",
    ),
    log_rule(
        "wake_failed",
        r"failed to reload model after sleeping",
        "The model could not be loaded again after sleeping.",
        "Free memory, or remove --sleep-idle-seconds from the entry's args.",
        permanent=False,
    ),
    log_rule(
        "aborted",
        # GGML_ABORT: `ggml-rpc.cpp:519: ...`
        r"(?m)^(\S+\.(?:cpp|cuh?|c|h|mm?):\d+: .+)",
        "llama.cpp aborted: {0}.",
        "Search for this line in llama.cpp's issues.",
        permanent=False,
    ),
    log_rule(
        "load_failed",
        r"failed to load model,? '[^']*'|error loading model: .+",
        "{model} cannot be loaded.",
        "See the last lines of its log.",
    ),
)
