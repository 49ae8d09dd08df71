"""Buttons that no walk of the other files presses: what each does is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.support.fake_hub import FakeHub, Fault
from tests.support.gateway import Gateway, header_only
from tests.support.hub_environment import hub_variables
from tests.support.hub_models import model

Make = Callable[..., Gateway]
SignIn = Callable[[Gateway], Page]
Picture = Callable[[Page, str], None]
# One pixel
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360f8cfc0f01f0005000"
    "1ff89993d1d0000000049454e44ae426082"
)


@pytest.fixture
def copied(page: Page) -> Callable[[], str]:
    """What the clipboard holds."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    return lambda: str(page.evaluate("navigator.clipboard.readText()"))


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as hub:
        yield hub


def test_a_failed_model_is_reset(make_gateway: Make, signed_in: SignIn, tmp_path: Path, pictured: Picture) -> None:
    """Its cause and advice are seen in the banner and in the opened row; then its next start begins anew."""
    path = str(header_only(tmp_path / "model.gguf"))
    models = {
        "good": {"target": {"path": path}},
        "bad": {"target": {"path": path}, "args": ["--fail-load", "arch", "--log-while-loading", "5"]},
    }
    page = signed_in(make_gateway(models=models))
    page.get_by_role("button", name="Load bad", exact=True).click()
    row = page.get_by_label("bad", exact=True)
    expect(row.locator(".line > .state")).to_have_text("failed")
    page.get_by_role("button", name="bad", exact=True).click()
    expect(row.locator("> .problem")).to_contain_text("architecture")
    expect(page.locator(".banner.failure span")).not_to_be_empty()
    pictured(page, "failed")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.get_by_role("button", name="Reset bad", exact=True).click()
    expect(row.locator(".line > .state")).to_have_text("stopped")
    expect(page.locator(".banner.failure")).to_have_count(0)


def test_a_model_that_is_not_here_is_pulled_from_its_row(
    make_gateway: Make, signed_in: SignIn, hub: FakeHub, tmp_path: Path
) -> None:
    """And the pull is cancelled there; a model whose files are nobody's to bring has no such button."""
    hub.add("org/m-GGUF", {"m-Q4_K_M.gguf": model(3_000_000)})
    models = {
        "hub": {"target": {"repo": "org/m-GGUF", "quantization": "Q4_K_M"}},
        "gone": {"target": {"path": str(tmp_path / "gone.gguf")}},
    }
    gateway = make_gateway(models=models, env=hub_variables(hub, tmp_path), models_dir=str(tmp_path / "models"))
    page = signed_in(gateway)
    expect(page.get_by_label("gone", exact=True).locator(".state").first).to_have_text("files missing")
    expect(page.get_by_role("button", name="Pull gone", exact=True)).to_have_count(0)
    state = page.get_by_label("hub", exact=True).locator(".line > .state")
    expect(state).to_have_text("not downloaded")
    hub.order("m-Q4_K_M.gguf", *[Fault(rate=100_000, stays=True)])
    page.get_by_role("button", name="Pull hub", exact=True).click()
    page.get_by_role("button", name="Cancel pull hub", exact=True).click()
    hub.faults.clear()
    page.get_by_role("button", name="Pull hub", exact=True).click()
    expect(state).to_have_text("stopped")
    expect(page.get_by_label("hub", exact=True).locator(".verdict")).to_contain_text("of files")


