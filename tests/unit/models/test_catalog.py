"""Names and files."""

from pathlib import Path
from typing import Any

import pytest

from app.config.model_entry import AttachedEntry, Files, LocalEntry
from app.config.settings import Settings
from app.errors import FilesMissingError, UnknownAliasError
from app.models.catalog import Catalog, ModelSpec
from app.models.gguf.filenames import shards


def catalog(tmp_path: Path, **files: str | None) -> Catalog:
    entry = LocalEntry(target=Files.model_validate(files), aliases=("short",))
    return Catalog(Settings(models_dir=tmp_path, models={"org/name:tag": entry}))


def spec(catalog: Catalog, name: str = "short") -> ModelSpec:
    return catalog.spec(catalog.resolve(name))


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


REPO = "unsloth/GLM-4.7-GGUF"


def test_repo_resolves_to_the_first_shard(tmp_path: Path) -> None:
    """The layout that snapshot_download leaves behind: the pattern matches the path in the repo."""
    names = [f"UD-Q2_K_XL/GLM-4.7-UD-Q2_K_XL-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    touch(tmp_path / REPO, *names, "UD-Q4/GLM-4.7-UD-Q4.gguf", "mmproj-UD-Q2_K_XL.gguf")
    touch(tmp_path / REPO, ".cache/huggingface/download/UD-Q2_K_XL/half.gguf")
    target = spec(catalog(tmp_path, repo=REPO, include="*UD-Q2_K_XL*")).target
    assert target == tmp_path / REPO / names[0]
    assert shards(target) == [tmp_path / REPO / name for name in names]


def test_missing_repo_names_repo_pattern_and_folder(tmp_path: Path) -> None:
    """A person can see what was looked for, and where."""
    with pytest.raises(FilesMissingError) as caught:
        spec(catalog(tmp_path, repo=REPO, include="*Q9*"))
    for part in (REPO, "*Q9*", str(tmp_path / REPO), "does not exist"):
        assert part in str(caught.value)
    touch(tmp_path / REPO, "GLM-Q4.gguf")
    with pytest.raises(FilesMissingError, match=r"There are: GLM-Q4\.gguf"):
        spec(catalog(tmp_path, repo=REPO, include="*Q9*"))


def test_missing_shards_are_named(tmp_path: Path) -> None:
    """Every absent shard, even the first, by name."""
    touch(tmp_path / REPO, "m-00002-of-00003.gguf")
    with pytest.raises(FilesMissingError, match=r"m-00001-of-00003\.gguf, m-00003-of-00003\.gguf"):
        spec(catalog(tmp_path, repo=REPO))


def test_a_pattern_as_path_is_refused(tmp_path: Path) -> None:
    """Unless a file has that name."""
    touch(tmp_path, "a.gguf", "b?.gguf")
    for name in ("*.gguf", "?.gguf"):
        with pytest.raises(FilesMissingError, match=r"path names one file, .* is a pattern; use include with repo"):
            spec(catalog(tmp_path, path=str(tmp_path / name)))
    assert spec(catalog(tmp_path, path=str(tmp_path / "b?.gguf"))).target == tmp_path / "b?.gguf"


def test_pattern_that_matches_two_models_is_refused(tmp_path: Path) -> None:
    """Guessing one of them could load the wrong 200 GB."""
    touch(tmp_path / REPO, "a-Q4.gguf", "b-Q4.gguf")
    with pytest.raises(FilesMissingError, match=r"several models; narrow include to one of a-Q4\.gguf, b-Q4\.gguf"):
        spec(catalog(tmp_path, repo=REPO, include="*Q4*"))


@pytest.mark.parametrize(
    ("name", "words"),
    [("m-00002-of-00002.gguf", "give the first, m-00001-of-00002.gguf"), ("folder", "is a folder"), ("no", "missing")],
)
def test_path_that_is_no_model(tmp_path: Path, name: str, words: str) -> None:
    """A later shard, a folder and nothing at all are told apart."""
    touch(tmp_path, "m-00001-of-00002.gguf", "m-00002-of-00002.gguf", "folder/x")
    with pytest.raises(FilesMissingError, match=words):
        spec(catalog(tmp_path, path=str(tmp_path / name)))


def test_a_projector_is_found_beside_the_models_and_never_taken_for_one(tmp_path: Path) -> None:
    """By its name, wherever `mmproj` stands in it; of two the entry has to name one."""
    touch(tmp_path / REPO, "m-Q4.gguf", "mmproj-BF16.gguf")

    def both(**mmproj: str) -> ModelSpec:
        entry = LocalEntry.model_validate({"target": {"repo": REPO}, "mmproj": {"repo": REPO, **mmproj}})
        return spec(Catalog(Settings(models_dir=tmp_path, models={"m": entry})), "m")

    assert both().target == tmp_path / REPO / "m-Q4.gguf" and both().mmproj == tmp_path / REPO / "mmproj-BF16.gguf"
    touch(tmp_path / REPO, "m-mmproj-f16.gguf")
    assert both(include="*f16*").mmproj == tmp_path / REPO / "m-mmproj-f16.gguf"
    with pytest.raises(FilesMissingError, match=r"models\.m\.mmproj: .*narrow include to one of m-mmproj"):
        both()
    with pytest.raises(FilesMissingError, match=r"no multimodal projector .* matches '\*F32\*'"):
        both(include="*F32*")


def test_package_is_located_without_being_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GGUF inside an installed package is found though importing the package would fail."""
    touch(tmp_path, "carrier/model.Q4_1.gguf")
    (tmp_path / "carrier/__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert spec(catalog(tmp_path, package="carrier")).target == tmp_path / "carrier/model.Q4_1.gguf"
    with pytest.raises(FilesMissingError, match="package not_there is not installed"):
        spec(catalog(tmp_path, package="not_there"))


def test_unknown_name_lists_those_that_exist(tmp_path: Path) -> None:
    """Own names and aliases alike."""
    with pytest.raises(UnknownAliasError, match="'org/name:tag', 'short'"):
        catalog(tmp_path, path="/x").resolve("other")
    assert catalog(tmp_path, path="/x").resolve("short").name == "org/name:tag"


def test_a_variant_belongs_to_its_entry() -> None:
    """By any name; a variant's own name is no base."""
    settings = Settings.model_validate({"models": {"x": {"target": {"path": "/m.gguf"}, "aliases": ["y", "z:plain"]}}})
    catalog = Catalog(settings)
    refs = [catalog.resolve(name) for name in ("x", "y", "x:plain", "y:draft", "z:plain", "z:plain:ngram")]
    assert [ref.alias for ref in refs] == ["x"] * 6
    assert [ref.variant for ref in refs] == ["", "", "plain", "draft", "", "ngram"]
    assert [ref.name for ref in refs] == ["x", "x", "x:plain", "x:draft", "x", "x:ngram"]


def test_names_of_one_engine_are_one_ref() -> None:
    """Equal, and with one key; each variant has an engine of its own."""
    catalog = Catalog(Settings(models={"x": LocalEntry(target=Files(repo="org/m"), aliases=("y",))}))
    assert catalog.resolve("y:plain:latest") == catalog.resolve("x:plain") != catalog.resolve("x")
    assert len({catalog.resolve(name).engine_key for name in ("x", "y", "x:plain", "y:plain", "x:draft")}) == 3


def test_refs_are_those_that_a_client_may_know_of() -> None:
    """One an entry, and one a way of decoding where they are asked for; an attached server has no others."""
    models = {"x": LocalEntry(target=Files(repo="org/m"), aliases=("y",)), "far": AttachedEntry(url="http://far")}
    catalog = Catalog(Settings(models=models))
    assert [ref.name for ref in catalog.refs()] == ["x", "far"]
    names = ["x", "x:plain", "x:draft", "x:ngram"]
    assert [ref.name for ref in catalog.refs(lambda name: name == "y", variants=True)] == names
    assert [ref.name for ref in catalog.refs(variants=True)] == [*names, "far"]
    with pytest.raises(UnknownAliasError):
        catalog.resolve("far", lambda name: name == "y")


@pytest.mark.parametrize(
    ("speculation", "draft", "modes"),
    [
        ("none", False, ["none", "none", "draft-mtp", "ngram-mod"]),
        ("auto", True, ["auto", "none", "draft-simple", "ngram-mod"]),
        ("ngram-simple", True, ["ngram-simple", "none", "draft-simple", "ngram-simple"]),
        (["ngram-mod", "draft-mtp"], False, ["ngram-mod,draft-mtp", "none", "draft-mtp", "ngram-mod"]),
    ],
)
def test_a_variant_is_the_entrys_own_modes_of_its_family(speculation: Any, draft: bool, modes: list[str]) -> None:
    """Else the family's usual one; what the entry leaves open is for `auto` to choose."""
    entry = {"target": {"path": "/m.gguf"}, "speculation": speculation} | ({"draft": {"path": "/d"}} if draft else {})
    catalog = Catalog(Settings.model_validate({"models": {"x": entry}}))
    assert [ref.requested_mode for ref in catalog.refs(variants=True)] == modes


def test_an_attached_server_has_no_files_here() -> None:
    """The error says where it is."""
    catalog = Catalog(Settings(models={"far": AttachedEntry(url="http://far")}))
    with pytest.raises(FilesMissingError, match="'far' is attached at http://far"):
        catalog.files(catalog.resolve("far"))
    assert catalog.resolve("far").requested_mode == "none"


def test_a_model_with_the_name_of_a_variant_is_no_variant() -> None:
    """It is another model, which must not answer where the first one's plain variant is meant."""
    drafted = {"target": {"path": "/m.gguf"}, "speculation": "ngram-mod"}
    models = {"x": drafted | {"aliases": ["y"]}, "x:plain": {"target": {"path": "/other.gguf"}}}
    catalog = Catalog(Settings.model_validate({"models": models}))
    other, drafts = catalog.resolve("x:plain"), catalog.resolve("x:draft")
    assert (catalog.variants("x"), other.alias, other.variant) == (("draft", "ngram"), "x:plain", "")
    assert (catalog.plain(catalog.resolve("x")).name, catalog.plain(drafts).name) == ("x", "x:draft")
    with pytest.raises(UnknownAliasError):
        catalog.resolve("y:plain")


def test_a_tag_that_clients_append_is_accepted(tmp_path: Path) -> None:
    """`:latest`, unless a model has that very name."""
    models = {name: AttachedEntry(url="http://x") for name in ("a", "b", "b:latest", "c:v")}
    catalog = Catalog(Settings(models_dir=tmp_path, models=models))
    assert [catalog.resolve(f"{name}:latest").name for name in ("a", "b", "c:v")] == ["a", "b:latest", "c:v"]
    with pytest.raises(UnknownAliasError):
        catalog.resolve("nope:latest")


def with_presets() -> Catalog:
    entry = LocalEntry.model_validate({"target": "/m.gguf", "aliases": ["s"], "presets": {"thinking": {"seed": 1}}})
    other = AttachedEntry.model_validate({"url": "http://x", "presets": {"short": {"max_tokens": 5}}})
    return Catalog(Settings(models={"m": entry, "o": other}))


def test_a_preset_shares_the_engine_of_its_entry() -> None:
    """It is a model of its own by name, and can be pinned to a way of decoding."""
    presets = with_presets()
    thinking = presets.resolve("m:thinking")
    assert (thinking.name, thinking.alias, thinking.engine_key) == ("m:thinking", "m", "m")
    plain = presets.resolve("m:thinking:plain")
    assert (plain.name, plain.engine_key) == ("m:thinking:plain", "m:plain")
    for name in ("s:thinking", "m:thinking:latest", "s:thinking:latest"):
        assert presets.resolve(name) == thinking
    assert presets.resolve("s:thinking:plain") == plain
    assert presets.resolve("o:short").engine_key == "o"
    for name in ("m:short", "m:plain:thinking", "o:short:plain", "m:thinking:thinking"):
        with pytest.raises(UnknownAliasError):
            presets.resolve(name)


def test_presets_are_listed_behind_their_entry() -> None:
    names = [ref.name for ref in with_presets().refs(presets=True)]
    assert names == ["m", "m:thinking", "o", "o:short"]
    assert [ref.name for ref in with_presets().refs()] == ["m", "o"]


@pytest.mark.parametrize(
    ("allowed", "names"),
    [
        ({"m"}, ["m", "m:thinking"]),
        ({"s"}, ["m", "m:thinking"]),
        ({"m:thinking"}, ["m:thinking"]),
        ({"s:thinking"}, ["m:thinking"]),
        ({"o:short"}, ["o:short"]),
        ({"thinking"}, []),
    ],
)
def test_who_may_use_a_model_may_use_its_presets(allowed: set[str], names: list[str]) -> None:
    """A preset can be allowed alone: the model without it is then unknown."""
    presets, may = with_presets(), allowed.__contains__
    assert [ref.name for ref in presets.refs(may, presets=True)] == names
    for name in ("m", "m:thinking", "o", "o:short"):
        if name in names:
            assert presets.resolve(name, may).name == name
        else:
            with pytest.raises(UnknownAliasError) as raised:
                presets.resolve(name, may)
            assert set(raised.value.known) <= {*names, "s"}


def test_an_unknown_name_is_told_with_the_one_that_may_be_meant() -> None:
    """Never one that the client may not use."""
    presets = with_presets()
    with pytest.raises(UnknownAliasError, match=r"Model 'M:short' not found\. Did you mean 'o:short'\? Available"):
        presets.resolve("M:short", {"o:short"}.__contains__)
    with pytest.raises(UnknownAliasError, match=r"Model 'M:thinkin' not found\. Did you mean 'm:thinking'\?"):
        presets.resolve("M:thinkin")
    with pytest.raises(UnknownAliasError, match=r"not found\. Available models: none\."):
        presets.resolve("M:thinkin", set[str]().__contains__)


def test_an_exact_name_wins_over_a_preset_of_an_alias() -> None:
    entry = LocalEntry.model_validate({"target": "/m.gguf", "aliases": ["s"], "presets": {"thinking": {"seed": 1}}})
    presets = Catalog(Settings(models={"m": entry, "s:thinking": LocalEntry.model_validate({"target": "/o.gguf"})}))
    assert presets.resolve("s:thinking").alias == "s:thinking"
