"""The setting `cluster`: the Ray cluster whose nodes run engines too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, WithJsonSchema

from app.config.files import expanded
from app.config.types import SomeSeconds, check_path, is_clean

_ADDRESS = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):([0-9]{1,5})")
_PORTS = re.compile(r"([0-9]{1,5})\s*-\s*([0-9]{1,5})")
_HIGHEST_PORT = 65535


_TOKEN_SCHEMA = {"type": "string", "pattern": r"^(env|file):\S"}
_PORTS_SCHEMA = {"type": "string", "pattern": r"^[0-9]{1,5} *- *[0-9]{1,5}$"}


class PortRange(NamedTuple):
    """Ports from `first` to `last`, both included."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


def check_address(value: str) -> str:
    """Raises ValueError, as the next ones do."""
    match = _ADDRESS.fullmatch(value)
    if match is None or not 1 <= int(match[1]) <= _HIGHEST_PORT:
        raise ValueError("must be the address of the cluster's head, such as 10.0.0.1:6379")
    return value


def check_token(value: Any) -> Any:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    kind, _, rest = text.partition(":") if isinstance(text, str) else ("", "", "")
    if kind == "env" and re.fullmatch(r"[A-Za-z_]\w*", rest):
        return text
    if kind == "file" and rest.strip():
        check_path(rest)
        return text
    raise ValueError("must be env:NAME or file:PATH, never the token itself")


def read_token(source: str, environment: Mapping[str, str]) -> str:
    """The token that `env:NAME` or `file:PATH` names. Raises ValueError."""
    kind, _, rest = source.partition(":")
    if kind == "env":
        token, where = environment.get(rest, ""), f"the environment variable {rest}"
    else:
        where = f"the file {rest}"
        try:
            token = expanded(Path(rest)).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ValueError(f"{where} cannot be read: {reason}") from None
    if not is_clean(token):
        raise ValueError(f"{where} holds no token")
    return token


def check_ports(value: Any) -> Any:
    if isinstance(value, PortRange):
        return value
    match = _PORTS.fullmatch(value.strip()) if isinstance(value, str) else None
    ports = PortRange(int(match[1]), int(match[2])) if match else PortRange(0, 0)
    if not 1 <= ports.first <= ports.last <= _HIGHEST_PORT:
        raise ValueError("must be a range of ports, such as 8100-8199")
    return ports


class ClusterSettings(BaseModel):
    """Where the cluster is. `lease` is in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    address: Annotated[str, AfterValidator(check_address)] = Field(
        description="Address of the cluster's head.", examples=["10.0.0.1:6379"]
    )
    token: Annotated[SecretStr, BeforeValidator(check_token), WithJsonSchema(_TOKEN_SCHEMA)] = Field(
        description="Where the cluster's token is: env: and a variable, or file: and a path.",
        examples=["env:RAY_AUTH_TOKEN"],
    )
    engine_ports: Annotated[PortRange, BeforeValidator(check_ports), WithJsonSchema(_PORTS_SCHEMA)] = Field(
        PortRange(8100, 8199),
        description="Ports for engines on nodes.",
        json_schema_extra={"default": "8100-8199"},
        examples=["9000-9099"],
    )
    lease: Annotated[SomeSeconds, Field(ge=5, le=600)] = Field(
        15, description="A node that hears nothing from the gateway for this time ends its engines.", examples=["30s"]
    )
