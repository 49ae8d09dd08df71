"""What the page costs: its size, its first paint, the gateway's processor, and the tab's memory.

Times are printed and not asserted. PAGE_MINUTES=10 makes the last test as long as that.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from playwright.sync_api import CDPSession, Page

from tests.support.gateway import Gateway

Make = Callable[..., Gateway]
SignIn = Callable[[Gateway], Page]
MINUTES = float(os.environ.get("PAGE_MINUTES", "0"))
# More than the page and the gateway keep
FILLED, MORE, AT_ONCE = 1100, 500, 4


def test_all_that_is_fetched_is_below_150_kb(make_gateway: Make, page: Page) -> None:
    """By a browser that sees every view, and from the gateway alone."""
    gateway = make_gateway()
    sizes: dict[str, int] = {}
    page.on("response", lambda got: sizes.update({got.url: len(got.body())}) if "/ui" in got.url else None)
    page.goto(f"{gateway.url}/ui")
    for view in ("models", "activity", "chat", "get", "connect", "api"):
        page.goto(f"{gateway.url}/ui#{view}")
        page.locator("main h2").first.wait_for()
    assert len(sizes) > 12 and sum(sizes.values()) < 150_000, sizes
    paint = "performance.getEntriesByType('paint').find((each) => each.name === 'first-contentful-paint')?.startTime"
    page.goto(f"{gateway.url}/")
    page.locator(".model").wait_for()
    print(f"first paint after {page.evaluate(paint):.0f} ms; {sum(sizes.values()) / 1000:.0f} KB in {len(sizes)} files")


def test_an_open_page_loads_no_model_and_asks_little(make_gateway: Make, signed_in: SignIn) -> None:
    """By any view, and while it polls; a page that is closed is no longer looked for."""
    gateway = make_gateway()
    page = signed_in(gateway)
    page.get_by_role("button", name="Unload m", exact=True).click()
    page.locator(".state", has_text="stopped").wait_for()
    process = psutil.Process(gateway.process.pid)
    for view in ("activity", "chat", "get", "connect", "api", "models"):
        page.goto(f"{gateway.url}/ui#{view}")
        page.locator("main h2").first.wait_for()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    seconds, before = 8.0, sum(process.cpu_times()[:2])
    page.wait_for_timeout(seconds * 1000)
    share = (sum(process.cpu_times()[:2]) - before) / seconds
    assert gateway.engines == [] and gateway.state() == "stopped"
    assert len(asked) <= seconds, asked
    print(f"the gateway with one open page: {share:.2%} of a core")


@pytest.mark.timeout(240 + 120 * MINUTES)
def test_the_tabs_memory_is_flat(make_gateway: Make, signed_in: SignIn) -> None:
    """Once the lists are full they are no fuller after five hundred requests more."""
    gateway = make_gateway(parallel=AT_ONCE)
    page = signed_in(gateway)
    page.goto(f"{gateway.url}/ui#activity")
    page.locator("h2").first.wait_for()
    tab = page.context.new_cdp_session(page)
    tab.send("Performance.enable")
    request(gateway, FILLED, page)
    before, nodes = measured(tab)
    ends = time.monotonic() + MINUTES * 60
    while True:
        page.wait_for_timeout(4000 if MINUTES else 0)
        request(gateway, MORE, page)
        after, nodes_after = measured(tab)
        print(f"tab: {before / 1e6:.1f} MB and {nodes} nodes, then {after / 1e6:.1f} MB and {nodes_after} nodes")
        assert after < before + 3_000_000 and nodes_after < nodes + 500
        if time.monotonic() >= ends:
            break


def request(gateway: Gateway, count: int, page: Page) -> None:
    """That many requests, and none of them still on its way to the page."""

    def ask() -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for answer in pool.map(lambda _: gateway.chat(max_tokens=2), range(count)):
                assert answer.status_code == 200

    asking = threading.Thread(target=ask)
    asking.start()
    while asking.is_alive():
        page.wait_for_timeout(200)  # Playwright's own events are handled meanwhile
    page.wait_for_timeout(1500)


def measured(tab: CDPSession) -> tuple[float, float]:
    """Bytes of the heap and elements, without garbage."""
    for _ in range(2):
        tab.send("HeapProfiler.collectGarbage")
    found = {each["name"]: each["value"] for each in tab.send("Performance.getMetrics")["metrics"]}
    return found["JSHeapUsedSize"], found["Nodes"]
