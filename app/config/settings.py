"""Settings: the command line, then the environment, then `.env`, then `tandem.yaml`.

No other module reads the environment. `load_settings` returns complete, validated settings, or raises one ConfigError
that lists every problem with its source and key.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from app.auth.keys import from_setting
from app.auth.media_hosts import hosts_of
from app.auth.origins import origins_of
from app.config.cluster import ClusterSettings, read_token
from app.config.conversations import ConversationLimits
from app.config.defaults import absolute
from app.config.document import Problem
from app.config.files import FILE_NAME, PREFIX, expanded, find_file, read_dotenv
from app.config.messages import clash, in_words
from app.config.model_entry import AttachedEntry, Entry, LocalEntry, problems_beside
from app.config.placed_error import Keys
from app.config.sources import Sources
from app.config.types import (
    Bytes,
    Int,
    Location,
    Mebibytes,
    MemoryBudgets,
    Name,
    Seconds,
    SomeSeconds,
    Texts,
    check_bare_host,
    check_path,
    is_clean,
)
from app.errors import ConfigError

Port = Annotated[Int, Field(ge=0, le=65535)]


def _xdg(variable: str, fallback: str) -> Path:
    root = os.environ.get(variable, "")
    # The XDG specification: a relative path there is invalid and to be ignored.
    return (Path(root) if root.startswith("/") else expanded(Path("~") / fallback)) / "llama-tandem"


class Settings(BaseModel):
    """All settings. A field's description is its line in `.env.example`."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    host: str = Field("127.0.0.1", description="Address to listen on. 0.0.0.0 means every address and requires a key.")
    port: Port = Field(8000, description="Port to listen on. 0 picks a free port.")
    engine_port: Annotated[Int, Field(ge=1, le=65535)] = Field(
        8001, description="First port for engines. Each engine takes the next free port on loopback."
    )
    llama_server: Annotated[str, AfterValidator(check_path)] = Field(
        "auto",
        description="llama-server to run: auto, embedded, or a path.",
        examples=["/opt/llama.cpp/llama-server"],
    )
    models_dir: Location = Field(
        Path("models"),
        description="Folder of downloaded models, as REPO/FILE.",
        examples=["/data/models"],
    )
    state_dir: Location = Field(
        default_factory=lambda: _xdg("XDG_STATE_HOME", ".local/state"),
        description="Data that must survive restarts (default: $XDG_STATE_HOME/llama-tandem).",
        examples=["/var/lib/llama-tandem"],
    )
    cache_dir: Location = Field(
        default_factory=lambda: _xdg("XDG_CACHE_HOME", ".cache"),
        description="Cache, safe to delete (default: $XDG_CACHE_HOME/llama-tandem).",
        examples=["/var/cache/llama-tandem"],
    )
    api_keys: SecretStr = Field(
        SecretStr(""),
        description="API keys, comma-separated, for containers. Elsewhere use `llama-tandem keys create`.",
        examples=["long-random-key-of-a,long-random-key-of-b"],
    )
    no_auth: bool = Field(False, description="Disable authentication, even if keys exist.", examples=["on"])
    admin_port: Port = Field(
        0, description="Serve /admin only on this loopback port (0: on the main port).", examples=[8002]
    )
    allowed_hosts: Texts = Field(
        "",
        description="Host names accepted on loopback, for a proxy in front. Comma-separated or a list.",
        examples=[["llm.example.com"]],
    )
    cors_origins: Texts = Field(
        "",
        description="Origins of web pages that may call the gateway. Comma-separated or a list.",
        examples=[["https://app.example"]],
    )
    allow_remote_media: Texts = Field(
        "",
        description="Hosts to fetch remote images and audio from (default: none). Comma-separated or a list.",
        examples=[["images.example.com"]],
    )
    max_loaded: Annotated[Int, Field(ge=1)] | None = Field(
        None, description="Maximum number of loaded engines (default: as many as memory holds).", examples=[2]
    )
    memory: MemoryBudgets = Field(
        "auto",
        description="Memory that engines may take together: auto, or "
        '{"host": "24GiB", "CUDA0": "20GiB"} in the environment.',
        examples=[{"host": "24GiB", "CUDA0": "20GiB"}],
    )
    memory_margin: Bytes = Field(
        2**30,
        description="Memory that `memory: auto` leaves free of the host and of each device. Bytes or with a unit.",
        json_schema_extra={"default": "1GiB"},
        examples=["2GiB"],
    )
    queue_timeout: Seconds = Field(
        300,
        description="Longest wait for a slot, and again for a load. Then the request gets a 503.",
        examples=["2m"],
    )
    queue: Annotated[Int, Field(ge=1)] = Field(
        100, description="Maximum queue length per model, and ten times that in total. Then requests get a 429."
    )
    max_wait: SomeSeconds = Field(
        30, description="Time after which a busy model must make room for a waiting one.", examples=["1m"]
    )
    ttl: Seconds = Field(
        0, description="Unload an engine after this idle time (0: never). A model may set its own.", examples=["30m"]
    )
    drain_timeout: Seconds = Field(30, description="Time for running requests to finish after SIGTERM.")
    stop_grace: Seconds = Field(5, description="Time between SIGTERM and SIGKILL for an engine.")
    start_stall_timeout: SomeSeconds = Field(
        60, description="Give up a start without progress (log, reads, memory, CPU) after this time.", examples=["3m"]
    )
    start_timeout: Seconds = Field(
        0,
        description="Give up a start after this time (0: 1800 s, longer for files above 36 GB).",
        examples=["1h"],
    )
    hang_timeout: Seconds = Field(
        120,
        description="End an engine that does nothing for its requests, and answers nothing, for this time (0: never).",
        examples=["5m"],
    )
    max_body_mb: Mebibytes = Field(
        64, description="Maximum request body, in MiB or with a unit.", examples=["128MiB", "1GB"]
    )
    max_edit_mb: Mebibytes = Field(
        32, description="Maximum request body that the gateway has to edit, in MiB or with a unit.", examples=["64MiB"]
    )
    body_timeout: SomeSeconds = Field(
        300, description="Time for a request body to arrive. Then the request gets a 408."
    )
    responses_keep: Seconds = Field(
        86400,
        description="Keep responses of /v1/responses for this time, for `previous_response_id` (0: keep none).",
        examples=["7d"],
    )
    conversations: ConversationLimits = Field(
        ConversationLimits(),
        description="Keep what an unloaded engine has read for its next load: limits of disk and age, or off.",
        json_schema_extra={"default": {"disk": "8GiB", "keep": "24h"}},
        examples=[{"disk": "20GiB", "keep": "7d"}],
    )
    captures: Annotated[Int, Field(ge=0, le=1000)] = Field(
        0,
        description="Keep the bodies of so many requests in memory, for administrators (0: none).",
        examples=[50],
    )
    cluster: ClusterSettings | None = Field(
        None,
        description="Ray cluster whose nodes run engines too (extra `ray`). JSON in the environment.",
        examples=[{"address": "10.0.0.1:6379", "token": "env:RAY_AUTH_TOKEN"}],
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="Log format. auto means console on a terminal, else json.", examples=["json"]
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Log level. debug includes every line of the engines.", examples=["debug"]
    )
    watch: bool = Field(
        False, description="Apply changes of tandem.yaml and .env when they are saved.", examples=["on"]
    )
    list_aliases: bool = Field(False, description="List aliases as separate models.", examples=["on"])
    defaults: dict[str, Any] = Field(
        default_factory=dict,
        description="Keys for all models. JSON in the environment.",
        examples=[{"threads": 8, "args": ["--no-warmup"]}],
    )
    models: dict[Name, Entry] = Field(
        default_factory=dict,
        description="The models, by name. JSON in the environment.",
        examples=[{"tiny": {"target": "models/tiny.gguf"}}],
    )

    _inherited: dict[str, dict[str, str]] = PrivateAttr(default_factory=dict)
    _unset_keys: dict[str, str] = PrivateAttr(default_factory=dict)

    def inherited(self, alias: str) -> Mapping[str, str]:
        """Returns the keys that an entry has from `defaults` (`env.NAME` for a part of `env`), and their places."""
        return self._inherited.get(alias, {})

    def unset_key(self, alias: str) -> str:
        """Returns what is wrong with the variable of an entry's `api_key`, or an empty text."""
        return self._unset_keys.get(alias, "")

    @property
    def max_body(self) -> int:
        """The maximum size of a request body in bytes."""
        return int(self.max_body_mb * 2**20)

    @property
    def max_edit(self) -> int:
        """Returns `max_edit_mb` in bytes."""
        return int(self.max_edit_mb * 2**20)

    @field_validator("host")
    @classmethod
    def _host_given(cls, host: str) -> str:
        if not host.strip():
            raise ValueError("must be an address such as 127.0.0.1")
        check_bare_host(host)
        return host

    @field_validator("models")
    @classmethod
    def _one_meaning_each(cls, models: dict[str, LocalEntry | AttachedEntry]) -> dict[str, LocalEntry | AttachedEntry]:
        written = {name: {"aliases": list(entry.aliases), "presets": entry.presets} for name, entry in models.items()}
        for _, text in _clashes(written):
            raise ValueError(text)
        return models

    @model_validator(mode="after")
    def _nodes_of_a_cluster(self) -> Settings:
        for name, entry in self.models.items():
            if self.cluster is None and isinstance(entry, LocalEntry) and entry.nodes:
                raise ValueError(f"models.{name}.nodes: there is no cluster; set cluster, or leave nodes out")
        return self

    @model_validator(mode="after")
    def _keys_or_none(self) -> Settings:
        if self.no_auth and self.api_keys.get_secret_value():
            raise ValueError("no_auth disables authentication, and api_keys requires it; leave one of them out")
        return self

    @field_validator("api_keys")
    @classmethod
    def _keys_of_some_length(cls, api_keys: SecretStr) -> SecretStr:
        from_setting(api_keys.get_secret_value())
        return api_keys

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, cors_origins: str) -> str:
        origins_of(cors_origins)
        return cors_origins

    @field_validator("allow_remote_media")
    @classmethod
    def _media_hosts(cls, allow_remote_media: str) -> str:
        hosts_of(allow_remote_media)
        return allow_remote_media


