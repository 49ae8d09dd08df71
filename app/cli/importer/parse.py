"""Splits a llama.cpp command line: the words before the program, and each flag with its values."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.cli.importer.flags import CHOICES, ENV_SWITCHES, FALSE, NEGATABLE, OPTIONAL, SWITCH, TRUE, flag_of, known
from app.engine.arguments import spelt
from app.engine.dialect import Dialect
from app.engine.translate import Note
from app.errors import NotImportableError

_FLAG = re.compile(r"-{1,2}[A-Za-z][\w.-]*")
_WITH_VALUE = re.compile(r"(-{1,2}[A-Za-z][\w.-]*)=(.*)", re.DOTALL)
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL | re.ASCII)
# llama.cpp's programs under all their names since 2023, and its container images.
_PROGRAM = re.compile(
    r"(llama-(server|cli|completion|speculative(-simple)?|lookup|simple(-chat)?|run|parallel|mtmd-cli|embedding)"
    r"|main|server|speculative|llama\.cpp:[\w.-]+)(\.exe)?"
)
_OLLAMA_HUB = re.compile(r"(?:https?://)?(?:hf\.co|huggingface\.co)/(.+)")
_OPERATOR = re.compile(r"[();<>|&]+")
_WRAPPERS = {
    *("env", "nohup", "sudo", "doas", "nice", "ionice", "taskset", "numactl", "time", "exec", "setsid", "stdbuf"),
    *("chrt", "timeout", "systemd-run", "prlimit", "srun", "unbuffer", "caffeinate", "docker", "podman"),
    *("cd", "export"),
}
_SUBCOMMANDS = {"serve", "server", "cli", "chat", "run", "completion"}


@dataclass(frozen=True, slots=True)
class Argument:
    """A flag in llama.cpp's spelling with its values. `shown` is the original text, without secrets."""

    flag: str
    values: tuple[str, ...]
    shown: str

    @property
    def value(self) -> str:
        return self.values[0]

    def number(self, *, whole: bool) -> int | float:
        """Returns the number. llama.cpp ignores trailing letters; this raises NotImportableError."""
        if re.fullmatch(r"[+-]?\d{1,18}", self.value, re.ASCII):
            return int(self.value) if whole else float(self.value)
        if not whole and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", self.value, re.ASCII):
            value = float(self.value)
            if math.isfinite(value):
                return value
        raise NotImportableError(f"{self.shown}: must be a {'whole ' if whole else ''}number")

    def is_on(self) -> bool:
        """Reads on or off. Raises NotImportableError."""
        if self.value not in TRUE | FALSE:
            raise NotImportableError(f"{self.shown}: must be on or off")
        return self.value in TRUE


@dataclass(slots=True)
class ParsedCommand:
    """A parsed command line. Its own `arguments` win over those of its `variables`."""

    program: str
    variables: list[Argument] = field(default_factory=list)
    arguments: list[Argument] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    @property
    def serves(self) -> bool:
        """True for a server's command line."""
        return "serve" in self.program


def read(words: Sequence[str], dialect: Dialect | None) -> ParsedCommand:
    """Parses a command line. Raises NotImportableError for one that no llama.cpp program accepts.

    `dialect` tells which flags take a value. Without it, the next word is the value unless it begins with a dash.
    """
    words, shells = _as_words(words)
    start = _program_at(words)
    line = ParsedCommand(_base(words[start]))
    _before(line, words[:start], dialect)
    if not _PROGRAM.fullmatch(line.program) and "llama" not in line.program:
        line.notes.append(Note(words[start], "assumed to be a program of llama.cpp"))
    rest = words[start + 1 :]
    if line.program == "llama" and rest and rest[0] in _SUBCOMMANDS:
        line.program = rest.pop(0)
    _flags(line, rest, dialect)
    if shells:
        line.notes.append(Note(" ".join(shells), "left out: the shell's"))
    return line


