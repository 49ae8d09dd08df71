"""Translates a launch intent to the flags of a build.

A flag that the build lacks is dropped with a note if that is harmless. It is refused if that changes what the entry
requests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.config.model_entry import LocalEntry
from app.config.speculation import MODES
from app.engine.arguments import EntryFlag, read_arguments, unknown
from app.engine.dialect import Dialect
from app.errors import LaunchRefusedError
from app.models.catalog import ModelSpec
from app.models.purpose import Purpose, is_said


@dataclass(frozen=True, slots=True)
class Note:
    """What was translated, added or dropped for `key`, and why."""

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Translation:
    """Flags in the build's spelling. `argv` lacks the program; the port is in it."""

    argv: tuple[str, ...]
    notes: tuple[Note, ...]


class _Writer:
    """Collects flags and notes; refuses what the build cannot express."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.argv: list[str] = []
        self.notes: list[Note] = []

    def needed(self, key: str, names: tuple[str, ...], *values: str) -> None:
        """Writes the first spelling that the build knows. Raises LaunchRefusedError without one."""
        name = self.dialect.first(*names)
        if name is None:
            raise LaunchRefusedError(f"{key}: this llama-server has no {names[0]}; use another build, or remove {key}.")
        if name != names[0]:
            self.notes.append(Note(key, f"{names[0]} is {name} on this build"))
        self.argv += [name, *values]

    def harmless(self, key: str, name: str, value: str, why: str) -> None:
        """Writes the flag if the build knows it, else drops it with the reason."""
        if name in self.dialect.flags:
            self.argv += [name, value]
        else:
            self.notes.append(Note(key, f"{name} is unknown to this build and dropped: {why}"))

    def if_known(self, *names: str) -> None:
        if name := self.dialect.first(*names):
            self.argv.append(name)


def translate(spec: ModelSpec, dialect: Dialect, port: int) -> Translation:
    """The launch intent of `spec` in the flags of `dialect`. Raises LaunchRefusedError."""
    options, writer = spec.options, _Writer(dialect)
    writer.needed("target", ("--model", "-m"), str(spec.target))
    if spec.mmproj is not None:
        writer.needed("mmproj", ("--mmproj",), str(spec.mmproj))
    _speculation(writer, spec)
    writer.needed("the entry's name", ("--alias", "-a"), spec.ref.engine_key)
    for key, write in _OPTIONS.items():
        if getattr(options, key) is not None:
            write(writer, options)
    if spec.draft is not None and options.draft and options.draft.ctx_size is not None:
        why = "on such builds the draft's context always equals the target's"
        writer.harmless("draft.ctx_size", "--ctx-size-draft", str(options.draft.ctx_size), why)
    writer.needed("port", ("--port",), str(port))
    _jinja(writer, options)
    if options.device is not None:
        writer.needed("device", ("--device", "-dev"), options.device)
    if spec.draft is not None and options.draft and options.draft.device is not None:
        writer.needed("draft.device", ("--device-draft", "--spec-draft-device", "-devd"), options.draft.device)
    _purpose(writer, spec)
    _gateways_own(writer, options)
    _passed_through(writer, options.args)
    return Translation(tuple(writer.argv), tuple(writer.notes))


# Before --spec-type named draft modes, a draft model was always used, in one way only.
_IMPLIED = "draft-simple"


def _speculation(writer: _Writer, spec: ModelSpec) -> None:
    """Writes the chain of modes, its options and the draft's files. Raises LaunchRefusedError."""
    if spec.draft is not None:
        writer.needed("draft", ("--model-draft", "--spec-draft-model", "-md"), str(spec.draft))
    modes = [step.mode for step in spec.chain if _is_said(writer, step.mode)]
    if len(modes) > 1 and not writer.dialect.chains:
        raise LaunchRefusedError(f"speculation: this llama-server takes one of {', '.join(modes)}, not all of them.")
    if modes:
        writer.argv += ["--spec-type", ",".join(modes)]
        if _IMPLIED in modes:
            # llama.cpp PR 23988 (June 2026): --model-draft alone loads the draft and never uses it.
            text = "--spec-type draft-simple added: a draft from --model-draft alone is never used"
            writer.notes.append(Note("draft", text))
    for step in spec.chain:
        for key, value in step.options.items():
            writer.needed(f"speculation.{key}", MODES[step.mode].options[key].flags, f"{value}")


def _is_said(writer: _Writer, mode: str) -> bool:
    """Whether --spec-type must name the mode. Raises LaunchRefusedError if the build does not have it."""
    known = writer.dialect.speculation_modes
    if mode in known:
        return True
    if mode == _IMPLIED:
        if known:
            text = "this build's --spec-type has no draft-simple: a draft model is used without it"
            writer.notes.append(Note("draft", text))
        return False
    available = ", ".join(sorted(known - {"none"})) or "only draft-simple, with a draft model"
    raise LaunchRefusedError(f"speculation: this llama-server has no mode {mode}; it has {available}.")


def _onoff(value: bool | None) -> str:
    return "on" if value else "off"


# In the order of the recipe. Sampling, context, slots and threads change the answers, so a build without them is
# refused. `fit` only fills in what the entry leaves open, and `prio` is a hint to the operating system.
_OPTIONS: dict[str, Callable[[_Writer, LocalEntry], None]] = {
    "threads": lambda w, o: w.needed("threads", ("--threads", "-t"), str(o.threads)),
    "fit": lambda w, o: w.harmless("fit", "--fit", _onoff(o.fit), "it loads without adapting to the memory"),
    "prio": lambda w, o: w.harmless("prio", "--prio", str(o.prio), "it runs with normal priority"),
    "temp": lambda w, o: w.needed("temp", ("--temp", "--temperature"), str(o.temp)),
    "top_p": lambda w, o: w.needed("top_p", ("--top-p",), str(o.top_p)),
    "ctx_size": lambda w, o: w.needed("ctx_size", ("--ctx-size", "-c"), str(o.ctx_size)),
}


