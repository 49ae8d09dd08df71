"""Settings: the command line, then the environment, then `.env`, then `tandem.yaml`.

The only reader of the environment. `load_settings` either gives settings that are whole and checked,
or raises one ConfigError that lists every problem with its source and key.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from app.access.keys import from_setting
from app.access.origins import origins_of
from app.access.remote import hosts_of
from app.entries import FILE_KEYS, AttachedEntry, DraftFiles, Entry, Files, Float, Int, LocalEntry, Name
from app.errors import ConfigError
from app.filters import Filters

PREFIX = "TANDEM_"
FILE_NAME = "tandem.yaml"
Port = Annotated[Int, Field(ge=0, le=65535)]
Seconds = Annotated[Float, Field(ge=0)]


def _xdg(variable: str, fallback: str) -> Path:
    root = os.environ.get(variable, "")
    # The XDG specification: a relative path there is invalid and to be ignored.
    return (Path(root) if root.startswith("/") else _expanded(Path("~") / fallback)) / "llama-tandem"


def _expanded(path: Path) -> Path:
    """Raises ConfigError where a leading `~` leads nowhere: a container's user may have no home."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ConfigError([f"{path}: there is no such home folder; write the path out, or set HOME"]) from None


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
    models_dir: Path = Field(Path("models"), description="Where `repo` entries are: <models_dir>/<repo>/<file>.")
    state_dir: Path = Field(
        default_factory=lambda: _xdg("XDG_STATE_HOME", ".local/state"),
        description="What outlives a restart (default $XDG_STATE_HOME/llama-tandem).",
    )
    cache_dir: Path = Field(
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
    queue_timeout: Seconds = Field(300, description="Seconds a request waits for an engine, then 503.")
    drain_timeout: Seconds = Field(30, description="Seconds that streams get after SIGTERM.")
    stop_grace: Seconds = Field(5, description="Seconds between an engine's SIGTERM and its SIGKILL.")
    start_stall_timeout: Annotated[Float, Field(gt=0)] = Field(
        60, description="An engine that starts and logs nothing for so many seconds is given up."
    )
    start_timeout: Annotated[Float, Field(gt=0)] = Field(
        1800, description="An engine that is not ready after so many seconds is given up, whatever it logs."
    )
    max_body_mb: Annotated[Float, Field(gt=0)] = Field(64, description="Largest request body, in MiB.")
    body_timeout: Annotated[Float, Field(gt=0)] = Field(
        300, description="Seconds that a request's body may take to arrive, then 408."
    )
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


class _UniqueKeys(yaml.SafeLoader):
    """YAML that refuses a key written twice: the second would silently win."""


def _mapping(loader: _UniqueKeys, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, str | int | float | bool | None):
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' is written twice", key_node.start_mark
                )
            seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)  # a SafeLoader
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8 text"]) from None
    except yaml.YAMLError as error:
        raise ConfigError([f"{path}: is not valid YAML: {' '.join(str(error).split())}"]) from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError([f"{path}: must be a mapping of settings, such as `port: 8000`"])
    strange = [key for key in data if not isinstance(key, str)]
    if strange:
        raise ConfigError([f"{path}: {key}: a setting's name is a word" for key in strange])
    return data


def _read_dotenv(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    try:
        return {name: value for name, value in dotenv_values(path).items() if value is not None}
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8 text"]) from None


def _find_file(explicit: Path | None, environment: Mapping[str, str]) -> Path | None:
    named = explicit or (Path(value) if (value := environment.get(f"{PREFIX}CONFIG")) else None)
    if named is not None:
        named = _expanded(named)
        if not named.is_file():
            source = "--config" if explicit else f"{PREFIX}CONFIG"
            raise ConfigError([f"{source}: there is no file {named}"])
        return named.absolute()
    default = Path.cwd() / FILE_NAME
    return default if default.is_file() else None


def settings_file(config: Path | None = None) -> Path:
    """The file that the settings are read from, or would be if it were there; raises ConfigError."""
    return _find_file(config, {**_read_dotenv(Path(".env")), **os.environ}) or Path.cwd() / FILE_NAME


class _Sources:
    """Where each value came from, to say so when it is wrong."""

    def __init__(self, config: Path | None, overrides: Mapping[str, Any]) -> None:
        self.overrides = dict(overrides)
        self.environment: dict[str, str] = {**_read_dotenv(Path(".env")), **os.environ}
        self.file = _find_file(config, self.environment)
        self.written = _read_yaml(self.file) if self.file else {}

    def name(self, loc: tuple[int | str, ...]) -> str:
        """`tandem.yaml: models.tiny.ctx_size`, or the variable or option that the value stands in."""
        field = str(loc[0]) if loc else ""
        # Tags of the union of entries are ours, not the file's.
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
            f"{self._origin(name)}: {name}: no such setting{_near(name, sorted(known))}"
            for name in self.environment
            if name.startswith(PREFIX) and name not in known
        ]


