"""The guide to logging is true: its code blocks run, and what it promises is asserted there."""

import re
from pathlib import Path

import pytest

import runlore
from runlore.sdk import foreign

GUIDE = Path(__file__).parents[3] / "docs" / "guide" / "logging.md"
TEXT = GUIDE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_code_block_of_the_guide_runs(home: Path, number: int) -> None:
    assert len(BLOCKS) > 5
    exec(compile(BLOCKS[number], f"{GUIDE.name}, block {number + 1}", "exec"), {})


def test_the_names_that_come_later_are_those_that_say_so(home: Path) -> None:
    (row,) = re.findall(r"^\| names that come later \| (.*) \|$", TEXT, re.MULTILINE)
    named = re.findall(r"`(\w+)`", row)
    assert named == " ".join(foreign._LATER.values()).split()
    for name in named:
        with pytest.raises(AttributeError, match=f"no '{name}' yet: .* come with a later"):
            getattr(runlore, name)


def test_of_wandbs_variables_only_the_key_is_read(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RUNLORE_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", "other")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_PROJECT", "other")
    with runlore.init() as run:
        settings = run._origin.settings
    assert (settings.api_key, settings.mode, run.project) == ("other", "offline", "uncategorized")
