"""A plain `serve` is read as the parser of all other commands reads it."""

from pathlib import Path

import pytest

from runlore.cli import serving
from runlore.cli.assembly import assemble
from runlore.cli.serving import ServeOptions, plain_options


@pytest.mark.parametrize(
    "text",
    [
        "serve",
        "serve --port 0",
        "serve --host 0.0.0.0 --port 8000 --data some/folder --public-url http://a.example",
        "serve --port 1 --port 2",
    ],
)
def test_plain_options_are_those_of_the_parser(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[ServeOptions] = []
    monkeypatch.setattr(serving, "serve", told.append)
    arguments = text.split()
    assemble(arguments)(arguments, prog_name="runlore", standalone_mode=False)
    assert told == [plain_options(arguments)]


@pytest.mark.parametrize(
    "text",
    ["serve --help", "serve --port", "serve --port=1", "serve --port x", "serve --nothing 1"]
    + ["serve --host --port", "run list", "serve here", "--version", ""],
)
def test_all_else_is_left_to_the_parser(text: str) -> None:
    assert plain_options(text.split()) is None


def test_a_path_is_taken_as_it_stands() -> None:
    options = plain_options(["serve", "--data", "~/a b"])
    assert options is not None
    assert options.data == Path("~/a b")
