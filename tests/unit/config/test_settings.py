"""Settings: sources, paths, and words for what is wrong."""

import re
from pathlib import Path

import pytest

from app.config.model_entry import AttachedEntry, LocalEntry
from app.config.settings import Settings, load_settings, settings_of_environment
from app.config.source import SettingsSource
from app.errors import ConfigError
from tests.support.paths import ROOT


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No settings of the person who runs the tests: an empty working folder, no TANDEM_ variable."""
    import os

    for name in [name for name in os.environ if name.startswith("TANDEM_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problems(text: str, folder: Path) -> str:
    (folder / "tandem.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    return str(caught.value)


def test_command_line_wins_over_environment_over_dotenv_over_file(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each source hides the ones below it."""
    (clean / "tandem.yaml").write_text("port: 1\nmax_loaded: 1\nengine_port: 1\nhost: file\n")
    (clean / ".env").write_text("TANDEM_PORT=2\nTANDEM_MAX_LOADED=2\nTANDEM_ENGINE_PORT=2\nUNRELATED=x\n")
    monkeypatch.setenv("TANDEM_PORT", "3")
    monkeypatch.setenv("TANDEM_MAX_LOADED", "3")
    settings = load_settings(port=4)
    assert (settings.port, settings.max_loaded, settings.engine_port, settings.host) == (4, 3, 2, "file")


def test_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose passes unset variables as empty ones."""
    monkeypatch.setenv("TANDEM_PORT", "")
    assert load_settings().port == 8000


def test_file_is_named_by_option_or_variable(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--config wins over TANDEM_CONFIG; a file that is not there is an error, not a default."""
    (clean / "a.yaml").write_text("port: 1")
    (clean / "b.yaml").write_text("port: 2")
    monkeypatch.setenv("TANDEM_CONFIG", "a.yaml")
    assert load_settings().port == 1
    assert load_settings(Path("b.yaml")).port == 2
    with pytest.raises(ConfigError, match=r"--config: there is no file c\.yaml"):
        load_settings(Path("c.yaml"))


def test_relative_paths_hold_from_the_file(clean: Path) -> None:
    """models_dir, a model's path and the engine's are relative to tandem.yaml, not to the working folder."""
    folder = clean / "deep"
    folder.mkdir()
    (folder / "t.yaml").write_text(
        "llama_server: bin/llama-server\n"
        "models: {tiny: {target: {path: m/t.gguf}, draft: {path: /abs/d.gguf}, mmproj: {path: m/p.gguf}}}"
    )
    settings = load_settings(folder / "t.yaml")
    entry = settings.models["tiny"]
    assert isinstance(entry, LocalEntry) and entry.draft is not None and entry.mmproj is not None
    assert entry.mmproj.path == folder / "m/p.gguf"
    assert settings.models_dir == folder / "models"
    assert settings.llama_server == str(folder / "bin/llama-server")
    assert entry.target.path == folder / "m/t.gguf"
    assert entry.draft.path == Path("/abs/d.gguf")


def test_state_and_caches_follow_xdg(monkeypatch: pytest.MonkeyPatch, clean: Path) -> None:
    """XDG folders are used when they are absolute, as the specification says."""
    monkeypatch.setenv("XDG_STATE_HOME", str(clean / "s"))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    settings = load_settings()
    assert settings.state_dir == clean / "s/llama-tandem"
    assert settings.cache_dir == Path.home() / ".cache/llama-tandem"


def test_a_home_that_is_not_there_is_told_in_words(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a user of a container has none, and where a `~name` is nobody's."""
    message = problems("models_dir: ~nobody-of-this-name/models", clean)
    assert message == "~nobody-of-this-name/models: there is no such home folder; write the path out, or set HOME"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "~")  # what expanduser is left with where nothing knows the user
    with pytest.raises(ConfigError, match=r"~/.local/state: there is no such home folder"):
        load_settings()


