"""The doors of the SDK: `init`, and module functions that speak to the current run."""

import atexit
import os
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Literal, TypeAlias

from runlore import settings as settings_table
from runlore.core.json import JsonObject
from runlore.core.run import DEFAULT_OWNER, Fork, RunRef, run_ref
from runlore.core.text import printable
from runlore.errors import UsageError
from runlore.sdk import foreign, forks, logins, names, resume, terminal, tree
from runlore.sdk.documents import Config, Summary, fields_of
from runlore.sdk.facts import Origin
from runlore.sdk.goals import Definition
from runlore.sdk.run import Run, checked_tags, checked_text, exit_code_from
from runlore.sdk.values import described
from runlore.settings import Settings

Resume: TypeAlias = Literal["allow", "auto", "must", "never"] | bool | None
Reinit: TypeAlias = (
    Literal["default", "finish_previous", "return_previous", "create_new"] | bool | None
)

_RESUMES = (None, True, False, "allow", "auto", "must", "never")
_REINITS = {
    None: "default",
    True: "finish_previous",
    False: "return_previous",
    "default": "default",
    "finish_previous": "finish_previous",
    "return_previous": "return_previous",
    "create_new": "create_new",
}


class _Process:
    """What this process has begun.

    Attributes:
        current: the run that the module functions speak to.
        live: the runs that are not finished, in the order of their beginnings.
        exit_code: what `sys.exit` was called with.
        is_hooked: whether the hooks for the end of the process and for forks are in place.
        warned: the arguments that were named in a warning already, with their door.
        turn: held while a run begins, so that of two threads one finds the other's.
    """

    def __init__(self) -> None:
        self.current: Run | None = None
        self.live: list[Run] = []
        self.exit_code: int | None = None
        self.is_hooked = False
        self.warned: set[tuple[str, str]] = set()
        self.turn = threading.RLock()

    def forget(self, *gone: Run) -> None:
        """Let go of runs, and of those that are finished; other threads may begin some."""
        for run in list(self.live):
            if run in gone or run.is_finished:
                with suppress(ValueError):
                    self.live.remove(run)


_process = _Process()


def init(  # noqa: PLR0913
    project: str | None = None,
    *,
    owner: str | None = None,
    entity: str | None = None,
    id: str | None = None,
    name: str | None = None,
    config: object = None,
    tags: Sequence[str] | str | None = None,
    notes: str | None = None,
    group: str | None = None,
    job_type: str | None = None,
    resume: Resume = None,
    mode: Literal["online", "offline", "disabled"] | None = None,
    settings: Mapping[str, object] | None = None,
    dir: str | os.PathLike[str] | None = None,
    reinit: Reinit = None,
    fork_from: str | None = None,
    **unknown: object,
) -> Run:
    """Begin a run, and make it the current one.

    It waits for no server, unless `id` or `resume` is given: then it asks once what is known of
    the run, for at most two seconds, and goes on without an answer.

    Args:
        project: None or an empty text takes the setting `project`.
        owner: whose project it is; None or an empty text is `local`.
        entity: another word for `owner`.
        id: the run's id, for one that goes on later; None makes one up.
        name: what people read; None makes one up.
        config: a dict, a dataclass or an argparse namespace of what the run is tried with.
        tags: words to find the run by.
        notes: a longer text about it.
        group: what the runs of one experiment share.
        job_type: what kind of work it is, such as `train` or `eval`.
        resume: "must" wants a known run, "never" an unknown one; "allow", "auto", True and None
            continue the run if it is known.
        mode: "offline" keeps everything on this machine, "disabled" does nothing.
        settings: other settings by name, such as {"url": ..., "finish_timeout": "10"}.
        dir: another home for the spool, see the setting `home`.
        reinit: what to do while another run is not finished: "finish_previous" (True),
            "return_previous" (False) or "create_new"; None finishes it in a notebook and
            returns it elsewhere.
        fork_from: "k3f9x2ab?_step=100" inherits the history of that run of the project up to
            and with that step; the first step of this run is the next one.
        **unknown: arguments that wandb knows and Runlore does not; each is named once and
            otherwise ignored.

    Raises:
        UsageError: an argument or a setting is wrong, or the run is there or not against `resume`.

    Example:
        run = runlore.init(project="digits", config={"lr": 0.1})
    """
    _warn_unknown("init()", unknown)
    if resume not in _RESUMES:
        raise UsageError(
            f"resume must be 'allow', 'must', 'never', 'auto', True or None, got {resume!r}"
        )
    if not isinstance(dir, str | os.PathLike | None):
        raise UsageError(f"dir must be the path of a folder, got {described(dir)}")
    found = _settings(settings, mode=mode, home=None if dir is None else os.fspath(dir))
    fork = forks.fork_point(fork_from, id=id, resume=resume)
    ref = run_ref(
        owner or entity or DEFAULT_OWNER,
        project or found.project,
        id if id is not None else names.run_id(),
    )
    earlier = _earlier(reinit)
    if earlier is not None:
        return earlier
    if found.mode == "disabled":
        return _disabled(
            Origin(ref, found, name or "disabled", "main", False, fork=fork), config, tags, notes
        )
    told = _told(tags, notes, group, job_type)
    fields = {} if config is None else fields_of(config, "config")
    if name is not None:
        told["name"] = checked_text(name, "name")
    is_asked = id is not None or resume not in (None, False)
    known = _past(found, ref, resume, fork) if is_asked else _Past(None, 0)
    step = known.step
    if fork is not None:
        step = max(step, fork.step + 1)
    if name is None and not is_asked:
        told["name"] = name = names.run_name()
    shown = name or known.name or ref.run_id
    is_resumed = is_asked and (
        resume in ("allow", "auto", "must", True) or (known.state not in (None, "running"))
    )
    _hook()
    with _process.turn:
        # Another thread may have begun one meanwhile.
        earlier = _earlier(reinit)
        if earlier is not None:
            return earlier
        run = Run(Origin(ref, found, shown, "main", is_resumed, fork=fork), step=step)
        run.config.restore(known.config)
        run.summary.restore(known.summary)
        run._told.update(known.told)
        # A program that goes on after `sys.exit` has caught it.
        _process.exit_code = None
        _process.forget()
        _process.live.append(run)
        _process.current = run
        # Before another thread may finish it.
        told["program"] = sys.argv[0] if sys.argv else ""
        run._write_run(told)
        run.config.update(fields)
    terminal.say(terminal.started(shown, run.url))
    return run