def test_what_is_copied(make_gateway: Make, signed_in: SignIn, copied: Callable[[], str]) -> None:
    """The address, a command line, a log, a snippet, a message and an answer."""
    gateway = make_gateway()
    page = signed_in(gateway)
    page.locator(".address").click()
    assert copied() == f"{gateway.url}/v1"
    page.get_by_role("button", name="m", exact=True).click()
    page.locator("pre.command").wait_for()
    page.locator(".detail").get_by_role("button", name="Copy").first.click()
    assert "--alias m" in copied()
    expect(page.get_by_label("Log of m")).to_contain_text("model loaded")
    page.locator(".detail").get_by_role("button", name="Copy").last.click()
    assert "model loaded" in copied()
    page.goto(f"{gateway.url}/ui#connect")
    page.get_by_role("button", name="Copy for Python").click()
    assert copied().startswith("from openai import OpenAI")
    page.goto(f"{gateway.url}/ui#chat")
    page.get_by_label("Message", exact=True).fill("Hello there")
    page.get_by_role("button", name="Send").click()
    page.get_by_role("button", name="Retry").wait_for()
    page.locator(".message.user").get_by_role("button", name="Copy").click()
    assert copied() == "Hello there"


def test_conversations_are_begun_deleted_and_brought_back(
    make_gateway: Make, signed_in: SignIn, tmp_path: Path
) -> None:
    """A file that holds none is refused in words."""
    page = signed_in(make_gateway())
    page.goto(f"{page.url.partition('#')[0]}#chat")
    page.get_by_label("Message", exact=True).fill("First")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Retry").wait_for()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Export", exact=True).click()
    page.get_by_role("button", name="New", exact=True).click()
    expect(page.locator(".talk .empty")).to_be_visible()
    page.get_by_label("Conversation").select_option(label="First")
    expect(page.locator(".message")).to_have_count(2)
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator(".message")).to_have_count(0)
    assert page.evaluate("JSON.parse(localStorage['tandem.conversations']).length") == 0
    page.get_by_label("File to import").set_input_files(saved.value.path())
    expect(page.locator(".message")).to_have_count(2)
    wrong = tmp_path / "wrong.json"
    for text, words in (("{", "is not JSON"), ('{"messages": [{"role": "x"}]}', "no conversation")):
        wrong.write_text(text)
        page.get_by_label("File to import").set_input_files(wrong)
        expect(page.locator("#said")).to_contain_text(words)


def test_an_image_goes_with_a_message(make_gateway: Make, signed_in: SignIn, tmp_path: Path) -> None:
    """To a model that sees; it can be taken away before it is sent."""
    gateway = make_gateway()
    page = signed_in(gateway)
    listed = gateway.client.get("/v1/models?variants=true").json()
    for row in listed["data"]:
        row["capabilities"] = ["completion", "vision"]
    sent: list[dict[str, object]] = []
    page.route("**/v1/models*", lambda route: route.fulfill(json=listed))
    page.on("request", lambda asked: sent.append(asked.post_data_json) if "/chat/" in asked.url else None)
    page.goto(f"{gateway.url}/ui#chat")
    page.get_by_role("button", name="Attach").wait_for()
    image = tmp_path / "pixel.png"
    image.write_bytes(PIXEL)
    page.get_by_label("Files to attach").set_input_files(image)
    page.get_by_role("button", name="Remove").click()
    expect(page.locator(".attachments img")).to_have_count(0)
    page.get_by_label("Files to attach").set_input_files(image)
    page.get_by_label("Message", exact=True).fill("What is this?")
    page.keyboard.press("Enter")
    expect(page.locator(".message.user img")).to_have_count(1)
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    content = sent[0]["messages"][0]["content"]  # type: ignore[index]
    assert [part["type"] for part in content] == ["text", "image_url"]
    assert content[1]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")


def test_the_api_view_shows_examples(make_gateway: Make, page: Page) -> None:
    """At `/docs` as well, to a visitor who is nobody."""
    gateway = make_gateway()
    page.goto(f"{gateway.url}/docs")
    page.get_by_label("Find an endpoint").fill("POST /admin/keys")
    page.locator("summary").click()
    expect(page.get_by_label("Body of POST /admin/keys")).to_contain_text('"name": "laptop"')
    expect(page.get_by_label("Response of POST /admin/keys")).to_contain_text('"first": false')
    page.get_by_label("Find an endpoint").fill("nothing like this")
    expect(page.locator(".empty")).to_be_visible()
