"""Model files as people name them: short forms, capitals, links, and what is nearly right."""

from pathlib import Path

import pytest

from app.config.model_entry import LocalEntry
from app.config.settings import load_settings
from app.errors import ConfigError, FilesMissingError, StoreError
from app.models.catalog import Catalog
from app.models.disk.inventory import inventory
from app.models.disk.remove import remove
from app.models.download.pull_item import items_of
from tests.support.models import spec_of


def written(folder: Path, entry: str) -> Catalog:
    (folder / "tandem.yaml").write_text(f"models:\n  a: {entry}\n")
    return Catalog(load_settings())


def target(folder: Path, entry: str) -> str:
    """The file that is found, as a path from the working folder."""
    return spec_of(written(folder, entry), "a").target.relative_to(folder).as_posix()


def missing(folder: Path, entry: str) -> str:
    with pytest.raises(FilesMissingError) as caught:
        spec_of(written(folder, entry), "a")
    return str(caught.value)


def told(folder: Path, entry: str) -> str:
    with pytest.raises(ConfigError) as caught:
        written(folder, entry)
    return str(caught.value)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize(
    "text", ["models/tiny.gguf", "./models/tiny.gguf", "{folder}/models/tiny.gguf", "{path: models/tiny.gguf}"]
)
def test_a_path_alone(text: str, folder: Path) -> None:
    """It ends in .gguf, or begins with `.`, `/` or `~`."""
    touch(folder, "models/tiny.gguf")
    assert target(folder, f"{{target: {text.replace('{folder}', str(folder))}}}") == "models/tiny.gguf"


def test_the_home_folder_is_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder / "home"))
    touch(folder, "home/m.gguf", "home/weights")
    assert target(folder, "{target: ~/m.gguf}") == "home/m.gguf"
    assert target(folder, "{target: ~/weights}") == "home/weights"


QUANTIZATIONS = (
    "X-Q2_K.gguf",
    "X-Q2_K_L.gguf",
    "UD/X-UD-Q2_K_XL-00001-of-00002.gguf",
    "mmproj-BF16.gguf",
    "mmproj-F16.gguf",
)
REPO = "models/org/X-GGUF"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("org/X-GGUF:Q2_K", "X-Q2_K.gguf"),
        ("org/X-GGUF:q2_k_l", "X-Q2_K_L.gguf"),
        ("hf:org/X-GGUF:Q2_K", "X-Q2_K.gguf"),
        ("org/X-GGUF:UD-Q2_K_XL", "UD/X-UD-Q2_K_XL-00001-of-00002.gguf"),
        ("{repo: org/X-GGUF, quantization: Q2_K}", "X-Q2_K.gguf"),
        ("{repo: org/X-GGUF, include: '*q2_k.GGUF'}", "X-Q2_K.gguf"),
    ],
)
def test_a_repo_and_its_quantization(text: str, found: str, folder: Path) -> None:
    """The whole quantization, in any case: Q2_K is not Q2_K_L."""
    touch(folder / REPO, *QUANTIZATIONS, "UD/X-UD-Q2_K_XL-00002-of-00002.gguf")
    assert target(folder, f"{{target: '{text}'}}" if text[0] != "{" else f"{{target: {text}}}") == f"{REPO}/{found}"


def test_short_forms_of_draft_and_projector(folder: Path) -> None:
    """The same text for all three; a projector's quantization is its own."""
    touch(folder / REPO, *QUANTIZATIONS)
    touch(folder, "d.GGUF")
    entry = "{target: 'org/X-GGUF:Q2_K', draft: d.GGUF, mmproj: 'org/X-GGUF:F16', speculation: draft-simple}"
    spec = spec_of(written(folder, entry), "a")
    assert spec.draft == folder / "d.GGUF" and spec.mmproj == folder / REPO / "mmproj-F16.gguf"


