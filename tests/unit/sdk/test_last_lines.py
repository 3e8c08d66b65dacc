"""The last lines of a run, as a program prints them."""

from pathlib import Path

import pytest

import runlore


def test_the_terminal_draws_each_key_from_its_first_point_to_its_last(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with runlore.init() as run:
        run.log({"loss": 0.0})
        run.log({"loss": 4.0}, step=9)
        run.log({"once": 0.5}, step=2)
    err = capsys.readouterr().err
    assert "loss  0 ▁█ 4" in err
    assert "once  0.5\n" in err
