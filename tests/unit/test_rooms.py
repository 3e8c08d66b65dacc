"""What the import contracts cannot say about the rooms."""

from pathlib import Path

import runlore

# Doors to the current run; without one they raise.
_CURRENT = {"config", "run", "summary"}
_ROOMS = Path(runlore.__file__).parent


def test_no_room_bears_a_name_of_the_public_door() -> None:
    rooms = {path.stem for path in _ROOMS.iterdir() if not path.name.startswith("_")}
    assert len(rooms) > 5
    assert rooms.isdisjoint(runlore.__all__)


def test_the_public_door_is_sorted_and_holds_what_it_names() -> None:
    assert list(runlore.__all__) == sorted(runlore.__all__)
    assert set(runlore.__all__) - _CURRENT <= {
        name for name in set(runlore.__all__) - _CURRENT if hasattr(runlore, name)
    }


def test_every_function_and_class_of_the_public_door_says_what_it_is() -> None:
    held = {name: getattr(runlore, name) for name in set(runlore.__all__) - _CURRENT}
    spoken = {name: thing for name, thing in held.items() if callable(thing)}
    assert len(spoken) > 5
    assert [name for name, thing in spoken.items() if not (thing.__doc__ or "").strip()] == []


def test_modules_named_after_nothing_in_particular_do_not_exist() -> None:
    modules = list(_ROOMS.rglob("*.py"))
    assert len(modules) > 10
    vague = {"utils", "helpers", "common", "misc", "base"}
    assert [path for path in modules if path.stem in vague] == []
