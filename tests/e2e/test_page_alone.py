"""The page lives on its server alone: no font, script or telemetry comes from elsewhere."""

import re

from playwright.sync_api import Route, expect

from tests.e2e.conftest import OpenPage, Server


def test_the_page_asks_nobody_but_its_server(seeded: Server, open_page: OpenPage) -> None:
    asked: list[str] = []

    def note(route: Route) -> None:
        asked.append(route.request.url)
        route.continue_()

    page = open_page("about:blank")
    page.context.route(re.compile(".*"), note)
    # What the policy forbids is never asked for, but complained about here.
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    for path in ("/", "/local/digits"):
        answer = page.goto(seeded.url + path)
        assert answer is not None
        assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    expect(page.locator('[data-metric="train/loss"] .chart')).to_have_attribute("data-drawn", "4")

    assert len(asked) > 5
    assert complaints == []
    assert [url for url in asked if not url.startswith(f"{seeded.url}/")] == []
