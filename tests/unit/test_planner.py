"""Aliases to launch plans: what `auto` starts with is read from the ledger, under the key of today."""

from pathlib import Path

import pytest

from app.config.model_entry import LocalEntry
from app.config.settings import Settings
from app.config.speculation import named
from app.engine.dialect import Dialect
from app.models.catalog import Catalog
from app.models.ref import ModelRef
from app.planner import Planner
from app.records.database import Database
from app.records.ledger import Ledger, Measurement, TuningRecord
from tests.support.gateway import header_only
from tests.support.paths import DATA

PAGE = DATA / "help" / "b11434.txt"


@pytest.fixture
def planner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Planner:
    model, binary = header_only(tmp_path / "m.gguf"), tmp_path / "llama-server"
    binary.write_text("")
    binary.chmod(0o755)
    fields = {"target": {"path": str(model)}, "speculation": "auto"}
    entry = LocalEntry.model_validate(fields)
    crowded = LocalEntry.model_validate(fields | {"parallel": 40})
    settings = Settings(
        models={"m": entry, "crowded": crowded}, llama_server=str(binary), state_dir=tmp_path, cache_dir=tmp_path
    )
    dialect = Dialect.from_help(PAGE.read_text(encoding="utf-8"))
    monkeypatch.setattr(Planner, "dialect", lambda self: dialect)
    return Planner(settings, Catalog(settings), Ledger(Database(tmp_path)))


def ref(planner: Planner, name: str = "m") -> ModelRef:
    return planner._catalog.resolve(name)


def tuned(planner: Planner, recommended: object, *, partial: bool = False, key: str | None = None) -> None:
    found = TuningRecord(key or planner.key(ref(planner)), "m", 0.0, partial, recommended, [])  # type: ignore[arg-type]
    planner._ledger.record_tuned(found)


def record(planner: Planner, rows: list[Measurement]) -> None:
    with Database(planner._settings.state_dir) as database:
        Ledger(database).record_measurements(rows)


def test_auto_starts_with_what_tune_recommended(planner: Planner) -> None:
    """With its options; the plan says that auto was asked for."""
    assert named(planner.choice(ref(planner)).chain) == "ngram-mod"
    tuned(planner, [{"mode": "ngram-simple", "size_n": 8}])
    plan = planner.plan_now(ref(planner))
    assert "--spec-type ngram-simple --spec-ngram-simple-size-n 8" in " ".join(plan.argv)
    assert (plan.requested_mode, plan.chosen, plan.fallback is not None) == ("auto", "ngram-simple", True)
    tuned(planner, "none")
    assert planner.plan_now(ref(planner)).chosen == "none"


@pytest.mark.parametrize("recommended", [[{"mode": "of-tomorrow"}], {"mode": 3}, 7])
def test_what_tune_left_and_nobody_understands_is_passed_over(planner: Planner, recommended: object) -> None:
    """Another version of ours may have written it."""
    tuned(planner, recommended)
    assert named(planner.choice(ref(planner)).chain) == "ngram-mod"


def test_half_a_tuning_or_one_of_another_setup_decides_nothing(planner: Planner) -> None:
    """Not one whole round, or other files: no evidence."""
    tuned(planner, "none", partial=True)
    tuned(planner, "none", key="another")
    assert named(planner.choice(ref(planner)).chain) == "ngram-mod"


def test_traffic_of_this_setup_counts_and_no_other(planner: Planner) -> None:
    """Measurements are under a key; a new build begins anew."""
    rows = [Measurement("m", "another", "ngram-mod", 1e10, 1, None, 0.1, 1.0, 100, None, None)] * 5
    record(planner, rows)
    assert "by rule" in planner.choice(ref(planner)).auto_reason
    rows = [Measurement("m", planner.key(ref(planner)), "ngram-mod", 1e10, 1, None, 0.1, 1.0, 100, None, None)] * 5
    record(planner, rows)
    assert "being tried" in planner.choice(ref(planner)).auto_reason
    assert planner.crossing(ref(planner), "ngram-mod") is None


def test_a_chain_that_is_given_replaces_the_choice(planner: Planner) -> None:
    """`tune` starts modes that the entry does not name."""
    assert planner.plan_now(ref(planner), ()).chosen == "none"


def test_drafts_that_outgrow_the_batch_are_nobodys_choice(planner: Planner) -> None:
    """40 slots with 65 tokens each would abort llama-server; a variant that asks for it decodes plainly."""
    assert named(planner.choice(ref(planner, "crowded")).chain) == "none"
    settled = planner.settled(ref(planner, "crowded:ngram"))
    assert (named(settled.spec.chain), settled.spec.requested_mode) == ("none", "ngram-mod")
    assert settled.fallback_reason.startswith("Drafts of up to 64 tokens for 40 slots do not fit into a batch of 2048")
