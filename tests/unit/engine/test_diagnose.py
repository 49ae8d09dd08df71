"""Causes and advice from llama-server's own last words, as recorded on real runs."""

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.diagnose import diagnose
from app.engine.embedded import MISSING, UNFIT

FIT = "0.00.009.267 E common_fit_params: encountered an error while trying to fit params to free device memory: "
GAVE_UP = "0.00.010.000 E srv  llama_server: exiting due to model loading error"


def load(path: str, *causes: str, draft: bool = False) -> list[str]:
    """The lines of a failed load as b11434 writes them: everything twice, because of the fit step."""
    once = [
        *(f"0.00.009.000 E {cause}" for cause in causes),
        f"0.00.009.138 E llama_model_load: error loading model: llama_model_loader: failed to load model from {path}",
        "0.00.009.195 E llama_model_load_from_file_impl: failed to load model",
    ]
    last = f"0.00.009.300 E srv    load_model: failed to load {'draft ' if draft else ''}model, '{path}'"
    return [*once, FIT + "failed to load model", *once, last, GAVE_UP]


OPEN = "gguf_init_from_file: failed to open GGUF file 'm/no.gguf' (No such file or directory)"
MAGIC = "gguf_init_from_reader: invalid magic characters: '<htm', expected 'GGUF'"
BOUNDS = (
    "llama_model_load: error loading model: tensor 'token_embd.weight' data is not within the file bounds, "
    "model is corrupted or incomplete"
)
ARCH = "llama_model_load: error loading model: unknown model architecture: 'unicornlm'"
PORT = "0.00.012 E srv         start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 18102"


@pytest.mark.parametrize(
    ("log", "code", "permanent", "quoted"),
    [
        (load("m/no.gguf", OPEN), "missing_file", True, "m/no.gguf"),
        (load("m/x.gguf", MAGIC), "not_gguf", True, "GGUF"),
        (load("m/x.gguf", BOUNDS), "truncated", True, "incomplete"),
        (load("m/x.gguf", ARCH), "unknown_architecture", True, "unicornlm"),
        (load("m/no.gguf", OPEN, draft=True), "missing_file", True, "m/no.gguf"),
        (load("m/d.gguf", draft=True), "draft_failed", True, "m/d.gguf"),
        ([PORT, "0.00.013 E srv  llama_server: exiting due to HTTP server error"], "port_taken", False, "18102"),
        (["error: invalid argument: --no-such"], "unknown_flag", True, "--no-such"),
        (['error while handling argument "--port": stoi', "", "usage:"], "bad_value", True, "--port"),
        (['error while handling argument "--device": invalid device: CUDA9'], "bad_device", True, "CUDA9"),
        (
            [
                "0.00.368.736 E ggml_aligned_malloc: insufficient memory (attempted to allocate 43948.12 MB)",
                "0.3 E ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 46082949120",
                "0.3 E ggml_backend_buft_alloc_buffer_n_default: failed to allocate CPU buffer of size 46082949120",
                "0.00.372.809 E llama_init_from_model: failed to initialize the context: "
                "failed to allocate buffer for kv cache",
            ],
            "host_memory",
            False,
            "43948.12 MB",
        ),
        (
            [
                "0.1 E ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4096.00 MiB on device 0: "
                "cudaMalloc failed: out of memory",
                "0.1 E alloc_tensor_range: failed to allocate CUDA0 buffer of size 4294967296",
            ],
            "device_memory",
            False,
            "4096.00 MiB",
        ),
        (["0.1 E llama_model_load: error loading model: unable to allocate CUDA0 buffer"], "device_memory", False, ""),
    ],
)
def test_a_failed_load_is_named_by_its_most_specific_line(
    log: list[str], code: str, permanent: bool, quoted: str
) -> None:
    """Exit code 1 says nothing; generic lines about the same failure surround the one that matters."""
    diagnosis = diagnose(1, log)
    assert (diagnosis.code, diagnosis.permanent) == (code, permanent)
    assert quoted in diagnosis.cause
    assert diagnosis.cause.endswith(".") and diagnosis.advice.endswith(".")
    assert "\n" not in str(diagnosis)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("ggml_vulkan: Device memory allocation of size 118497280 failed.", "device_memory"),
        ("ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory", "device_memory"),
        ("level_zero backend failed with error: 39 [UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY]", "device_memory"),
        ("error: Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)", "device_memory"),
        ("ggml_metal_buffer_init: error: failed to allocate buffer, size =  4096.00 MiB", "device_memory"),
        ("ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfHostMemory", "host_memory"),
        ("llama_model_load: error loading model: mmap failed: Cannot allocate memory", "host_memory"),
    ],
)
def test_want_of_memory_is_known_on_every_kind_of_device(line: str, code: str) -> None:
    """As people report it: it passes, and another engine may make room."""
    diagnosis = diagnose(1, [f"0.00.100.000 E {line}"])
    assert (diagnosis.code, diagnosis.permanent) == (code, False)


