"""The verdict on a pair of headers, each rule of llama.cpp's broken once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import GgufError
from app.models.gguf.header import read_header
from app.speculation.compat import DraftVerdict, Outcome, mtp_layers, verdict
from tests.support import tiny_models
from tests.support.headers import write_header

MODEL, PRE, TOKENS = "tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.tokens"
BOS, EOS = "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"
ADD_BOS, ADD_EOS = "tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token"
WORDS = [f"word{number}" for number in range(300)]
HEADER = {MODEL: "gpt2", PRE: "gpt-2", TOKENS: WORDS, BOS: 0, EOS: 1, ADD_BOS: True, ADD_EOS: False}


def changed(**changes: Any) -> dict[str, Any]:
    """HEADER with other values, by the constants' names; None takes a key out."""
    header = HEADER | {globals()[name]: value for name, value in changes.items()}
    return {key: value for key, value in header.items() if value is not None}


def with_token(number: int, text: str) -> list[str]:
    return [*WORDS[:number], text, *WORDS[number + 1 :]]


@pytest.fixture
def judge(tmp_path: Path) -> Any:
    """`judge(target header, draft header, translates=False)`."""

    def judge(target: dict[str, Any], draft: dict[str, Any], *, translates: bool = False) -> DraftVerdict:
        paths = write_header(tmp_path / "target.gguf", target), write_header(tmp_path / "draft.gguf", draft)
        # What belongs to sizes is tested with sizes.
        with paths[0].open("ab") as file:
            file.truncate(1 << 26)  # sparse: takes no room
        return verdict([paths[0]], [paths[1]], translates=translates)

    return judge


def test_same_vocabulary(judge: Any) -> None:
    """Nothing to say but that it works."""
    assert judge(HEADER, HEADER) == DraftVerdict(Outcome.COMPATIBLE, "Target and draft have the same tokens.")


@pytest.mark.parametrize(
    ("target", "draft", "words"),
    [
        ({}, {"MODEL": "llama"}, ["BPE", "SPM"]),
        ({}, {"BOS": 4}, ["BOS is token 0 for the target and 4 for the draft"]),
        ({}, {"ADD_BOS": False}, ["The target adds BOS"]),
        ({}, {"ADD_EOS": True}, ["The draft adds EOS"]),
        ({"ADD_EOS": True}, {"ADD_EOS": True, "EOS": 2}, ["EOS is token 1", "2 for the draft"]),
        ({}, {"TOKENS": [*WORDS, *(f"more{n}" for n in range(129))]}, ["300 tokens", "429", "128"]),
        ({}, {"TOKENS": WORDS[:-129]}, ["300 tokens", "171"]),
        ({}, {"TOKENS": with_token(5, "five")}, ["Token 5", "'word5'", "'five'"]),
        ({}, {"TOKENS": with_token(299, "l'été")}, ["Token 299", "'word299'", '"l\'été"']),
        ({}, {"TOKENS": [*with_token(299, "x"), "more"]}, ["Token 299"]),
    ],
)
def test_every_rule_broken_once(judge: Any, target: dict[str, Any], draft: dict[str, Any], words: list[str]) -> None:
    """Incompatible, the difference by name, both sides' values; a build that translates drafts all the same."""
    judgement = judge(changed(**target), changed(**draft))
    assert judgement.outcome is Outcome.INCOMPATIBLE
    assert [word for word in words if word not in judgement.reason] == []
    assert judgement.warnings == ()
    translated = judge(changed(**target), changed(**draft), translates=True)
    assert translated.outcome is Outcome.COMPATIBLE
    assert [word for word in [*words, "translates"] if word not in translated.reason] == []
    assert "costs time" in translated.warnings[0]