def _as_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the words, and the shell's own part. A single word with spaces is a complete quoted line."""
    try:
        "".join(words).encode()
    except UnicodeEncodeError:
        raise NotImportableError("the command line is not UTF-8 text, and a tandem.yaml has to be") from None
    if len(words) != 1 or not re.search(r"\s", words[0].strip()):
        return list(words), []
    # Without the 2 of `2>&1`, which is not a word.
    text = re.sub(r"(?<=\s)[012](?=>)", "", words[0].replace("\\\n", " "))
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        parts = list(lexer)
    except ValueError as error:
        raise NotImportableError(f"the line's quotes do not match: {error}") from None
    # `cd there && ./llama-server ... > log &`: the part before the program may set variables for it
    program = next((i for i, part in enumerate(parts) if _PROGRAM.fullmatch(_base(part))), 0)
    end = next((i for i in range(program, len(parts)) if _OPERATOR.fullmatch(parts[i])), len(parts))
    return [part for part in parts[:end] if not _OPERATOR.fullmatch(part)], parts[end:]


def _base(word: str) -> str:
    return re.split(r"[/\\]", word)[-1].removesuffix(".exe")


def _program_at(words: list[str]) -> int:
    """Returns the program's place. Raises NotImportableError."""
    start = next((i for i, word in enumerate(words) if not _ASSIGNMENT.fullmatch(word)), len(words))
    wrapped = start < len(words) and _base(words[start]) in _WRAPPERS
    if wrapped:
        start = next((i for i, word in enumerate(words) if _PROGRAM.fullmatch(_base(word))), len(words))
    if start == len(words) or not words[start] or words[start].startswith("-"):
        what = f"{words[start]} is not a program" if "".join(words[start:]) else "there is no program"
        raise NotImportableError(f"{what}: begin with one, such as llama-server --model tiny.gguf")
    if _base(words[start]).startswith("python"):
        raise NotImportableError(f"{words[start]} is not a program of llama.cpp: give a command line of llama-server")
    if _base(words[start]) == "ollama":
        raise NotImportableError(_of_ollama(words[start + 1 :]))
    return start


def _of_ollama(words: list[str]) -> str:
    """The message for a command of Ollama's: the command of ours that finds the same model."""
    model = next((word for word in words[1:] if not word.startswith("-")), "")
    if words[:1] == ["serve"] or not model:
        return 'this is an Ollama command. Run "llama-tandem init": it finds the models that Ollama has downloaded'
    if (repo := _OLLAMA_HUB.match(model)) is not None:
        return f'this is an Ollama command. Run "llama-tandem {"pull" if words[0] == "pull" else "run"} {repo[1]}"'
    name = model.rpartition("/")[2].partition(":")[0]
    return f'this is an Ollama command, whose model names are not the Hub\'s. Run "llama-tandem search {name}"'


def _before(line: ParsedCommand, words: list[str], dialect: Dialect | None) -> None:
    """Converts assignments to flags or `env`, and skips other words."""
    skipped = []
    for word in words:
        if match := _ASSIGNMENT.fullmatch(word):
            _variable(line, match[1], match[2], dialect)
        else:
            skipped.append(word)
    if skipped:
        why = "skipped: start `llama-tandem serve` with it if needed"
        if skipped[0] in ("docker", "podman"):
            why += "; paths below are the container's; change them to this machine's"
        line.notes.append(Note(" ".join(skipped), why))


def _variable(line: ParsedCommand, name: str, value: str, dialect: Dialect | None) -> None:
    flag = flag_of(name)
    listed = dialect is not None and flag in dialect.flags
    owned = flag is not None and (
        flag in ENV_SWITCHES or known(flag).values == OPTIONAL or not known(flag).stays_in_args
    )
    if flag is None or (dialect is not None and not listed and not owned):
        line.env[name] = value
        if flag is not None:
            line.notes.append(Note(name, "unknown to this llama-server; kept in env"))
        return
    shown = f"{name}=..." if known(flag).secret else f"{name}={value}"
    argument = assigned(flag, value, shown, dialect)
    if argument is None or (flag.startswith("--no-") and value.lower() in FALSE):
        line.notes.append(Note(shown, f"left out: it is the default without {flag}"))
        return
    if not known(argument.flag).dropped:
        line.notes.append(Note(shown, f"read as {' '.join((argument.flag, *argument.values))}"))
    line.variables.append(argument)