@pytest.mark.parametrize(
    ("returncode", "code", "permanent"),
    [
        (-signal.SIGILL, "illegal_instruction", True),
        (-signal.SIGKILL, "killed", False),
        (-signal.SIGSEGV, "crashed", False),
        (-signal.SIGBUS, "signalled", False),
        (126, "not_executable", True),
        (127, "not_found", True),
        (3, "exited", False),
        (0, "exited", False),
        (None, "exited", False),
    ],
)
def test_without_a_telling_line_the_exit_decides(returncode: int | None, code: str, permanent: bool) -> None:
    """A signal leaves no message; the kernel's killer neither."""
    diagnosis = diagnose(returncode, ["0.1 I cmn          init: llama threadpool init, n_threads = 2"])
    assert (diagnosis.code, diagnosis.permanent) == (code, permanent)


def test_a_missing_library_is_the_loaders_line() -> None:
    """The loader exits with 127, as a shell does for a missing program."""
    line = "llama-server: error while loading shared libraries: libcudart.so.12: cannot open shared object file"
    diagnosis = diagnose(127, [line])
    assert diagnosis.code == "missing_library"
    assert "libcudart.so.12" in diagnosis.cause


def test_a_token_that_one_side_lacks_is_not_just_an_abort() -> None:
    """b11434's line has the form of every GGML_ABORT; the warm-up meets it again at every start."""
    line = "/b/common/common.cpp:2216: get_sub_batch: failed to add token 543 at index 2 (error -2, n = 4)"
    diagnosis = diagnose(-signal.SIGABRT, [line])
    assert (diagnosis.code, diagnosis.permanent) == ("draft_vocabulary", True)
    assert "543" in diagnosis.cause and "vocabulary" in diagnosis.advice


def test_an_assertion_is_quoted() -> None:
    """It is what to search the tracker for."""
    line = 'speculative.cpp:1: GGML_ASSERT(target_layer_ids_n > 0 && "DFlash model has no target_layer_ids") failed'
    diagnosis = diagnose(-signal.SIGABRT, [line])
    assert (diagnosis.code, diagnosis.permanent) == ("assertion", True)
    assert "target_layer_ids_n > 0" in diagnosis.cause
    assert diagnosis.cause.endswith("failed.")


def test_a_hang_is_its_own_cause_whatever_the_log_says() -> None:
    """The one who watched knows which limit was passed."""
    diagnosis = diagnose(None, [PORT], hung="no log output for 60 s")
    assert (diagnosis.code, diagnosis.permanent) == ("hung", False)
    assert "no log output for 60 s" in diagnosis.cause


def test_the_tail_is_short_and_plain() -> None:
    """20 lines, without colours and blank lines, none longer than 500 characters."""
    tail = diagnose(1, [*(f"line {n}" for n in range(40)), "", "\x1b[31mred\x1b[0m", "x" * 900]).log_tail
    assert len(tail) == 20
    assert tail[-2] == "red"
    assert len(tail[-1]) == 500


