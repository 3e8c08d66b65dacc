"""The table of `./dev bench` says what was measured, and says so where nothing was."""

from tools.bench import FIGURES, Figure, table
from tools.paths import ROOT

_LEAST = Figure("peer to ours", "log", r"ours ([\d.]+).*?peer ([\d.]+)", 8, "x", is_least=True)
_GREATEST = Figure("memory", "server", r"memory ([\d.,]+) KiB", 2000, "KiB")


def test_a_figure_stands_beside_its_goal_with_a_verdict() -> None:
    lines = table(
        [_LEAST, _GREATEST], {"log": "ours 2.0 us\npeer 10 us", "server": "memory 1,950 KiB"}
    )
    assert lines[1].split() == ["peer", "to", "ours", "≥", "8", "x", "5", "x", "missed"]
    assert lines[2].split() == ["memory", "≤", "2,000", "KiB", "1,950", "KiB", "met"]


def test_what_was_not_measured_says_how_to_have_it() -> None:
    lines = table([_LEAST._replace(without="needs the peers"), _GREATEST], {"log": "ours 2.0 us"})
    assert lines[1].endswith("needs the peers")
    assert lines[2].endswith("server.py failed")


def test_every_figure_names_a_driver_that_is_there() -> None:
    assert len(FIGURES) > 20
    assert all((ROOT / "benchmarks" / f"{one.driver}.py").exists() for one in FIGURES)