def test_a_repo_alone_is_pulled_by_its_quantization(folder: Path) -> None:
    """`pull ALIAS` takes of a repo what the entry means."""
    catalog = written(folder, "{target: 'org/X-GGUF:q2_k', mmproj: 'org/X-GGUF:f16'}")
    model, projector = items_of("a", catalog.entries["a"])
    assert model.chosen(QUANTIZATIONS) == ["X-Q2_K.gguf"] and projector.chosen(QUANTIZATIONS) == ["mmproj-F16.gguf"]
    (whole,) = items_of("a", written(folder, "{target: org/X-GGUF}").entries["a"])
    assert (whole.repo, whole.include, whole.quantization) == ("org/X-GGUF", None, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tiny", "a.target: must be a mapping such as {path: models/tiny.gguf}, or text: a path that ends in .gguf"),
        ("a/b/c", "ORG/REPO:QUANTIZATION; not 'a/b/c'"),
        ("https://huggingface.co/org/X/resolve/main/f.gguf", "is an address; write {repo: org/X, include: f.gguf}"),
        ("hf.co/org/X:Q4_0", "is an address; write org/X:Q4_0"),
        ("C:\\Users\\me\\x.gguf", "C:\\Users\\me\\x.gguf is a path of Windows; under WSL it is /mnt/c/Users/me/x.gguf"),
        ("D:/x.gguf", "under WSL it is /mnt/d/x.gguf"),
        ("\\\\nas\\models\\x.gguf", "is a path of Windows; mount that share"),
        ("$HOME/m/x.gguf", "$HOME/m/x.gguf: variables such as $HOME are not expanded; write ~/m/x.gguf"),
        ("${MODELS}/x.gguf", "variables such as ${MODELS} are not expanded; write the path out"),
        ("models/$NAME/x.gguf", "variables such as $NAME are not expanded; write the path out"),
        ("%USERPROFILE%\\x.gguf", "variables such as %USERPROFILE% are not expanded"),
        ("{path: x.gguf, quantization: Q4_0}", "quantization goes with repo or package, and without include"),
        ("{repo: o/r, include: '*', quantization: Q4_0}", "goes with repo or package, and without include"),
    ],
)  # fmt: skip
def test_what_is_neither_is_told_with_what_would_be_right(text: str, words: str, folder: Path) -> None:
    message = told(folder, f"{{target: {text}}}" if text[0] == "{" else f"{{target: '{text}'}}")
    assert words in message and "tandem.yaml:2:" in message


def test_a_path_of_windows_in_double_quotes(folder: Path) -> None:
    """A backslash begins an escape there: some are none, and some are tabs and line ends."""
    assert "a backslash begins an escape; use single quotes" in told(folder, '{target: "C:\\Users\\me.gguf"}')
    assert "under WSL" in told(folder, '{target: "C:\\Users\\me.gguf"}')
    assert "holds the character '\\t': in double quotes" in told(folder, '{target: "C:\\temp\\new.gguf"}')


def test_other_paths_are_looked_at_too(folder: Path) -> None:
    (folder / "tandem.yaml").write_text("models_dir: C:\\models\nllama_server: $HOME/llama-server\nstate_dir: D:/s\n")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    for words in ("/mnt/c/models", "write ~/llama-server", "/mnt/d/s"):
        assert words in str(caught.value)


def test_capitals_in_the_ending(folder: Path) -> None:
    """A repo of `*.GGUF`, shards among them."""
    touch(folder / REPO, "X-Q4_0.GGUF")
    assert target(folder, "{target: {repo: org/X-GGUF}}") == f"{REPO}/X-Q4_0.GGUF"
    assert target(folder, "{target: 'org/X-GGUF:Q4_0'}") == f"{REPO}/X-Q4_0.GGUF"
    touch(folder / REPO, *(f"Y-Q8_0-0000{number}-of-00002.GGUF" for number in (1, 2)))
    assert target(folder, "{target: {repo: org/X-GGUF, include: 'Y*'}}") == f"{REPO}/Y-Q8_0-00001-of-00002.GGUF"


def test_a_patterns_own_case_comes_first(folder: Path) -> None:
    """`*f16*` means BF16 only where there is no f16."""
    touch(folder / REPO, "X-BF16.gguf")
    assert target(folder, "{target: {repo: org/X-GGUF, include: '*f16*'}}") == f"{REPO}/X-BF16.gguf"
    touch(folder / REPO, "X-f16.gguf")
    assert target(folder, "{target: {repo: org/X-GGUF, include: '*f16*'}}") == f"{REPO}/X-f16.gguf"


