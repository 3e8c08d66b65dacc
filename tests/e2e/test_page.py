"""A person's way through the page, in a real browser on a real server."""

import re
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, Request, Route, expect

from runlore.core.run import run_ref
from runlore.testing.spools import SpoolBuilder
from tests.e2e.conftest import OpenPage, Server
from tests.e2e.relay import Relay
from tests.e2e.spools import send

# In the picture of the lines, the columns whose upper part holds ink; both as shares.
_INK_ABOVE = """([metric, depth]) => {
  const canvas = document.querySelector(`[data-metric="${metric}"] canvas.chart-lines`);
  const height = Math.round(canvas.height * depth);
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, height).data;
  const columns = new Set();
  for (let at = 3; at < pixels.length; at += 4) {
    if (pixels[at] > 90) columns.add(((at - 3) / 4) % canvas.width / canvas.width);
  }
  return [...columns].sort((a, b) => a - b);
}"""


def _drawn(page: Page, metric: str, runs: int) -> None:
    """Wait until the chart of a metric shows so many runs."""
    expect(page.locator(f'[data-metric="{metric}"] .chart')).to_have_attribute(
        "data-drawn", str(runs), timeout=20_000
    )


def _until(is_so: Callable[[], bool]) -> None:
    """Wait for what only Python can tell: the page forbids the evaluation of strings."""
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to be within 20 seconds"
        time.sleep(0.05)


def test_an_empty_server_shows_what_to_copy_and_then_the_first_point(
    server: Server, open_page: OpenPage
) -> None:
    page = open_page(server.url)
    expect(page.get_by_text("Waiting for your first point")).to_be_visible(timeout=20_000)
    expect(page.get_by_text(f"export RUNLORE_URL={server.url}")).to_be_visible()

    program = server.start(
        "import runlore\n"
        "run = runlore.init(project='first')\n"
        "input()\n"
        "run.log({'train/loss': 0.5})\n"
        "input()\n"
        "run.finish()\n"
    )
    with program:
        assert program.stdin is not None
        program.stdin.write("log\n")
        program.stdin.flush()
        page.wait_for_selector('[data-metric="train/loss"] .chart[data-drawn="1"]')
        assert page.url == f"{server.url}/local/first"
        program.communicate("finish\n", timeout=60)


