"""Zooming: every spike at every zoom, no blank frame, and nothing is done out of sight."""

import random
import re
import time

import pytest
from playwright.sync_api import Page, Request, Route, expect

from runlore.core.run import run_ref
from runlore.testing.spools import SpoolBuilder
from tests.e2e.conftest import OpenPage, Server
from tests.e2e.spools import send, send_long

_CHART = '[data-metric="{}"] .chart[data-drawn="{}"]'
# The columns of the picture, as shares of its width, that hold ink in its upper half.
_INK_ABOVE = """() => {
  const canvas = document.querySelector("canvas.chart-lines");
  const height = Math.round(canvas.height / 2);
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, height).data;
  const columns = new Set();
  for (let at = 3; at < pixels.length; at += 4) {
    if (pixels[at] > 90) columns.add(((at - 3) / 4) % canvas.width / canvas.width);
  }
  return [...columns].sort((a, b) => a - b);
}"""
# Looks at the lines in every frame, and notes how many of its columns held ink.
_WATCH = """() => {
  window.inked = [];
  const look = () => {
    const canvas = document.querySelector("canvas.chart-lines");
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const columns = new Set();
    for (let at = 3; at < pixels.length; at += 4) {
      if (pixels[at] > 90) columns.add(((at - 3) / 4) % canvas.width);
    }
    window.inked.push(columns.size / canvas.width);
    window.looking = requestAnimationFrame(look);
  };
  look();
}"""
_INKED = "() => { const seen = window.inked; window.inked = []; return seen; }"
# A spike's column may lie beside its step by half of its bucket, and by the width of its stroke.
_NEAR = 0.01


