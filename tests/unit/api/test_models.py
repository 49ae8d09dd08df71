"""The rows of /v1/models: every field that some client looks for, and no engine for any of them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.api.model_files import GOOD_S
from app.api.models import ModelRows, capabilities, slot_context
from app.config.model_entry import AttachedEntry, LocalEntry
from app.config.settings import Settings
from app.models.catalog import Catalog
from app.models.gguf.header import Header
from app.models.ref import ModelRef
from app.pulls.on_demand import OnDemand
from app.pulls.other_processes import OtherPulls
from app.pulls.registry import Pulls
from app.scheduler.loop import Scheduler
from tests.support import tiny_models
from tests.support.steps import lines_and_calls

FIELDS = {
    *("id", "object", "created", "owned_by", "context_length", "max_model_len", "meta", "capabilities", "state"),
    *("aliases", "speculation"),
}


def rows(clock: Callable[[], float] = time.monotonic, **models: Any) -> ModelRows:
    def never(ref: ModelRef) -> Any:
        raise AssertionError(f"an engine of {ref} was asked for")

    settings = Settings(models=models)
    catalog = Catalog(settings)
    nothing_to_pull = OnDemand(catalog, Pulls(lambda wanted, update: lambda emit, sleep: None))
    elsewhere = OtherPulls(settings.models_dir)
    scheduler = Scheduler(never, max_loaded=1, queue_timeout=1)
    return ModelRows(catalog, scheduler, nothing_to_pull, elsewhere, clock=clock)


def test_a_row_says_what_clients_look_for(tmp_path: Path) -> None:
    """Sizes from the file's header: the context of a slot, the parameters of all shards."""
    shards = tiny_models.write_sharded(tmp_path / "big", 3)
    entry = LocalEntry.model_validate({"target": {"path": shards[0]}, "ctx_size": 64, "parallel": 2, "aliases": ["b"]})
    row = rows(a=entry).get("b")
    assert row.keys() == FIELDS
    assert (row["id"], row["state"], row["aliases"], row["capabilities"]) == ("a", "stopped", ["b"], ["completion"])
    assert row["context_length"] == row["max_model_len"] == row["meta"]["n_ctx"] == 32
    assert row["meta"]["n_ctx_train"] == tiny_models.CONTEXT
    assert row["meta"]["size"] == sum(path.stat().st_size for path in shards)
    assert row["meta"]["n_params"] > 1000


def test_what_is_not_known_is_null() -> None:
    """An attached server is not asked, and a file that is not there says nothing; the fields are there all the same."""
    listed = rows(
        a=AttachedEntry(url="http://127.0.0.1:1"), b=LocalEntry.model_validate({"target": {"path": "/no/such.gguf"}})
    ).all()
    assert [row.keys() for row in listed] == [FIELDS, FIELDS]
    assert listed[0]["context_length"] is listed[1]["context_length"] is listed[1]["meta"]["n_params"] is None


@pytest.mark.parametrize(
    ("keys", "template", "expected"),
    [
        ({}, "", ["completion"]),
        ({}, "{% if tools %}", ["completion", "tools"]),
        ({"mmproj": {"path": "/x"}}, "enable_thinking", ["completion", "thinking", "vision"]),
        ({"args": ["--embeddings"]}, "tools", ["embedding"]),
        ({"args": ["--reranking"]}, "", ["rerank"]),
        ({"jinja": False}, "{% if tools %}<think>", ["completion"]),
        ({"args": ["--chat-template", "chatml"]}, "{% if tools %}", ["completion"]),
    ],
)
def test_capabilities_are_those_of_entry_and_template(keys: dict[str, Any], template: str, expected: list[str]) -> None:
    """In Ollama's words."""
    header = Header(Path("x"), 3, 0, 0, {"tokenizer.chat_template": template})
    entry = LocalEntry.model_validate({"target": {"path": "/x"}} | keys)
    assert capabilities(entry, header) == expected


@pytest.mark.parametrize(
    ("keys", "trained", "expected"),
    [
        ({"ctx_size": 512, "parallel": 2}, 2048, 256),
        ({"ctx_size": 512, "parallel": 2, "args": ["-kvu"]}, 2048, 512),
        ({"ctx_size": 512, "parallel": 2, "args": ["--kv_unified", "--no-kv-unified"]}, 2048, 256),
        ({"ctx_size": 9999, "parallel": 2, "args": ["--kv-unified"]}, 2048, 2048),
        ({"parallel": 2}, None, None),
    ],
)
def test_the_context_of_a_slot(keys: dict[str, Any], trained: int | None, expected: int | None) -> None:
    """As far as it can be known before an engine tells it."""
    assert slot_context(LocalEntry.model_validate({"target": {"path": "/x"}} | keys), trained) == expected


def many(folder: Path, count: int, clock: Callable[[], float] = time.monotonic) -> ModelRows:
    entries = {}
    for i in range(count):
        path = tiny_models.write_target(folder / f"m{i}.gguf")
        entries[f"m{i}"] = LocalEntry.model_validate({"target": {"path": path}})
    return rows(clock, **entries)


def test_a_list_follows_changed_files_within_a_second(tmp_path: Path) -> None:
    """A file that has grown, one that has gone, and one that has come."""
    now = [0.0]
    made = many(tmp_path, 3, lambda: now[0])
    first, second, third = (tmp_path / f"m{i}.gguf" for i in range(3))
    size = first.stat().st_size
    third.rename(tmp_path / "elsewhere")

    async def main() -> None:
        assert [row["meta"]["size"] for row in await made.listed()] == [size, size, None]
        with first.open("ab") as file:
            file.write(bytes(100))
        second.unlink()
        (tmp_path / "elsewhere").rename(third)
        now[0] += GOOD_S
        assert [row["meta"]["size"] for row in await made.listed()] == [size + 100, None, size]
        assert made.get("m1")["meta"]["size"] is None

    asyncio.run(main())


def test_files_are_looked_at_in_a_thread_and_not_for_each_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No call of `stat` on the event loop, and one look for callers at the same time."""
    now, threads = [0.0], []
    made = many(tmp_path, 3, lambda: now[0])
    stat = Path.stat

    def counted(self: Path, **how: Any) -> Any:
        threads.append(threading.current_thread())
        return stat(self, **how)

    async def main() -> None:
        await made.listed()
        now[0] += GOOD_S
        monkeypatch.setattr(Path, "stat", counted)
        lists = await asyncio.gather(*[made.listed() for _ in range(5)])
        assert all(len(listed) == 3 for listed in lists)
        assert len(threads) == 3 and threading.main_thread() not in threads
        await made.listed()
        assert len(threads) == 3

    asyncio.run(main())


def test_a_listed_row_equals_the_row_of_one_model(tmp_path: Path) -> None:
    made = many(tmp_path, 2)
    assert asyncio.run(made.listed()) == made.all() == [made.get("m0"), made.get("m1")]


def test_a_list_of_three_hundred_models_costs_a_few_calls_a_row(tmp_path: Path) -> None:
    """Counted, since a busy machine has no milliseconds; a row at rest is a look into a dictionary."""
    made = many(tmp_path, 20)
    made.all()
    assert lines_and_calls(lambda: lambda _: made.all(), [None]) < 20 * 150