def settings_file(config: Path | None = None) -> Path:
    """Returns the settings file, or its default path if it is missing. Raises ConfigError."""
    return find_file(config, {**read_dotenv(Path(".env")), **os.environ}) or Path.cwd() / FILE_NAME


def _validate(sources: Sources, *, unset_keys: bool) -> Settings:
    entries = {name: (entry, inherited) for name, entry, inherited in sources.entries()}
    raw = dict(sources.settings)
    if isinstance(raw.get("models"), dict):
        raw["models"] = {**raw["models"], **{name: entry for name, (entry, _) in entries.items()}}
    problems = [*sources.problems]
    for keys, text in _clashes({name: entry for name, (entry, _) in entries.items()}):
        problems.append(sources.problem(keys, text, of_key=keys[2] == "presets"))
    unset = dict(_unset_keys(sources))
    if not unset_keys:
        problems += [sources.problem(("models", name, "api_key"), text) for name, text in unset.items()]
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        errors = [item for item in error.errors() if (item["loc"], item["type"]) != _CLASH]
        problems += [problem for item in errors for problem in sources.wrong(item)]
        problems += _beside(sources, errors, {name: entry for name, (entry, _) in entries.items()})
    if problems:
        raise ConfigError(sources.shown(problems))
    settings._unset_keys = unset
    settings._inherited = {
        name: {key: sources.where(("defaults", *key.split("."))) for key in inherited}
        for name, (_, inherited) in entries.items()
    }
    return settings