def log(data: Mapping[str, object], step: int | None = None, commit: bool | None = None) -> None:
    """Log values to the current run, see `Run.log`.

    Example:
        runlore.log({"loss": 0.5})
    """
    run = _process.current
    if run is None:
        raise _no_run("log()")
    run.log(data, step, commit)


def finish(exit_code: int | None = None, *, quiet: bool | None = None, **unknown: object) -> None:
    """End the current run if there is one, see `Run.finish`.

    Example:
        runlore.finish()
    """
    _warn_unknown("finish()", unknown)
    run = _process.current
    if run is not None:
        _finish(run, exit_code, quiet=quiet)


def login(key: str | None = None, *, host: str | None = None, **unknown: object) -> bool:
    """Use a key and a server in the rest of this process; nothing is sent or stored.

    Runs that begin after it and `Api` take them.

    Args:
        key: the server's key; None takes the setting `api_key`.
        host: the server's address; None takes the setting `url`.
        **unknown: arguments that only wandb knows; each is named once and otherwise ignored.

    Returns:
        Whether there is a key. A server on this machine needs none.

    Raises:
        UsageError: the address is none.

    Example:
        runlore.login(key="k-123", host="http://127.0.0.1:7333")
    """
    _warn_unknown("login()", unknown)
    given = {"api_key": key, "url": host}
    texts = {name: checked_text(text, name) for name, text in given.items() if text is not None}
    return bool(logins.log_in(**texts).api_key)


def define_metric(
    name: str,
    step_metric: str | None = None,
    *,
    summary: str | None = None,
    goal: Literal["minimize", "maximize"] | None = None,
    hidden: bool | None = None,
    **unknown: object,
) -> Definition:
    """Say how a metric of the current run is drawn and summed up, see `Run.define_metric`.

    Example:
        runlore.define_metric("eval/*", step_metric="epoch")
    """
    return current("define_metric()").define_metric(
        name, step_metric, summary=summary, goal=goal, hidden=hidden, **unknown
    )


def flush(timeout: float | None = None) -> bool:
    """Wait until all that the current run logged is delivered, see `Run.flush`.

    Example:
        runlore.flush(timeout=5)
    """
    return current("flush()").flush(timeout)


def current_run() -> Run | None:
    """Return the current run; None before `init` and after `finish`."""
    run = _process.current
    return None if run is None or run.is_finished else run


def current(what: str) -> Run:
    """Return the current run, or raise UsageError for the door that needs one."""
    run = current_run()
    if run is None:
        raise _no_run(what)
    return run


def current_config() -> Config:
    """Return the config of the current run."""
    return _run_with("config").config


def current_summary() -> Summary:
    """Return the summary of the current run."""
    return _run_with("summary").summary


