"""The memory of the nodes of a cluster, as the page shows it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Route, expect

from tests.support.gateway import Gateway

Make = Callable[..., Gateway]
SignIn = Callable[[Gateway], Page]
Picture = Callable[[Page, str], None]
GIB = 1 << 30


def place(node: str, name: str, total: int, ours: int = 0) -> dict[str, Any]:
    engines = {"m": ours * GIB} if ours else {}
    sizes = {"total": total * GIB, "others": 0, "budget": total * GIB, "free": (total - ours) * GIB}
    return {"node": node, "name": name, "engines": engines, **sizes}


def answers(page: Page, *places: dict[str, Any]) -> None:
    body = json.dumps({"object": "list", "known": True, "data": places})

    def answer(route: Route) -> None:
        route.fulfill(status=200, content_type="application/json", body=body)

    page.route("**/admin/memory", answer)


def test_memory_is_shown_by_node(make_gateway: Make, signed_in: SignIn, page: Page, pictured: Picture) -> None:
    """A few nodes are unfolded; this machine's bars stay where they are."""
    answers(
        page,
        place("local", "host", 64),
        place("box1", "host", 32),
        place("box1", "CUDA0", 24, ours=6),
        place("box2", "host", 32),
    )
    signed_in(make_gateway())
    expect(page.locator("#gauges > .gauge .name")).to_have_text(["host"])
    nodes = page.locator("#gauges .nodes")
    expect(nodes.locator("summary")).to_have_text("2 nodes: ours 6.0 GiB · free 82 GiB of 88 GiB")
    box1 = nodes.get_by_role("listitem", name="box1")
    expect(box1.locator(".name")).to_have_text(["host", "CUDA0"])
    expect(box1).to_contain_text("ours 6.0 GiB")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    pictured(page, "nodes")


def test_many_nodes_are_folded(make_gateway: Make, signed_in: SignIn, page: Page) -> None:
    """What is unfolded stays so at the next figures."""
    answers(page, *(place(f"box{number}", "host", 8) for number in range(200)))
    signed_in(make_gateway())
    summary = page.locator("#gauges .nodes summary")
    expect(summary).to_contain_text("200 nodes")
    expect(page.get_by_role("listitem", name="box7", exact=True)).to_be_hidden()
    summary.click()
    expect(page.get_by_role("listitem", name="box7", exact=True)).to_be_visible()
    with page.expect_response("**/admin/memory"):
        pass
    expect(page.get_by_role("listitem", name="box7", exact=True)).to_be_visible()


def test_without_nodes_the_page_is_as_before(make_gateway: Make, signed_in: SignIn, page: Page) -> None:
    answers(page, place("local", "host", 64, ours=1), place("local", "CUDA0", 24))
    signed_in(make_gateway())
    expect(page.locator("#gauges > .gauge .name")).to_have_text(["host", "CUDA0"])
    expect(page.locator("#gauges .nodes")).to_have_count(0)
