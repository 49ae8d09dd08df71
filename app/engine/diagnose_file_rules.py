"""Patterns of llama-server's messages about files and flags, each with cause and advice. Pure.

The messages are b11434's unless a comment says otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogRule:
    """`pattern` is searched in the whole log. Its groups fill `cause`; `{model}` there is the file."""

    code: str
    pattern: re.Pattern[str]
    cause: str
    advice: str
    permanent: bool = True


def log_rule(code: str, pattern: str, cause: str, advice: str, *, permanent: bool = True) -> LogRule:
    return LogRule(code, re.compile(pattern), cause, advice, permanent)


FILE_RULES = (
    log_rule(
        "chat_template",
        # b11434 logs the template first, then the place in it on lines of their own.
        r"the supplied chat template is not supported:?[\s\S]*?common_chat_templates_init: error: ([^\n]+)",
        "The chat template does not parse: {0}.",
        "Correct it; --chat-template-file or --chat-template in the entry's args names it.",
    ),
    log_rule(
        "chat_template",
        r"common_chat_templates_init: error: ([^\n]+)[\s\S]*?the supplied chat template is not supported",
        "The chat template does not parse: {0}.",
        "Correct it; --chat-template-file or --chat-template in the entry's args names it.",
    ),
    log_rule(
        "chat_template",
        r"was started without --jinja|custom template is not supported, try using --jinja",
        "The chat template needs jinja, which is off: without it llama-server accepts only built-in templates.",
        "Set jinja: true in the model's entry, or leave the template out.",
    ),
    log_rule(
        "chat_template",
        r"the supplied chat template is not supported",
        "llama-server does not accept the chat template.",
        "Correct it, or set jinja: true in the model's entry.",
    ),
    log_rule(
        "missing_file",
        r'error while handling argument "([^"]+)": (?:error: )?failed to open file \'([^\']*)\'',
        "The file {1}, which {0} names, cannot be opened.",
        "Put it there, or correct the path in the entry's args.",
    ),
    log_rule(
        "missing_file",
        r'error while handling argument "([^"]+)": not a directory: (.+)',
        "The folder {1}, which {0} names, does not exist.",
        "Create it, or correct the path in the entry's args.",
    ),
    log_rule(
        "missing_file",
        r"failed to open MCP config file: (.+)",
        "The file {0}, which --mcp-servers-config names, cannot be opened.",
        "Put it there, or correct the path in the entry's args.",
    ),
    log_rule(
        "missing_file",
        r"static assets path not found: (.+)",
        "The folder {0}, which --path names, does not exist.",
        "Create it, or correct the path in the entry's args.",
    ),
    log_rule(
        "missing_file",
        r"llama_adapter_lora_init\w*: failed to open '([^']+)'(?:: ([^\n]+))?",
        "The LoRA adapter {0} cannot be opened: {1}.",
        "Put it there, or correct the path in the entry's args.",
    ),
    log_rule(
        "lora_failed",
        r"failed to apply lora adapter: ([^\n]+?)\s*\n(?:[^\n]*\n)*?[^\n]*failed to load lora adapter '([^']+)'",
        "The LoRA adapter {1} does not fit the model: {0}.",
        "Name an adapter that was made for this model (GGUF with general.type adapter).",
    ),
    log_rule(
        "cache_type",
        r"[Qq]uantized V cache requires flash_attn|V cache quantization requires flash_attn",
        "A quantized V cache needs flash attention, which is off.",
        "Add --flash-attn on to the entry's args, or leave --cache-type-v out.",
    ),
    log_rule(
        "flash_attention",
        r"SPLIT_MODE_TENSOR requires flash_attn",
        "--split-mode tensor needs flash attention, which is off.",
        "Add --flash-attn on to the entry's args, or use another --split-mode.",
    ),
    log_rule(
        "cache_type",
        r"([KV]) cache type (\S+) with block size (\d+) does not divide n_embd_head_?\w*\s*=?\s*\(?(\d+)",
        "The {0} cache type {1} comes in blocks of {2}, which do not divide the model's head size of {3}.",
        "Use f16, bf16 or f32 for the cache, or remove it from the entry's args.",
    ),
    log_rule(
        "wrong_kind",
        r"CLIP cannot be used as main model",
        "{model} is a multimodal projector, not a model.",
        "Name it as mmproj, and the model itself as target.",
    ),
    log_rule(
        "projector",
        r"[Uu]n(?:known|supported) projector type:? ?([^\n]*)",
        "The multimodal projector is of a type that this llama-server does not know: {0}.",
        "Use a newer build of llama.cpp.",
    ),
    log_rule(
        "projector",
        r"mismatch between text model \(n_embd = (\d+)\) and (?:gen-audio )?mmproj \(n_embd = (\d+)\)",
        "The multimodal projector belongs to another model: its vectors have {1} numbers, the model's {0}.",
        "Name the projector that was made for this model as mmproj.",
    ),
    log_rule(
        "split",
        r"invalid split file name: ([^\n]+)",
        "{0} is a part of a model in several files, and its name does not say which.",
        "Restore the original names, such as NAME-00001-of-00003.gguf, with their numbers.",
    ),
    log_rule(
        "split",
        r"(?:invalid|illegal) split file idx: (\d+) \(file: ([^)]+)\)",
        "{1} is in the wrong place: it says of itself that it is part number {0}, counted from 0.",
        "Name the first part as target, and restore each file's number.",
    ),
    log_rule(
        "split",
        r"missing key split\.no in GGUF split ([^\n]+)|(invalid split count[^\n]*|\d+ tensors expected but \d+ found)",
        "{0}{1}: the files are not the parts of one model.",
        "Download the model's files again, all of one set.",
    ),
    log_rule(
        "wrong_kind",
        r"error loading model hyperparameters: key not found in model: (\S+)",
        "{model} lacks {0} in its header, so it is no whole model.",
        "If it is an adapter or a projector, name the model itself.",
    ),
)
