"""What is special about the module `runlore`: its config and summary follow the current run."""

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from runlore.errors import UsageError
from runlore.sdk import start
from runlore.sdk.documents import Config, Summary
from runlore.sdk.foreign import missing
from runlore.sdk.run import Run
from runlore.sdk.values import described


class Door(ModuleType):
    """The module itself: what is set as its config becomes part of the current run's."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _CURRENT and _is_asked_by_a_test():
            _patch(self, name, value)
        elif name in _DOCUMENTS:
            # Kept as an attribute it would be lost, and hide the config of every run.
            _DOCUMENTS[name]().update(value)
        elif name == "run":
            # Kept as an attribute it would hide every run from then on.
            raise UsageError(
                f"runlore.run is the current run and cannot be set, got {described(value)}; "
                "init() begins a run and finish() ends it"
            )
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in _CURRENT and name not in vars(self):
            _hidden.add(name)
        else:
            super().__delattr__(name)


class Later:
    """The config or summary before there is a run, for `from runlore import *`.

    Whatever is done with it is done with that of the current run, which there must be by then.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        object.__setattr__(self, "_name", name)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(_found(self), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(_found(self), name, value)

    def __getitem__(self, key: str) -> Any:  # noqa: ANN401
        return _found(self)[key]

    def __setitem__(self, key: str, value: object) -> None:
        _found(self)[key] = value

    def __contains__(self, key: object) -> bool:
        return key in _found(self)

    def __iter__(self) -> Iterator[str]:
        return iter(_found(self))

    def __len__(self) -> int:
        return len(_found(self))

    def __repr__(self) -> str:
        run = start.current_run()
        return f"<the {self._name} of no run yet>" if run is None else repr(_found(self))


_DOCUMENTS: dict[str, Callable[[], Config | Summary]] = {
    "config": start.current_config,
    "summary": start.current_summary,
}
_CURRENT = ("config", "run", "summary")
_TEST_TOOLS = ("mock.mock", "unittest.mock", "_pytest.monkeypatch")
_hidden: set[str] = set()
"""What a test has deleted from the module, until it puts it back."""
_before: dict[str, object] = {}
"""What a door gave when a test first put something in its place."""


def current(name: str) -> Run | Config | Summary | Later | None:
    """Return the current run, or its config or summary, or what stands for these before.

    Raises:
        AttributeError: a test has taken it away.
    """
    if name in _hidden:
        raise missing("module 'runlore'", name)
    run = start.current_run()
    if name == "run":
        return run
    return Later(name) if run is None else _DOCUMENTS[name]()


def _is_asked_by_a_test() -> bool:
    """Tell whether a tool that replaces attributes for a test sets one of the module.

    The same dict means the run's config when a script sets it, and a stand-in when a test does.
    """
    return sys._getframe(2).f_globals.get("__name__") in _TEST_TOOLS


def _patch(module: Door, name: str, value: object) -> None:
    """Put a stand-in for what follows the current run, or take it away again."""
    is_own = isinstance(value, Later | Config | Summary | Run)
    if name in _hidden or name in vars(module):
        # What came before, by then perhaps the config of a run that is over: ours follows again.
        _hidden.discard(name)
        if is_own or value is _before.get(name):
            vars(module).pop(name, None)
            return
    else:
        _before[name] = current(name)
    vars(module)[name] = value


def _found(later: Later) -> Config | Summary:
    return _DOCUMENTS[later._name]()