# pydantic's place for clashes, which `_validate` reports with better places
_CLASH = (("models",), "value_error")


def _beside(sources: Sources, errors: Sequence[Any], entries: Mapping[str, dict[str, Any]]) -> Iterator[Problem]:
    """Yields conflicts between keys of entries with a wrong key, which pydantic does not check."""
    wrong: dict[str, set[str]] = {}
    for error in errors:
        if len(loc := error["loc"]) > 3 and loc[0] == "models" and loc[2] == "local":
            wrong.setdefault(str(loc[1]), set()).add(str(loc[3]))
    for name, keys in wrong.items():
        for text in problems_beside(entries.get(name, {}), keys):
            yield sources.problem(("models", name), text)


def _clashes(entries: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[Keys, str]]:
    """Yields names that mean two models, of entries as written: the place of each, and a message."""
    owners = {name: name for name in entries}
    for name, entry in entries.items():
        aliases = entry.get("aliases")
        for at, alias in enumerate(aliases if isinstance(aliases, list) else ()):
            if isinstance(alias, str) and (owner := owners.setdefault(alias, name)) != name:
                yield ("models", name, "aliases", at), clash(alias, name, owner)
    for name, entry in entries.items():
        presets = entry.get("presets")
        for preset in presets if isinstance(presets, dict) else ():
            if (full := f"{name}:{preset}") in owners:
                yield ("models", name, "presets", preset), clash(full, name, owners[full], "a preset")


def _unset_keys(sources: Sources) -> Iterator[tuple[str, str]]:
    """Yields entries whose `api_key` names a variable without a key, and what is wrong with it."""
    for name, entry, _ in sources.entries():
        key = entry.get("api_key")
        if isinstance(key, str) and key.startswith("env:") and (variable := key.removeprefix("env:")):
            secret = sources.environment.get(variable, "")
            if not is_clean(secret):
                wrong = "holds control characters or spaces at an end" if secret else "is not set"
                yield name, f"the environment variable {variable} {wrong}"


