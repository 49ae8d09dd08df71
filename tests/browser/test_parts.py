"""What the page does beside models and chat: bodies, keys, the Hub, a restart, the keyboard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.support import tiny_models
from tests.support.fake_hub import FakeHub, Fault
from tests.support.gateway import Gateway
from tests.support.hub_environment import hub_variables
from tests.support.ports import free_port

Make = Callable[..., Gateway]
SignIn = Callable[[Gateway], Page]
Picture = Callable[[Page, str], None]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    """Two models of one family, of which one drafts for the other."""
    target = tiny_models.write_target(tmp_path / "target.gguf").read_bytes()
    draft = tiny_models.write_draft(tmp_path / "draft.gguf").read_bytes()
    with FakeHub() as hub:
        hub.add("org/Tiny-70B-GGUF", {"Tiny-70B-Q4_K_M.gguf": target + bytes(8 << 20)})
        hub.add("org/Tiny-1B-GGUF", {"Tiny-1B-Q4_K_M.gguf": draft})
        yield hub


def accessible(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_a_model_is_found_judged_and_pulled(
    make_gateway: Make, signed_in: SignIn, pictured: Picture, hub: FakeHub, tmp_path: Path
) -> None:
    """By its name, with what fits, a draft, and the entry to paste; the pull shows how far it is."""
    gateway = make_gateway(env=hub_variables(hub, tmp_path), models_dir=str(tmp_path / "models"))
    page = signed_in(gateway)
    page.goto(f"{gateway.url}/ui#get")
    page.get_by_label("Search the Hub").fill("nothing-like-this")
    page.keyboard.press("Enter")
    expect(page.locator(".results")).to_contain_text("No GGUF repository matches")
    page.get_by_label("Search the Hub").fill("tiny")
    page.get_by_role("button", name="Search", exact=True).click()
    page.get_by_role("button", name="org/Tiny-70B-GGUF").click()
    row = page.locator(".results tbody tr")
    expect(row).to_contain_text("fits")
    expect(page.locator(".results")).to_contain_text("org/Tiny-1B-GGUF:Q4_K_M")
    page.get_by_label("Context").select_option("4096")
    expect(page.locator(".results")).to_contain_text("a context of 2,048 tokens")  # trained for no more
    page.get_by_role("button", name="Copy the entry of Q4_K_M").click()
    expect(page.locator("#said")).to_contain_text("Copied the entry")
    pictured(page, "get-repo")
    accessible(page)
    hub.order("Tiny-70B-Q4_K_M.gguf", *[Fault(rate=200_000, stays=True)])
    page.get_by_role("button", name="Pull Q4_K_M").click()
    pull = page.get_by_role("listitem", name="hf:org/Tiny-70B-GGUF:Q4_K_M")
    expect(pull).to_contain_text("%")
    pictured(page, "get-pull")
    pull.get_by_role("button", name="Cancel").click()
    expect(pull).to_contain_text("cancelled")
    hub.faults.clear()
    page.get_by_role("button", name="Pull Q4_K_M").click()
    expect(page.locator("main > .models .state", has_text="done").first).to_be_visible()


def test_a_hub_that_cannot_be_reached_is_said(make_gateway: Make, signed_in: SignIn, tmp_path: Path) -> None:
    """Without internet the rest of the page works on."""
    gateway = make_gateway(env={"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)})
    page = signed_in(gateway)
    page.goto(f"{gateway.url}/ui#get")
    page.get_by_label("Search the Hub").fill("tiny")
    page.keyboard.press("Enter")
    expect(page.locator(".problem").first).to_contain_text("Cannot reach")
    page.get_by_role("link", name="Connect").click()
    expect(page.locator(".code").first).to_contain_text(gateway.url)


def test_a_fresh_key_stands_in_what_is_copied(make_gateway: Make, signed_in: SignIn, pictured: Picture) -> None:
    """It is nowhere once the view is left, and every client needs one from then on."""
    gateway = make_gateway()
    page = signed_in(gateway)
    page.goto(f"{gateway.url}/ui#connect")
    page.get_by_text("Create a key", exact=True).first.click()
    expect(page.locator(".card")).to_contain_text("every client needs one")
    page.get_by_label("New key for").fill("laptop")
    pictured(page, "connect-key")
    accessible(page)
    page.keyboard.press("Enter")
    snippet = page.locator(".code").first
    expect(snippet).to_contain_text("Bearer lt-")
    secret = snippet.inner_text().split("Bearer ")[1].split("'")[0]
    assert gateway.client.get("/v1/models").status_code == 401
    assert gateway.client.get("/v1/models", headers={"authorization": f"Bearer {secret}"}).status_code == 200
    page.get_by_label("New key for").fill("laptop")
    page.keyboard.press("Enter")
    expect(page.locator(".card .problem")).to_contain_text("A key named laptop exists")
    page.get_by_role("link", name="Models", exact=True).click()
    page.locator(".model").first.wait_for()
    assert secret not in page.content()
    page.get_by_role("link", name="Connect").click()
    expect(page.locator(".code").first).to_contain_text("YOUR_KEY")


def test_bodies_are_shown_as_text(make_gateway: Make, signed_in: SignIn) -> None:
    """What a prompt holds is no HTML of the page, and no control sequence."""
    gateway = make_gateway(captures=5)
    hostile = "<img src=x onerror='window.hit = 1'> \x1b[31mred\u202e " + "w" * 50_000
    assert gateway.chat(messages=[{"role": "user", "content": hostile}]).status_code == 200
    page = signed_in(gateway)
    page.goto(f"{gateway.url}/ui#activity")
    expect(page.locator(".hint")).to_contain_text("Bodies of the last 5")
    page.get_by_role("button", name="Bodies of").click()
    sent = page.get_by_label("Sent to the engine", exact=True)
    expect(sent).to_contain_text("<img src=x onerror=")
    assert page.evaluate("window.hit") is None and sent.locator("img").count() == 0
    accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_restart_ends_the_session_and_the_page_goes_on(make_gateway: Make, signed_in: SignIn) -> None:
    """Nobody answers, which is said; then a new process does, for which a visitor is nobody yet."""
    port = free_port()
    first = make_gateway(port=port)
    page = signed_in(first)
    assert first.terminate() == 0
    expect(page.locator(".banner.warning")).to_contain_text("does not answer")
    second = make_gateway(port=port)
    assert second.url == first.url
    expect(page.locator(".banner.warning")).to_have_count(0)
    expect(page.locator(".hint").first).to_contain_text("llama-tandem open")
    expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
    expect(page.locator(".model .line > .state")).to_have_text("ready")


def test_a_revoked_key_ends_what_is_open(make_gateway: Make, page: Page) -> None:
    """Of an admin key, whose page follows the gateway, as of a plain one."""
    gateway = make_gateway()
    secrets = {}
    for name, flags in (("boss", ["--admin"]), ("plain", [])):
        secrets[name] = gateway.command("keys", "create", "--name", name, *flags).stdout.splitlines()[0]
    for name, tabs in (("boss", "Unload m"), ("plain", "Chat m")):
        page.goto(gateway.url)
        page.get_by_label("API key").fill(secrets[name])
        page.keyboard.press("Enter")
        page.get_by_role("button", name=tabs, exact=True).wait_for()
        assert (page.get_by_role("button", name="Unload m").count() == 1) is (name == "boss")
        expect(page.locator("#facts")).to_contain_text(name)
        assert gateway.command("keys", "revoke", name).returncode == 0
        page.get_by_label("API key").wait_for()
        assert page.locator(".model").count() == 0


def test_the_whole_page_by_keyboard(make_gateway: Make, signed_in: SignIn) -> None:
    """Tab alone reaches each view, opens a model, and every focus is seen."""
    page = signed_in(make_gateway())
    seen: list[str] = []
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    for _ in range(40):
        name = page.evaluate("document.activeElement.textContent || document.activeElement.ariaLabel")
        outlined = page.evaluate("getComputedStyle(document.activeElement).outlineStyle !== 'none'")
        assert outlined, name
        seen.append(name.strip())
        if name.strip() == "m":
            page.keyboard.press("Enter")
            page.locator("pre.command").wait_for()
            break
        page.keyboard.press("Tab")
    views = ["Models", "Activity", "Chat", "Get models", "Connect", "API"]
    assert [name for name in seen if name in views] == views and seen[-1] == "m"
    page.get_by_role("link", name="Activity").focus()
    page.keyboard.press("Enter")
    expect(page.locator("h2").first).to_have_text("In flight")
