"""Reads an entry's `args` as the build would: flags with their values. Pure.

llama-server takes any word after a flag for its value, and reports mistakes as `invalid argument` or `stoi`. Checked
here, each mistake gets a message with the right form, and no engine has to fail for it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.engine.dialect import FLAG, Dialect, Flag
from app.errors import LaunchRefusedError

# With these llama-server prints something and ends.
_PRINTS = frozenset(
    ["-h", "--help", "--usage", "--version", "-cl", "--cache-list", "--list-devices", "--completion-bash", "--license"]
)
_CHOICES = re.compile(r"\[([\w.+-]+(?:\|[\w.+-]+)+)\]|\{([\w.+-]+(?:,[\w.+-]+)+)\}")
_ALLOWED = re.compile(r"allowed values: ([\w.+-]+(?:, [\w.+-]+)*)")
# llama.cpp's other words for on, off and auto (common/arg.cpp)
_SYNONYMS = {"on": ("enabled", "true", "1"), "off": ("disabled", "false", "0"), "auto": ("-1",)}
_DEFAULT = re.compile(r"\(default: (-?\d+(?:\.\d+)?)\b")
# Flags that count something, if no default shows it
_COUNTS = re.compile(r"threads|tokens|--n-|per-slot|layers")
_LARGEST = 2**31
# As stoi reads it: text after the digits is ignored.
_WHOLE = re.compile(r"\s*([+-]?\d+)")


@dataclass(frozen=True, slots=True)
class EntryFlag:
    """One flag of an entry: `written` there, `name` as the build has it, and its values."""

    written: str
    name: str
    values: tuple[str, ...] = ()


def spelt(arg: str) -> str:
    """The spelling that llama.cpp reads: `--ctx_size` is `--ctx-size`."""
    return "--" + arg[2:].replace("_", "-") if arg.startswith("--") else arg


def looks_like_flag(arg: str) -> bool:
    return bool(FLAG.fullmatch(arg)) and not re.fullmatch(r"-\d+", arg)


def read_arguments(args: Sequence[str], dialect: Dialect) -> Iterator[EntryFlag]:
    """Yields every flag with its values. Of an unknown flag, these are all words up to the next flag.

    Raises LaunchRefusedError.
    """
    rest = list(args)
    last: EntryFlag | None = None
    while rest:
        arg = rest.pop(0)
        if not looks_like_flag(arg):
            raise _stray(arg, last, dialect)
        name = spelt(arg)
        if name not in dialect.flags:
            count = next((n for n, word in enumerate(rest) if looks_like_flag(word)), len(rest))
        else:
            count = _checked_count(arg, name, rest, dialect)
        last = EntryFlag(arg, name, tuple(rest[:count]))
        del rest[:count]
        if (flag := dialect.described.get(name)) is not None and last.values:
            _check_value(last, flag)
        yield last


def unknown(flag: str, dialect: Dialect) -> LaunchRefusedError:
    """The error of a flag that this build has under no name."""
    match = difflib.get_close_matches(spelt(flag), [name for name in dialect.flags if name not in _PRINTS], n=1)
    hint = f"did you mean {match[0]}?" if match else "run `llama-server --help` for its flags."
    return LaunchRefusedError(f"args: this llama-server does not know {flag}; {hint}")


def _checked_count(arg: str, name: str, rest: Sequence[str], dialect: Dialect) -> int:
    """The number of words that belong to the flag. Raises LaunchRefusedError if some are missing."""
    if name in _PRINTS:
        raise LaunchRefusedError(f"args: with {arg} llama-server prints something and exits; remove it.")
    count = 2 if name in dialect.pairs else int(name in dialect.takes_value)
    for word in range(count):
        if word >= len(rest) or spelt(rest[word]) in dialect.flags:
            what = "two values" if count == 2 else "a value"
            form = getattr(dialect.described.get(name), "values", "")
            raise LaunchRefusedError(
                f"args: {arg} takes {what}{f' ({form})' if form else ''}, and "
                f"{f'{rest[word]} follows' if word < len(rest) else 'nothing follows'}; add it after the flag."
            )
    return count


def _stray(arg: str, last: EntryFlag | None, dialect: Dialect) -> LaunchRefusedError:
    """The error of a word in the place of a flag."""
    flag, space, value = arg.partition(" ")
    if arg.startswith("--") and "=" in flag:
        flag, _, value = arg.partition("=")
        return LaunchRefusedError(f"args: llama-server does not take {arg}; give two arguments, {flag} and {value}.")
    if space and looks_like_flag(flag):
        words = ", ".join(f'"{word}"' for word in (flag, *value.split()))
        return LaunchRefusedError(f"args: {arg!r} is one argument of several words; give each its own: [{words}].")
    if last is None:
        return LaunchRefusedError(f"args: {arg!r} stands where a flag belongs, such as --flash-attn.")
    form = getattr(dialect.described.get(last.name), "values", "")
    if last.values and ":" in form:
        joined = f"{last.values[-1]}:{arg}"
        return LaunchRefusedError(
            f"args: {last.written} takes one word, {form.partition(',')[0]}, on this llama-server: give {joined}."
        )
    takes = f"takes one value, {last.values[0]}" if last.values else "takes no value on this llama-server"
    return LaunchRefusedError(f"args: {arg!r} stands where a flag belongs: {last.written} before it {takes}.")


def _check_value(given: EntryFlag, flag: Flag) -> None:
    """Raises LaunchRefusedError for a value that every build refuses: no number, or none of the choices."""
    value = given.values[0]
    if choices := _choices(flag):
        taken = {word for choice in choices for word in (choice, *_SYNONYMS.get(choice, ()))}
        if value not in taken:
            raise LaunchRefusedError(
                f"args: {given.written} takes {_listed(choices)}, not {value!r}.", code="bad_value"
            )
    elif flag.values == "N" and (problem := _no_number(value, flag)):
        raise _bad(f"{given.written} takes {problem}, not {value!r}.")
    if "--rpc" in flag.names:
        for server in value.split(","):
            if not re.search(r":\d{1,5}$", server):
                raise LaunchRefusedError(
                    f"args: {given.written} takes HOST:PORT, not {server!r}; add its port.", code="bad_value"
                )
    if "--batch-size" in flag.names and (digits := _WHOLE.match(value)) and int(digits[1]) in (0, 1):
        raise _bad(f"{given.written} {value}: llama-server aborts with batches of fewer than 2 tokens.")


def is_judged(flag: Flag) -> bool:
    """Whether its values are choices or numbers, which this module checks."""
    return flag.values == "N" or bool(_choices(flag))


def _bad(text: str) -> LaunchRefusedError:
    return LaunchRefusedError(f"args: {text}", code="bad_value")


def _choices(flag: Flag) -> list[str]:
    if match := _CHOICES.fullmatch(flag.values):
        return (match[1] or match[2]).split("|" if match[1] else ",")
    match = _ALLOWED.search(flag.text)
    return match[1].split(", ") if match else []


def _no_number(value: str, flag: Flag) -> str:
    """The kind of number that is needed, empty if `value` is one. llama.cpp reads up to the last digit."""
    if f"'{value}'" in flag.text:  # `'auto', or 'all'`
        return ""
    default = _DEFAULT.search(flag.text)
    whole = "." not in default[1] if default else any(_COUNTS.search(name) for name in flag.names)
    if not whole:
        return "" if re.match(r"\s*[+-]?(\d|\.\d|inf|nan)", value, re.IGNORECASE) else "a number"
    digits = _WHOLE.match(value)
    if digits is None:
        return "a whole number"
    return "" if -_LARGEST <= int(digits[1]) < _LARGEST else f"at most {_LARGEST - 1}"


def _listed(choices: Sequence[str]) -> str:
    return f"{', '.join(choices[:-1])} or {choices[-1]}"
