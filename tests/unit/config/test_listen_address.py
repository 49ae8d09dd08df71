"""The address before the settings: the same as theirs, or none where a look at the file is not enough."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from app.config.listen_address import ListenAddress, ServeOptions, serve_options
from app.config.listen_address import listen_address as address_of
from app.config.settings import load_settings
from app.errors import ConfigError


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("TANDEM_")]:
        monkeypatch.delenv(name)


def listen_address(words: list[str]) -> ListenAddress | None:
    options = serve_options(words)
    return None if options is None else address_of(options)


def _loaded(*options: str) -> ListenAddress:
    """As `serve` reads them."""
    pairs = dict(zip(options[::2], options[1::2], strict=True))
    config = pairs.pop("--config", None)
    overrides = {name.removeprefix("--"): value for name, value in pairs.items()}
    settings = load_settings(Path(config) if config else None, **overrides)
    return ListenAddress(settings.host, settings.port, settings.admin_port)


def test_the_defaults_are_those_of_the_settings() -> None:
    assert listen_address([]) == _loaded() == ListenAddress()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("port: 9000\nmodels:\n  m: {url: 'http://127.0.0.1:9'}\n", ListenAddress(port=9000)),
        ("models:\n  m:\n    url: http://127.0.0.1:9\n\nport:   9000 # why\nhost: '::1'\n", ListenAddress("::1", 9000)),
        ('{"port": 9000, "host": "0.0.0.0", "admin_port": 9001}', ListenAddress("0.0.0.0", 9000, 9001)),
        ("\ufeffport: 9000\r\nhost: localhost\r\n", ListenAddress("localhost", 9000)),
        ("x-own: &own {port: 9000}\nport: 9002\n", ListenAddress(port=9002)),
        ("defaults: {parallel: 2}\nport: '9000'\n", ListenAddress(port=9000)),
        ("---\nport: 0\n", ListenAddress(port=0)),
        ("? [a, b]\n: 1\n", ListenAddress()),
        ("# nothing yet\n", ListenAddress()),
    ],
)
def test_a_file_is_read_for_plain_values_alone(text: str, address: ListenAddress) -> None:
    Path("tandem.yaml").write_bytes(text.encode())
    assert listen_address([]) == address
    if "?" not in text:
        assert _loaded() == address


@pytest.mark.parametrize(
    "text",
    [
        "port: 9000\nport: 9001\n",
        "x-own: &own {port: 9000}\n<<: *own\n",
        "port: [9000]\n",
        "port: 0100\n",
        "port: 9_000\n",
        "port: 0x2328\n",
        "port: 9000.0\n",
        "port:\n",
        "port: 90000000\n",
        "port: http\n",
        "host: gateway.example.com\n",
        "host: 127.0.0.1:9000\n",
        "host: on\n",
        "host: 0\n",
        "host:\n",
        "admin_port: on\n",
        "- port: 9000\n",
        "port: 9000\n models: {\n",
        "port: 9000\n---\nport: 9001\n",
        "port: 9000\n\x07\n",
    ],
)
def test_other_values_need_the_whole_settings(text: str) -> None:
    """Or are wrong, which the settings report."""
    Path("tandem.yaml").write_text(text)
    assert listen_address([]) is None


def test_files_that_are_no_text_need_the_whole_settings(tmp_path: Path) -> None:
    Path("tandem.yaml").write_bytes("port: 9000\n".encode("utf-16"))
    assert listen_address([]) is None
    Path("tandem.yaml").unlink()
    Path("tandem.yml").write_text("port: 9003\n")
    assert listen_address([]) == _loaded() == ListenAddress(port=9003)
    Path("tandem.yaml").write_text("port: 9004\n")
    assert listen_address([]) is None, "both are there"
    assert listen_address(["--config", str(tmp_path / "none.yaml")]) is None


def test_nearer_sources_win(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line, the environment, `.env`, the file; an empty variable is none."""
    Path("tandem.yaml").write_text("port: 9001\n")
    Path("other.yaml").write_text("port: 9002\nhost: 127.0.0.2\n")
    assert listen_address(["--config=other.yaml"]) == _loaded("--config", "other.yaml")
    Path(".env").write_text("TANDEM_PORT=9003\nTANDEM_CONFIG=other.yaml\nTANDEM_ADMIN_PORT=9009\n")
    assert listen_address([]) == _loaded() == ListenAddress("127.0.0.2", 9003, 9009)
    monkeypatch.setenv("TANDEM_PORT", "9004")
    monkeypatch.setenv("TANDEM_HOST", "")
    assert listen_address([]) == _loaded() == ListenAddress("127.0.0.2", 9004, 9009)
    words = ["--port", "9005", "--no-auth", "--host=127.0.0.3", "--port=9006"]
    assert listen_address(words) == ListenAddress("127.0.0.3", 9006, 9009)


def test_plain_options_are_read_without_the_command() -> None:
    """The last of several counts."""
    words = ["--config=a.yaml", "--port", "1", "--no-auth", "--host", "::", "--port=9000"]
    assert serve_options(words) == ServeOptions("::", 9000, Path("a.yaml"), True)
    assert serve_options([]) == ServeOptions()


@pytest.mark.parametrize(
    "words",
    [
        ["--config="],
        ["--host", ""],
        ["--config", "--no-auth"],
        ["--port=08"],
        ["--help"],
        ["-h"],
        ["--port"],
        ["--port", ""],
        ["--prt", "1"],
        ["x"],
        ["--port", "http"],
        ["--port="],
    ],
)
def test_an_unknown_command_line_needs_the_command(words: list[str]) -> None:
    assert serve_options(words) is None


_VALUES = st.one_of(
    st.sampled_from(
        ["127.0.0.1", "::1", "0", "on", "~", "1e3", "0o17", "1:30", "!!str 1", "*a", "&a 5", "'7'", "|\n  8"]
    ),
    st.integers(-10, 70000).map(str),
    st.text("0123456789_.:abx'\" #", max_size=8),
)


@given(host=st.none() | _VALUES, port=st.none() | _VALUES, admin=st.none() | _VALUES)
@limits(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_it_is_never_another_address_than_the_settings(host: str | None, port: str | None, admin: str | None) -> None:
    """For a file that the settings accept."""
    lines = [f"{name}: {value}\n" for name, value in (("host", host), ("port", port), ("admin_port", admin)) if value]
    Path("tandem.yaml").write_text("".join(lines))
    try:
        right = _loaded()
    except ConfigError:
        return
    assert listen_address([]) in (None, right)