def assigned(flag: str, value: str, shown: str, dialect: Dialect | None, *, guess: bool = False) -> Argument | None:
    """Returns the argument for FLAG = VALUE, as in variables and presets, or None if it has no effect.

    Switches are on or off. With `guess`, an unknown flag is a switch if its value looks like one's. Raises
    NotImportableError.
    """
    count = known(flag).values
    if count == OPTIONAL and value not in CHOICES:
        raise NotImportableError(f"{shown}: must be on, off or auto")
    guessed = guess and value.lower() in TRUE - {"1"} | FALSE - {"0"}
    if count == OPTIONAL or not _is_switch(flag, dialect, guessed=guessed):
        return Argument(flag, (value,), shown)
    if value.lower() not in TRUE | FALSE:
        raise NotImportableError(f"{shown}: must be on or off")
    if value.lower() in TRUE:
        return Argument(flag, (), shown)
    other = f"--{flag[5:]}" if flag.startswith("--no-") else f"--no-{flag[2:]}"
    has_other = flag.startswith("--no-") or flag in NEGATABLE or (dialect is not None and other in dialect.flags)
    # --mmproj is no switch, though --no-mmproj is one
    return Argument(other, (), shown) if has_other and _is_switch(other, dialect, guessed=True) else None


def _is_switch(flag: str, dialect: Dialect | None, *, guessed: bool) -> bool:
    if flag in ENV_SWITCHES or (count := known(flag).values) == SWITCH:
        return True
    if count is None and dialect is not None and flag in dialect.flags:
        return flag not in dialect.takes_value
    return count is None and guessed


def _flags(line: ParsedCommand, words: list[str], dialect: Dialect | None) -> None:
    """Parses flags. Raises NotImportableError for a word without a flag, and a flag without its value."""
    at, before = 0, ""
    while at < len(words):
        word = words[at]
        at += 1
        joined = _WITH_VALUE.fullmatch(word)
        if joined is None and not _FLAG.fullmatch(word):
            raise _stray(word, before)
        flag = _spelling(word)
        least, most = _count(flag, dialect)
        values: list[str] = [joined[2]] if joined else []
        while len(values) < most and at < len(words) and not joined and _is_value(words[at], flag, dialect, least):
            values.append(words[at])
            at += 1
        shown = shown_as(flag, values)
        if len(values) < least:
            raise NotImportableError(f"{shown}: a value is missing after it")
        if joined and most == 0:
            raise NotImportableError(f"{shown}: {flag} takes no value")
        if joined:
            line.notes.append(Note(f"{flag}=", "llama.cpp takes no equals sign; read as two words"))
        line.arguments.append(Argument(flag, tuple(values), shown))
        before = flag


def shown_as(flag: str, values: Sequence[str]) -> str:
    """Returns the text to show, without secrets."""
    return " ".join((flag, *(["..."] if known(flag).secret else values)))


def _stray(word: str, before: str) -> NotImportableError:
    behind = f" behind {before}" if before else ""
    hint = f"; --model {word}?" if word.endswith(".gguf") else ""
    # Word processors and blogs replace two hyphens by a dash
    hint = "; its dash is not a hyphen" if word.startswith(("\N{EN DASH}", "\N{EM DASH}")) else hint
    return NotImportableError(f"{word!r}{behind} belongs to no flag{hint}")


def _spelling(word: str) -> str:
    """Returns the flag in a word, as llama.cpp reads it."""
    return spelt(word.partition("=")[0])


def _count(flag: str, dialect: Dialect | None) -> tuple[int, int]:
    """Returns the minimum and maximum number of values after a flag."""
    if (count := known(flag).values) is not None:
        return count
    if dialect is None or flag not in dialect.flags:
        return 0, 1
    return (1, 1) if flag in dialect.takes_value else (0, 0)


def _is_value(word: str, flag: str, dialect: Dialect | None, least: int) -> bool:
    """Tells whether `word` is a value of the flag before it. A value may begin with a dash (`--threads -1`)."""
    if known(flag).values == OPTIONAL:
        return word in CHOICES
    if not word.startswith("-") or re.match(r"-[\d.]|-$", word):
        return True
    other = _spelling(word)
    return least > 0 and known(other).values is None and not (dialect is not None and other in dialect.flags)
