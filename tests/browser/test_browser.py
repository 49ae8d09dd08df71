"""The page in a browser, against a gateway with a fake engine: each view, each button, and what goes wrong."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.support.gateway import Gateway, eventually, header_only

Make = Callable[..., Gateway]
SignIn = Callable[[Gateway], Page]
Picture = Callable[[Page, str], None]
VIEWS = ("models", "activity", "chat", "get", "connect", "api")
# In words that a model may write
HOSTILE = (
    "<script>window.hit = 1</script><img src=x onerror='window.hit = 2'>\n\n"
    "[link](javascript:window.hit=3) [data](data:text/html,x) [good](https://example.org/a)\n\n"
    "\x1b[31mred\x1b[0m \u202egnp.exe\u202c `<b>code</b>`\n\n"
    "```html\n<iframe src='https://example.org'></iframe>\n```\n\n"
    "| <i>a</i> | b |\n|---|---|\n| 1 | **2** |\n\n- one\n  - two\n- three\n\n"
    + "*" * 3000
    + "[" * 3000
    + "w" * 200_000
)


def act(page: Page, verb: str, model: str = "m") -> None:
    page.get_by_role("button", name=f"{verb} {model}", exact=True).click()


def ask(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def streamed(*chunks: str) -> str:
    """The body of a stream with these pieces of text."""
    events = [{"choices": [{"index": 0, "delta": {"content": chunk}}]} for chunk in chunks]
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"


def test_each_verb_of_a_model(make_gateway: Make, signed_in: SignIn) -> None:
    gateway = make_gateway()
    page = signed_in(gateway)
    state = page.locator(".model .line > .state")
    expect(state).to_have_text("ready")  # the only model is loaded at the start
    act(page, "Unload")
    expect(state).to_have_text("stopped")
    act(page, "Load")
    expect(state).to_have_text("ready")
    act(page, "Pin")
    expect(page.locator(".tags")).to_contain_text("pinned")
    act(page, "Unpin")
    expect(page.locator(".tags")).not_to_contain_text("pinned")


def test_opened_a_model_shows_its_command_line_and_its_log(make_gateway: Make, signed_in: SignIn) -> None:
    """The log goes on while it is looked at, and can be searched."""
    gateway = make_gateway()
    page = signed_in(gateway)
    name = page.get_by_role("button", name="m", exact=True)
    name.click()
    expect(name).to_have_attribute("aria-expanded", "true")
    expect(page.locator("pre.command")).to_contain_text("--alias m")
    log = page.get_by_label("Log of m")
    expect(log).to_contain_text("model loaded")
    page.get_by_placeholder("Find in the log").fill("engine ready")
    expect(log).not_to_contain_text("model loaded")
    expect(log).to_contain_text("engine ready")
    page.get_by_placeholder("Find in the log").fill("")
    act(page, "Unload")
    expect(log).to_contain_text("unloaded m")
    expect(page.locator(".plainlist").first).to_contain_text("unload")


def test_a_load_that_fails_says_why(make_gateway: Make, signed_in: SignIn, tmp_path: Path) -> None:
    model = str(header_only(tmp_path / "model.gguf"))
    models = {
        "good": {"target": {"path": model}},
        "gone": {"target": {"path": str(tmp_path / "gone.gguf")}},
        "bad": {"target": {"path": model}, "args": ["--fail-load", "oom"]},
    }
    page = signed_in(make_gateway(models=models, max_loaded=2))
    act(page, "Load", "gone")
    expect(page.get_by_label("gone", exact=True).locator("> .problem")).to_contain_text("gone.gguf")
    act(page, "Load", "bad")
    expect(page.locator(".banner.failure")).to_contain_text("bad:")
    expect(page.get_by_label("bad", exact=True).locator(".line > .state")).to_have_class("state failed")
    act(page, "Load", "good")
    expect(page.get_by_label("good", exact=True).locator(".line > .state")).to_have_text("ready")


def test_an_engine_killed_while_looked_at(make_gateway: Make, signed_in: SignIn) -> None:
    gateway = make_gateway()
    page = signed_in(gateway)
    expect(page.locator(".model .line > .state")).to_have_text("ready")
    os.kill(gateway.engines[0], signal.SIGKILL)
    expect(page.locator(".model .line > .state")).not_to_have_text("ready")


def test_chat_answers_stops_retries_and_keeps(make_gateway: Make, signed_in: SignIn) -> None:
    gateway = make_gateway(args=["--tps", "20"])
    page = signed_in(gateway)
    act(page, "Chat")
    page.get_by_text("System prompt and parameters").click()
    page.get_by_label("Max tokens").fill("5")
    ask(page, "Hello")
    expect(page.locator(".message.assistant .figures")).to_contain_text("5 tokens")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".message.assistant")).to_have_count(1)
    expect(page.locator(".message.assistant .figures")).to_contain_text("5 tokens")
    page.get_by_label("Max tokens").fill("3000")
    ask(page, "Go on")
    expect(page.locator(".message.assistant").nth(1).locator(".figures")).to_contain_text("first token")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".message.assistant .figures").nth(1)).to_contain_text("stopped")
    eventually(lambda: gateway.metric('in_flight{alias="m"}') == 0)
    page.reload()
    expect(page.locator(".message")).to_have_count(4)
    page.get_by_role("button", name="Edit").first.click()
    expect(page.get_by_label("Message", exact=True)).to_have_value("Hello")
    expect(page.locator(".message")).to_have_count(0)


def test_two_models_beside_each_other(make_gateway: Make, signed_in: SignIn, pictured: Picture) -> None:
    page = signed_in(make_gateway(max_loaded=2))
    act(page, "Chat")
    page.get_by_label("Compare with").select_option("m:plain")
    page.get_by_text("System prompt and parameters").click()
    page.get_by_label("Max tokens").fill("5")
    ask(page, "Hello")
    figures = page.locator(".side .figures")
    for i in (0, 1):
        expect(figures.nth(i)).to_contain_text("5 tokens")
    pictured(page, "beside")


def test_a_models_answer_is_never_html(make_gateway: Make, signed_in: SignIn) -> None:
    """Scripts, escape sequences, addresses that run code, and lines without end."""
    page = signed_in(make_gateway())
    act(page, "Chat")
    pieces = [HOSTILE[i : i + 997] for i in range(0, len(HOSTILE), 997)]
    page.route(
        "**/v1/chat/completions", lambda route: route.fulfill(content_type="text/event-stream", body=streamed(*pieces))
    )
    ask(page, "Hello")
    page.get_by_role("button", name="Retry").wait_for()
    answer = page.locator(".message.assistant .markdown")
    expect(answer).to_contain_text("<script>window.hit = 1</script>")
    assert page.evaluate("window.hit") is None
    assert answer.locator("script, img, iframe, b, i").count() == 0
    assert [link.get_attribute("href") for link in answer.locator("a").all()] == ["https://example.org/a"]
    assert "\x1b" not in answer.inner_text() and "\u202e" not in answer.inner_text()
    expect(answer.locator("td strong")).to_have_text("2")
    expect(answer.locator("li li")).to_have_text("two")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_an_answer_that_breaks_off_says_so(make_gateway: Make, signed_in: SignIn) -> None:
    page = signed_in(make_gateway(args=["--exit-after-tokens", "3"]))
    act(page, "Chat")
    ask(page, "Hello")
    expect(page.locator(".message.assistant .problem")).not_to_be_empty()


def test_a_request_is_seen_and_cancelled(make_gateway: Make, signed_in: SignIn, pictured: Picture) -> None:
    gateway = make_gateway(args=["--tps", "20"])
    page = signed_in(gateway)
    page.goto(f"{gateway.url}/ui#activity")
    with gateway.stream(max_tokens=3000) as stream:
        page.get_by_role("button", name="Cancel").click()
        assert "cancelled" in "".join(_lines(stream))
    expect(page.locator("tr.bad")).to_have_count(1)
    with page.expect_download() as saved:
        page.get_by_role("button", name="Export CSV").click()
    rows = Path(saved.value.path()).read_text().splitlines()
    assert len(rows) == 2 and rows[0].startswith("at,model,mode,key,status")
    pictured(page, "activity")


def _lines(stream: Any) -> list[str]:
    lines = []
    try:
        for line in stream.iter_lines():
            lines.append(line)
    except Exception:  # the connection is aborted behind the error event
        return lines
    return lines


def test_without_keys_a_visitor_has_models_chat_and_connect(make_gateway: Make, page: Page) -> None:
    gateway = make_gateway()
    page.goto(gateway.url)
    expect(page.locator(".hint")).to_contain_text("llama-tandem open")
    expect(page.locator(".acts button")).to_have_text(["Chat"])
    page.goto(f"{gateway.url}/ui#activity")
    expect(page.locator("main")).to_contain_text("Only administrators")
    page.goto(f"{gateway.url}/ui#connect")
    expect(page.locator(".code").first).to_contain_text(f"{gateway.url}/v1/chat/completions")
    expect(page.locator(".code").first).to_contain_text('"model":"m"')


def test_a_plain_key_is_asked_for_and_not_kept(make_gateway: Make, page: Page) -> None:
    """The session lives in a cookie that no script reads."""
    gateway = make_gateway(api_keys="some-secret-key")
    page.goto(gateway.url)
    page.get_by_label("API key").fill("wrong-secret-key")
    page.keyboard.press("Enter")
    expect(page.locator(".problem")).to_contain_text("Invalid API key")
    page.get_by_label("API key").fill("some-secret-key")
    page.keyboard.press("Enter")
    expect(page.locator(".model")).to_have_count(1)
    assert page.evaluate("document.cookie + JSON.stringify(localStorage) + JSON.stringify(sessionStorage)") == "{}{}"
    page.reload()
    expect(page.locator(".model")).to_have_count(1)
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("API key").wait_for()


def test_a_restart_is_waited_for(make_gateway: Make, page: Page, tmp_path: Path) -> None:
    """The page says that nobody answers, and goes on once somebody does."""
    gateway = make_gateway()
    page.goto(gateway.url)
    page.locator(".model").wait_for()
    page.context.set_offline(True)
    expect(page.locator(".banner.warning")).to_contain_text("does not answer")
    page.context.set_offline(False)
    expect(page.locator(".banner.warning")).to_have_count(0)


def test_by_keyboard_alone(make_gateway: Make, signed_in: SignIn) -> None:
    """What has the focus keeps it while the page changes."""
    page = signed_in(make_gateway())
    page.get_by_role("button", name="Unload m", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.locator(".model .line > .state")).to_have_text("stopped")
    expect(page.locator(".acts button").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".model .line > .state")).to_have_text("ready")
    page.get_by_role("link", name="Chat").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()


def test_each_view_is_accessible(make_gateway: Make, signed_in: SignIn, pictured: Picture) -> None:
    """axe-core finds nothing, in light and dark, wide and narrow."""
    gateway = make_gateway()
    page = signed_in(gateway)
    for view in VIEWS:
        page.goto(f"{gateway.url}/ui#{view}")
        page.locator("main h2").first.wait_for()
        pictured(page, view)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            found = Axe().run(page)
            assert found.violations_count == 0, (view, scheme, found.generate_report())


def test_two_hundred_models(make_gateway: Make, signed_in: SignIn, tmp_path: Path) -> None:
    model = str(header_only(tmp_path / "model.gguf"))
    models = {f"org/model-{i:03}": {"target": {"path": model}} for i in range(200)}
    page = signed_in(make_gateway(models=models))
    expect(page.locator(".model")).to_have_count(200)
    page.get_by_label("Find a model").fill("model-07")
    expect(page.locator(".model")).to_have_count(10)
    act(page, "Load", "org/model-077")
    expect(page.get_by_label("org/model-077", exact=True).locator(".line > .state")).to_have_text("ready")
