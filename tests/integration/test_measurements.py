"""What is measured of requests as people see it: headers, bodies, metrics, and figures that outlive the gateway."""

import json
import re
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.records.database import Database
from app.records.ledger import Ledger, Measurement
from tests.support.gateway import Gateway, events, eventually, header_only

Make = Callable[..., Gateway]
TOLD = "x-tandem-speculation"
ASKS = {"x-tandem-metrics": "body"}
# Of 16 tokens, by the fake's arithmetic: 5 steps of 3 proposals, 2 of them accepted.
DRAFTED = "draft-simple; drafted=15; accepted=10"


def models(folder: Path, **more: Any) -> dict[str, Any]:
    draft = header_only(folder / "draft.gguf")
    return {"m": {"target": {"path": str(header_only(folder / "m.gguf"))}, "draft": {"path": str(draft)}, **more}}


@pytest.fixture
def drafting(make_gateway: Make, tmp_path: Path) -> Gateway:
    """One model with its draft."""
    return make_gateway(models=models(tmp_path))


def recorded(gateway: Gateway) -> list[Measurement]:
    return Ledger(Database(Path(gateway.settings["state_dir"]))).measurements()


def command(gateway: Gateway, *args: str) -> str:
    """What one of our commands prints, with the gateway's settings."""
    done = gateway.command(*args)
    assert done.returncode == 0, done.stderr
    return done.stdout


def stats(gateway: Gateway, *args: str) -> str:
    return command(gateway, "stats", *args)


def ask(gateway: Gateway, path: str, headers: dict[str, str] | None = None, **body: Any) -> httpx2.Response:
    fields = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "prompt": "Hello"}
    return gateway.client.post(path, json=fields | body, headers=headers)


def test_whole_answers_tell_of_their_drafts(drafting: Gateway) -> None:
    """Length and bytes are the engine's; where it gives no counts only the mode is told."""
    for path, told in (
        ("/v1/chat/completions", DRAFTED),
        ("/v1/completions", DRAFTED),
        ("/completion", DRAFTED),
        ("/v1/messages", DRAFTED),
        ("/v1/responses", DRAFTED),
        ("/tokenize", None),
        ("/v1/chat/completions/input_tokens", None),
    ):
        answer = ask(drafting, path, input="Hello", content="Hello")
        assert (path, answer.status_code, answer.headers.get(TOLD)) == (path, 200, told)
        assert len(answer.content) == int(answer.headers["content-length"])
        assert "metrics" not in answer.json()