def _absolute(settings: Settings, sources: Sources) -> Settings:
    """Makes paths absolute: from the settings file's folder, or from the working folder for other sources."""
    beside = sources.file.parent if sources.file else Path.cwd()

    def anchored(path: Path, *keys: str) -> Path:
        elsewhere = keys[0] in sources.overrides or sources.by_variable(keys)
        return (Path.cwd() if elsewhere else beside) / expanded(path)

    def with_slash(path: Path, written: str) -> str:
        return f"{path}/" if written.endswith("/") and path != Path("/") else str(path)

    def of_entry(name: str) -> Callable[[str], str]:
        return lambda path: with_slash(anchored(Path(path), "models", name), path)

    models = {
        name: entry.with_paths(of_entry(name)) if isinstance(entry, LocalEntry) else entry
        for name, entry in settings.models.items()
    }
    paths = {field: anchored(getattr(settings, field), field) for field in ("models_dir", "state_dir", "cache_dir")}
    engine = settings.llama_server
    if engine not in ("auto", "embedded"):
        engine = str(anchored(Path(engine), "llama_server"))
    defaults = absolute(settings.defaults, lambda path: str(anchored(Path(path), "defaults")))
    return settings.model_copy(update={**paths, "llama_server": engine, "models": models, "defaults": defaults})


def _with_secrets(settings: Settings, sources: Sources) -> Settings:
    """Replaces `api_key: env:NAME` by the variable's value, since no other module reads the environment."""
    models = dict(settings.models)
    for name, entry in settings.models.items():
        if isinstance(entry, AttachedEntry) and entry.api_key is not None:
            kind, _, variable = entry.api_key.get_secret_value().partition(":")
            if kind == "env":
                secret = None if settings.unset_key(name) else SecretStr(sources.environment[variable])
                models[name] = entry.model_copy(update={"api_key": secret})
    cluster = None if settings.cluster is None else _with_token(settings.cluster, sources)
    return settings.model_copy(update={"models": models, "cluster": cluster})


def _with_token(cluster: ClusterSettings, sources: Sources) -> ClusterSettings:
    """Replaces `token: env:NAME` or `file:PATH` by the token. Raises ConfigError."""
    try:
        token = read_token(cluster.token.get_secret_value(), sources.environment)
    except ValueError as error:
        raise ConfigError(sources.shown([sources.problem(_TOKEN, str(error))])) from None
    return cluster.model_copy(update={"token": SecretStr(token)})


_TOKEN = ("cluster", "token")


def load_settings(config: Path | None = None, *, unset_keys: bool = False, **overrides: Any) -> Settings:
    """Reads and checks all sources once. `overrides` are the command line's, by field name.

    With `unset_keys`, an `api_key: env:NAME` without its variable is no error: `Settings.unset_key` reports it.
    Raises ConfigError with every problem and its place. Paths in the result are absolute.
    """
    sources = Sources(config, {k: v for k, v in overrides.items() if v is not None}, Settings)
    return _with_secrets(_absolute(_validate(sources, unset_keys=unset_keys), sources), sources)


def settings_of_environment() -> Settings:
    """Returns the settings in this process's environment, without models. They hold on a node of a cluster.

    Raises ConfigError.
    """
    variables = {field: os.environ.get(f"{PREFIX}{field.upper()}") for field in Settings.model_fields}
    given = {field: value for field, value in variables.items() if value and field not in ("models", "defaults")}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        wrong = [(str(item["loc"][0]) if item["loc"] else "", in_words(item, Settings)) for item in error.errors()]
        raise ConfigError([f"{PREFIX}{field.upper()}: {words}" if field else words for field, words in wrong]) from None


def secrets_of(settings: Settings) -> tuple[str, ...]:
    """Returns the keys in the settings and the token of the Hub, which are never shown."""
    attached = (entry.api_key for entry in settings.models.values() if isinstance(entry, AttachedEntry))
    texts = [settings.api_keys.get_secret_value(), *(key.get_secret_value() for key in attached if key is not None)]
    if settings.cluster is not None:
        texts.append(settings.cluster.token.get_secret_value())
    return tuple(part for text in (*texts, os.environ.get("HF_TOKEN", "")) for part in text.split(",") if part.strip())


def root_url(host: str, port: int) -> str:
    """Returns the URL at which a client on this machine reaches a gateway on `host`."""
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"
