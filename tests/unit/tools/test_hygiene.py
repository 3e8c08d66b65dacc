"""The hygiene guard finds what must not be committed."""

import pytest

from tools.hygiene import findings

_DOT = "."
_COLON = ":"


@pytest.mark.parametrize(
    "line",
    [
        f"index-url = https://pypi{_DOT}org/simple",
        f'"resolved"{_COLON} "https://registry.npmjs{_DOT}org/react"',
        f"deb http://deb{_DOT}debian.org/debian bookworm main",
        f"https://files.pythonhosted{_DOT}org/packages/x.whl",
        "# TO" + "DO: later",
        "<" * 7 + " HEAD",
    ],
)
def test_what_must_not_stand_in_a_file_is_found_with_its_line(line: str) -> None:
    found = findings(f"fine\n{line}\n", "some/file")
    assert found
    assert all(one.startswith("some/file:2: ") for one in found)


def test_ordinary_text_is_let_through() -> None:
    text = "PyPI and npm are registries; a pypi mirror works too.\n# Methodology\n=======\n"
    assert findings(text, "some/file") == []