LINES = st.lists(st.text() | st.sampled_from([*load("{x}", OPEN, MAGIC), "error: invalid argument: {0} {9} {model}"]))


@given(LINES)
def test_no_log_makes_it_fail(log: list[str]) -> None:
    """A diagnosis that raises would hide what it should explain."""
    assert diagnose(1, log).cause


@given(st.none() | st.integers(), LINES)
def test_no_exit_code_makes_it_fail(returncode: int | None, log: list[str]) -> None:
    """Most real-time signals have no name in Python. Whatever it is, somebody wants to know what to do."""
    assert diagnose(returncode, log).cause
    assert diagnose(-40, log).cause
    assert diagnose(returncode, log).advice and diagnose(-40, log).advice


@given(st.sampled_from(sorted(signal.Signals)))
def test_every_signal_has_a_cause_and_an_advice(number: signal.Signals) -> None:
    """SIGTERM from outside included."""
    diagnosis = diagnose(-number, [])
    assert diagnosis.cause.endswith(".") and diagnosis.advice.endswith(".")


def test_the_wheel_that_is_missing_is_named_with_what_brings_it() -> None:
    """The embedded engine's own last words."""
    diagnosis = diagnose(1, [MISSING])
    assert diagnosis.code == "missing_wheel"
    assert "xllamacpp" in diagnosis.cause and "pip install" in diagnosis.advice


def test_a_wheel_that_does_not_fit_is_named_with_its_version() -> None:
    """Another install of the extra is what helps, and the same start would fail again."""
    diagnosis = diagnose(1, [UNFIT.format("2027.1.12345")])
    assert (diagnosis.code, diagnosis.permanent) == ("unfit_wheel", True)
    assert "xllamacpp 2027.1.12345" in diagnosis.cause and "pip install" in diagnosis.advice


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (load("m/x.gguf", MAGIC), "The model m/x.gguf is not GGUF."),
        (load("m/x.gguf", "gguf_init_from_reader: failed to read magic"), "The model m/x.gguf is empty."),
        (load("m/x.gguf", "gguf_init_from_reader: failed to read header"), "The model m/x.gguf is incomplete."),
        (load("m/d.gguf", BOUNDS, draft=True), "The draft model m/d.gguf is incomplete."),
        (load("m/d.gguf", MAGIC, draft=True), "The draft model m/d.gguf is not GGUF."),
        (load("m/x.gguf"), "The model m/x.gguf cannot be loaded."),
        # August 2025, without the reason
        (load("a.gguf", "gguf_init_from_file: failed to open GGUF file 'a.gguf'"), "The file a.gguf cannot be opened."),
    ],
)
def test_the_cause_names_the_file_and_whether_it_is_the_draft(log: list[str], cause: str) -> None:
    """Of two models with several shards each, one has to be downloaded again."""
    assert diagnose(1, log).cause == cause


def test_a_bad_device_names_the_flag() -> None:
    """The target's and the draft's devices are two keys."""
    diagnosis = diagnose(1, ['error while handling argument "--device-draft": invalid device: CUDA9'])
    assert diagnosis.cause == "The device CUDA9, which --device-draft names, does not exist."


def test_a_removed_flag_is_told_with_its_successor() -> None:
    """llama-server says it itself."""
    words = "the argument has been removed. use --spec-draft-n-max or --spec-ngram-mod-n-max"
    diagnosis = diagnose(1, [f'error while handling argument "--draft-max": {words}'])
    assert diagnosis.code == "removed_flag"
    assert diagnosis.cause.endswith("use --spec-draft-n-max or --spec-ngram-mod-n-max.")


def test_an_abort_quotes_its_line_and_may_be_tried_again() -> None:
    """GGML_ABORT ends a process whose RPC server has gone, among others."""
    line = "ggml-rpc.cpp:519: Remote RPC server crashed or returned malformed response"
    diagnosis = diagnose(-signal.SIGABRT, [line])
    assert (diagnosis.code, diagnosis.permanent) == ("aborted", False)
    assert line in diagnosis.cause