def attach(
    ref: tuple[str, str, str],
    settings: tuple[str, str, str, str, str, str, float],
    name: str,
    step: int,
    tree_path: str,
    writer: str,
    program: str,
    config: JsonObject,
) -> Run:
    """Unpickle a run: the live one in its own process, elsewhere another writer of it."""
    address = RunRef(*ref)
    for live in reversed(_process.live):
        if live._origin.ref == address:
            return live
    found = Settings(*settings)
    key = tree.read_target(tree_path, writer).get("api_key") if tree_path else None
    if not isinstance(key, str):
        key = settings_table.load().api_key
    origin = Origin(address, found._replace(api_key=key), name, "child", False, program)
    run = Run(origin, step=step)
    run.config.restore(config)
    _hook()
    _process.live.append(run)
    if _process.current is None:
        _process.current = run
    return run


def _disabled(
    origin: Origin, config: object, tags: Sequence[str] | str | None, notes: str | None
) -> Run:
    """Begin a run that stays in memory; nothing is hooked, for nothing is to be ended."""
    run = Run(origin, step=0 if origin.fork is None else origin.fork.step + 1)
    if config is not None:
        run.config.update(config)
    # Whatever is no text here is no reason to stop a program that keeps nothing.
    with suppress(UsageError):
        run._told.update(_told(tags, notes, None, None))
    _process.forget()
    _process.live.append(run)
    _process.current = run
    return run


class _Past:
    """What is known of a run before this process: from the server, else from this machine."""

    def __init__(self, run: JsonObject | None, step: int) -> None:
        self.run = found = run or {}
        name, state, config = found.get("name"), found.get("state"), found.get("config")
        self.step = step
        self.name = name if isinstance(name, str) else None
        self.state = state if isinstance(state, str) else None
        self.config = config if isinstance(config, dict) else {}
        summary = found.get("summary")
        self.summary = summary if isinstance(summary, dict) else {}
        self.told = {key: found.get(key) for key in ("tags", "notes")}


def _past(found: Settings, ref: RunRef, wanted: Resume, fork: Fork | None) -> _Past:
    local = resume.last_local_step(found, ref)
    known = resume.Known(is_answered=False)
    if found.mode == "online":
        known = resume.ask_server(found, ref)
    if known.is_deleted and wanted == "must":
        raise UsageError(
            f"run {ref.run_id!r} was deleted on {found.url}, and resume='must' wants one; "
            "choose another id"
        )
    if known.is_deleted:
        terminal.say(
            f"runlore: run {ref.run_id!r} was deleted on {found.url}, which takes no more of it; "
            "what is logged now stays on this machine, so choose another id"
        )
    if known.trouble is not None:
        terminal.say(f"runlore: {known.trouble}; going on with what this machine knows of it")
    is_there = known.run is not None or (local is not None and not known.is_answered)
    if wanted == "must" and known.is_answered and known.run is None:
        raise UsageError(
            f"no run {ref.run_id!r} in {ref.owner}/{ref.project} on {found.url}, and "
            "resume='must' wants one; check id and project, or use resume='allow'"
        )
    if wanted == "never" and is_there:
        raise UsageError(
            f"run {ref.run_id!r} is already in {ref.owner}/{ref.project}, and resume='never' "
            "wants a new one; choose another id, or use resume='allow'"
        )
    if fork is not None:
        _check_fork(found, ref, fork, known)
    steps = [] if local is None else [local]
    if known.run is not None:
        last = known.run.get("last_step")
        if isinstance(last, int):
            steps.append(last)
    return _Past(known.run, max(steps) + 1 if steps else 0)


def _check_fork(found: Settings, ref: RunRef, fork: Fork, known: resume.Known) -> None:
    """Refuse a fork that is known as another run; say that its parent was deleted."""
    run = known.run or resume.local_run(found, ref)
    if run:
        forks.check_known(ref, fork, run)
    if known.is_answered:
        parent = ref._replace(run_id=fork.run)
        if resume.ask_server(found, parent).is_deleted:
            terminal.say(
                f"runlore: run {fork.run!r} was deleted on {found.url}, so this fork inherits "
                "nothing of it there"
            )


def _settings(given: Mapping[str, object] | None, **arguments: str | None) -> Settings:
    if given is not None and not isinstance(given, Mapping):
        raise UsageError(
            f"settings must be a dict, got {described(given)}; for example "
            "{'url': 'http://127.0.0.1:7333'}"
        )
    if isinstance(given, foreign.Settings):
        known = {setting.name for setting in settings_table.SETTINGS}
        _warn_unknown("Settings()", given.keys() - known)
        given = {name: value for name, value in given.items() if name in known}
    texts = {str(k): str(value) for k, value in (given or {}).items() if value is not None}
    return logins.load(
        **texts, **{key: value for key, value in arguments.items() if value is not None}
    )


