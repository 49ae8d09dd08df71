"""Settings: the command line, then the environment, then `.env`, then `tandem.yaml`.

The only reader of the environment. `load_settings` either gives settings that are whole and checked,
or raises one ConfigError that lists every problem with its source and key.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from app.auth.keys import from_setting
from app.auth.media_hosts import hosts_of
from app.auth.origins import origins_of
from app.config.files import FILE_NAME, PREFIX, expanded, find_file, read_dotenv, read_yaml
from app.config.messages import near, problem
from app.config.model_entry import FILE_KEYS, AttachedEntry, Entry, LocalEntry
from app.config.types import Int, Location, Mebibytes, Name, Seconds, SomeSeconds, is_clean
from app.errors import ConfigError

Port = Annotated[Int, Field(ge=0, le=65535)]


def _xdg(variable: str, fallback: str) -> Path:
    root = os.environ.get(variable, "")
    # The XDG specification: a relative path there is invalid and to be ignored.
    return (Path(root) if root.startswith("/") else expanded(Path("~") / fallback)) / "llama-tandem"


class Settings(BaseSettings):
    """Every setting; the field's description is its line in `.env.example`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="forbid", frozen=True, env_ignore_empty=True, allow_inf_nan=False
    )

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for all, which takes keys.")
    port: Port = Field(8000, description="Port to listen on; 0 picks a free one.")
    engine_port: Annotated[Int, Field(ge=1, le=65535)] = Field(
        8001, description="Engines take the first free port from here up, on loopback."
    )
    llama_server: str = Field("auto", description="auto, embedded, or the path of a llama-server.")
    models_dir: Location = Field(Path("models"), description="Where `repo` entries are: <models_dir>/<repo>/<file>.")
    state_dir: Location = Field(
        default_factory=lambda: _xdg("XDG_STATE_HOME", ".local/state"),
        description="What outlives a restart (default $XDG_STATE_HOME/llama-tandem).",
    )
    cache_dir: Location = Field(
        default_factory=lambda: _xdg("XDG_CACHE_HOME", ".cache"),
        description="What can be made anew (default $XDG_CACHE_HOME/llama-tandem).",
    )
    api_keys: SecretStr = Field(
        SecretStr(""), description="Keys, comma-separated, for containers; elsewhere `llama-tandem keys create`."
    )
    no_auth: bool = Field(False, description="on: everybody who reaches the port may use the models, keys or not.")
    admin_port: Port = Field(0, description="A port on loopback for /admin, which then is nowhere else; 0 for none.")
    allowed_hosts: str = Field(
        "", description="Names, comma-separated, that browsers and proxies may call a gateway on loopback by."
    )
    cors_origins: str = Field(
        "", description="Web pages, comma-separated, that may use this gateway, such as https://app.example."
    )
    allow_remote_media: str = Field(
        "",
        description="Hosts, comma-separated, that images and audio named by address are fetched from; none if empty.",
    )
    max_loaded: Annotated[Int, Field(ge=1)] = Field(1, description="How many engines may be up at once.")
    queue_timeout: Seconds = Field(
        300, description="Seconds a request waits for a place, then again for a load; then 503."
    )
    drain_timeout: Seconds = Field(30, description="Seconds that streams get after SIGTERM.")
    stop_grace: Seconds = Field(5, description="Seconds between an engine's SIGTERM and its SIGKILL.")
    start_stall_timeout: SomeSeconds = Field(
        60, description="Seconds without progress (log, bytes read, memory, processor time) until a start is given up."
    )
    start_timeout: Seconds = Field(
        0, description="Seconds until a start is given up in any case; 0 for 1800, and more for files above 36 GB."
    )
    max_body_mb: Mebibytes = Field(64, description="Largest request body, in MiB, or with a unit: 64MiB, 1GB.")
    body_timeout: SomeSeconds = Field(300, description="Seconds that a request's body may take to arrive, then 408.")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto is console on a terminal, json otherwise."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="debug shows every line that the engines log."
    )
    models: dict[Name, Entry] = Field(
        default_factory=dict, description="The catalog; in the environment as JSON. Better in tandem.yaml."
    )

    @field_validator("host")
    @classmethod
    def _host_given(cls, host: str) -> str:
        if not host.strip():
            raise ValueError("must be an address such as 127.0.0.1")
        return host

    @field_validator("models")
    @classmethod
    def _one_meaning_each(cls, models: dict[str, LocalEntry | AttachedEntry]) -> dict[str, LocalEntry | AttachedEntry]:
        owners = {name: name for name in models}
        for name, entry in models.items():
            for alias in entry.aliases:
                if (owner := owners.setdefault(alias, name)) != name:
                    raise ValueError(f"'{alias}' is an alias of '{name}' and a name of '{owner}'; it can mean one only")
        return models

    @model_validator(mode="after")
    def _keys_or_none(self) -> Settings:
        if self.no_auth and self.api_keys.get_secret_value():
            raise ValueError("no_auth lets everybody in, and api_keys does not; leave one of them out")
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
    """The file that the settings are read from, or would be if it were there; raises ConfigError."""
    return find_file(config, {**read_dotenv(Path(".env")), **os.environ}) or Path.cwd() / FILE_NAME


