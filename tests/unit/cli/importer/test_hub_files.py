"""What `-hf` means, by the files that a repo has."""

from __future__ import annotations

import pytest

from app.cli.importer.entry import import_line
from app.cli.importer.hub_files import files_meant

MANY = [f"tiny-{name}.gguf" for name in ("Q8_0", "Q4_K_M", "UD-Q4_K_XL")] + ["mmproj-F16.gguf", "README.md"]


@pytest.mark.parametrize(
    ("paths", "quant", "which", "note"),
    [
        (MANY, "", {"quantization": "Q4_K_M"}, "prefers Q4_K_M"),
        (MANY, "q8_0", {"quantization": "Q8_0"}, ""),
        (MANY, "UD-Q4_K_XL", {"quantization": "UD-Q4_K_XL"}, ""),
        (["gpt-oss-20b-mxfp4.gguf"], "", {"quantization": "mxfp4"}, "takes the first file"),
        (["b-Q8_0.gguf", "a-Q5_0.gguf"], "", {"quantization": "Q5_0"}, "takes the first file"),
        (["mtp-Q4_K_M.gguf", "tiny-Q8_0.gguf"], "", {"quantization": "Q8_0"}, "takes the first file"),
        (["tiny.gguf"], "", {"include": "tiny.gguf"}, "takes the first file"),
        (["a[1].gguf"], "", {"include": "a[[]1].gguf"}, "takes the first file"),
        (
            [f"big-{number:05}-of-00002.gguf" for number in (1, 2)],
            "",
            {"include": "big-*"},
            "takes the first file",
        ),
        (MANY, "Q2_K", {"include": "*Q2_K*"}, "the repo has Q4_K_M, Q8_0, UD-Q4_K_XL"),
        (["README.md"], "", {"include": "*Q4_K_M*"}, "the repo has no GGUF model"),
        (None, "", {"include": "*Q4_K_M*"}, "else the repo's first file"),
        (None, "Q8_0", {"include": "*Q8_0*"}, ""),
    ],
)
def test_quantizations_are_named_as_the_repo_has_them(
    paths: list[str] | None, quant: str, which: dict[str, str], note: str
) -> None:
    found, more = files_meant(paths, quant)
    assert found == which and note in more


def test_an_entry_names_what_can_be_pulled() -> None:
    """The repo is asked for by its name, and only where the line names one."""
    asked = []

    def files(repo: str) -> list[str]:
        asked.append(repo)
        return ["gpt-oss-20b-mxfp4.gguf"]

    made = import_line(["llama-server", "-hf", "ggml-org/gpt-oss-20b-GGUF"], None, files)
    assert made.keys["target"] == {"repo": "ggml-org/gpt-oss-20b-GGUF", "quantization": "mxfp4"}
    import_line(["llama-server", "-m", "tiny.gguf"], None, files)
    assert asked == ["ggml-org/gpt-oss-20b-GGUF"]
