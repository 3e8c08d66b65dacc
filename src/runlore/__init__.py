"""Runlore keeps everything that machine-learning people try, and lets them ask it questions.

What logs is loaded at once, so that no call in the middle of a program has to; the rest of
`__all__` when it is first used.
"""

import sys

from runlore.errors import RunloreError as Error
from runlore.sdk import door
from runlore.sdk.foreign import Settings
from runlore.sdk.run import Run
from runlore.sdk.start import define_metric, finish, flush, init, log, login
from runlore.version import __version__

# Type checkers take this name for true; the module `typing` is not worth loading for it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from runlore.sdk.api import Api
    from runlore.sdk.documents import Config, Summary

    run: Run | None
    config: Config
    summary: Summary

__all__ = [
    "Api",
    "Error",
    "Run",
    "Settings",
    "__version__",
    "config",
    "define_metric",
    "finish",
    "flush",
    "init",
    "log",
    "login",
    "run",
    "summary",
]

_HOMES = {"Api": "api"}
_CURRENT = ("config", "run", "summary")

sys.modules[__name__].__class__ = door.Door


def __getattr__(name: str) -> object:
    if name in _CURRENT:
        # Not kept: the current run changes.
        return door.current(name)
    if name not in _HOMES:
        from runlore.sdk.foreign import missing

        raise missing("module 'runlore'", name)
    from importlib import import_module

    found: object = getattr(import_module(f"runlore.sdk.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
