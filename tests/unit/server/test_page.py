"""What a document tells the browser to ask for before its script has come."""

import pytest

from runlore.server.page import early_questions

_PROJECT = "/api/v1/projects/local/digits"


@pytest.mark.parametrize(
    ("name", "query", "early"),
    [
        ("local/digits", "", (f"{_PROJECT}/keys", f"{_PROJECT}/runs?limit=200")),
        ("local/digits", "smooth=10", (f"{_PROJECT}/keys", f"{_PROJECT}/runs?limit=200")),
        ("local/digits", "q=wide", (f"{_PROJECT}/keys",)),
        ("local/digits", "where=config.lr<1", (f"{_PROJECT}/keys",)),
        ("local/digits", "sort=-name", (f"{_PROJECT}/keys",)),
        ("local/digits/runs/one", "", (f"{_PROJECT}/runs/one/keys", f"{_PROJECT}/runs/one")),
        ("settings", "", ()),
        ("local/digits/runs/one/more", "", ()),
        ("local/a>; rel=preload, <b", "", ()),
        ("local/…", "", ()),
        ("local/", "", ()),
    ],
)
def test_a_document_names_what_its_page_asks_first(
    name: str, query: str, early: tuple[str, ...]
) -> None:
    assert early_questions(name, query) == early