@pytest.mark.parametrize("word", ["on", "off", "true", "false", '"on"', '"off"', '"true"', '"false"'])
def test_on_and_off_in_every_spelling(word: str, clean: Path) -> None:
    """on/off and true/false, quoted or not."""
    (clean / "tandem.yaml").write_text(f"models: {{a: {{target: {{path: x}}, fit: {word}, jinja: {word}}}}}")
    entry = load_settings().models["a"]
    assert isinstance(entry, LocalEntry)
    assert entry.fit is entry.jinja is (word.strip('"') in ("on", "true"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot: 1", "prot: no such key; did you mean port?"),
        ("max_body_mb: .inf", "max_body_mb: must be a finite number, not inf"),
        ("port: many", "port: must be a whole number, not 'many'"),
        ("port: 70000", "port: must be at most 65535"),
        ("engine_port: 0", "engine_port: must be at least 1, not 0"),
        ("max_loaded: on", "max_loaded: must be a number, not on/off"),
        ("log_format: xml", "log_format: must be one of 'auto', 'console' or 'json', not 'xml'"),
        ("models: {a: {target: {path: x}, ctx_sze: 1}}", "models.a.ctx_sze: no such key; did you mean ctx_size?"),
        ("models: {a: {target: {}}}", "models.a.target: give one of path, repo, package; none is given"),
        ("models: {a: {target: {path: x, repo: a/b}}}", "not path and repo together"),
        ("models: {a: {target: x}}", "models.a.target: must be a mapping such as {path: models/tiny.gguf}"),
        ("models: {a: {target: {path: x}, mmproj: x}}", "models.a.mmproj: must be a mapping such as {path: "),
        ("models: {a: {target: {path: x}, mmproj: {pat: x}}}", "models.a.mmproj.pat: no such key; did you mean path?"),
        ("models: {a: {target: {path: x}, args: [-mm, p]}}", "models.a.args: -mm has a key of its own: use mmproj"),
        ("models: {a: {target: {repo: x}}}", "models.a.target.repo: 'x' must look like unsloth/GLM-4.7-GGUF"),
        ("models: {a: {target: {repo: ../b}}}", "models.a.target.repo: '../b' must look like unsloth/GLM-4.7-GGUF"),
        ("models: {a: {target: {path: ''}}}", "models.a.target.path: must be a path"),
        ("state_dir: ''", "state_dir: must be a path"),
        ("models: {a: {target: {path: x}, ctx_size: 9999999999}}", "models.a.ctx_size: must be at most"),
        ("models: {a: {target: {path: x}, env: {a b: c}}}", "models.a.env.a b: 'a b' must look like GGML_CUDA"),
        (
            "models: {a: {url: 'http://x', target: x.gguf, ctxsize: 1}}",
            "models.a.ctxsize: no such key; did you mean ctx_size?",
        ),
        ("models: {5: {target: {path: x}}}", "models.5: must be text, not 5"),
        ("models: {a: {target: {path: x}, args: [--ssl-key-file, k]}}", "--ssl-key-file is the gateway's to choose"),
        ("models: {a: {target: {repo: a/b}, pull: on}}", "models.a.pull: must be one of 'never' or 'on_demand'"),
        ("models: {a: {target: {path: x}, pull: on_demand}}", "models.a: pull: on_demand takes files of a repo"),
        ("models: {a: {target: {path: x}, fit: maybe}}", "models.a.fit: must be on or off, not 'maybe'"),
        ("models: {a: {target: {path: x}, threads: 0}}", "models.a.threads: must be -1 (all) or at least 1"),
        ("models: {a: {target: {path: x}, args: [-c, 5]}}", "models.a.args: -c has a key of its own: use ctx_size"),
        ("models: {a: {target: {path: x}, args: [--ctx_size, 5]}}", "use ctx_size"),
        ("models: {a: {target: {path: x}, args: [--port, 5]}}", "--port is the gateway's to choose"),
        ("models: {a: {target: {path: x}, args: [--fit-ctx, on]}}", 'put it in quotes: "on"'),
        ("models: {a: {target: {path: x}, ctx_size: 2, parallel: 4}}", "too small"),
        ("models: {a: {draft: {path: x}}}", "models.a.target: is missing"),
        (
            "models: {a: {url: 'http://x', request: {defualts: {}}}}",
            "request.defualts: no such key; did you mean defaults",
        ),
        ("models: {a: {url: 'http://x', request: [max_tokens]}}", "models.a.request: must be a mapping of keys"),
        ("models: {a: {url: 'http://x', request: {drop: temperature}}}", "request.drop: must be a list, such as"),
        ("models: {a: {url: 'http://x', request: {max_tokens: on}}}", "request.max_tokens: must be a whole number"),
        ("models: {a: {url: 'http://x', request: {max_tokens: 0}}}", "request.max_tokens: must be at least 1"),
        ("models: {a: {url: 'ftp://x'}}", "models.a.url: 'ftp://x' must look like http://127.0.0.1:9001"),
        ("models: {a: {url: 'http://x/v1'}}", "without /v1: http://x"),
        *(
            (f"models: {{a: {{url: '{url}'}}}}", "models.a.url: give the server's root, such as http://127.0.0.1:9001")
            for url in (
                "http://",
                "http://:80",
                "http://x:99999",
                "http://x:y",
                "http://[::1",
                "http://x y",
                "http://x?y",
            )
        ),
        ("models: {a: {url: 'http://me:pw@x'}}", "models.a.url: a password does not belong in an address"),
        ("models: {a: {url: 'http://x', api_key: ''}}", "models.a.api_key: must be a key, or env: and the name"),
        ("models: {a: {url: 'http://x', api_key: 'env:'}}", "models.a.api_key: must be a key, or env: and the name"),
        ("models: {a: {url: 'http://x', api_key: 'env:NOT_SET'}}", "variable NOT_SET is not set"),
        ("models: {'a,b': {url: 'http://x'}}", "must not hold a comma"),
        ("models: {'--port': {url: 'http://x'}}", "must not begin with a dash"),
        ("models: {'a b': {url: 'http://x'}}", "without spaces"),
        ("models: {a: {url: 'http://x'}, a: {url: 'http://y'}}", "models: the key 'a' is written twice, first in"),
        (
            "models: {a: {url: 'http://x', aliases: [b]}, b: {url: 'http://y'}}",
            "models.a.aliases: 'b' is an alias of 'a' and a name",
        ),
        (
            "models: {a: {url: 'http://x', aliases: [c]}, b: {url: 'http://y', aliases: [c]}}",
            "models.b.aliases: 'c' is an alias of 'b' and a name",
        ),
        ("models: 5", 'models: must be names with entries below them, such as "tiny: {target: ...}", not 5'),
        ("models: [{tiny: {target: x.gguf}}]", '"tiny: {target: ...}"; here is a list: drop the dashes'),
        ("models: {a: [{target: x.gguf}]}", "models.a: must be a mapping of keys and values; here is a list: drop the"),
        ("models: {a: {url: 'http://x', target: x.gguf}}", "models.a has both target and url; use one"),
        ("models: {a: {ctx_size: 8192}}", "models.a.target: is missing; add target, or url for an attached server"),
        ("models: {a: {target: {path: x}, ctx_size: 4k}}", "ctx_size: must be a whole number, not '4k'; write 4096"),
        ("models: {a: {target: {path: x}, ctx_size: 1.5K}}", "must be a whole number, not '1.5K'; write 1536"),
        ("models: {a: {url: 'http://x', request: {max_tokens: 1m}}}", "not '1m'; write 1048576"),
        ("- port: 8000", "must be a mapping of settings, such as `port: 8000`; here is a list: drop the dashes"),
        ("just text", "must be a mapping of settings, such as `port: 8000`"),
        (
            "models: {a: {url: 'http://x', ctx_size: 8192}}",
            "models.a.ctx_size: no such key in an entry with url; ctx_size belongs to an entry with target",
        ),
        ("models: {a: {target: x.gguf, api_key: b}}", "api_key belongs to an entry with url"),
        ("a: [", "is not valid YAML"),
        ("on: 1", "a setting's name is a word"),
    ],
)
def test_wrong_settings_name_file_key_and_what_would_be_right(text: str, words: str, clean: Path) -> None:
    """Every mistake has its place; nothing starts half-configured."""
    message = problems(text, clean)
    assert words in message
    assert str(clean / "tandem.yaml") in message


