"""Projects of very many metrics: every run and every metric is within reach."""

from playwright.sync_api import Page, Route, expect

from runlore.core.run import run_ref
from runlore.testing.spools import SpoolBuilder
from tests.e2e.conftest import OpenPage, Server
from tests.e2e.spools import send


def _drawn(page: Page, metric: str) -> None:
    chart = page.locator(f'[data-metric="{metric}"] .chart')
    expect(chart).to_have_attribute("data-drawn", "1", timeout=60_000)


def _send_keys(server: Server, run: str, keys: int) -> None:
    """Send a run of many metrics, a part of them in each step."""
    builder = SpoolBuilder(run_ref("local", "many", run))
    for first in range(0, keys, 1000):
        names = range(first, min(first + 1000, keys))
        builder.log({f"{run}/{number}": float(number) for number in names}, step=first)
    builder.end()
    send(server.url, builder)


def test_a_run_of_one_metric_is_drawn_in_a_project_of_more_than_one_may_ask_for(
    server: Server, open_page: OpenPage
) -> None:
    _send_keys(server, "large", 20_500)
    builder = SpoolBuilder(run_ref("local", "many", "small"))
    builder.log({"loss": 0.5}, step=0)
    send(server.url, builder)

    page = open_page(f"{server.url}/local/many/runs/small")

    _drawn(page, "loss")
    expect(page.locator("[data-metric]")).to_have_count(1)


def test_a_run_whose_metrics_cannot_be_told_says_why(seeded: Server, open_page: OpenPage) -> None:
    def refuse(route: Route) -> None:
        route.fulfill(
            status=400, content_type="application/json", body='{"detail": "not so many"}'
        )

    page = open_page("about:blank")
    page.route("**/runs/*/keys", refuse)
    run = page.request.get(f"{seeded.url}/api/v1/projects/local/digits/runs").json()["runs"][0]
    page.goto(f"{seeded.url}/local/digits/runs/{run['id']}")

    expect(page.get_by_text("Not so many.")).to_be_visible(timeout=60_000)


def test_a_project_of_ten_thousand_metrics_makes_panels_for_those_in_sight(
    server: Server, open_page: OpenPage
) -> None:
    _send_keys(server, "m", 10_000)
    page = open_page(f"{server.url}/local/many")
    panels = page.locator("[data-metric]")

    _drawn(page, "m/0")
    assert 0 < panels.count() < 60
    page.get_by_role("button", name="Show 9,940 more panels").click()
    page.locator(".main").evaluate("main => main.scrollTo(0, main.scrollHeight)")
    _drawn(page, "m/9999")
    assert 0 < panels.count() < 60
    page.get_by_label("Filter panels").fill("/55[0-9]5$/")
    _drawn(page, "m/5585")


def test_each_of_very_many_sections_is_there_when_one_comes_to_it(
    server: Server, open_page: OpenPage
) -> None:
    builder = SpoolBuilder(run_ref("local", "many", "m"))
    builder.log({f"part{number}/metric{number}": 1.0 for number in range(2000)}, step=0)
    send(server.url, builder)
    page = open_page(f"{server.url}/local/many")

    _drawn(page, "part0/metric0")
    assert page.locator(".section").count() < 60
    page.locator(".main").evaluate("main => main.scrollTo(0, main.scrollHeight)")
    _drawn(page, "part1999/metric1999")
    page.get_by_role("button", name="part1999 1").click()
    expect(page.locator('[data-metric="part1999/metric1999"]')).to_have_count(0)
    assert page.locator(".section").count() < 60