def test_a_folder_that_is_a_link(folder: Path) -> None:
    """A quantization on another disk; the whole repo, too. `ls` shows it, `rm` does not go through it."""
    touch(folder / "big", "X-UD-Q4.gguf")
    (folder / REPO).mkdir(parents=True)
    (folder / REPO / "UD-Q4").symlink_to(folder / "big")
    assert target(folder, "{target: {repo: org/X-GGUF, include: '*UD-Q4*'}}") == f"{REPO}/UD-Q4/X-UD-Q4.gguf"
    settings = load_settings()
    (model,) = inventory(settings, Catalog(settings))
    assert model.state == "complete" and [use.alias for use in model.uses] == ["a"]
    with pytest.raises(StoreError, match="by a symbolic link"):
        remove(model)
    assert (folder / "big" / "X-UD-Q4.gguf").exists()


def test_links_that_go_round_in_a_circle(folder: Path) -> None:
    """To themselves, to a folder around them, and to each other."""
    touch(folder / REPO, "x/X-Q4_0.gguf")
    (folder / REPO / "x" / "up").symlink_to("..")
    (folder / REPO / "self").symlink_to("self")
    (folder / REPO / "y").mkdir()
    (folder / REPO / "y" / "x").symlink_to("../x")
    (folder / REPO / "x" / "y").symlink_to("../y")
    assert target(folder, "{target: {repo: org/X-GGUF}}") == f"{REPO}/x/X-Q4_0.gguf"


def test_two_names_of_one_file_are_one_model(folder: Path) -> None:
    """The name that is no link."""
    touch(folder / REPO, "UD-Q4/X-Q4_0.gguf")
    (folder / REPO / "A-latest").symlink_to("UD-Q4")
    assert target(folder, "{target: {repo: org/X-GGUF}}") == f"{REPO}/UD-Q4/X-Q4_0.gguf"


def test_what_another_entry_names_is_not_meant(folder: Path) -> None:
    """A second quantization, pulled for another alias, does not make the first one's entry ambiguous."""
    touch(folder / REPO, "X-Q4_0.gguf", "X-Q8_0.gguf")
    assert "matches several models" in missing(folder, "{target: org/X-GGUF}")
    for other in ("org/X-GGUF:Q8_0", "{repo: org/X-GGUF, include: '*Q8*'}"):
        text = f"models:\n  a: {{target: org/X-GGUF}}\n  b: {{target: {other}}}\n"
        (folder / "tandem.yaml").write_text(text)
        assert spec_of(Catalog(load_settings()), "a").target == folder / REPO / "X-Q4_0.gguf"


@pytest.mark.parametrize(
    ("entry", "meant"),
    [
        ("{target: models/tyni.gguf}", "Did you mean {folder}/models/tiny.gguf?"),
        ("{target: model/tiny.gguf}", "Did you mean {folder}/models/tiny.gguf?"),
        ("{target: models/tiny.guff.gguf}", "Did you mean {folder}/models/tiny.gguf?"),
        ("{target: Models/Tiny.GGUF}", "Did you mean {folder}/models/tiny.gguf?"),
        ("{target: 'models\\tiny.gguf'}", "Did you mean {folder}/models/tiny.gguf?"),
        ("{target: 'org/X-GGUF:Q2_M'}", "did you mean Q2_K?"),
        ("{target: {repo: org/X-GGUF, include: '*Q2_M*'}}", "did you mean Q2_K?"),
        ("{target: org/Y-GGUF}", "did you mean {folder}/models/org/X-GGUF?"),
    ],
)
def test_a_name_that_is_nearly_there(entry: str, meant: str, folder: Path) -> None:
    """A slip of the pen in a file, a folder, a quantization, a repo."""
    touch(folder, "models/tiny.gguf", f"{REPO}/X-Q2_K.gguf")
    assert meant.replace("{folder}", str(folder)) in missing(folder, entry)


def test_nothing_is_suggested_where_nothing_is_like_it(folder: Path) -> None:
    touch(folder, "models/tiny.gguf")
    assert "mean" not in missing(folder, "{target: models/llama-70b.gguf}")
    assert "mean" not in missing(folder, "{target: /nowhere/at/all.gguf}")


def test_measurements_keep_their_key() -> None:
    """It is made of a projector's words: a key that an entry does not use changes none."""
    entry = LocalEntry.model_validate({"target": {"path": "x"}, "mmproj": {"repo": "a/b", "include": "*F16*"}})
    assert repr(entry.mmproj) == "Files(path=None, repo='a/b', package=None, include='*F16*')"