def test_all_problems_are_told_at_once(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run shows every mistake, each with the source it stands in."""
    monkeypatch.setenv("TANDEM_ENGINE_PORT", "x")
    monkeypatch.setenv("TANDEM_PROT", "1")
    message = problems("max_loaded: 0", clean)
    assert "environment: TANDEM_ENGINE_PORT: must be a whole number, not 'x'" in message
    assert "environment: TANDEM_PROT: no such setting; did you mean TANDEM_PORT?" in message
    assert "max_loaded: must be at least 1" in message
    places = [line.partition(": ")[0] for line in message.splitlines() if not line.startswith(" ")]
    assert places == ["environment", "environment", f"{clean}/tandem.yaml:1:13"]


def test_a_mistake_in_dotenv_is_said_to_stand_there(clean: Path) -> None:
    """Wrong values and unknown names alike: nobody looks for them in the shell then."""
    (clean / ".env").write_text("TANDEM_PORT=x\nTANDEM_PROT=1\n")
    message = problems("", clean)
    assert ".env: TANDEM_PORT: must be a whole number, not 'x'" in message
    assert ".env: TANDEM_PROT: no such setting; did you mean TANDEM_PORT?" in message


def test_secret_is_read_from_the_environment_and_not_shown(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`env:NAME` is the variable's value, and does not appear in what is printed."""
    monkeypatch.setenv("OTHER_KEY", "very-secret")
    (clean / "tandem.yaml").write_text("models: {a: {url: 'http://x', api_key: 'env:OTHER_KEY'}}")
    settings = load_settings()
    entry = settings.models["a"]
    assert isinstance(entry, AttachedEntry) and entry.api_key is not None
    assert entry.api_key.get_secret_value() == "very-secret"
    assert "very-secret" not in repr(settings)


@pytest.mark.parametrize("secret", ["sec\nret", " secret", ""])
def test_a_variable_that_holds_no_key_is_told_without_it(
    secret: str, clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No header could carry it: that is known before a request needs it."""
    monkeypatch.setenv("OTHER_KEY", secret)
    message = problems("models: {a: {url: 'http://x', api_key: 'env:OTHER_KEY'}}", clean)
    assert "models.a.api_key: the environment variable OTHER_KEY " in message
    assert "ret" not in message.partition("OTHER_KEY ")[2]


def test_an_unset_key_may_be_reported_at_its_model(clean: Path) -> None:
    """`check` continues with the other models. The text `env:NAME` is never a key."""
    (clean / "tandem.yaml").write_text("models: {a: {url: 'http://x', api_key: 'env:NOT_SET'}, b: {url: 'http://y'}}")
    settings = load_settings(unset_keys=True)
    entry = settings.models["a"]
    assert isinstance(entry, AttachedEntry) and entry.api_key is None
    assert settings.unset_key("a") == "the environment variable NOT_SET is not set"
    assert settings.unset_key("b") == ""
    with pytest.raises(ConfigError, match=r"models\.a\.api_key: the environment variable NOT_SET is not set"):
        load_settings()


def test_without_a_file_the_message_names_the_folder_and_two_ways(clean: Path) -> None:
    """A file without models is another mistake."""
    with pytest.raises(ConfigError) as missing:
        SettingsSource().read()
    ways = 'run "llama-tandem init", or "llama-tandem run NAME"'
    assert str(missing.value) == f"there is no tandem.yaml in {clean}; {ways}"
    (clean / "tandem.yaml").write_text("port: 9000")
    with pytest.raises(ConfigError) as empty:
        SettingsSource().read()
    assert str(empty.value) == f"tandem.yaml: no models are configured; {ways}"


@pytest.mark.parametrize("keys", ["hush", "long-enough,hush", "[hush, hush]", "{hush: 1}"])
def test_a_key_that_is_refused_is_not_shown(keys: str, clean: Path) -> None:
    """Neither in a message nor in what is printed of the settings."""
    message = problems(f"api_keys: {keys}", clean)
    assert "api_keys: " in message and "hush" not in message
    (clean / "tandem.yaml").write_text("api_keys: long-enough")
    assert "long-enough" not in repr(load_settings())


def test_models_by_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalog can come as JSON, for containers."""
    monkeypatch.setenv("TANDEM_MODELS", '{"a/b:c": {"url": "http://127.0.0.1:1"}}')
    assert list(load_settings().models) == ["a/b:c"]
    monkeypatch.setenv("TANDEM_MODELS", "{")
    with pytest.raises(ConfigError, match="environment: TANDEM_MODELS: must be JSON, such as"):
        load_settings()


def test_variables_are_read_as_they_are_spelt(monkeypatch: pytest.MonkeyPatch) -> None:
    """In capitals, as .env.example has them; others are somebody else's."""
    monkeypatch.setenv("tandem_port", "5")
    assert load_settings().port == 8000


def test_every_setting_stands_in_the_example_of_the_environment() -> None:
    """.env.example names every setting with its description and its default, and nothing else."""
    example = (ROOT / ".env.example").read_text()
    named = re.findall(r"^# (TANDEM_\w+)=", example, re.MULTILINE)
    assert sorted(named) == sorted(["TANDEM_CONFIG", *(f"TANDEM_{name.upper()}" for name in Settings.model_fields)])
    for name, field in Settings.model_fields.items():
        assert f"# {field.description}\n# TANDEM_{name.upper()}=" in example
        if not callable(field.default_factory):
            default = "" if field.default is None else field.default
            assert f"# TANDEM_{name.upper()}={default}\n" in example


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("auto", "auto"),
        ("{host: 24GiB, CUDA0: 20GiB}", {"host": 24 * 2**30, "CUDA0": 20 * 2**30}),
        ("{HOST: 500MB}", {"host": 500_000_000}),
        ("{host: 1024}", {"host": 1024}),
    ],
)
def test_memory_is_auto_or_a_size_for_each_place(clean: Path, written: str, meant: object) -> None:
    (clean / "tandem.yaml").write_text(f"memory: {written}\nmemory_margin: 2GiB\n")
    settings = load_settings()
    assert (settings.memory, settings.memory_margin) == (meant, 2 * 2**30)
    assert settings.max_loaded is None


