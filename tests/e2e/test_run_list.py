"""Which runs a person looks at, and by what: filters, orders, columns, axes and groups."""

import re

import pytest
from playwright.sync_api import Page, expect

from runlore.core.run import run_ref
from runlore.testing.spools import SpoolBuilder
from tests.e2e.conftest import OpenPage, Server
from tests.e2e.spools import send


def _drawn(page: Page, metric: str, lines: int) -> None:
    """Wait until the chart of a metric shows so many lines."""
    chart = page.locator(f'[data-metric="{metric}"] .chart')
    expect(chart).to_have_attribute("data-drawn", str(lines), timeout=20_000)


def _names(page: Page) -> list[str]:
    return page.locator(".run-name").all_text_contents()


def _choose(page: Page, label: str, option: str) -> None:
    """Choose as a person does: the options are there once the list has the focus."""
    choice = page.get_by_label(label)
    choice.focus()
    choice.select_option(option)


def _drag(page: Page, metric: str, first: float, last: float) -> None:
    box = page.locator(f'[data-metric="{metric}"] .chart-plot').bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * first, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * last, middle, steps=4)
    page.mouse.up()


def test_a_filter_narrows_list_and_charts_and_a_wrong_one_says_where(
    seeded: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{seeded.url}/local/digits")
    _drawn(page, "train/loss", 4)

    page.keyboard.press("w")
    page.keyboard.type("config.lr < 0.04 AND name REGEXP 'run'")
    page.keyboard.press("Enter")
    _drawn(page, "train/loss", 2)
    page.reload()
    _drawn(page, "train/loss", 2)
    assert sorted(_names(page)) == ["run-2", "run-3"]

    page.get_by_label("Filter runs").fill("config.lrr < 1")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text(
        "No column config.lrr; did you mean config.lr? (at character 1)", timeout=20_000
    )
    # What the last good filter found stays until this one is mended.
    _drawn(page, "train/loss", 2)
    assert sorted(_names(page)) == ["run-2", "run-3"]
    page.get_by_label("Clear the filter").click()
    _drawn(page, "train/loss", 4)
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_head_sorts_the_list_by_its_column(seeded: Server, open_page: OpenPage) -> None:
    page = open_page(f"{seeded.url}/local/digits")
    _drawn(page, "train/loss", 4)

    page.get_by_text("Columns").click()
    page.get_by_label("Search columns").fill("width")
    page.get_by_label("config.model/width").check()
    page.get_by_label("Search columns").fill("lr")
    page.get_by_label("config.lr").check()
    page.keyboard.press("Escape")
    expect(page.get_by_label("Search columns")).to_be_hidden()
    expect(page.locator(".run-cell", has_text="32")).to_have_count(4)

    head = page.get_by_role("button", name="Sort by config.lr")
    head.click()
    expect(page.locator(".run-name").first).to_have_text("run-3")
    head.click()
    expect(page.locator(".run-name").first).to_have_text("a-diverging-run")
    page.reload()
    expect(page.locator(".run-name").first).to_have_text("a-diverging-run", timeout=20_000)
    expect(head).to_have_attribute("aria-pressed", "true")
    head.click()
    expect(page.locator(".run-name").first).to_have_text("run-3")
    expect(page).not_to_have_url(re.compile("sort="))


def test_a_long_list_goes_on_behind_its_first_page(server: Server, open_page: OpenPage) -> None:
    for number in range(430):
        builder = SpoolBuilder(run_ref("local", "many", f"run-{number}"))
        builder.log({"level": float(number)}, step=0)
        builder.end()
        send(server.url, builder)
    page = open_page(f"{server.url}/local/many")
    _drawn(page, "level", 100)
    # Rows out of sight are not there.
    assert len(_names(page)) < 100

    page.get_by_label("Sort by name").click()
    expect(page.locator(".run-name").first).to_have_text("run-0")
    for _ in range(40):
        page.locator(".runs-rows").evaluate("(list) => list.scrollTo(0, list.scrollHeight)")
        page.wait_for_timeout(100)
        if "run-99" in _names(page):
            break
    assert _names(page)[-1] == "run-99"


def test_charts_stand_by_time_and_by_another_metric_and_zoom_there(
    seeded: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{seeded.url}/local/digits?filter=train")
    _drawn(page, "train/loss", 4)

    with page.expect_request("**/series") as asked:
        _choose(page, "X axis", "Relative time")
    assert (asked.value.post_data_json or {})["x"] == {"kind": "relative"}
    _drawn(page, "train/loss", 4)
    _choose(page, "X axis", "train/acc")
    expect(page).to_have_url(re.compile(r"x=key%3Atrain%2Facc"))
    _drawn(page, "train/loss", 4)

    # What is known says which steps a part of the axis is.
    with page.expect_request("**/series") as asked:
        _drag(page, "train/loss", 0.2, 0.4)
    question = asked.value.post_data_json
    assert question is not None
    assert 0 < question["start"] < question["stop"] < 2000
    expect(page).to_have_url(re.compile(r"range=0\.\d+\.\.0\.\d+"))
    page.locator('[data-metric="train/loss"] .chart-plot').hover()
    tip = page.locator('[data-metric="train/loss"] .chart-tip')
    expect(tip.get_by_text(re.compile(r"^train/acc 0\.\d+ · step \d+$"))).to_be_visible()

    page.reload()
    _drawn(page, "train/loss", 4)
    page.keyboard.press("r")
    expect(page).not_to_have_url(re.compile("range="))


def test_an_axis_that_goes_back_is_said_to(server: Server, open_page: OpenPage) -> None:
    server.run(
        "import runlore\n"
        "with runlore.init(project='p') as run:\n"
        "    for step in range(100):\n"
        "        run.log({'loss': 1.0 / (1 + step), 'place': step % 10})\n"
    )
    page = open_page(f"{server.url}/local/p?x=key%3Aplace")

    _drawn(page, "loss", 1)
    note = page.locator('[data-metric="loss"]').get_by_text("place goes back in 1 run")
    expect(note).to_be_visible()
    page.goto(f"{server.url}/local/p?x=key%3Anothing")
    told = "The runs shown have no numbers here beside nothing"
    expect(page.locator('[data-metric="loss"]').get_by_text(told)).to_be_visible()


def test_runs_with_one_value_of_the_config_are_one_line_with_a_band(
    server: Server, open_page: OpenPage
) -> None:
    server.run(
        "import runlore\n"
        "for number in range(6):\n"
        "    config = {'lr': [0.1, 0.01][number % 2]} if number < 4 else {}\n"
        "    with runlore.init(project='p', config=config) as run:\n"
        "        for step in range(50):\n"
        "            run.log({'loss': number + step / 50})\n"
    )
    page = open_page(f"{server.url}/local/p")
    _drawn(page, "loss", 6)

    _choose(page, "Group by", "lr")
    _drawn(page, "loss", 3)
    groups = page.get_by_label("Groups").locator("li")
    expect(groups).to_have_text(["0.012", "0.12", "not set2"])
    _choose(page, "Band", "95 % interval")
    expect(page).to_have_url(re.compile(r"by=config\.lr&band=interval"))
    page.reload()
    _drawn(page, "loss", 3)
    box = page.locator('[data-metric="loss"] .chart-plot').bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.1)
    tip = page.locator('[data-metric="loss"] .chart-tip')
    expect(tip.get_by_text("2 of 2 runs")).to_be_visible()

    # A run that is hidden leaves its group.
    page.locator(".run-toggle").first.click()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.1)
    expect(groups).to_have_text(["0.012", "0.12", "not set1"])
    expect(tip.get_by_text("1 of 1 run", exact=True)).to_be_visible()


@pytest.mark.parametrize(
    ("query", "of", "told"),
    [
        ("where=config.lrr+%3C+1", "filter", "No column config.lrr; did you mean config.lr?"),
        ("sort=-config.lrr", "order", "No column config.lrr"),
        ("where=config.lr+%3C&sort=-config.lr", "filter or order", "Expected the name"),
        ("q=%2Fa%7B99999%7D%2F", "search", "use smaller ones"),
    ],
)
def test_an_address_that_asks_for_runs_in_vain_says_so_and_offers_the_way_out(
    seeded: Server, open_page: OpenPage, query: str, of: str, told: str
) -> None:
    page = open_page(f"{seeded.url}/local/digits?{query}")
    main = page.locator("main")

    expect(main.locator(".notice h2")).to_have_text(f"The {of} cannot be read", timeout=20_000)
    expect(main).to_contain_text(told)
    expect(page.locator("[data-metric]")).to_have_count(0)
    expect(page.get_by_role("alert")).to_have_count(0 if of == "search" else 1)
    main.get_by_role("button", name=f"Clear the {of}").click()
    _drawn(page, "train/loss", 4)
    expect(page.get_by_role("alert")).to_have_count(0)
    assert page.url == f"{seeded.url}/local/digits"
