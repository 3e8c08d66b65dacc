"""What the import contracts cannot say about the rooms."""

from pathlib import Path

import runlore


def test_no_module_is_named_after_nothing_in_particular() -> None:
    modules = list(Path(runlore.__file__).parent.rglob("*.py"))
    assert len(modules) > 10
    vague = {"utils", "helpers", "common", "misc", "base"}
    assert [path for path in modules if path.stem in vague] == []