@pytest.mark.parametrize(
    ("target", "draft"),
    [
        ({}, {"TOKENS": with_token(4, "four")}),
        ({}, {"TOKENS": WORDS[:-128]}),
        ({}, {"PRE": "qwen2"}),
        ({}, {"EOS": 2}),
        ({}, {"EOS": None}),
        ({"ADD_BOS": False}, {"ADD_BOS": False, "BOS": 4}),
        ({}, {"MODEL": "gemma4", "ADD_BOS": False}),
        ({"TOKENS": with_token(7, "[EMPTY_7]")}, {"TOKENS": with_token(7, "")}),
        ({"TOKENS": with_token(7, "seven\0a")}, {"TOKENS": with_token(7, "seven\0b")}),
    ],
)
def test_what_llama_cpp_does_not_mind(judge: Any, target: dict[str, Any], draft: dict[str, Any]) -> None:
    """Differences that no rule looks at, and two that its loader removes."""
    assert judge(changed(**target), changed(**draft)).outcome is Outcome.COMPATIBLE


def test_a_later_difference_is_found_behind_one_that_does_not_count(judge: Any) -> None:
    """The first token that counts is the one that is named."""
    tokens = with_token(7, "seven\0b")
    tokens[9] = "nine"
    judgement = judge(changed(TOKENS=with_token(7, "seven\0a")), changed(TOKENS=tokens))
    assert "Token 9," in judgement.reason


@pytest.mark.parametrize("more", [1, 128])
def test_one_vocabulary_is_longer(judge: Any, more: int) -> None:
    """Accepted by the rule, with words of its own and a warning: llama-server aborts on a token that one side lacks."""
    longer = changed(TOKENS=[*WORDS, *(f"more{n}" for n in range(more))])
    for judgement, who, when in (
        (judge(HEADER, longer), "draft", "the draft proposes"),
        (judge(longer, HEADER), "target", "a prompt or an answer"),
    ):
        assert judgement.outcome is Outcome.COMPATIBLE
        assert f"the {who}'s, which has {more} more" in judgement.reason
        (warning,) = judgement.warnings
        assert (
            f"300 to {299 + more} are the {who}'s" in warning
            and f"aborts {'if' if who == 'draft' else 'when'} {when}" in warning
        )


def test_builds_that_translate_compared_ids_that_nobody_adds(judge: Any) -> None:
    """So there an unused EOS makes the difference between tokens passed as they are and as text."""
    assert "translates" in judge(HEADER, changed(EOS=2), translates=True).reason
    assert "translates" not in judge(HEADER, HEADER, translates=True).reason


@pytest.mark.parametrize(
    ("target", "draft", "words"),
    [
        ({}, {"MODEL": None}, [f"{MODEL} is missing from the draft"]),
        ({"TOKENS": None}, {}, [f"{TOKENS} is missing from the target"]),
        ({"TOKENS": None}, {"TOKENS": None}, [f"{TOKENS} is missing from the target and the draft"]),
        ({}, {"TOKENS": [1, 2, 3]}, [f"{TOKENS} is missing from the draft"]),
        ({}, {"BOS": None}, [f"{BOS} is missing from the draft"]),
        ({}, {"BOS": 300}, [f"{BOS} is missing from the draft"]),
        ({}, {"ADD_BOS": None}, [f"{ADD_BOS} is missing from the draft"]),
        ({"ADD_BOS": None}, {"ADD_BOS": None, "PRE": "qwen2"}, [f"{ADD_BOS} is missing from the target and the draft"]),
        ({"ADD_BOS": None}, {"ADD_BOS": None, "BOS": 4}, [f"{ADD_BOS} is missing from the target and the draft"]),
        ({}, {"MODEL": "plamo9"}, ["may be of different kinds", "BPE", "plamo9"]),
        ({}, {"ADD_BOS": None, "BOS": None, "MODEL": None}, [MODEL, ADD_BOS]),
    ],
)
def test_unsure_says_what_is_missing(
    judge: Any, target: dict[str, Any], draft: dict[str, Any], words: list[str]
) -> None:
    """Neither yes nor no: the key and whose it is."""
    judgement = judge(changed(**target), changed(**draft))
    assert judgement.outcome is Outcome.UNSURE
    assert [word for word in words if word not in judgement.reason] == []


