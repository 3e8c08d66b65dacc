"""The public door: what `__all__` names is there, documented, and nothing else is."""

import inspect
import re
from pathlib import Path

import pytest

import runlore


def test_all_is_sorted_and_names_exactly_what_the_module_offers() -> None:
    assert runlore.__all__ == sorted(runlore.__all__)
    there = {
        name
        for name, value in vars(runlore).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert set(runlore.__all__) == {
        *there - {"TYPE_CHECKING"},
        *runlore._HOMES,
        *runlore._CURRENT,
        "__version__",
    }
    assert set(runlore.__all__) <= set(dir(runlore))


def test_the_guide_has_one_heading_for_each_name() -> None:
    guide = Path(__file__).parents[2] / "docs" / "guide" / "doors.md"
    headings = re.findall(r"^## `?(\w+)`?$", guide.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == runlore.__all__


def test_every_public_name_has_a_docstring_and_an_example() -> None:
    seen = 0
    for name in set(runlore.__all__) - {*runlore._CURRENT, "__version__"}:
        text = inspect.getdoc(getattr(runlore, name)) or ""
        assert "Example:" in text, name
        seen += 1
    assert seen > 5


def test_no_module_bears_a_name_of_the_door() -> None:
    folder = Path(runlore.__file__).parent
    names = {path.stem for path in folder.iterdir() if not path.name.startswith("_")}
    assert len(names) > 5
    assert not names & set(runlore.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'runlore' has no attribute 'lgo'"):
        runlore.lgo  # noqa: B018


def test_outside_a_run_there_is_none() -> None:
    assert runlore.run is None
