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
    builder.log({f"part{number // 2}/metric{number}": 1.0 for number in range(4000)}, step=0)
    send(server.url, builder)
    page = open_page(f"{server.url}/local/many")

    _drawn(page, "part0/metric0")
    assert page.locator(".section").count() < 60
    page.locator(".main").evaluate("main => main.scrollTo(0, main.scrollHeight)")
    _drawn(page, "part1999/metric3999")
    page.get_by_role("button", name="part1999 2").click()
    expect(page.locator('[data-metric="part1999/metric3999"]')).to_have_count(0)
    assert page.locator(".section").count() < 60


def test_sections_of_one_panel_each_are_one_behind_the_others(
    server: Server, open_page: OpenPage
) -> None:
    builder = SpoolBuilder(run_ref("local", "many", "m"))
    singles = {f"layer{number}/norm{number}": 1.0 for number in range(1000)}
    builder.log({"train/loss": 1.0, "eval/loss": 2.0, **singles}, step=0)
    send(server.url, builder)
    page = open_page(f"{server.url}/local/many")

    heads = page.get_by_role("heading", level=2)
    expect(heads).to_have_text(
        ["train · eval2", "layer0 · layer1 · layer2 and 997 more1,000"], timeout=60_000
    )
    for metric in ("train/loss", "eval/loss", "layer0/norm0"):
        _drawn(page, metric)
    page.get_by_role("button", name="Show 940 more panels").click()
    page.locator(".main").evaluate("main => main.scrollTo(0, main.scrollHeight)")
    _drawn(page, "layer999/norm999")


def test_the_panel_filter_finds_metrics_behind_those_that_fit_on_a_page(
    server: Server, open_page: OpenPage
) -> None:
    builder = SpoolBuilder(run_ref("local", "many", "m"))
    many = {f"a/{number}": 1.0 for number in range(20_010)}
    builder.log({**many, "z/last": 2.0}, step=0)
    send(server.url, builder)

    for path, of in (("local/many", "project"), ("local/many/runs/m", "run")):
        page = open_page(f"{server.url}/{path}")
        page.get_by_text("Type in the panel filter to find others").wait_for()
        assert page.locator('[data-metric="z/last"]').count() == 0
        page.get_by_label("Filter panels").fill("LAST")
        _drawn(page, "z/last")
        expect(page.locator("[data-metric]")).to_have_count(1, timeout=60_000)
        expect(page.get_by_text(f"searched all metrics of this {of}")).to_be_visible()
        page.get_by_label("Filter panels").fill("none of them")
        page.get_by_text("No panel matches").wait_for()
        page.get_by_role("button", name="Clear the filter").click()
        page.get_by_text("Type in the panel filter to find others").wait_for()
        page.goto(f"{server.url}/{path}?filter=%2Fz.l%2F")
        _drawn(page, "z/last")
        page.goto(f"{server.url}/{path}?filter=%2Fa%7B99999%7D%2F")
        expect(
            page.get_by_text(f"The filter searches only the first 20k metrics of this {of}")
        ).to_be_visible(timeout=60_000)