def test_a_certain_difference_outweighs_what_is_missing(judge: Any) -> None:
    """No start is needed to know how this one ends."""
    judgement = judge(changed(ADD_BOS=None), changed(TOKENS=with_token(8, "eight")))
    assert judgement.outcome is Outcome.INCOMPATIBLE
    assert ADD_BOS not in judgement.reason


@pytest.mark.parametrize(
    ("said", "unsaid", "outcome"),
    [
        ({}, {"PRE": "llama-bpe", "ADD_BOS": None}, Outcome.COMPATIBLE),
        ({"ADD_BOS": False}, {"PRE": "llama-bpe", "ADD_BOS": None}, Outcome.INCOMPATIBLE),
        ({}, {"ADD_EOS": None}, Outcome.COMPATIBLE),
        ({"ADD_BOS": None}, {"ADD_BOS": None}, Outcome.COMPATIBLE),
        ({"BOS": None}, {"BOS": None}, Outcome.COMPATIBLE),
        ({"MODEL": "llama"}, {"MODEL": "llama", "ADD_BOS": None, "ADD_EOS": None}, Outcome.COMPATIBLE),
        ({"MODEL": "t5", "ADD_BOS": False}, {"MODEL": "t5", "ADD_BOS": None, "ADD_EOS": None}, Outcome.INCOMPATIBLE),
    ],
)
def test_defaults_that_every_build_shares(judge: Any, said: Any, unsaid: Any, outcome: Outcome) -> None:
    """What a header leaves out is not missing where llama.cpp always fills in the same."""
    assert judge(changed(**said), changed(**unsaid)).outcome is outcome
    assert judge(changed(**unsaid), changed(**said)).outcome is outcome


@pytest.mark.parametrize("name", tiny_models.INCOMPATIBLE_DRAFTS)
def test_drafts_that_engines_refuse(tmp_path: Path, name: str) -> None:
    """The models that tests/engine runs: refused there, incompatible here."""
    target = tiny_models.write_target(tmp_path / "target.gguf")
    draft = tiny_models.INCOMPATIBLE_DRAFTS[name](tmp_path / "draft.gguf")
    assert verdict([target], [draft], translates=False).outcome is Outcome.INCOMPATIBLE


def test_sharded_target_counts_whole(tmp_path: Path) -> None:
    """The first shard's header, every shard's bytes."""
    shards = tiny_models.write_sharded(tmp_path / "target", 3)
    draft = tiny_models.write_draft(tmp_path / "draft.gguf")
    judgement = verdict(shards, [draft], translates=False)
    assert judgement.outcome is Outcome.COMPATIBLE
    total, size = sum(path.stat().st_size for path in shards), draft.stat().st_size
    (warning,) = judgement.warnings
    assert f"{total / 1e6:.1f} MB" in warning and f"{size / 1e6:.1f} MB" in warning
    assert f"{size / total:.2f} of the target" in warning


def test_missing_shard_is_named(tmp_path: Path) -> None:
    """As one that is not readable."""
    shards = tiny_models.write_sharded(tmp_path / "target", 3)
    shards[2].unlink()
    with pytest.raises(GgufError, match=f"{shards[2].name}: cannot be read"):
        verdict(shards, shards[:1], translates=False)


@pytest.mark.parametrize(
    ("target", "draft", "words"),
    [
        (5_000_000_000, 1_000_000_000, None),
        (5_000_000_000, 1_000_000_001, ["1.0 GB", "5.0 GB", "0.20 of"]),
        (2_400_000_000, 900_000_000, ["900.0 MB", "2.4 GB", "0.38 of"]),
        (1_000_000_000, 2_500_000_000, ["2.5 times"]),
    ],
)
def test_draft_above_a_fifth_of_the_target(tmp_path: Path, target: int, draft: int, words: list[str] | None) -> None:
    """Both sizes and their ratio; at a fifth, nothing."""
    paths = []
    for name, size in (("target", target), ("draft", draft)):
        paths.append(write_header(tmp_path / f"{name}.gguf", HEADER))
        with paths[-1].open("ab") as file:
            file.truncate(size)
    warnings = verdict(paths[:1], paths[1:], translates=False).warnings
    assert len(warnings) == (words is not None)
    assert [word for word in words or [] if word not in warnings[0]] == []