class _Sources:
    """Where each value came from, to say so when it is wrong."""

    def __init__(self, config: Path | None, overrides: Mapping[str, Any]) -> None:
        self.overrides = dict(overrides)
        self.environment: dict[str, str] = {**read_dotenv(Path(".env")), **os.environ}
        self.file = find_file(config, self.environment)
        self.written = read_yaml(self.file) if self.file else {}

    def name(self, loc: tuple[int | str, ...]) -> str:
        """`tandem.yaml: models.tiny.ctx_size`, or the variable or option that the value stands in."""
        field = str(loc[0]) if loc else ""
        # A key that is wrong itself is told by its own name. Tags of the union of entries are ours, not the file's.
        loc = loc[:-1] if loc[-1:] == ("[key]",) else loc
        path = ".".join(str(part) for i, part in enumerate(loc) if not (i == 2 and part in ("local", "attached")))
        if field in self.overrides:
            return f"--{field.replace('_', '-')}"
        variable = f"{PREFIX}{field.upper()}"
        if self.environment.get(variable):
            return f"{self._origin(variable)}: {variable}" + path.removeprefix(field)
        return f"{self.file or FILE_NAME}: {path or 'settings'}"

    def _origin(self, variable: str) -> str:
        return "environment" if variable in os.environ else ".env"

    def unknown_variables(self) -> list[str]:
        known = {f"{PREFIX}{field.upper()}" for field in Settings.model_fields} | {f"{PREFIX}CONFIG"}
        return [
            f"{self._origin(name)}: {name}: no such setting{near(name, sorted(known))}"
            for name in self.environment
            if name.startswith(PREFIX) and name not in known
        ]


def _validate(sources: _Sources) -> Settings:
    class Environment(EnvSettingsSource):
        def _load_env_vars(self) -> Mapping[str, str | None]:
            variables = {k: v for k, v in sources.environment.items() if k.startswith(PREFIX)}
            return {k.lower(): v for k, v in variables.items() if v or not self.env_ignore_empty}

    class LoadedSettings(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            written = InitSettingsSource(settings_cls, dict(sources.written))
            return init_settings, Environment(settings_cls), written

    problems = sources.unknown_variables()
    try:
        settings = LoadedSettings(**sources.overrides)
    except SettingsError:  # what is no JSON; only the catalog has to be
        example = '{"tiny": {"target": {"path": "models/tiny.gguf"}}}'
        problems.append(f"{sources.name(('models',))}: must be JSON, such as {example}")
    except ValidationError as error:
        problems += [problem(sources.name(item["loc"]), item, Settings) for item in error.errors()]
    if problems:
        raise ConfigError(problems)
    return settings


def _absolute(settings: Settings, sources: _Sources) -> Settings:
    """Relative paths hold from the folder of the file they stand in; others from the working folder."""
    beside = sources.file.parent if sources.file else Path.cwd()

    def anchor(field: str, path: Path) -> Path:
        elsewhere = field in sources.overrides or f"{PREFIX}{field.upper()}" in sources.environment
        return (Path.cwd() if elsewhere else beside) / expanded(path)

    def files(entry: Any, key: str) -> Any:
        part = getattr(entry, key)
        if part is None or part.path is None:
            return part
        return part.model_copy(update={"path": anchor("models", part.path)})

    models = {
        name: entry
        if isinstance(entry, AttachedEntry)
        else entry.model_copy(update={key: files(entry, key) for key in FILE_KEYS})
        for name, entry in settings.models.items()
    }
    paths = {field: anchor(field, getattr(settings, field)) for field in ("models_dir", "state_dir", "cache_dir")}
    engine = settings.llama_server
    if engine not in ("auto", "embedded"):
        engine = str(anchor("llama_server", Path(engine)))
    return settings.model_copy(update={**paths, "llama_server": engine, "models": models})


def _with_secrets(settings: Settings, sources: _Sources) -> Settings:
    """`api_key: env:NAME` becomes the variable's value, here, since nobody else reads the environment."""
    problems, models = [], dict(settings.models)
    for name, entry in settings.models.items():
        if not isinstance(entry, AttachedEntry) or entry.api_key is None:
            continue
        kind, _, variable = entry.api_key.get_secret_value().partition(":")
        if kind != "env":
            continue
        secret = sources.environment.get(variable, "")
        if is_clean(secret):
            models[name] = entry.model_copy(update={"api_key": SecretStr(secret)})
        else:
            wrong = "holds control characters or spaces at an end" if secret else "is not set"
            problems.append(f"{sources.name(('models', name, 'api_key'))}: the environment variable {variable} {wrong}")
    if problems:
        raise ConfigError(problems)
    return settings.model_copy(update={"models": models})


def load_settings(config: Path | None = None, **overrides: Any) -> Settings:
    """Read and check everything once; `overrides` are the command line's, by field name.

    Raises ConfigError with one line per problem; paths in the result are absolute.
    """
    sources = _Sources(config, {k: v for k, v in overrides.items() if v is not None})
    return _with_secrets(_absolute(_validate(sources), sources), sources)


def root_url(host: str, port: int) -> str:
    """Where a client on this machine reaches what listens on `host`."""
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"
