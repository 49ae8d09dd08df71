"""search and show, as a person runs them against a Hub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.models.download.pull_item import PullItem
from tests.support.architectures import write_llama
from tests.support.fake_hub import FakeHub, Fault
from tests.support.fake_hub.repos import File
from tests.support.gateway import fake_llama_server
from tests.support.hub_models import model
from tests.support.library import FILES, REPO, Here


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    with FakeHub() as hub:
        yield Here(hub, tmp_path)


def test_search_lists_repos_by_their_name(here: Here) -> None:
    """As a table and as JSON; a name that could not be asked for, or would play with the terminal, is left out."""
    here.hub.add("meta/Gated-GLM-GGUF", {"m.gguf": model()}, gated=True)
    here.hub.add("evil/\x1b[2Jglm", {"m.gguf": model()})
    head, *rows = here.command("search", "glm").stdout.splitlines()
    assert head.split() == ["repo", "downloads", "likes", "access"]
    assert sorted(row.split()[0] for row in rows) == ["meta/Gated-GLM-GGUF", REPO]
    assert "licence to accept" in next(row for row in rows if "Gated" in row)
    assert here.json("search", "4.7") == [{"repo": REPO, "downloads": 7, "likes": 3, "gated": False}]
    assert len(here.json("search", "glm", "--limit", "1")) == 1
    assert "No GGUF repository on the Hub matches" in here.command("search", "nothing").stdout


def test_a_hub_that_is_busy_or_away_is_said_at_once(here: Here) -> None:
    """Whoever waits is told why, by us alone."""
    here.hub.page_faults.append(Fault(status=503))
    done = here.command("search", "glm")
    assert done.returncode == 0 and done.stderr.startswith("the Hub answers 503; trying again in ")
    away = here.command("search", "glm", HF_ENDPOINT="http://127.0.0.1:9")
    assert away.returncode == 1 and not away.stdout
    *waits, last = away.stderr.splitlines()
    assert len(waits) == 2 and all("cannot be reached; trying again" in line for line in waits)
    assert "Check the network, and HF_ENDPOINT if it is set." in last


def test_show_says_what_fits_and_why(here: Here) -> None:
    """By the engine's devices, the host's memory and the disk; nothing is downloaded."""
    here.hub.add(REPO, FILES | {"GLM-4.7-BF16.gguf": File(model(), said_size=10**16)})
    engine = {"TANDEM_LLAMA_SERVER": str(fake_llama_server(here.folder)), "GGML_FAKE_GPU_MIB": "4096"}
    text = here.command("show", f"hf:{REPO}", **engine).stdout
    rows = {row.split()[0]: row for row in text.splitlines()[2:5]}
    assert set(rows) == {"UD-Q2_K_XL", "Q4_K_M", "BF16"}
    assert "yes: devices" in rows["UD-Q2_K_XL"] and " 3 " in rows["UD-Q2_K_XL"]
    assert rows["BF16"].split()[-2:] == ["no", "no"]
    assert "Multimodal projector: mmproj-BF16.gguf" in text
    assert (
        re.search(r"CUDA0 4\.00 GiB, [\d.]+ [GM]iB of it free \(A fake GPU\)", text)
        and "--list-devices" in text
        and "free in" in text
    )
    assert not here.hub.fetched


def test_show_takes_an_alias_and_tells_what_is_here(here: Here) -> None:
    """With a quantization only that one."""
    here.pull(PullItem(REPO, "*Q2*"))
    page = here.json("show", "glm")
    assert {quantization["name"]: quantization["here"] for quantization in page["quantizations"]} == {
        "UD-Q2_K_XL": "complete",
        "Q4_K_M": None,
    }
    assert page["machine"]["host"] > 0 and page["machine"]["disk_free"] > 0
    assert [quantization["name"] for quantization in here.json("show", f"{REPO}:q4_k_m")["quantizations"]] == ["Q4_K_M"]
    missing = here.command("show", f"{REPO}:Q4_K_X")
    assert missing.returncode == 1 and "has no Q4_K_X; did you mean Q4_K_M? There are: " in missing.stderr
    assert "Similar names: " in here.command("show", "unsloth/GLM-4.8-GGUF").stderr


def test_show_tells_what_the_models_of_a_repo_take(here: Here, tmp_path: Path) -> None:
    """Those of tandem.yaml whose files are here, as they would start: each device, and whether it fits."""
    here.hub.add(REPO, FILES | {"GLM-4.7-Q4_K_M.gguf": write_llama(tmp_path / "whole.gguf").read_bytes()})
    engine = {"TANDEM_LLAMA_SERVER": str(fake_llama_server(here.folder)), "GGML_FAKE_GPU_MIB": "8192"}
    here.pull(PullItem(REPO, "*Q4*"), PullItem(REPO, projector=True))
    text = here.command("show", "glm4", **engine).stdout
    [line] = [line for line in text.splitlines() if line.startswith(("glm: ", "glm4: "))]
    assert line.startswith("glm4: ") and "CUDA0" in line and "weights" in line and "fits; engines may take" in line
    [row] = here.json("show", f"hf:{REPO}", **engine)["models"]
    assert row["alias"] == "glm4" and row["fits"] and row["footprint"]["CUDA0"] > 0
