"""The command line: the flags are those that `help.txt` shows, and nothing else is accepted.

The page is that of llama-server b11434, shortened: heads, environment names and lists of values are all there.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

PAGE = Path(__file__).with_name("help.txt")
# Where descriptions begin. A head that reaches further stands on a line of its own.
COLUMN = 40


class InvalidOptionError(Exception):
    """The command line ends the process: `text` goes to stderr, exit 1."""


class Flag:
    """One entry of the page: its spellings, how many values it takes, its environment variable."""

    def __init__(self, head: str) -> None:
        words = head.replace(",", " ").split() if "<" not in head else head.split(" <")[0].replace(",", " ").split()
        self.names = [word for word in words if word.startswith("-")]
        metavar = head[head.rindex(self.names[-1]) + len(self.names[-1]) :].strip()
        self.arity = 2 if metavar == "START END" else int(bool(metavar))
        self.env = ""
        self.lines = [head]

    @property
    def removed(self) -> bool:
        return any("the argument has been removed" in line for line in self.lines)

    def complaint(self, name: str, why: str) -> InvalidOptionError:
        usage = "\n".join(self.lines)
        return InvalidOptionError(
            f'error while handling argument "{name}": {why}\n\nusage:\n{usage}\n\n\nto show complete usage, run with -h'
        )


def read_flags(page: str) -> dict[str, Flag]:
    """Every spelling of the page, by name."""
    flags: dict[str, Flag] = {}
    flag: Flag | None = None
    for line in page.splitlines():
        if line.startswith("-") and not line.startswith("-----"):
            short = len(line) > COLUMN and line[COLUMN - 1] == " " and line[COLUMN] != " "
            flag = Flag(line[:COLUMN].rstrip() if short else line.rstrip())
            flag.lines[0] = line
            flags.update(dict.fromkeys(flag.names, flag))
        elif flag is not None and line.strip():
            flag.lines.append(line)
            if found := re.match(r"\s+\(env: (\w+)\)", line):
                flag.env = found[1]
    return flags


class Options:
    """What was asked for. A later flag wins over an earlier one, and any over the environment."""

    def __init__(self, argv: list[str]) -> None:
        self._flags = read_flags(PAGE.read_text())
        self._given: dict[Flag, str] = {}
        for flag in dict.fromkeys(self._flags.values()):
            if flag.env in os.environ and flag.arity == 1:
                self._put(flag, flag.env, os.environ[flag.env])
        rest = list(argv)
        while rest:
            self._take(rest)
        self._check()

    def _take(self, rest: list[str]) -> None:
        name = rest.pop(0)
        # the real one accepts --model_draft as well
        flag = self._flags.get("--" + name[2:].replace("_", "-") if name.startswith("--") else name)
        if flag is None:
            raise InvalidOptionError(f"error: invalid argument: {name}")
        values = [rest.pop(0) for _ in range(min(flag.arity, len(rest)))]
        if len(values) < flag.arity:
            raise flag.complaint(name, "expected value for argument")
        self._put(flag, name, " ".join(values) if values else name)

    def _put(self, flag: Flag, name: str, value: str) -> None:
        if flag.removed:
            why = "the argument has been removed. use " + " ".join(" ".join(flag.lines).split("use ")[1].split())
            raise flag.complaint(name, why.split(" (env:")[0])
        self._given[flag] = value

    def _check(self) -> None:
        known = self._flags["--spec-type"].lines[0].split()[1].split(",")
        for name, kinds in (("--port", int), ("--ctx-size", int), ("--parallel", int), ("--spec-draft-n-max", int)):
            try:
                kinds(self.text(name, "0"))
            except ValueError:
                raise self._flags[name].complaint(name, "stoi") from None
        for kind in self.text("--spec-type", "none").split(","):
            if kind not in known:
                raise self._flags["--spec-type"].complaint("--spec-type", f"unknown speculative type: {kind}")
        for name in ("--device", "--device-draft"):
            for device in self.text(name, "none").split(","):
                if device not in ("none", "CPU") and not re.fullmatch(r"(CUDA|Vulkan|Metal|MTL)[0-7]", device):
                    raise self.bad_device(name, device)

    def bad_device(self, name: str, device: str) -> InvalidOptionError:
        return self._flags[name].complaint(name, f"invalid device: {device}")

    def text(self, name: str, default: str = "") -> str:
        return self._given.get(self._flags[name], default)

    def number(self, name: str, default: float = 0) -> float:
        return float(self.text(name) or default)

    def whole(self, name: str, default: int = 0) -> int:
        return int(self.text(name) or default)

    def on(self, name: str, default: bool = False) -> bool:
        """A switch: `--slots` is on, `--no-slots` off; so are `on` and `off` as values."""
        given = self._given.get(self._flags[name])
        return default if given is None else not (given.startswith(("--no-", "-no-")) or given == "off")

    @property
    def speculation(self) -> list[str]:
        """The modes that were asked for, without `none`."""
        return [kind for kind in self.text("--spec-type", "none").split(",") if kind != "none"]

    @property
    def drafting(self) -> bool:
        """Whether a slot drafts: a draft type needs its model, and a model alone does nothing."""
        if self.on("--draft-inert"):
            return False
        has_model = bool(self.text("--model-draft"))
        return any(kind.startswith("ngram") or has_model for kind in self.speculation)