def test_mixture_of_experts_gains_less(judge: Any) -> None:
    """A warning with the reason; a draft's experts are its own business."""
    experts = HEADER | {"llama.expert_count": 64}
    (warning,) = judge(experts, HEADER).warnings
    assert "64 experts" in warning and "several tokens at once" in warning
    assert judge(HEADER, experts).warnings == ()
    assert judge(HEADER | {"llama.expert_count": 0}, HEADER).warnings == ()


def test_layers_that_draft_by_themselves(tmp_path: Path, judge: Any) -> None:
    """The target's, whatever becomes of the draft; the key is the architecture's own."""
    path = write_header(tmp_path / "glm.gguf", {"glm4moe.nextn_predict_layers": 1}, arch="glm4moe")
    assert mtp_layers(read_header(path)) == 1
    assert mtp_layers(read_header(write_header(tmp_path / "bare.gguf", {}))) == 0
    judgement = judge(HEADER | {"llama.nextn_predict_layers": 2}, changed(ADD_BOS=False))
    assert (judgement.outcome, judgement.mtp_layers) == (Outcome.INCOMPATIBLE, 2)


@pytest.mark.parametrize("number", [None, 149_999])
def test_vocabulary_of_a_real_model(judge: Any, number: int | None) -> None:
    """150,000 tokens: alike, and the last one different."""
    words = [f"token number {number}" for number in range(150_000)]
    other = words if number is None else [*words[:number], "different", *words[number + 1 :]]
    judgement = judge(changed(TOKENS=words), changed(TOKENS=other))
    assert judgement.outcome is (Outcome.COMPATIBLE if number is None else Outcome.INCOMPATIBLE)
    assert number is None or "Token 149999" in judgement.reason


values = st.one_of(st.booleans(), st.integers(0, 400), st.sampled_from(["llama", "gpt2", "gemma4", "t5", "x"]))
token_lists = st.lists(st.sampled_from(["", "a", "a\0", "a\0b", "[EMPTY_6]", "é"]), min_size=1, max_size=12)
few_or_many = token_lists | st.integers(1, 200).map(lambda count: WORDS[:count])
headers = st.fixed_dictionaries(
    {},
    optional={
        TOKENS: few_or_many | st.lists(st.integers(0, 9), min_size=1, max_size=9) | values,
        **dict.fromkeys([MODEL, PRE, BOS, EOS, ADD_BOS, ADD_EOS], values),
        **dict.fromkeys(["llama.expert_count", "llama.nextn_predict_layers", "llama.vocab_size"], values),
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(target=headers, draft=headers, translates=st.booleans())
def test_no_pair_of_headers_surprises(judge: Any, target: Any, draft: Any, translates: bool) -> None:
    """Whatever two valid headers hold: a verdict in words, and the same outcome with the two exchanged."""
    judgement = judge(target, draft, translates=translates)
    assert judgement.reason.endswith(".") and all(warning.endswith(".") for warning in judgement.warnings)
    assert judge(draft, target, translates=translates).outcome is judgement.outcome


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(target=token_lists, draft=token_lists)
def test_token_texts_compare_as_in_llama_cpp(judge: Any, target: list[str], draft: list[str]) -> None:
    """Against the rule as it is written there: one token after the other, by strcmp."""

    def text(tokens: list[str], number: int) -> str:
        return tokens[number].split("\0")[0] or f"[EMPTY_{number}]"

    same = all(text(target, n) == text(draft, n) for n in range(5, min(len(target), len(draft))))
    judgement = judge(changed(TOKENS=target, BOS=0), changed(TOKENS=draft, BOS=0))
    assert (judgement.outcome is Outcome.COMPATIBLE) is same
