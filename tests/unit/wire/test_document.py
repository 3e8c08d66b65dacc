"""Documents in the API's JSON: each comes back as it was, whatever it looks like."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runlore.core.json import JsonObject, JsonValue
from runlore.errors import UsageError
from runlore.wire.document import plain_object, unplain_object

keys = st.sampled_from(["$number", "$document", "$", "$x", "a"]) | st.text(
    st.characters(codec="utf-8"), max_size=3
)
names = st.sampled_from(["NaN", "7", "Infinity", "evil"])
leaves: st.SearchStrategy[JsonValue] = (
    st.none() | st.booleans() | st.integers() | st.floats() | names
)
values: st.SearchStrategy[JsonValue] = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=2),
    max_leaves=12,
)


@given(st.dictionaries(keys, values, max_size=2))
def test_every_document_comes_back_as_it_was(document: JsonObject) -> None:
    text = msgspec.json.encode(plain_object(document))
    for read in (json.loads(text), msgspec.json.decode(text)):
        assert repr(unplain_object(read)) == repr(document)


def test_whole_numbers_that_a_browser_would_round_travel_as_their_digits() -> None:
    document: JsonObject = {"safe": 2**53 - 1, "seed": 2**53 + 1, "low": -(2**60) - 1}
    assert plain_object(document) == {
        "safe": 2**53 - 1,
        "seed": {"$number": "9007199254740993"},
        "low": {"$number": "-1152921504606846977"},
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"a": {"$number": "evil"}},
        {"a": {"$number": 7}},
        {"a": {"$number": "9" * 5000}},
        {"a": {"$document": 3}},
        {"$number": "7"},
        [1],
        {"a": object()},
    ],
)
def test_what_only_looks_like_a_number_or_document_is_refused(wrong: object) -> None:
    with pytest.raises(UsageError, match=r"\$number|\$document|JSON value"):
        unplain_object(wrong)
