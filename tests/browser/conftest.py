"""Debian's Chromium, and a page that fails its test by any error of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.gateway import Gateway

# A busy machine may take its time
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)
# Kept as an artefact where CI names a folder
SCREENSHOTS = Path(os.environ.get("SCREENSHOTS", "")) if os.environ.get("SCREENSHOTS") else None
# What a browser writes of an answer that is no success; which ones come is the test's business
_REFUSALS = ("Failed to load resource", "net::ERR")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    assert chromium, "Install Debian's Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        # A container's root has no sandbox of Chromium's
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        started = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Asks nobody but the gateway, and has no error of its own."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.set_default_timeout(PATIENCE_MS)
    problems: list[str] = []
    made = context.new_page()
    made.on("pageerror", lambda error: problems.append(str(error)))
    made.on("console", lambda line: problems.append(line.text) if _wrong(line) else None)
    made.on("request", lambda request: problems.append(request.url) if _foreign(request.url) else None)
    yield made
    context.close()
    assert problems == []


def _wrong(line: Any) -> bool:
    return line.type in ("error", "warning") and not any(known in line.text for known in _REFUSALS)


def _foreign(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "data:", "blob:", "about:"))


@pytest.fixture
def signed_in(page: Page) -> Callable[[Gateway], Page]:
    """The page of a gateway's administrator, by the link of `llama-tandem open`."""

    def sign_in(gateway: Gateway) -> Page:
        done = gateway.command("open", "--no-browser")
        assert done.returncode == 0, done.stderr
        page.goto(done.stdout.splitlines()[0])
        page.get_by_role("button", name="Sign out").wait_for()
        page.locator(".model").first.wait_for()
        return page

    return sign_in


@pytest.fixture
def pictured() -> Callable[[Page, str], None]:
    """Keeps a picture of the page in light and dark, wide and narrow, where CI wants them."""

    def picture(page: Page, name: str) -> None:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            for width in (1280, 400):
                page.set_viewport_size({"width": width, "height": 800})
                assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
                if SCREENSHOTS is not None:
                    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
                    page.screenshot(path=SCREENSHOTS / f"{name}-{scheme}-{width}.png")

    return picture
