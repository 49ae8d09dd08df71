"""Types of values in `tandem.yaml`, and error messages for invalid numbers, texts and names."""

from __future__ import annotations

import json
import math
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema

from app.units import DURATION_FORMS, DURATION_PATTERN, SIZE_PATTERN, SIZE_UNITS, bytes_of, seconds_of

# `C:\Users`, `C:/Users` and `\\server\share`, which no program of this machine can open
_OF_WINDOWS = re.compile(r"([A-Za-z]):[\\/]+|\\\\")
# A part of a path that a shell would replace
_VARIABLE = re.compile(r"(?:^|(?<=/))(\$\w+|\$\{\w+\}|%[A-Za-z]\w*%)(?=[\\/]|$)")
_ADDRESS = re.compile(r"(https?|ftp|file|hf|s3):/", re.IGNORECASE)
# llama.cpp's own whole numbers have 32 bits.
MOST = 2**31 - 1


def no_bool(value: Any) -> Any:
    # YAML reads a bare `on` as true, and pydantic would read true as 1.
    if isinstance(value, bool):
        raise ValueError("must be a number, not on/off")
    return value


def _duration(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return seconds_of(value)
    except ValueError:
        raise ValueError(f"must be {DURATION_FORMS}; not {value!r}") from None


def _mebibytes(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return bytes_of(value, bare=2**20) / 2**20
    except ValueError:
        raise ValueError(f"must be MiB, or {SIZE_UNITS}; not {value!r}") from None


def _bytes(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return int(bytes_of(value))
    except ValueError:
        raise ValueError(f"must be bytes, or {SIZE_UNITS}; not {value!r}") from None


def _memory(value: Any) -> Any:
    """Reads `auto`, or bytes per place. The environment has JSON."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        with suppress(ValueError, RecursionError):
            value = json.loads(value)
    if value == "auto":
        return value
    right = "must be auto, or a mapping such as {host: 24GiB, CUDA0: 20GiB}"
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{right}; not {value!r}")
    budgets = {}
    for name, size in value.items():
        if not isinstance(name, str) or not is_clean(name):
            raise ValueError(f"{right}; {name!r} is neither host nor a device's name (llama-server --list-devices)")
        number: Any = None
        with suppress(ValueError):
            number = _bytes(size)
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < math.inf:
            raise ValueError(f"{name}: must be bytes, or {SIZE_UNITS}; not {size!r}")
        budgets["host" if name.lower() == "host" else name] = int(number)
    return budgets


def _argument(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError('YAML reads this as on/off; put it in quotes: "on"')
    return str(value) if isinstance(value, int | float) else value


_WITH_PORT = re.compile(r"(?:\[([^\]]*)\]|([^:\[\]]*)):(\d*)$")


def check_bare_host(host: str) -> None:
    """Checks a host to listen on. Raises ValueError for one with a port, brackets or a scheme."""
    if "/" in host:
        raise ValueError(f"must be an address such as 127.0.0.1, and no URL; not {host!r}")
    if match := _WITH_PORT.fullmatch(host):
        bare, port = match[1] or match[2] or "127.0.0.1", match[3] or "8000"
        raise ValueError(f"must be an address without a port; write host: {bare} and port: {port}, not {host!r}")
    if host.startswith("[") or host.endswith("]"):
        raise ValueError(f"must be an address without brackets; write {host.strip('[]')}")


def check_path(value: Any) -> Any:
    """Checks a path of this machine. Raises ValueError for a Windows path, a shell variable, or a URL."""
    if value == "":
        raise ValueError("must be a path")  # pathlib reads it as the working folder
    text = str(value) if isinstance(value, str | Path) else ""
    if control := next((char for char in text if char < " "), None):
        raise ValueError(
            f"holds the character {control!r}: in double quotes a backslash begins an escape; use single quotes"
        )
    if os.name == "posix" and (match := _OF_WINDOWS.match(text)):
        rest = text[match.end() :].replace("\\", "/")
        right = (
            f"under WSL it is /mnt/{match[1].lower()}/{rest}" if match[1] else "mount that share and give its path here"
        )
        raise ValueError(f"{text} is a path of Windows; {right}")
    if match := _VARIABLE.search(text):
        home = match[1] in ("$HOME", "${HOME}", "%USERPROFILE%")
        right = f"write ~{text.partition(match[1])[2]}" if home and match.start() == 0 else "write the path out"
        raise ValueError(f"{text}: variables such as {match[1]} are not expanded; {right}")
    if match := _ADDRESS.match(text):
        raise ValueError(f"{text} is an address, not a path; of the Hub's models give the repo")
    return value


def _joined(value: Any) -> Any:
    if isinstance(value, list | tuple):
        if strange := [item for item in value if not isinstance(item, str)]:
            raise ValueError(f"must be text, or a list of texts; {strange[0]!r} is none")
        return ",".join(value)
    return value


def is_clean(value: str) -> bool:
    """Tells whether a flag or header can carry the text: not empty, no control characters or outer spaces."""
    return bool(value) and value.isprintable() and value == value.strip()


def _clean(value: str) -> str:
    if not is_clean(value):
        raise ValueError("must not be empty, nor hold control characters or spaces at an end")
    return value


def check_name(name: str) -> str:
    """Checks a name that clients send: printable, and without a comma, at which llama-server splits `--alias`."""
    if not name or not name.isprintable() or any(c.isspace() for c in name):
        raise ValueError("a model's name must be printable characters without spaces")
    if name.startswith("-"):
        raise ValueError("a model's name must not begin with a dash, which would make it a flag")
    if "," in name:
        raise ValueError("a model's name must not hold a comma")
    return name


def as_name(text: str) -> str:
    """Returns a text, such as a file's name, as a name that `check_name` accepts."""
    clean = "".join(sign if sign.isprintable() and not sign.isspace() and sign != "," else "-" for sign in text)
    return clean.lstrip("-") or "model"


def root_of(url: str) -> str:
    """Returns the URL to which endpoint paths are appended, without a final slash. Raises ValueError."""
    root = url.rstrip("/")
    if root.endswith("/v1"):
        raise ValueError(f"give the server's root, without /v1: {root[:-3]}")
    if not _is_root(root):
        raise ValueError("give the server's root, such as http://127.0.0.1:9001")
    if "@" in urlsplit(root).netloc:
        # It would be shown with every error that names the server.
        raise ValueError("a password does not belong in an address; give a key as api_key")
    return root


def _is_root(root: str) -> bool:
    if not root.isprintable() or set(root) & set(" ?#"):
        return False
    try:
        parts = urlsplit(root)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not close, a port that is none
        return False


def _forms(title: str, *forms: dict[str, Any]) -> Any:
    """Returns the JSON schema of a value with several forms. The title is its type, for documentation."""
    return Annotated[Any, WithJsonSchema({"title": title, "anyOf": list(forms)})]


_DURATION = _forms("duration", {"type": "number", "minimum": 0}, {"type": "string", "pattern": DURATION_PATTERN})
_SIZE = _forms("size", {"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": SIZE_PATTERN})
_TEXTS = _forms("text or list of texts", {"type": "string"}, {"type": "array", "items": {"type": "string"}})
_ARGUMENT = _forms("text or number", {"type": "string"}, {"type": "number"})

Int = Annotated[int, BeforeValidator(no_bool)]
Float = Annotated[float, BeforeValidator(no_bool)]
Seconds = Annotated[
    float, BeforeValidator(_duration), BeforeValidator(no_bool, json_schema_input_type=_DURATION), Field(ge=0)
]
SomeSeconds = Annotated[Seconds, Field(gt=0)]
Mebibytes = Annotated[
    float, BeforeValidator(_mebibytes), BeforeValidator(no_bool, json_schema_input_type=_SIZE), Field(gt=0)
]
Bytes = Annotated[float, BeforeValidator(_bytes), BeforeValidator(no_bool, json_schema_input_type=_SIZE), Field(ge=0)]
_BUDGETS = _forms(
    "auto or sizes by device",
    {"const": "auto"},
    {
        "type": "object",
        "additionalProperties": {
            "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": SIZE_PATTERN}]
        },
    },
)
# Memory that engines may use together of the host (`host`) and of each device, in bytes
MemoryBudgets = Annotated[Literal["auto"] | dict[str, int], PlainValidator(_memory, json_schema_input_type=_BUDGETS)]
# Tokens of context
Size = Annotated[Int, Field(ge=0, le=MOST)]
Location = Annotated[Path, BeforeValidator(check_path)]
# A comma-separated text, or a list of such parts
Texts = Annotated[str, BeforeValidator(_joined, json_schema_input_type=_TEXTS)]
Text = Annotated[str, AfterValidator(_clean), Field(json_schema_extra={"pattern": r"^\S(.*\S)?$"})]
Argument = Annotated[str, BeforeValidator(_argument, json_schema_input_type=_ARGUMENT)]
Name = Annotated[str, AfterValidator(check_name), Field(json_schema_extra={"pattern": r"^[^-\s,][^\s,]*$"})]
# Root URL of an attached server
Root = Annotated[str, Field(pattern=r"^https?://"), AfterValidator(root_of)]
