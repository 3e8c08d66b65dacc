"""What the import contracts cannot say about the rooms."""

from pathlib import Path

import runlore

_ROOMS = Path(runlore.__file__).parent


def test_no_room_bears_a_name_of_the_public_door() -> None:
    rooms = {path.stem for path in _ROOMS.iterdir() if not path.name.startswith("_")}
    assert len(rooms) > 5
    assert rooms.isdisjoint(runlore.__all__)


def test_the_public_door_is_sorted_and_holds_what_it_names() -> None:
    assert list(runlore.__all__) == sorted(runlore.__all__)
    assert [name for name in runlore.__all__ if not hasattr(runlore, name)] == []


def test_everything_at_the_public_door_says_what_it_is() -> None:
    named = [name for name in runlore.__all__ if not name.startswith("__")]
    silent = [name for name in named if not (getattr(runlore, name).__doc__ or "").strip()]
    assert silent == []


def test_modules_named_after_nothing_in_particular_do_not_exist() -> None:
    modules = [path for path in _ROOMS.rglob("*.py")]
    assert len(modules) > 10
    vague = {"utils", "helpers", "common", "misc", "base"}
    assert [path for path in modules if path.stem in vague] == []
