"""The way through the page without a pointer: what has the focus is seen, and it is never lost."""

import re

from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import OpenPage, Server

_IS_SEEN = """(element) => {
  const { outlineStyle, outlineWidth } = getComputedStyle(element);
  const isOutlined = outlineStyle !== 'none' && parseFloat(outlineWidth) > 0;
  return element.matches(':focus-visible') && isOutlined;
}"""


def _has_focus(place: Locator) -> None:
    """Wait until an element has the focus, and check that a person sees it."""
    expect(place).to_be_focused()
    assert place.evaluate(_IS_SEEN), "the focus is not seen"


def _tab_to(page: Page, place: Locator) -> None:
    """Press Tab until an element has the focus; at every stop the focus is seen."""
    for _ in range(60):
        page.keyboard.press("Tab")
        _has_focus(page.locator(":focus"))
        if place.evaluate("(element) => element === document.activeElement"):
            return
    raise AssertionError("no number of Tabs leads there")


def test_projects_runs_and_back_by_keys(seeded: Server, open_page: OpenPage) -> None:
    page = open_page(seeded.url)
    opened = page.get_by_role("row").get_by_role("link")
    expect(opened.first).to_be_visible()

    _tab_to(page, opened.filter(has_text="digits"))
    page.keyboard.press("Enter")
    toggle = page.get_by_label("run-2: ")
    expect(toggle).to_be_visible()
    _has_focus(page.locator(":focus"))

    page.keyboard.press("/")
    page.keyboard.type("/run-[12]$/")
    expect(page.get_by_role("listitem")).to_have_count(2)
    _tab_to(page, toggle)
    page.keyboard.press("Space")
    expect(toggle).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("Alt+Enter")
    expect(page).to_have_url(re.compile("only="))
    page.keyboard.press("Alt+Enter")
    expect(page).not_to_have_url(re.compile("only="))
    page.keyboard.press("Space")
    # Before the rows stand the heads of the list, by which it is sorted.
    for _ in range(3):
        page.keyboard.press("Shift+Tab")
    _has_focus(page.get_by_role("button", name="Show all"))
    page.keyboard.press("Enter")
    expect(toggle).to_have_attribute("aria-pressed", "true")
    _has_focus(page.locator("summary", has_text="Columns"))

    page.keyboard.press("/")
    page.keyboard.press("Escape")
    expect(page.get_by_role("listitem")).to_have_count(4)
    expect(page.get_by_label("Search runs")).to_be_focused()
    link = page.get_by_role("link", name="run-2", exact=True)
    _tab_to(page, link)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="run-2")).to_be_visible()
    _has_focus(page.locator(":focus"))
    page.go_back()
    _has_focus(link)


def test_a_zoom_by_keys_is_reset_by_a_key_and_by_its_chip(
    seeded: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{seeded.url}/local/digits?filter=lr")
    chart = page.get_by_role("img", name="lr by step")
    expect(chart).to_have_attribute("data-drawn", "4")

    _tab_to(page, chart)
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".chart-tip")).to_be_visible()
    page.keyboard.press("+")
    expect(page).to_have_url(re.compile("steps="))
    page.keyboard.press("r")
    expect(page).not_to_have_url(re.compile("steps="))
    _has_focus(chart)
    page.keyboard.press("+")
    chip = page.get_by_title("Show all (R)")
    expect(chip).to_be_visible()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    _has_focus(chip)
    page.keyboard.press("Enter")
    expect(chip).to_be_hidden()
    _has_focus(page.get_by_role("slider"))


def test_an_enlarged_panel_closes_by_escape_and_gives_the_focus_back(
    seeded: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{seeded.url}/local/digits?filter=lr")
    enlarge = page.get_by_role("button", name="Enlarge lr")
    expect(enlarge).to_be_attached()

    for close in ("Escape", "Enter"):
        if close == "Escape":
            _tab_to(page, enlarge)
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_be_visible()
        if close == "Enter":
            _tab_to(page, page.get_by_role("button", name="Close lr"))
        page.keyboard.press(close)
        expect(page.get_by_role("dialog")).to_be_hidden()
        expect(page).not_to_have_url(re.compile("panel="))
        _has_focus(enlarge)


def test_the_palette_and_the_question_take_the_keys_and_give_the_focus_back(
    seeded: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{seeded.url}/local/digits")
    page.get_by_role("link", name="run-1").click()
    delete = page.get_by_role("button", name="Delete…")
    expect(delete).to_be_visible()
    _tab_to(page, delete)

    page.keyboard.press("?")
    search = page.get_by_label("Search commands")
    expect(search).to_be_focused()
    expect(search).to_have_value("")
    page.keyboard.type("nothing of that name")
    page.keyboard.press("Enter")
    expect(search).to_be_focused()
    page.keyboard.press("Escape")
    _has_focus(delete)
    page.keyboard.press("Control+k")
    expect(search).to_be_focused()
    page.keyboard.press("Control+k")
    _has_focus(delete)

    page.keyboard.press("Enter")
    _has_focus(page.get_by_role("button", name="Keep it"))
    page.keyboard.press("l")
    page.keyboard.press("Escape")
    _has_focus(delete)
    expect(page.get_by_role("button", name="Log y")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("Control+k")
    page.keyboard.type("filter panels")
    page.keyboard.press("Enter")
    _has_focus(page.get_by_label("Filter panels"))


def test_a_field_that_was_a_button_is_one_again_with_the_focus_on_it(
    seeded: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{seeded.url}/local/digits")
    page.get_by_role("link", name="run-1").click()
    for name, field in (
        ("run-1", "Name of the run"),
        ("Add tags", "Tags, separated by commas"),
        ("Add notes", "Notes"),
    ):
        button = page.get_by_role("button", name=name, exact=True)
        expect(button).to_be_visible()
        _tab_to(page, button)
        page.keyboard.press("Enter")
        _has_focus(page.get_by_label(field, exact=True))
        page.keyboard.press("Escape")
        _has_focus(button)

    color = page.get_by_label("Colour of the run")
    while not color.evaluate("(element) => element === document.activeElement"):
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    _has_focus(page.get_by_role("button", name="Colour 1", exact=True))
    page.keyboard.press("Escape")
    _has_focus(color)
    expect(page.locator(".swatches")).to_be_hidden()
