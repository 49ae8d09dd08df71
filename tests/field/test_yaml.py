"""tandem.yaml as other tools and other systems write it: anchors, merge keys, marks of the encoding."""

from pathlib import Path
from typing import Any

import pytest

from app.cli.add_entry import NewEntry, add_entries
from app.config.settings import Settings, load_settings
from app.errors import ConfigError


def loaded(folder: Path, text: str) -> Settings:
    (folder / "tandem.yaml").write_text(text)
    return load_settings()


def told(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text)
    return str(caught.value)


def options(settings: Settings, alias: str, *keys: str) -> list[Any]:
    return [getattr(settings.models[alias], key) for key in keys]


def test_a_merge_key_gives_what_is_not_written(folder: Path) -> None:
    """The usual answer to repeated entries (llama-swap's users write it)."""
    settings = loaded(
        folder,
        "models:\n"
        "  a: &base {target: {path: /models/tiny.gguf}, ctx_size: 1024, threads: 2}\n"
        "  b: {<<: *base, ctx_size: 2048}\n",
    )
    assert options(settings, "a", "ctx_size", "threads") == [1024, 2]
    assert options(settings, "b", "ctx_size", "threads") == [2048, 2]
    assert options(settings, "b", "target") == options(settings, "a", "target")


def test_anchors_have_a_place_of_their_own(folder: Path) -> None:
    """Top-level keys that begin with `x-`, as in compose files; of a list of merges the first wins."""
    settings = loaded(
        folder,
        "x-small: &small\n  ctx_size: 1024\n  parallel: 2\n"
        "x-fast: &fast {threads: 8, ctx_size: 512}\n"
        "x-args: &args [--no-warmup]\n"
        "models:\n"
        "  a:\n    <<: [*small, *fast]\n    target: {path: x.gguf}\n    args: *args\n"
        "  b:\n    <<: *fast\n    target: {path: y.gguf}\n    args: *args\n",
    )
    assert options(settings, "a", "ctx_size", "parallel", "threads", "args") == [1024, 2, 8, ("--no-warmup",)]
    assert options(settings, "b", "ctx_size", "parallel", "threads", "args") == [512, 1, 8, ("--no-warmup",)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "x-b: &b {ctx_size: 1}\nmodels:\n  a:\n    <<: *b\n    ctx_size: 2\n    ctx_size: 3\n    target: x.gguf\n",
            "tandem.yaml:6:5: models.a: the key 'ctx_size' is written twice, first in line 5",
        ),
        (
            "x-b: &b {ctx_size: 1}\nx-c: &c {threads: 1}\nmodels: {a: {<<: *b, <<: *c, target: x.gguf}}\n",
            "tandem.yaml:3:22: models.a: the key '<<' is written twice, first in line 3; write one, with a list: `<<:",
        ),
        ("x-b: &b [1]\nmodels: {a: {<<: *b}}", "<< takes a mapping or a list of mappings, such as `<<: *base`"),
        ("x-base: &base {a: 1}\nmodels: {a: {<<: *bas}}", "there is no anchor &bas above; did you mean base?"),
        ("models: {a: &a {<<: *a}}", "an anchor holds itself"),
        ("models: &m {a: {request: *m}}", "an anchor holds itself"),
        ("y-base: &base {ctx_size: 1}", "tandem.yaml:1:1: y-base: no such key"),
        ("x-b: &b {ctx_sze: 1}\nmodels: {a: {<<: *b, target: x}}", "tandem.yaml:1:10: models.a.ctx_sze: no such key"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_them_has_its_place(text: str, words: str, folder: Path) -> None:
    """A key is looked for twice in what is written, not in what is merged."""
    assert words in told(folder, text)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["no mark", "BOM"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_texts_of_windows_are_read(mark: bytes, end: bytes, folder: Path) -> None:
    """Notepad and PowerShell 5 write a mark of the encoding; errors count lines as the editor does."""
    lines = [b"# mine", b"models:", b"  a:", b"    target: {path: x.gguf}", b"    ctx_sze: 1"]
    (folder / "tandem.yaml").write_bytes(mark + end.join(lines[:-1]) + end)
    assert list(load_settings().models) == ["a"]
    (folder / "tandem.yaml").write_bytes(mark + end.join(lines) + end)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert "tandem.yaml:5:5: models.a.ctx_sze" in str(caught.value)


def test_dotenv_with_a_mark_is_read(folder: Path) -> None:
    """The first variable would be lost without a word."""
    (folder / ".env").write_bytes(b"\xef\xbb\xbfTANDEM_PORT=5\r\nTANDEM_MAX_LOADED=2\r\n")
    settings = load_settings()
    assert (settings.port, settings.max_loaded) == (5, 2)


def test_other_encodings_are_named(folder: Path) -> None:
    (folder / "tandem.yaml").write_bytes("port: 5\n".encode("utf-16"))
    with pytest.raises(ConfigError, match=r"is not UTF-8 text but UTF-16.*save it as UTF-8"):
        load_settings()
    (folder / "tandem.yaml").write_bytes(b"port: 5\nhost: \xff\n")
    with pytest.raises(ConfigError, match=r"tandem\.yaml:2: is not UTF-8 text"):
        load_settings()


def test_both_spellings_of_the_files_name(folder: Path) -> None:
    """`tandem.yml` is found; two files are an error that names both, unless one is named."""
    (folder / "tandem.yml").write_text("port: 5\n")
    assert load_settings().port == 5
    (folder / "tandem.yaml").write_text("port: 6\n")
    with pytest.raises(ConfigError, match=r"tandem\.yaml and .*tandem\.yml are both there; remove one, or name one"):
        load_settings()
    assert load_settings(Path("tandem.yml")).port == 5


def test_a_name_that_is_nearly_there_is_hinted_at(folder: Path) -> None:
    """A misspelt --config, and a folder."""
    (folder / "tandem.yaml").write_text("port: 5\n")
    for name in ("tandm.yaml", "tandem.yml", "."):
        with pytest.raises(ConfigError, match=r"there is no file .*; did you mean .*tandem\.yaml\?"):
            load_settings(Path(name))


def test_origins_are_a_text_or_a_list(folder: Path) -> None:
    """As are the other settings that hold several."""
    settings = loaded(
        folder,
        "cors_origins: [https://a.example, 'http://b:3000']\nallowed_hosts: [box, box.lan]\nallow_remote_media: a.b\n",
    )
    assert settings.cors_origins == "https://a.example,http://b:3000" and settings.allowed_hosts == "box,box.lan"
    assert loaded(folder, "cors_origins: https://a.example, http://b:3000\n").cors_origins
    assert "cors_origins: must be text, or a list of texts; 5 is none" in told(folder, "cors_origins: [5]")
    assert "cors_origins: * would let any web page in" in told(folder, "cors_origins: ['*']")


def test_an_entry_is_added_to_such_a_file(folder: Path) -> None:
    """Anchors, merges and line ends stay as they are."""
    path = folder / "tandem.yaml"
    path.write_bytes(
        b"\xef\xbb\xbfx-b: &b\r\n  ctx_size: 1024\r\nmodels:\r\n  a:\r\n    <<: *b\r\n    target: x.gguf  # mine\r\n"
    )
    add_entries(path, {"new": NewEntry("org/m", "m.gguf").parts})
    data = path.read_bytes()
    assert b"<<: *b\r\n" in data and b"# mine\r\n" in data and b"\n" not in data.replace(b"\r\n", b"")
    assert options(load_settings(), "a", "ctx_size") == [1024] and "new" in load_settings().models