def test_a_wrappers_exit_code_is_read_as_the_signal() -> None:
    """Shell scripts and containers say 128 + signal."""
    assert diagnose(137, []).code == "killed"
    assert diagnose(134, []).code == "aborted"


CREATE = "0.00.040.292 E cmn  common_init_: failed to create context with model '/m/t.gguf'"
NO_CONTEXT = "0.00.040.315 E srv    load_model: failed to create_context with model '/m/t.gguf'"
PARSER = [
    "error: the supplied chat template is not supported: {% for m in messages %}{{ m.content }{% endfor %}",
    "",
    "0.00.004.290 E common_chat_templates_init: error: parser: Parser Error: Expected }} (Got })",
    "...{% for m in messages %}{{ m.content }{% endfor %}...",
    "0.00.004.292 E common_chat_templates_init: failed to initialize chat template",
    "0.00.004.323 E common_chat_verify_template: failed to apply template: std::exception",
]


@pytest.mark.parametrize(
    ("log", "code", "words"),
    [
        (PARSER, "chat_template", "does not parse: parser: Parser Error: Expected }} (Got })."),
        ([PARSER[2], PARSER[0]], "chat_template", "does not parse: parser: Parser Error: Expected }} (Got })."),
        (
            [PARSER[0], "", "note: llama.cpp was started without --jinja, we only support commonly used templates"],
            "chat_template",
            "needs jinja, which is off",
        ),
        (
            ["error while handling argument \"--chat-template-file\": error: failed to open file 'no.jinja'"],
            "missing_file",
            "The file no.jinja, which --chat-template-file names, cannot be opened.",
        ),
        (
            ['error while handling argument "--slot-save-path": not a directory: /nope'],
            "missing_file",
            "The folder /nope, which --slot-save-path names, does not exist.",
        ),
        (
            [
                "0.00.039.524 E llama_adapter_lora_init: failed to open '/nope/x.gguf': No such file or directory",
                "0.00.040.292 E cmn  common_init_: failed to load lora adapter '/nope/x.gguf'",
                CREATE,
                NO_CONTEXT,
            ],
            "missing_file",
            "The LoRA adapter /nope/x.gguf cannot be opened: No such file or directory.",
        ),
        (
            [
                "0.00.012 E llama_adapter_lora_init_from_file_ptr: failed to apply lora adapter: "
                "expect general.type to be 'adapter', but got: ",
                "0.00.012.305 E cmn  common_init_: failed to load lora adapter '/m/t.gguf'",
                CREATE,
            ],
            "lora_failed",
            "The LoRA adapter /m/t.gguf does not fit the model: expect general.type to be 'adapter'",
        ),
        (
            ["0.00.031.348 E llama_init_from_model: quantized V cache requires flash_attn to be enabled", NO_CONTEXT],
            "cache_type",
            "needs flash attention",
        ),
        (
            [
                "0.00.029 E llama_init_from_model: K cache type q8_0 with block size 32 does not divide "
                "n_embd_head_k=16",
                NO_CONTEXT,
            ],
            "cache_type",
            "The K cache type q8_0 comes in blocks of 32, which do not divide the model's head size of 16.",
        ),
        (
            load("/m/p.gguf", "llama_model_load: error loading model: CLIP cannot be used as main model, use it with"),
            "wrong_kind",
            "/m/p.gguf is a multimodal projector",
        ),
        (
            ['error while handling environment variable "LLAMA_ARG_THREADS": stoi'],
            "bad_value",
            "llama-server refuses the value of LLAMA_ARG_THREADS: stoi.",
        ),
        (['0.00.05 E srv  llama_server: tools setup failed: unknown tool "fly".'], "bad_value", 'unknown tool "fly".'),
        (
            ["parse: error parsing grammar: unexpected end of input", "", "root ::= [a", "0.00.051 E failed to parse"],
            "grammar",
            "The grammar does not parse: unexpected end of input.",
        ),
        (
            ["0.00.053 E llama_init_from_model: failed to initialize the context: n_seq_max must be <= 256"],
            "too_many_slots",
            "llama-server supports at most 256 slots.",
        ),
        (["0.00.03 E clip_init: unknown projector type: newest"], "projector", "does not know: newest."),
        (
            [
                "0.00.048.114 E mtmd_init_from_file: error: Failed to load CLIP model from /m/t.gguf",
                "0.00.048.139 E srv    load_model: failed to load multimodal model, '/m/t.gguf'",
            ],
            "projector",
            "/m/t.gguf cannot be loaded as a multimodal projector.",
        ),
        (
            ["0.00.048 E mtmd: mismatch between text model (n_embd = 64) and mmproj (n_embd = 4096)"],
            "projector",
            "belongs to another model: its vectors have 4096 numbers, the model's 64.",
        ),
        (
            load("/m/r.gguf", "llama_model_load: error loading model: invalid split file name: /m/r.gguf"),
            "split",
            "/m/r.gguf is a part of a model",
        ),
        (
            load("/m/r.gguf", "x: error loading model: invalid split file idx: 2 (file: /m/s-2.gguf), expected 1"),
            "split",
            "/m/s-2.gguf is in the wrong place",
        ),
        (
            load(
                "/m/l.gguf", "x: error loading model: error loading model hyperparameters: key not found in model: a.b"
            ),
            "wrong_kind",
            "lacks a.b in its header",
        ),
    ],
)
def test_what_the_reports_met_has_a_cause_of_its_own(log: list[str], code: str, words: str) -> None:
    """Permanent: none of it changes by itself."""
    diagnosis = diagnose(1, log)
    assert (diagnosis.code, diagnosis.permanent) == (code, True)
    assert words in diagnosis.cause


