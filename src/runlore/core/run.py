"""A run: one execution of a program, addressed by owner, project and id."""

import re
from typing import Literal, NamedTuple, TypeAlias, get_args

from runlore.errors import UsageError

RunState: TypeAlias = Literal["running", "finished", "failed", "crashed"]
"""`failed` finished with an exit code other than 0; `crashed` ended without finishing."""
RUN_STATES: tuple[RunState, ...] = get_args(RunState)

DEFAULT_OWNER = "local"
RESERVED_OWNERS = frozenset(
    (
        "api",
        "v1",
        "graphql",
        "files",
        "artifacts",
        "artifactsV2",
        "sdk",
        "oidc",
        "assets",
        "healthz",
        "login",
        "settings",
    )
)

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}\Z")
_DOTS = frozenset({".", ".."})


class RunRef(NamedTuple):
    """The address of a run. Make one with `run_ref`, which checks the three names."""

    owner: str
    project: str
    run_id: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.project}/{self.run_id}"


class Fork(NamedTuple):
    """Where a run was forked off: it inherits what `run`, of its project, has up to `step`."""

    run: str
    step: int


def run_ref(owner: str, project: str, run_id: str) -> RunRef:
    """Address a run, after checking the three names.

    Raises:
        UsageError: a name has other characters than letters, digits, `_`, `.` and `-`, is empty
            or longer than 128, is `.` or `..`, or the owner is a reserved word.
    """
    checked_owner(owner)
    checked_name(project, "project")
    return RunRef(owner, project, checked_name(run_id, "run id"))


def checked_owner(owner: str) -> str:
    """Return the owner's name, or raise UsageError if it cannot be one."""
    checked_name(owner, "owner")
    if owner in RESERVED_OWNERS:
        raise UsageError(f"owner {owner!r} is a reserved word; choose another name")
    return owner


def checked_name(name: object, noun: str) -> str:
    """Return the name, or raise UsageError if it cannot name an owner, a project or a run."""
    if not isinstance(name, str) or not _NAME.match(name) or name in _DOTS:
        shown = repr(name) if len(repr(name)) <= 80 else repr(name)[:77] + "..."
        raise UsageError(
            f"{noun} must be 1 to 128 letters, digits, '_', '.' or '-' and not '.' or '..', "
            f"got {shown}"
        )
    return name