def test_metrics_stand_in_the_body_of_who_asks(drafting: Gateway) -> None:
    """With a length that is right; a stream stays as it is."""
    answer = ask(drafting, "/v1/chat/completions", ASKS)
    assert len(answer.content) == int(answer.headers["content-length"])
    found = answer.json()
    assert found["metrics"]["speculative_decoding"] == {
        "draft_acceptance_rate": 10 / 15,
        "num_accepted_draft_tokens": 10,
        "num_draft_tokens": 15,
    }
    assert found["timings"]["draft_n"] == 15
    with drafting.client.stream(
        "POST",
        "/v1/chat/completions",
        json={"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True},
        headers=ASKS,
    ) as stream:
        assert TOLD not in stream.headers
        assert not any("metrics" in event for event in events(stream) if event != "[DONE]")


def test_an_answer_without_a_draft_says_so(drafting: Gateway) -> None:
    """Two tokens are too few to draft; a variant without speculation has none."""
    assert ask(drafting, "/v1/chat/completions", max_tokens=2).headers[TOLD] == "draft-simple; drafted=0; accepted=0"
    plain = ask(drafting, "/v1/chat/completions", ASKS, model="m:plain")
    assert plain.headers[TOLD] == "none; drafted=0; accepted=0"
    assert plain.json()["metrics"]["speculative_decoding"]["num_draft_tokens"] == 0


def test_speculation_that_is_off_is_told(make_gateway: Make, tmp_path: Path) -> None:
    """It was asked for; what decodes is none."""
    gateway = make_gateway(models=models(tmp_path, args=["--draft-inert"]))
    assert ask(gateway, "/v1/chat/completions").headers[TOLD] == "none; drafted=0; accepted=0"


def test_errors_and_servers_of_others_are_untouched(make_gateway: Make, drafting: Gateway) -> None:
    """A second gateway stands in front of the first: what the inner one says passes, nothing is added."""
    outer = make_gateway(models={"m": {"url": drafting.url}})
    direct, relayed = ask(drafting, "/v1/chat/completions"), ask(outer, "/v1/chat/completions", ASKS)
    assert relayed.headers[TOLD] == direct.headers[TOLD] == DRAFTED
    assert "metrics" not in relayed.json()
    assert outer.metric('drafted_tokens_total{alias="m",mode=""}') == 15
    assert recorded(outer) == []
    assert TOLD not in ask(drafting, "/v1/chat/completions", model="other").headers


def test_an_engine_that_dies_in_a_whole_answer_is_a_502(make_gateway: Make, tmp_path: Path) -> None:
    """Nothing was promised yet, so the client gets a status and a reason."""
    gateway = make_gateway(models=models(tmp_path, args=["--exit-after-tokens", "8", "--tps", "50"]))
    answer = ask(gateway, "/v1/chat/completions", ASKS)
    assert answer.status_code in (502, 503)
    assert TOLD not in answer.headers


def test_traffic_proves_an_n_gram_mode(make_gateway: Make, tmp_path: Path) -> None:
    """On a build without /slots' word nothing else can; who looks from outside learns it, too."""
    entry = {"target": {"path": str(header_only(tmp_path / "m.gguf"))}, "speculation": "ngram-mod"}
    gateway = make_gateway(models={"m": entry | {"args": ["--no-slots"]}})
    eventually(lambda: gateway.state() == "ready")
    assert gateway.client.get("/v1/models/m").json()["speculation"]["active"] is False
    assert "ngram-mod was not verified: this build does not report" in command(gateway, "check")
    gateway.chat().raise_for_status()
    assert gateway.client.get("/v1/models/m").json()["speculation"]["active"] is True
    assert eventually(lambda: gateway.logged("proven by traffic"))
    assert re.search(r"last start, [-0-9: ]+: ngram-mod was on$", command(gateway, "check"), re.MULTILINE)


def test_metrics_are_by_mode(drafting: Gateway) -> None:
    """Plain and drafted are different curves."""
    drafting.chat("m")
    drafting.chat("m:plain")
    assert drafting.metric('drafted_tokens_total{alias="m",mode="draft-simple"}') == 15
    assert drafting.metric('accepted_tokens_total{alias="m",mode="draft-simple"}') == 10
    assert drafting.metric('time_per_output_token_seconds_count{alias="m",mode="draft-simple"}') == 1
    assert drafting.metric('time_per_output_token_seconds_count{alias="m:plain",mode="none"}') == 1


def test_sigterm_loses_no_measurement(make_gateway: Make, tmp_path: Path) -> None:
    """The last second is written on the way out; streams and whole answers, by alias and mode."""
    gateway = make_gateway(models=models(tmp_path, args=["--tps", "200"]))
    gateway.chat("m")
    with gateway.stream("m") as stream:
        assert list(events(stream))[-1] == "[DONE]"
    gateway.chat("m:plain")
    assert gateway.terminate() == 0
    rows = recorded(gateway)
    assert [(row.alias, row.mode, row.in_flight, row.tokens, row.drafted, row.accepted) for row in rows] == [
        ("m", "draft-simple", 1, 16, 15, 10),
        ("m", "draft-simple", 1, 16, 15, 10),
        ("m", "none", 1, 16, None, None),
    ]
    assert len({row.key for row in rows}) == 1
    for row in rows:
        # A busy machine may deliver many of them at once
        assert row.ttft is not None and row.tpot is not None
        assert 0 < row.tpot < 0.5 and row.ttft < row.seconds


def test_kill_9_loses_a_second_at_most(make_gateway: Make, tmp_path: Path) -> None:
    """What is older is in the file."""
    gateway = make_gateway(models=models(tmp_path))
    gateway.chat("m")
    eventually(lambda: len(recorded(gateway)) == 1)
    gateway.chat("m")
    gateway.process.send_signal(signal.SIGKILL)
    gateway.process.wait()
    assert len(recorded(gateway)) in (1, 2)


def test_how_many_were_in_flight_is_kept(make_gateway: Make, tmp_path: Path) -> None:
    """Four at once: the last of them was sent in the company of three."""
    gateway = make_gateway(models=models(tmp_path, args=["--tps", "30"], parallel=4))
    eventually(lambda: gateway.state() == "ready")
    with ThreadPoolExecutor(4) as pool:
        for answer in [pool.submit(gateway.chat, "m") for _ in range(4)]:
            assert answer.result().status_code == 200
    gateway.terminate()
    assert sorted(row.in_flight for row in recorded(gateway)) == [1, 2, 3, 4]


def test_stats_compare_modes_after_traffic(make_gateway: Make, tmp_path: Path) -> None:
    """While the gateway runs, in a process of its own; another build of the engine is another setup."""
    gateway = make_gateway(models=models(tmp_path, args=["--tps", "100"]))
    assert "Nothing has been measured yet." in stats(gateway)
    for name in ("m", "m:plain", "m:draft"):
        gateway.chat(name).raise_for_status()
    eventually(lambda: len(recorded(gateway)) == 3)
    table = stats(gateway, "m")
    assert [line.split()[:3] for line in table.splitlines()[2:4]] == [["none", "1", "-"], ["draft-simple", "2", "0.67"]]
    [found] = json.loads(stats(gateway, "--json"))
    plain, drafted = found["modes"]
    assert (drafted["mode"], drafted["requests"], drafted["acceptance"]) == ("draft-simple", 2, 10 / 15)
    # 100 tokens a second, on a machine that may be busy
    assert 9 < drafted["tpot_p50_ms"] < 500 and 2 < plain["goodput"]["1"] < 110
    assert drafted["against_plain"]["goodput"]["4+"] is None
    binary = Path(gateway.settings["llama_server"])
    binary.write_text(binary.read_text() + "\n")
    assert "Left out: 3 requests of older setups." in stats(gateway, "m")