def _find_spikes(server: Server, open_page: OpenPage, steps: int, count: int) -> None:
    chance = random.Random()
    spikes = sorted(chance.sample(range(1, steps), count))
    send_long(
        server.url, run_ref("local", "long", "run"), "loss", steps, dict.fromkeys(spikes, 9.0)
    )
    page = open_page(f"{server.url}/local/long")
    looks = 0
    for spike in spikes:
        width = steps
        while width >= 50:
            start = spike - chance.randrange(width // 20, width - width // 20)
            zoom = "" if width == steps else f"?steps={start}..{start + width}"
            shown = (0, steps - 1) if width == steps else (start, start + width)
            if zoom or looks == 0:
                page.goto(f"{server.url}/local/long{zoom}")
                page.wait_for_selector(_CHART.format("loss", 1))
                _check_ink(page, spikes, shown)
                looks += 1
            width //= chance.choice((7, 20, 60))
    assert looks > count


def _check_ink(page: Page, spikes: list[int], shown: tuple[int, int]) -> None:
    """All ink in the upper half is of spikes, and there is some for each of them."""
    low, high = shown
    places = [(spike - low) / (high - low) for spike in spikes if low <= spike <= high]
    ink = page.evaluate(_INK_ABOVE)
    for place in places:
        assert any(abs(column - place) < _NEAR for column in ink), (spikes, shown, place, ink)
    for column in ink:
        # With the buckets on both sides, to which the line through the means goes.
        assert any(abs(column - place) < 3 * _NEAR for place in places), (spikes, shown, column)


def test_each_spike_of_one_step_is_seen_at_every_zoom(server: Server, open_page: OpenPage) -> None:
    _find_spikes(server, open_page, steps=200_000, count=5)


@pytest.mark.slow
def test_each_spike_of_one_step_in_ten_million_is_seen_at_every_zoom(
    server: Server, open_page: OpenPage
) -> None:
    _find_spikes(server, open_page, steps=10_000_000, count=12)


def test_no_frame_is_blank_while_one_zooms_in_out_and_elsewhere(
    seeded: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{seeded.url}/local/digits?filter=train%2Facc")
    page.wait_for_selector(_CHART.format("train/acc", 4))
    # As slow as a server that is far away: what is shown before the answer is seen for long.
    page.route("**/series", lambda route: _answer_late(page, route))
    box = page.locator(".chart-plot").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.evaluate(_WATCH)

    def drag(first: float, last: float) -> None:
        page.mouse.move(box["x"] + box["width"] * first, middle)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * last, middle, steps=3)
        page.mouse.up()

    def seen_while_answered() -> list[float]:
        page.wait_for_timeout(200)
        before = page.evaluate(_INKED)
        page.wait_for_timeout(1200)
        return [*before, *page.evaluate(_INKED)]

    drag(0.1, 0.3)
    zoomed = seen_while_answered()
    drag(0.4, 0.6)
    deeper = seen_while_answered()
    page.keyboard.press("r")
    out = seen_while_answered()
    drag(0.7, 0.9)
    elsewhere = seen_while_answered()
    page.go_back()
    page.go_back()
    back = seen_while_answered()
    expect(page).to_have_url(re.compile("steps="))
    for seen in (zoomed, deeper, out, elsewhere, back):
        assert len(seen) > 3
        assert min(seen) > 0.5, seen


def _answer_late(page: Page, route: Route) -> None:
    page.wait_for_timeout(400)
    route.continue_()


def test_panels_out_of_sight_ask_for_nothing_and_draw_nothing(
    server: Server, open_page: OpenPage
) -> None:
    keys = [f"m{number:02}" for number in range(40)]
    builder = SpoolBuilder(run_ref("local", "p", "run"))
    for step in range(20):
        builder.log(dict.fromkeys(keys, float(step)), step=step)
    send(server.url, builder)
    sent = len(builder.frames)
    page = open_page("about:blank")
    asked: list[set[str]] = []

    def note(request: Request) -> None:
        if request.url.endswith("/series"):
            asked.append(set((request.post_data_json or {})["keys"]))

    page.on("request", note)
    page.goto(f"{server.url}/local/p")
    page.wait_for_selector(_CHART.format("m00", 1))
    # When the typeface has come, another row may be in sight, which asks a moment later.
    deadline = time.monotonic() + 20
    while page.locator(".chart[data-drawn]").count() != len(set().union(*asked)):
        assert time.monotonic() < deadline, "other panels were drawn than asked"
        page.wait_for_timeout(50)
    assert "m00" in set().union(*asked)
    assert "m39" not in set().union(*asked)

    assert page.locator('[data-metric="m39"]').count() == 0
    page.locator(".main").evaluate("main => main.scrollTo(0, main.scrollHeight)")
    page.wait_for_selector(_CHART.format("m39", 1))
    asked.clear()
    builder.log(dict.fromkeys(keys, 99.0), step=20)
    with page.expect_request("**/series"):
        send(server.url, builder, first=sent)
    assert "m39" in asked[0]
    assert "m00" not in set().union(*asked)


def test_of_a_thousand_lines_the_nearest_to_the_pointer_is_named(
    server: Server, open_page: OpenPage
) -> None:
    for number in range(1000):
        builder = SpoolBuilder(run_ref("local", "many", f"run-{number}"))
        for step in range(10):
            builder.log({"level": float(number)}, step=step)
        builder.end()
        send(server.url, builder)
    page = open_page(f"{server.url}/local/many?most=1000")
    page.wait_for_selector(_CHART.format("level", 1000), timeout=60_000)
    box = page.locator(".chart-plot").bounding_box()
    assert box is not None

    for share in (0.2, 0.5, 0.8):
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * share)
        # The axis goes a twentieth beyond the values on each side.
        level = 999 * (1.05 - 1.1 * share)
        near = "|".join(str(round(level) + off) for off in range(-4, 5))
        named = page.locator(".chart-tip .is-nearest span")
        expect(named).to_have_text(re.compile(f"^run-({near})$"))
        expect(page.locator(".chart-lines")).to_have_class(re.compile("is-faded"))
