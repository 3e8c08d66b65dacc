"""The page of a fork: where it was forked off, and charts that begin with what it inherits."""

from playwright.sync_api import expect

from tests.e2e.conftest import OpenPage, Server
from tests.e2e.test_page import _INK_ABOVE, _drawn


def test_a_fork_links_to_its_parent_and_draws_what_it_inherits(
    server: Server, open_page: OpenPage
) -> None:
    server.run(
        "import runlore\n"
        "with runlore.init(project='p', id='base', name='the base') as run:\n"
        "    for step in range(120):\n"
        "        run.log({'loss': 9.0 if step == 20 else 0.5})\n"
        "with runlore.init(project='p', id='fork', fork_from='base?_step=99') as run:\n"
        "    for step in range(100):\n"
        "        run.log({'loss': 0.25})\n"
    )
    page = open_page(f"{server.url}/local/p/runs/fork")
    expect(page.locator(".fact", has_text="Fork of")).to_contain_text("base at step 99")
    _drawn(page, "loss", 1)
    ink = page.evaluate(_INK_ABOVE, ["loss", 0.5])
    assert ink, "the spike of the parent is not drawn"
    assert all(abs(column - 0.1) < 0.06 for column in ink)
    page.get_by_role("link", name="base", exact=True).click()
    expect(page.get_by_role("heading", name="the base")).to_be_visible(timeout=20_000)
    expect(page.locator(".fact", has_text="Fork of")).to_have_count(0)