def test_memory_is_json_in_the_environment(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_MEMORY", '{"host": "4GiB"}')
    assert load_settings().memory == {"host": 4 * 2**30}
    monkeypatch.setenv("TANDEM_MEMORY", "auto")
    assert load_settings().memory == "auto"


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("24GiB", "must be auto, or a mapping such as {host: 24GiB, CUDA0: 20GiB}"),
        ("{}", "must be auto, or a mapping"),
        ("{host: many}", "host: must be bytes, or a number with KiB"),
        ("{host: -1}", "host: must be bytes"),
        ("{host: on}", "host: must be bytes"),
        ("{0: 1GiB}", "0 is neither host nor a device's name"),
    ],
)
def test_a_memory_that_is_none_is_told_with_what_would_be_right(clean: Path, written: str, words: str) -> None:
    assert words in problems(f"memory: {written}", clean)


def test_a_node_of_a_cluster_has_the_settings_of_its_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And no others: models come with each request, and a tandem.yaml there is another gateway's."""
    (tmp_path / "tandem.yaml").write_text("engine_port: 9001\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TANDEM_MODELS_DIR", "/data/models")
    monkeypatch.setenv("TANDEM_LLAMA_SERVER", "/opt/llama-server")
    monkeypatch.setenv("TANDEM_MODELS", '{"m": {"url": "http://127.0.0.1:9"}}')
    monkeypatch.setenv("TANDEM_STOP_GRACE", "")
    settings = settings_of_environment()
    assert (settings.models_dir, settings.llama_server) == (Path("/data/models"), "/opt/llama-server")
    assert (settings.engine_port, settings.stop_grace, settings.models) == (8001, 5, {})


def test_a_wrong_variable_of_a_node_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_ENGINE_PORT", "http")
    with pytest.raises(ConfigError, match="TANDEM_ENGINE_PORT: must be a whole number, not 'http'"):
        settings_of_environment()
