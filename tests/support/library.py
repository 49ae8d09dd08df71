"""A person's folder with two aliases of one repo, and the Hub that has it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from app.config.settings import Settings
from app.models.catalog import Catalog
from app.models.disk.inventory import inventory
from app.models.disk.layout import FileLocation
from app.models.disk.local_model import LocalModel
from app.models.disk.remove import removable
from app.models.disk.selection import selected
from app.models.download.plan import Puller
from app.models.download.pull_item import PullItem
from app.models.hub.client import Hub
from tests.support.commands import run_command
from tests.support.fake_hub import FakeHub
from tests.support.hub_models import model, shards

REPO = "unsloth/GLM-4.7-GGUF"
Q2 = shards("UD-Q2_K_XL/GLM-4.7-UD-Q2_K_XL", 3)
FILES = Q2 | {"GLM-4.7-Q4_K_M.gguf": model(), "mmproj-BF16.gguf": model(architecture="clip"), "README.md": b"# GLM"}
MODELS: dict[str, Any] = {
    "glm": {"target": {"repo": REPO, "include": "*Q2*"}, "mmproj": {"repo": REPO}},
    "glm4": {"target": {"repo": REPO, "include": "*Q4*"}, "mmproj": {"repo": REPO}},
}


class Here:
    """A Hub and a folder with a tandem.yaml."""

    def __init__(self, hub: FakeHub, folder: Path) -> None:
        self.hub = hub
        self.folder = folder
        self.models_dir = folder / "models"
        self.settings = Settings.model_validate({"models_dir": self.models_dir, "models": MODELS})
        self.catalog = Catalog(self.settings)
        (folder / "tandem.yaml").write_text(json.dumps({"models": MODELS}))
        hub.add(REPO, FILES)

    def command(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return run_command(self.folder, self.hub, *words, **more)

    def json(self, *words: str, **more: str) -> Any:
        done = self.command(*words, "--json", **more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def pull(self, *items: PullItem) -> None:
        Puller(self.settings, Hub(self.hub.url), lambda _: None).pull(items)

    def pull_all(self) -> None:
        self.pull(PullItem(REPO, "*Q2*"), PullItem(REPO, "*Q4*"), PullItem(REPO, projector=True))

    def place(self, path: str) -> FileLocation:
        return FileLocation(self.models_dir, REPO, path)

    def removable(self, *names: str, shared: bool = False) -> list[LocalModel]:
        models = inventory(self.settings, self.catalog)
        return removable(selected(models, self.catalog, names), self.catalog, names, shared=shared)

    def has(self, files: dict[str, bytes]) -> bool:
        return all(self.place(path).final.read_bytes() == content for path, content in files.items())

    @property
    def files(self) -> set[str]:
        """What is left, locks aside."""
        folder = self.models_dir / REPO
        return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock"}
