"""`init(fork_from=)`: a new run that takes up the history of another up to a step."""

import re

from runlore.core.json import JsonObject
from runlore.core.metric import MAX_STEP
from runlore.core.run import Fork, RunRef, checked_name
from runlore.errors import UsageError
from runlore.sdk.values import described

_WRITTEN = re.compile(r"([^?]*)\?_step=([+-]?[0-9]{1,20})")


def fork_point(fork_from: object, *, id: str | None, resume: object) -> Fork | None:
    """Read where a run is forked off, such as `k3f9x2ab?_step=100`; None where it is not.

    Raises:
        UsageError: that is no run and step, or does not go with the other arguments of `init`.
    """
    if fork_from is None:
        return None
    if not isinstance(fork_from, str):
        raise UsageError(
            "fork_from must be a run's id and a step, such as 'k3f9x2ab?_step=100', got "
            f"{described(fork_from)}"
        )
    found = _WRITTEN.fullmatch(fork_from.strip())
    if found is None:
        raise UsageError(
            "fork_from must be a run's id and a step, such as 'k3f9x2ab?_step=100', got "
            f"{fork_from[:80]!r}"
        )
    parent, step = found[1], int(found[2])
    if "/" in parent:
        raise UsageError(
            f"fork_from must name a run of the same project by its id alone, got {parent[:80]!r}; "
            "begin the fork in that project, with project= and owner="
        )
    checked_name(parent, "the run of fork_from")
    if not 0 <= step < MAX_STEP:
        raise UsageError(
            f"fork_from must name a step from 0 to {MAX_STEP - 1}, got {found[2]}; the history up "
            "to it is inherited, and the first step of the fork is the next one"
        )
    if resume not in (None, False):
        raise UsageError(
            f"fork_from begins a new run and resume={resume!r} goes on with one; leave one of "
            "them out"
        )
    if id == parent:
        raise UsageError(
            f"a run cannot be a fork of itself, and id and fork_from both name {parent!r}; leave "
            "id out, or use resume='must' to go on with that run"
        )
    return Fork(run=parent, step=step)


def check_known(ref: RunRef, fork: Fork, run: JsonObject) -> None:
    """Raise UsageError if a run that is known, here or on a server, is not this fork."""
    if run.get("fork") != fork._asdict():
        raise UsageError(
            f"run {ref.run_id!r} is already in {ref.owner}/{ref.project}, and is no fork of "
            f"{fork.run!r} at step {fork.step}; choose another id, or leave it out"
        )
