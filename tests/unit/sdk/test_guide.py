"""The guide to logging is true: its code blocks run, and what it promises is asserted there."""

import re
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[3] / "docs" / "guide" / "logging.md"
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_a_code_block_of_the_guide_runs(home: Path, number: int) -> None:
    assert len(BLOCKS) > 5
    exec(compile(BLOCKS[number], f"{GUIDE.name}, block {number + 1}", "exec"), {})
