"""What is special about the module `runlore`: its config and summary follow the current run."""

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from runlore.sdk import start
from runlore.sdk.documents import Config, Summary
from runlore.sdk.run import Run


class Door(ModuleType):
    """The module itself: what is set as its config becomes part of the current run's."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _DOCUMENTS:
            # Kept as an attribute it would be lost, and hide the config of every run.
            _DOCUMENTS[name]().update(value)
        else:
            super().__setattr__(name, value)


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


def current(name: str) -> Run | Config | Summary | Later | None:
    """Return the current run, or its config or summary, or what stands for these before."""
    run = start.current_run()
    if name == "run":
        return run
    return Later(name) if run is None else _DOCUMENTS[name]()


def _found(later: Later) -> Config | Summary:
    return _DOCUMENTS[later._name]()