def test_memory_that_lacks_for_a_projector_is_no_fault_of_the_projector() -> None:
    """It passes: another try may find the memory."""
    log = [
        "0.1 E ggml_backend_cuda_buffer_type_alloc_buffer: allocating 96.00 MiB on device 0: cudaMalloc failed: no",
        "0.1 E srv    load_model: failed to load multimodal model, '/m/p.gguf'",
    ]
    assert (diagnose(1, log).code, diagnose(1, log).permanent) == ("device_memory", False)


def test_an_engine_that_cannot_wake_says_why() -> None:
    """The reason stands before the abort."""
    woke = "/src/server-context.cpp:1067: failed to reload model after sleeping"
    bare = diagnose(-6, [woke])
    assert (bare.code, bare.permanent) == ("wake_failed", False) and "after sleeping" in bare.cause
    log = ["0.1 E x: allocating 96.00 MiB on device 0: cudaMalloc failed: out of memory", woke]
    assert diagnose(-6, log).code == "device_memory" and "after sleeping" in diagnose(-6, log).cause


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (["0.00.003.549 E srv  init_listene: nobody has seen this before", CREATE, NO_CONTEXT], "nobody has seen this"),
        (["main: loading", "common_init: error: a thing of 2025", "main: exiting due to model loading error"], "2025"),
        (["docker: Error response from daemon: No such image: x.", "See 'docker run --help'."], "No such image: x"),
        (load("/m/t.gguf", "llama_model_load: error loading model: a rope of a new kind"), "a rope of a new kind"),
        (["terminate called after throwing", "  what():  bad weather", "0.1 I srv: failed to care"], "bad weather"),
    ],
)
def test_where_no_rule_matches_the_last_line_of_an_error_is_the_cause(log: list[str], line: str) -> None:
    """Without level, part and function; what only says that it failed is passed over."""
    cause = diagnose(1, log).cause
    assert line in cause and "exit code" not in cause and " E " not in cause


def test_without_any_line_of_an_error_the_exit_code_is_all_there_is() -> None:
    assert diagnose(3, ["0.1 I loading"]).cause == "llama-server ended with exit code 3."