def test_a_project_draws_all_runs_with_the_same_leaf_side_by_side(
    seeded: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{seeded.url}/local/digits")

    for metric in ("train/loss", "eval/loss", "train/acc", "lr"):
        _drawn(page, metric, 4)
    train = page.locator('[data-metric="train/loss"]').bounding_box()
    evaluation = page.locator('[data-metric="eval/loss"]').bounding_box()
    assert train is not None
    assert evaluation is not None
    assert train["y"] == evaluation["y"]
    assert 0 < evaluation["x"] - train["x"] - train["width"] < 60


def test_a_search_and_a_hidden_run_leave_the_others_in_the_charts(
    seeded: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{seeded.url}/local/digits")
    _drawn(page, "train/loss", 4)

    page.get_by_label("Search runs").fill("/run-[12]$/")
    _drawn(page, "train/loss", 2)
    page.get_by_label("run-1: in the charts").click()
    _drawn(page, "train/loss", 1)
    page.reload()
    _drawn(page, "train/loss", 1)
    page.get_by_role("button", name="Show all").click()
    _drawn(page, "train/loss", 2)
    page.get_by_label("run-2: in the charts").click(modifiers=["Alt"])
    _drawn(page, "train/loss", 1)


def test_a_search_without_a_match_says_so_and_offers_the_way_back(
    seeded: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{seeded.url}/local/digits?q=nobody")

    page.get_by_role("button", name="Clear the search").click()
    _drawn(page, "train/loss", 4)


def test_a_spike_of_one_step_is_seen_in_the_picture(seeded: Server, open_page: OpenPage) -> None:
    page = open_page(f"{seeded.url}/local/digits")
    _drawn(page, "train/loss", 4)

    ink = page.evaluate(_INK_ABOVE, ["train/loss", 0.5])

    assert ink, "nothing is drawn in the upper half, where only the spike reaches"
    assert all(abs(column - 1234 / 3000) < 0.02 for column in ink)


def test_a_drag_zooms_all_charts_and_a_double_click_shows_all_steps_again(
    seeded: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{seeded.url}/local/digits")
    _drawn(page, "train/loss", 4)
    box = page.locator('[data-metric="train/loss"] .chart-plot').bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2

    with page.expect_request("**/series") as asked:
        page.mouse.move(box["x"] + box["width"] * 0.5, middle)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.75, middle, steps=4)
        page.mouse.up()
    expect(page).to_have_url(re.compile(r"steps=1[45]\d\d\.\.22\d\d"))
    question = asked.value.post_data_json
    assert question is not None
    assert 1000 < question["start"] < 1550
    # Outside of the spike's steps the picture is of the low values: they fill it.
    _until(lambda: len(page.evaluate(_INK_ABOVE, ["train/loss", 0.5])) > 10)

    page.mouse.dblclick(box["x"] + box["width"] * 0.5, middle)
    expect(page).not_to_have_url(re.compile("steps="))
    _until(lambda: len(page.evaluate(_INK_ABOVE, ["train/loss", 0.5])) < 10)


def test_the_nearest_run_is_named_with_its_value_and_the_others_fade(
    seeded: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{seeded.url}/local/digits?filter=train%2Facc")
    _drawn(page, "train/acc", 4)

    page.locator('[data-metric="train/acc"] .chart-plot').hover()

    tip = page.locator('[data-metric="train/acc"] .chart-tip')
    expect(tip.locator(".is-nearest")).to_have_count(1)
    expect(tip.get_by_text(re.compile(r"^Step 1,[45]\d\d$"))).to_be_visible()
    expect(tip.get_by_text(re.compile(r"^0\.84\d\d$|^0\.85\d\d$")).first).to_be_visible()
    expect(page.locator('[data-metric="train/acc"] .chart-lines')).to_have_class(
        re.compile("is-faded")
    )


def test_keys_reach_what_the_pointer_reaches(seeded: Server, open_page: OpenPage) -> None:
    page = open_page(f"{seeded.url}/local/digits")
    _drawn(page, "train/loss", 4)

    page.keyboard.press("l")
    expect(page.get_by_role("button", name="Log y")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Control+k")
    page.keyboard.type("more smoothing")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("smooth=1.*logy=1"))
    page.keyboard.press("/")
    expect(page.get_by_label("Search runs")).to_be_focused()


def test_dark_and_light_follow_the_system(seeded: Server, open_page: OpenPage) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"

    assert open_page(f"{seeded.url}/", dark=False).evaluate(paper) == "rgb(255, 255, 255)"
    assert open_page(f"{seeded.url}/", dark=True).evaluate(paper) == "rgb(20, 21, 23)"


def test_a_run_shows_its_config_its_summary_and_a_name_that_can_be_changed(
    server: Server, open_page: OpenPage
) -> None:
    server.run(
        "import math, runlore\n"
        "config = {'model': {'width': 48}}\n"
        "with runlore.init(project='p', id='one', name='before', config=config) as run:\n"
        "    run.log({'loss': math.nan})\n"
    )
    page = open_page(f"{server.url}/local/p/runs/one")

    expect(page.get_by_text("width")).to_be_visible()
    expect(page.locator(".pair", has_text="loss")).to_contain_text("NaN")
    page.get_by_role("button", name="before").click()
    page.get_by_label("Name of the run").fill("after")
    page.keyboard.press("Enter")
    page.reload()
    expect(page.get_by_role("heading", name="after")).to_be_visible(timeout=20_000)


def test_a_run_that_diverges_leaves_the_others_readable_and_is_named(
    server: Server, open_page: OpenPage
) -> None:
    server.run(
        "import math, runlore\n"
        "for number in range(3):\n"
        "    with runlore.init(project='p') as run:\n"
        "        for step in range(400):\n"
        "            wild = number == 0 and step > 300\n"
        "            run.log({'loss': 1e300 if wild else 1 + math.exp(-step / 90)})\n"
    )
    page = open_page(f"{server.url}/local/p")
    _drawn(page, "loss", 3)

    note = page.get_by_role("button", name="beyond the range: 1 run")
    expect(note).to_be_visible()
    # The lines fall through the whole height: the upper half holds their first third.
    assert len(page.evaluate(_INK_ABOVE, ["loss", 0.5])) > 20
    note.click()
    expect(page.get_by_role("button", name="all values")).to_be_visible()
    page.get_by_role("button", name="all values").click()
    page.get_by_label("Y range").select_option("All")
    expect(page).to_have_url(re.compile("y=full"))
    expect(note).to_be_hidden()


def test_a_run_has_a_panel_for_all_that_it_logged_and_has_not_hidden(
    server: Server, open_page: OpenPage
) -> None:
    server.run(
        "import runlore\n"
        "with runlore.init(project='p', id='other') as run:\n"
        "    run.log({'elsewhere': 1.0})\n"
        "with runlore.init(project='p', id='one') as run:\n"
        "    run.define_metric('quiet', summary='none')\n"
        "    run.define_metric('secret', hidden=True)\n"
        "    run.log({'loss': 1.0, 'quiet': 2.0, 'secret': 3.0, 'flag': True, 'text': 'word'})\n"
    )
    page = open_page(f"{server.url}/local/p/runs/one")

    for metric in ("flag", "loss", "quiet"):
        _drawn(page, metric, 1)
    expect(page.locator("[data-metric]")).to_have_count(3)
    page.goto(f"{server.url}/local/p")
    _drawn(page, "elsewhere", 1)
    expect(page.locator("[data-metric]")).to_have_count(4)


def test_a_run_is_tagged_described_and_deleted_by_keyboard(
    server: Server, open_page: OpenPage
) -> None:
    server.run(
        "import runlore\n"
        "for name in ('kept', 'doomed'):\n"
        "    with runlore.init(project='p', id=name, name=name) as run:\n"
        "        run.log({'loss': 1.0})\n"
    )
    page = open_page(f"{server.url}/local/p/runs/doomed")

    page.get_by_role("button", name="Add tags").click()
    page.keyboard.type("baseline, wide")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Add notes").click()
    page.keyboard.type("Too wide.")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("button", name="Too wide.")).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="baseline wide")).to_be_visible()
    expect(page.get_by_role("button", name="Too wide.")).to_be_visible()

    page.keyboard.press("Control+k")
    page.keyboard.type("delete")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Delete doomed?")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.get_by_role("button", name="Delete…").press("Enter")
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{server.url}/local/p")
    expect(page.get_by_role("listitem")).to_have_count(1)
    _drawn(page, "loss", 1)


def test_a_run_that_somebody_else_deletes_is_shown_no_longer(
    server: Server, open_page: OpenPage
) -> None:
    server.run(
        "import runlore\n"
        "with runlore.init(project='p', id='doomed', config={'seed': 2**60 + 1}) as run:\n"
        "    run.log({'loss': 1.0})\n"
    )
    page = open_page(f"{server.url}/local/p/runs/doomed")
    _drawn(page, "loss", 1)
    expect(page.get_by_text(str(2**60 + 1))).to_be_visible()

    server.run("import runlore\nrunlore.Api().run('p/doomed').delete()\n")

    expect(page.get_by_text("Run local/p/doomed was deleted.")).to_be_visible()
    expect(page.get_by_text("appears here by itself")).to_be_hidden()


def _runs_asked_for(request: Request) -> list[list[str]]:
    """Return the runs of a question for series, and nothing of any other request."""
    if not request.url.endswith("/series"):
        return []
    return [(request.post_data_json or {})["runs"]]


def test_only_the_run_that_grows_is_asked_for_again(server: Server, open_page: OpenPage) -> None:
    logging = (
        "import runlore\nrun = runlore.init(project='p', id={name!r})\nrun.log({{'loss': 1.0}})\n"
    )
    server.run(logging.format(name="done") + "run.finish()\n")
    more = "for _ in range(20):\n    input()\n    run.log({'loss': 2.0})\nrun.finish()\n"
    with server.start(logging.format(name="growing") + more) as program:
        page = open_page(f"{server.url}/local/p")
        _drawn(page, "loss", 2)
        assert program.stdin is not None
        asked: list[list[str]] = []
        page.on("request", lambda request: asked.extend(_runs_asked_for(request)))
        # What happened before this growth has been told once its runs are asked for alone.
        with page.expect_request(lambda request: _runs_asked_for(request) == [["growing"]]):
            program.stdin.write("more\n")
            program.stdin.flush()
        asked.clear()
        with page.expect_request(lambda request: _runs_asked_for(request) != []):
            program.communicate("more\n" * 19, timeout=60)
    expect(page.locator(".run-state.is-running")).to_have_count(0, timeout=20_000)
    assert asked
    assert all(runs == ["growing"] for runs in asked)


def test_what_grows_before_the_live_stream_stands_is_shown_when_it_does(
    server: Server, open_page: OpenPage
) -> None:
    builder = SpoolBuilder(run_ref("local", "p", "run"))
    builder.log({"loss": 1.0}, step=0)
    send(server.url, builder)
    sent = len(builder.frames)
    page = open_page("about:blank")
    # Without shared workers the page holds the stream itself, where it can be held up.
    page.add_init_script("delete globalThis.SharedWorker")
    held: list[Route] = []
    page.route("**/api/v1/live", lambda route: held.append(route))
    page.goto(f"{server.url}/local/p/runs/run")
    expect(page.locator(".panel-head .num")).to_have_text("1", timeout=20_000)

    builder.log({"loss": 99.0}, step=1)
    send(server.url, builder, first=sent)
    held[0].continue_()

    expect(page.locator(".panel-head .num")).to_have_text("99", timeout=20_000)


def test_an_unknown_project_and_run_say_what_to_do(seeded: Server, open_page: OpenPage) -> None:
    expect(
        open_page(f"{seeded.url}/local/nothing").get_by_text("nothing cannot be shown")
    ).to_be_visible(timeout=20_000)
    expect(
        open_page(f"{seeded.url}/local/digits/runs/gone").get_by_text("This run cannot be shown")
    ).to_be_visible(timeout=20_000)


def test_a_narrow_page_has_no_sideways_scroll(seeded: Server, open_page: OpenPage) -> None:
    page = open_page(f"{seeded.url}/local/digits", width=390)
    _drawn(page, "train/loss", 4)

    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.get_by_role("button", name="Runs").click()
    expect(page.get_by_label("Search runs")).to_be_visible()


def test_a_page_asks_for_its_lists_while_its_script_is_on_the_way(
    seeded: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{seeded.url}/")
    expect(page.get_by_role("link", name="digits")).to_be_visible(timeout=20_000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for place in ("local/digits", "local/digits?smooth=5"):
        asked.clear()
        page.goto(f"{seeded.url}/{place}")
        _drawn(page, "train/loss", 4)
        script = next(index for index, url in enumerate(asked) if url.endswith(".js"))
        promised = page.locator("link[rel=preload][href^='/api/']")
        urls = [f"{seeded.url}{link.get_attribute('href')}" for link in promised.all()]
        assert len(urls) == 2
        for url in urls:
            # Once for the document, and once more when the live stream stands.
            assert 1 <= asked.count(url) <= 2, asked
            assert asked.index(url) > script


@pytest.fixture
def relay(seeded: Server) -> Iterator[Relay]:
    with Relay(seeded.url) as relay:
        yield relay


def test_two_tabs_share_one_live_stream(seeded: Server, relay: Relay, open_page: OpenPage) -> None:
    first = open_page(f"{relay.url}/local/digits")
    _drawn(first, "train/loss", 4)
    second = first.context.new_page()
    second.goto(f"{relay.url}/local/digits")
    _drawn(second, "train/loss", 4)

    assert relay.count("GET /api/v1/live") == 1


def test_a_server_that_is_away_is_named_and_its_return_noticed(
    relay: Relay, open_page: OpenPage
) -> None:
    page = open_page(f"{relay.url}/local/digits")
    _drawn(page, "train/loss", 4)

    relay.cut()
    expect(page.get_by_text("The server is away")).to_be_visible(timeout=20_000)
    relay.mend()
    expect(page.get_by_text("The server is away")).to_be_hidden(timeout=20_000)


def test_after_a_drag_the_crosshair_is_under_the_pointer_and_no_text_is_selected(
    seeded: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{seeded.url}/local/digits")
    _drawn(page, "train/loss", 4)
    page.locator('[data-metric="train/loss"]').scroll_into_view_if_needed()
    plot = page.locator('[data-metric="train/loss"] .chart-plot')
    box = plot.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2

    page.mouse.move(box["x"] + box["width"] * 0.3, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, middle, steps=4)
    page.mouse.up()
    expect(page).to_have_url(re.compile("steps="))

    def is_under_pointer() -> bool:
        rule = plot.locator(".chart-rule").bounding_box()
        return rule is not None and abs(rule["x"] - box["x"] - box["width"] * 0.6) < 8

    _until(is_under_pointer)
    shown = re.search(r"steps=(\d+)\.\.(\d+)", page.url)
    assert shown is not None
    told = plot.locator(".chart-tip-step").text_content() or ""
    step = int(told.removeprefix("Step ").replace(",", ""))
    assert int(shown[1]) <= step <= int(shown[2])
    assert page.evaluate("getSelection().toString()") == ""


def test_a_summary_shows_keys_that_cannot_be_seen_and_values_of_long_ones(
    server: Server, open_page: OpenPage
) -> None:
    server.run(
        "import runlore\n"
        "with runlore.init(project='p', id='one') as run:\n"
        "    run.log({'\\x00\\n': 1.5, 'k' * 500: 2.5})\n"
    )
    page = open_page(f"{server.url}/local/p/runs/one")
    rows = page.locator(".run-table .pair")

    expect(rows.first.locator(".pair-key")).to_have_text("\\0\\n", timeout=20_000)
    table = page.locator(".run-tables").bounding_box()
    value = rows.last.get_by_text("2.5", exact=True).bounding_box()
    assert table is not None
    assert value is not None
    assert value["x"] + value["width"] <= table["x"] + table["width"]