def _jinja(writer: _Writer, options: LocalEntry) -> None:
    if options.jinja is None:
        return
    name = "--jinja" if options.jinja else "--no-jinja"
    if name in writer.dialect.flags:
        writer.argv.append(name)
    elif not options.jinja and "--jinja" not in writer.dialect.on_by_default:
        # Such as August 2025: --jinja is off by default, and there is no --no-jinja.
        writer.notes.append(Note("jinja", f"{name} is unknown to this build and dropped: it is the default"))
    else:
        raise LaunchRefusedError(f"jinja: this llama-server has no {name}; use another build, or remove jinja.")


_PURPOSES = {Purpose.EMBEDDING: ("--embedding", "--embeddings"), Purpose.RERANK: ("--reranking", "--rerank")}


def _purpose(writer: _Writer, spec: ModelSpec) -> None:
    """Adds the flag without which a model for embeddings or reranking would refuse its own requests."""
    if spec.purpose is Purpose.COMPLETION or is_said(spec.options):
        return
    names = _PURPOSES[spec.purpose]
    name = writer.dialect.first(*names)
    if name is None:
        raise LaunchRefusedError(
            f"target: its file says that it is for {spec.purpose}, and this llama-server has no {names[0]}; "
            "use another build."
        )
    writer.argv.append(name)
    writer.notes.append(Note("target", f"{name} added: the file says that the model is for {spec.purpose}"))


def _gateways_own(writer: _Writer, options: LocalEntry) -> None:
    writer.needed("host", ("--host",), "127.0.0.1")
    # Explicit, since the default of four slots shares one pool, and overflowing it fails every request in flight.
    writer.needed("parallel", ("--parallel", "-np"), str(options.parallel))
    if "--slots" in writer.dialect.flags and "--slots" not in writer.dialect.on_by_default:
        writer.argv.append("--slots")
    writer.if_known("--no-ui", "--no-webui")  # clients must not bypass the gateway with an engine's page


# Renamed since, both ways
_SUCCESSORS = {"--no-webui": "--no-ui", "--no-ui": "--no-webui"}


# Flags of one meaning are read together, since a second --load-mode would overwrite the first (llama.cpp PRs 20834 and
# 26133). Maps given flags to the first of these modes that the build has.
_LOAD_FLAGS = ("--mmap", "--no-mmap", "--mlock", "-dio", "--direct-io")
_NO_DIRECT_IO = ("-ndio", "--no-direct-io")
_LOAD_MODES: dict[frozenset[str], tuple[str, ...]] = {
    frozenset({"--mmap"}): ("mmap",),
    frozenset({"--no-mmap"}): ("none",),
    # Mapping was on by default. Without mmap+mlock, mlock means both.
    frozenset({"--mlock"}): ("mmap+mlock", "mlock"),
    frozenset({"--mlock", "--mmap"}): ("mmap+mlock", "mlock"),
    frozenset({"--mlock", "--no-mmap"}): ("mlock",),
    frozenset({"--direct-io"}): ("dio",),
}


def _load_mode(writer: _Writer, args: tuple[str, ...]) -> tuple[str, ...]:
    """Replaces flags by --load-mode, where the build has it; returns the other arguments."""
    if not writer.dialect.load_modes:
        return args
    for needless in [arg for arg in args if arg in _NO_DIRECT_IO and arg not in writer.dialect.flags]:
        writer.notes.append(Note("args", f"{needless} dropped: it is the default without --load-mode dio"))
        args = tuple(arg for arg in args if arg != needless)
    replaced = [arg for arg in args if arg in _LOAD_FLAGS and arg not in writer.dialect.flags]
    if not replaced:
        return args
    meant = frozenset("--direct-io" if arg == "-dio" else arg for arg in replaced)
    mode = next((mode for mode in _LOAD_MODES.get(meant, ()) if mode in writer.dialect.load_modes), None)
    if mode is None or {"--load-mode", "-lm"} & set(args):
        raise LaunchRefusedError(
            f"args: {' '.join(replaced)}: this llama-server has --load-mode instead; give one of its modes."
        )
    writer.argv += ["--load-mode", mode]
    writer.notes.append(Note("args", f"{' '.join(replaced)} is --load-mode {mode} on this build"))
    return tuple(arg for arg in args if arg not in replaced)


def _passed_through(writer: _Writer, args: tuple[str, ...]) -> None:
    """Writes the entry's own flags, translated if the build has renamed them. Raises LaunchRefusedError."""
    given = list(read_arguments(_load_mode(writer, args), writer.dialect))
    for flag in given:
        if flag.name in writer.dialect.flags:
            writer.argv += [flag.name, *flag.values]
        else:
            _successor(writer, flag)


def _successor(writer: _Writer, flag: EntryFlag) -> None:
    """Writes the present name of `flag`. Raises LaunchRefusedError if there is none."""
    successor = _SUCCESSORS.get(flag.name, "")
    if successor not in writer.dialect.flags:
        raise unknown(flag.written, writer.dialect)
    if flag.values and successor not in writer.dialect.takes_value:
        raise LaunchRefusedError(
            f"args: {flag.values[0]!r} stands where a flag belongs: {flag.written} takes no value."
        )
    writer.argv += [successor, *flag.values]
    writer.notes.append(Note("args", f"{flag.written} is {successor} on this build"))
