"""The settings: one table, read once, from arguments, environment, file and defaults."""

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from runlore.errors import UsageError

DEFAULT_URL = "http://127.0.0.1:7333"
URL = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[^\s/:@?#\[\]]+)(?::(\d{1,5}))?(/[^\s?#]*)?\Z")
"""The address of a server: scheme, host, port and prefix."""
MODES = ("online", "offline", "disabled")


class Setting(NamedTuple):
    """One row of the table. The environment variable is `RUNLORE_` and the name in capitals."""

    name: str
    default: str
    help: str


SETTINGS = (
    Setting("url", DEFAULT_URL, "address of the server"),
    Setting("api_key", "", "key for a server that asks for one; never printed"),
    Setting("project", "uncategorized", "project of runs that name none"),
    Setting("home", "~/.runlore", "folder for the spool, the server's data and this file"),
    Setting("mode", "online", "online, offline (spool only) or disabled (do nothing)"),
    Setting("staging", "", "folder in memory for what log() writes; empty: /dev/shm"),
    Setting("finish_timeout", "60", "seconds that finish() waits at most for a reachable server"),
)
_FOREIGN = {"api_key": "WANDB_API_KEY"}
"""Variables of wandb's that count where none of ours and no file says anything."""
_NAMES = frozenset(setting.name for setting in SETTINGS)


class Origin(NamedTuple):
    """A setting's value and where it comes from: argument, environment, file or default."""

    value: str
    origin: str


class Settings(NamedTuple):
    """The settings of one process, checked."""

    url: str
    api_key: str
    project: str
    home: str
    mode: str
    staging: str
    finish_timeout: float


def load(**arguments: str | None) -> Settings:
    """Read the settings; an argument of None counts as not given.

    Raises:
        UsageError: a value cannot be one of that setting, or the file is not readable.
    """
    found = origins(**arguments)
    values = {name: origin.value for name, origin in found.items()}
    url = values["url"].rstrip("/")
    match = URL.match(url)
    is_plain = url.isascii() and url.isprintable()
    if match is None or int(match[3] or 1) not in range(1, 65536) or not is_plain:
        # What stands before an @ may be a password.
        shown = re.sub("//.*@", "//…@", url)
        raise UsageError(
            f"url must be like http://host:7333 or https://host/prefix, got {shown!r} "
            f"(from {found['url'].origin}); a key goes into RUNLORE_API_KEY"
        )
    if values["mode"] not in MODES:
        raise UsageError(
            f"mode must be one of {', '.join(MODES)}, got {values['mode']!r} "
            f"(from {found['mode'].origin})"
        )
    return Settings(
        url=url,
        api_key=_key(found["api_key"]),
        project=values["project"],
        home=os.path.abspath(os.path.expanduser(values["home"])),
        mode=values["mode"],
        staging=values["staging"],
        finish_timeout=_seconds(found["finish_timeout"]),
    )


def origins(**arguments: str | None) -> dict[str, Origin]:
    """Return each setting with its origin, for `runlore settings list`."""
    unknown = set(arguments) - _NAMES
    if unknown:
        raise UsageError(f"no setting {min(unknown)!r}; there are {', '.join(sorted(_NAMES))}")
    home = arguments.get("home") or os.environ.get("RUNLORE_HOME") or "~/.runlore"
    path = os.path.join(os.path.expanduser(home), "settings.toml")
    file = _read_file(path)
    found: dict[str, Origin] = {}
    for name, default, _ in SETTINGS:
        argument = arguments.get(name)
        variable = f"RUNLORE_{name.upper()}"
        if argument is not None:
            found[name] = Origin(argument, "argument")
        elif os.environ.get(variable):
            found[name] = Origin(os.environ[variable], f"environment variable {variable}")
        elif name in file:
            found[name] = Origin(str(file[name]), f"file {path}")
        elif os.environ.get(foreign := _FOREIGN.get(name, "")):
            found[name] = Origin(os.environ[foreign], f"environment variable {foreign}")
        else:
            found[name] = Origin(default, "default")
    return found


def _read_file(path: str) -> Mapping[str, object]:
    if not os.path.exists(path):
        return {}
    import tomllib

    try:
        with open(path, "rb") as file:
            found = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(
            f"cannot read the settings file {path!r}: {error}; mend or remove it"
        ) from error
    unknown = sorted(set(found) - _NAMES)
    if unknown:
        raise UsageError(
            f"no setting {unknown[0]!r}, which the file {path!r} names; there are "
            f"{', '.join(sorted(_NAMES))}"
        )
    return found


def _key(found: Origin) -> str:
    # Never told, not even a wrong one.
    if not found.value.isascii() or not found.value.isprintable():
        raise UsageError(
            f"api_key holds characters that no key has (from {found.origin}); "
            "copy it again from the server's key file"
        )
    return found.value


def _seconds(found: Origin) -> float:
    try:
        seconds = float(found.value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(
            f"finish_timeout must be a number of seconds from 0 on, got {found.value!r} "
            f"(from {found.origin})"
        )
    return seconds
