"""The fake Hub is one that the real huggingface_hub takes for the Hub."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.fake_hub import FakeHub, Fault
from tests.support.hub_environment import hub_environment

PROGRAM = """
import sys
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError
folder = snapshot_download("org/m", local_dir=sys.argv[1], allow_patterns=["*.gguf"])
assert [m.id for m in HfApi().list_models(search="gat", filter="gguf")] == ["org/gated"]
try:
    HfApi().hf_hub_download("org/gated", "g.gguf", local_dir=sys.argv[1])
except GatedRepoError as error:
    print(error.response.status_code)
"""


def test_huggingface_hub_downloads_from_it_through_hf_endpoint(tmp_path: Path) -> None:
    """Pages of a tree, redirects to a second host without the token, gated repos."""
    files = {f"UD/m-0000{no}-of-00005.gguf": os.urandom(100_000) for no in range(1, 6)}
    with FakeHub() as hub:
        hub.add("org/m", files | {"README.md": b"x"})
        hub.add("org/gated", {"g.gguf": b"secret"}, gated=True)
        hub.order("UD/m-00002-of-00005.gguf", Fault(cut=50_000))
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "local")],
            env=hub_environment(hub, tmp_path, HF_TOKEN="hf_some"),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout == "403\n", done.stderr
        assert {path: (tmp_path / "local" / path).read_bytes() for path in files} == files
        assert {asked.token for asked in hub.asked if "/org/" in asked.path} == {"Bearer hf_some"}
        assert hub.fetched and {asked.token for asked in hub.fetched} == {None}
        assert not (tmp_path / "local" / "README.md").exists()
