"""Patterns from outside match or are refused, and none keeps a server busy."""

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from runlore.errors import UsageError
from runlore.store.search import checked_search, matcher, picker, searcher


def test_a_pattern_is_searched_whatever_the_case_unless_it_counts() -> None:
    assert matcher("^Train/", is_search=True)("train/loss")
    assert not matcher("^Train/", is_search=False)("train/loss")
    assert matcher(r"\d{4}-\d{2}-\d{2}", is_search=True)("on 2026-11-23")
    assert matcher(r"A\p{Lu}{1}", is_search=True)("AB")


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("((a{999}){999}){999}", "repeats"),
        ("(((a{0,99}){0,99}){0,99})", "repeats"),
        ("a{99999999999999999999}", "repeats"),
        ("(a", "no regular expression"),
        ("\\", "no regular expression"),
        ("a" * 513, "512 characters"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_with_its_reason(pattern: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        matcher(pattern, is_search=True)


def test_a_pattern_that_takes_long_is_given_up() -> None:
    fits = matcher("(a|aa)+$|x", is_search=True)
    with pytest.raises(UsageError, match="longer than 1 s"):
        fits("a" * 200 + "1")


def test_deep_parentheses_end_well() -> None:
    assert matcher("(" * 250 + ")" * 250, is_search=True)("a")


PARTS = ("a", "A", "1", "/", ".", "\\.", "\\d", "\\w", "[a/]", "[^a]", "^", "$", "|", "\\b", " ")
GROUPS = ("[0-9]", "[^a-z]", "(a|b/)", "(?:1|)", "(^|/)", "\\(", "x?")


@given(
    st.lists(st.sampled_from((*PARTS, *GROUPS)), max_size=5),
    st.sampled_from(("", "a*", ".+", "\\d?", "[^/]*", "a{2}", "(a|b)+")),
    st.lists(st.sampled_from((*PARTS, *GROUPS, ".*", "a+")), max_size=5),
    st.text(alphabet="aAb1/. \nſé", max_size=12),
    st.booleans(),
)
@example(["a"], "[^/]*", ["1"], "a" * 300 + "1", False)
@example(["(a|b/)", "(?:1|)"], ".+", [".*", "1"], "a" * 100 + "1", True)
def test_quick_patterns_find_what_the_others_would(
    before: list[str], repeated: str, after: list[str], text: str, is_search: bool
) -> None:
    pattern = "".join([*before, repeated, *after])
    flags = regex.IGNORECASE | regex.MULTILINE if is_search else 0
    expected = regex.search(pattern, text, flags) is not None
    assert matcher(pattern, is_search=is_search)(text) == expected
    assert picker(pattern, is_search=is_search)([text]) == [text] * expected


def test_all_texts_together_may_take_a_second() -> None:
    fits = matcher(".*aaaaaaaaaaaaaaaaaaaab", is_search=False)
    with pytest.raises(UsageError, match="longer than 1 s"):
        all(not fits("a" * 250) for _ in range(100_000))
    for pattern in (".*aaaaaaaaaaaaaaaaaaaab", "(a|a)(a|a)(a|a).*.*.*b"):
        pick = picker(pattern, is_search=False)
        with pytest.raises(UsageError, match="longer than 1 s"):
            pick("a" * length for _ in range(100_000) for length in (30, 64, 250))


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("LOSS", ["train/loss", "Loss"]),
        ("/loss", ["train/loss"]),
        ("/^LOSS/", ["Loss"]),
        ("/", ["train/loss", "a/b"]),
        ("//", []),
        (".", []),
        ("/./", ["train/loss", "Loss", "a/b"]),
        ("ss", ["train/loss", "Loss"]),
    ],
)
def test_a_search_is_for_text_or_between_slashes_for_a_pattern(
    search: str, found: list[str]
) -> None:
    assert searcher(search)(["train/loss", "Loss", "a/b"]) == found


def test_a_search_that_is_too_long_or_wrong_says_so() -> None:
    assert checked_search("a" * 1024) == "a" * 1024
    with pytest.raises(UsageError, match="search may have 1024 characters, got 1025"):
        checked_search("a" * 1025)
    with pytest.raises(UsageError, match="without the slashes it is searched for as it stands"):
        searcher("/(/")