def _told(
    tags: Sequence[str] | str | None, notes: str | None, group: str | None, job_type: str | None
) -> JsonObject:
    told: JsonObject = {}
    if tags is not None:
        told["tags"] = checked_tags(tags)
    for what, text in (("notes", notes), ("group", group), ("job_type", job_type)):
        if text is not None:
            told[what] = checked_text(text, what)
    return told


def _earlier(reinit: Reinit) -> Run | None:
    """Deal with a run that is not finished; return it if `init` is to return it."""
    if reinit not in _REINITS:
        raise UsageError(
            f"reinit must be 'finish_previous', 'return_previous' or 'create_new', got {reinit!r}"
        )
    before = _process.current
    if before is None or before.is_finished or before.is_child:
        return None
    way = _REINITS[reinit]
    if way == "default":
        way = "finish_previous" if _is_notebook() else "return_previous"
    if way == "finish_previous":
        _finish(before, None)
    elif way == "return_previous":
        terminal.say(
            f"runlore: {printable(before.name)} is not finished, so init() returned it; "
            "finish() it first, or use reinit='finish_previous'"
        )
        return before
    return None


def _finish(run: Run, exit_code: int | None, *, quiet: bool | None = None) -> None:
    run.finish(exit_code, quiet=quiet)
    _process.forget(run)
    if _process.current is run:
        _process.current = None


def _warn_unknown(door: str, unknown: Iterable[str]) -> None:
    fresh = {name for name in unknown if (door, name) not in _process.warned}
    if fresh:
        _process.warned.update((door, name) for name in fresh)
        terminal.say(foreign.ignored(door, fresh))


def _is_notebook() -> bool:
    kernel = sys.modules.get("IPython")
    shell = getattr(kernel, "get_ipython", lambda: None)() if kernel is not None else None
    return shell is not None and "IPKernelApp" in getattr(shell, "config", {})


def _no_run(what: str) -> UsageError:
    return UsageError(f"{what} needs a run; call runlore.init() first")


class NoRunError(UsageError, AttributeError):
    """An attribute of the module that only a run has; `hasattr` and `help` pass over it."""


def _run_with(attribute: str) -> Run:
    run = current_run()
    if run is None:
        raise NoRunError(str(_no_run(attribute)))
    return run


def _hook() -> None:
    """Arrange, once, for the end of this process and for its forks.

    No signal handler is touched: a program that a signal kills ends without finish, and the
    sender says so.
    """
    if _process.is_hooked:
        return
    _process.is_hooked = True
    atexit.register(_at_exit)
    os.register_at_fork(after_in_child=_after_fork)
    _follow_multiprocessing()
    _watch_exit()


def _watch_exit() -> None:
    """Learn with which code the program exits: the interpreter tells nobody else."""
    leave = sys.exit

    def exit_with(status: object = None, /) -> None:
        _process.exit_code = exit_code_from(status)
        leave(status)  # type: ignore[arg-type]

    exit_with.__doc__ = leave.__doc__
    sys.exit = exit_with  # type: ignore[assignment]


def _at_exit() -> None:
    # A notebook goes on after the `sys.exit` of a cell.
    code = 0 if _is_notebook() else _process.exit_code or 0
    error = getattr(sys, "last_value", None)
    if error is not None and not hasattr(sys, "ps1") and not _is_notebook():
        code = 130 if isinstance(error, KeyboardInterrupt) else 1
    # The current run stays the one that other threads speak to, until they are gone.
    interrupt: BaseException | None = None
    for run in list(_process.live):
        try:
            run._leave(code, is_hasty=interrupt is not None)
        except BaseException as error:  # noqa: BLE001
            # One Ctrl-C ends the waiting; the ends of the others are written all the same.
            interrupt = interrupt or error
    if interrupt is not None:
        raise interrupt


def _after_fork() -> None:
    # The thread that held it is not here.
    _process.turn = threading.RLock()
    for run in _process.live:
        run._become_child()
    _follow_multiprocessing()


def _follow_multiprocessing() -> None:
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        # A child forgets the finalizers of before when it is set up, and then calls this.
        util.register_after_fork(_process, _end_with_multiprocessing)
        _end_with_multiprocessing(_process)


def _end_with_multiprocessing(_: object) -> None:
    """In a child of multiprocessing, end when it ends: it leaves without atexit handlers."""
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if util is not None and process is not None and process.parent_process() is not None:
        util.Finalize(None, _at_end_of_child, exitpriority=0)


def _at_end_of_child() -> None:
    own = threading.current_thread()
    before = _process.live
    if any(not one.daemon and one is not own for one in threading.enumerate()):
        # The process waits for these threads after this, and they may log until then: the
        # streams stay open, and the sender ends them when the process has gone.
        _process.live = [run for run in before if not run.is_child]
    _at_exit()
    _process.live = before