def _near(name: str, known: list[str]) -> str:
    match = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {match[0]}?" if match else f"; known are {', '.join(known)}"


def _known_keys(loc: tuple[int | str, ...]) -> list[str]:
    """The keys that the mapping around `loc` takes."""
    model: Any = Settings
    for part in loc[:-1]:
        if part in ("local", "attached"):
            model = LocalEntry if part == "local" else AttachedEntry
        elif part in FILE_KEYS:
            model = DraftFiles if part == "draft" else Files
        elif part == "request":
            model = Filters
    return sorted(model.model_fields)


_WORDS = {
    "bool_parsing": "must be on or off",
    "bool_type": "must be on or off",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "string_type": "must be text",
    "tuple_type": "must be a list, such as [one, two]",
    "missing": "is missing",
    "path_type": "must be a path",
}


def _problem(sources: _Sources, error: Mapping[str, Any]) -> str:
    loc, kind, context = error["loc"], error["type"], error.get("ctx", {})
    where = sources.name(loc)
    if kind == "extra_forbidden":
        return f"{where}: no such key{_near(str(loc[-1]), _known_keys(loc))}"
    if kind == "literal_error":
        return f"{where}: must be one of {context['expected']}, not {error['input']!r}"
    if kind in ("model_type", "model_attributes_type", "dict_type", "union_tag_not_found"):
        shape = "such as {path: models/tiny.gguf}" if loc[-1] in FILE_KEYS else "of keys and values"
        return f"{where}: must be a mapping {shape}"
    if kind == "string_pattern_mismatch":
        return f"{where}: {error['input']!r} must look like {_PATTERN_EXAMPLES.get(str(loc[-1]), context['pattern'])}"
    if kind == "value_error":
        return f"{where}: {context['error']}"
    words = _WORDS.get(kind) or error["msg"].replace("Input should be", "must be")
    secret = loc[:1] == ("api_keys",) or loc[-1:] == ("api_key",)
    given = "" if secret or kind == "missing" or isinstance(error["input"], dict) else f", not {error['input']!r}"
    return f"{where}: {words}{given}"


_PATTERN_EXAMPLES = {
    "url": "http://127.0.0.1:9001",
    "repo": "unsloth/GLM-4.7-GGUF",
    "package": "a Python package's name",
}


def _validate(sources: _Sources) -> Settings:
    class Environment(EnvSettingsSource):
        def _load_env_vars(self) -> Mapping[str, str | None]:
            return {k.lower(): v for k, v in sources.environment.items() if v or not self.env_ignore_empty}

    class Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            written = InitSettingsSource(settings_cls, dict(sources.written))
            return init_settings, Environment(settings_cls), written

    problems = sources.unknown_variables()
    try:
        settings = Loaded(**sources.overrides)
    except SettingsError as error:
        problems.append(f"environment: {error}; {PREFIX}MODELS holds JSON")
    except ValidationError as error:
        problems += [_problem(sources, item) for item in error.errors()]
    if problems:
        raise ConfigError(problems)
    return settings


def _absolute(settings: Settings, sources: _Sources) -> Settings:
    """Relative paths hold from the folder of the file they stand in; others from the working folder."""
    beside = sources.file.parent if sources.file else Path.cwd()

    def anchor(field: str, path: Path) -> Path:
        elsewhere = field in sources.overrides or f"{PREFIX}{field.upper()}" in sources.environment
        return (Path.cwd() if elsewhere else beside) / _expanded(path)

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
        if secret := sources.environment.get(variable):
            models[name] = entry.model_copy(update={"api_key": SecretStr(secret)})
        else:
            problems.append(
                f"{sources.name(('models', name, 'api_key'))}: the environment variable {variable} is not set"
            )
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
