"""A run as the user's program holds it: log, config, summary, finish."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from threading import current_thread, main_thread
from types import TracebackType
from typing import Literal, NoReturn

from runlore.core.json import JsonObject, JsonValue
from runlore.errors import UsageError
from runlore.sdk import delivery, foreign, resume, terminal, tree
from runlore.sdk.disabled import UnkeptRows, to_json_or_text
from runlore.sdk.documents import Config, Summary, to_json
from runlore.sdk.facts import Facts, Origin
from runlore.sdk.goals import Definition, Goals, check_definition, checked_summary
from runlore.sdk.launch import Launcher
from runlore.sdk.names import writer_id
from runlore.sdk.rows import Rows
from runlore.sdk.spool import Stream
from runlore.sdk.values import described
from runlore.version import __version__
from runlore.wire import spool

_CHILD_SECONDS = 5.0
_HELPLESS_SECONDS = 1.0


class Run(Facts):
    """One execution of a program. `runlore.init()` makes it.

    As a context manager it finishes when the block ends, as failed if by an exception. Forked
    and pickled copies log to the same run as writers of their own; only the process that called
    `init` ends it. Safe to use from several threads.

    Example:
        with runlore.init(project="digits", config={"lr": 0.1}) as run:
            run.log({"loss": 0.5})
    """

    # Without a dictionary: what a program sets by mistake would be lost in silence.
    __slots__ = (
        "__weakref__",
        "_config",
        "_first_step",
        "_folder",
        "_goals",
        "_is_finished",
        "_is_hasty",
        "_is_leaving",
        "_launcher",
        "_notices",
        "_rows",
        "_started",
        "_tree",
        "_unkept",
        "_writer",
        "_summary",
    )

    def __init__(self, origin: Origin, *, step: int = 0) -> None:
        is_disabled = origin.settings.mode == "disabled"
        self._unkept = UnkeptRows(step) if is_disabled else None
        convert = to_json_or_text if is_disabled else to_json
        self._config = Config(self._write_config, convert)
        self._summary = Summary(self._last_values, self._write_summary, convert)
        super().__init__(origin)
        self._started = time.monotonic()
        self._first_step = step
        self._rows: Rows | None = None
        self._is_finished = False
        self._is_hasty = False
        self._is_leaving = False
        self._tree = ""
        self._folder = ""
        self._writer = ""
        self._launcher: Launcher | None = None
        self._notices = terminal.Notices()
        self._goals = Goals()
        if not is_disabled and origin.role == "main":
            self._begin()

    @property
    def name(self) -> str:
        """The name that people read; it may be set."""
        return self._origin.name

    @name.setter
    def name(self, name: str) -> None:
        shown_name = checked_text(name, "name")
        self._write_run({"name": shown_name})
        self._origin = self._origin._replace(name=shown_name)

    @property
    def tags(self) -> tuple[str, ...]:
        """The words to find the run by; they may be set."""
        tags = self._told.get("tags")
        return tuple(map(str, tags)) if isinstance(tags, list) else ()

    @tags.setter
    def tags(self, tags: Sequence[str]) -> None:
        self._write_run({"tags": checked_tags(tags)})

    @property
    def notes(self) -> str | None:
        """A longer text about the run; it may be set."""
        return self._told_text("notes")

    @notes.setter
    def notes(self, notes: str) -> None:
        self._write_run({"notes": checked_text(notes, "notes")})

    @property
    def config(self) -> Config:
        """What the run was configured with; to set it is to update it."""
        return self._config

    @config.setter
    def config(self, fields: object) -> None:
        self._config.update(fields)

    @property
    def summary(self) -> Summary:
        """The last values, or what was set by hand; to set it is to update it."""
        return self._summary

    @summary.setter
    def summary(self, fields: object) -> None:
        self._summary.update(fields)

    @property
    def step(self) -> int:
        """The step that the next `log` without a step gets."""
        rows = self._rows or self._unkept
        return self._first_step if rows is None else rows.step

    @property
    def is_finished(self) -> bool:
        """Whether the run has ended here and takes nothing more."""
        return self._is_finished

    def log(
        self, data: Mapping[str, object], step: int | None = None, commit: bool | None = None
    ) -> None:
        """Log values under their keys; nested dicts join their keys with `/`.

        Args:
            data: numbers, bools, strings, scalars of any library, or dicts of these.
            step: any integer from -(2**53 - 1) to 2**53 - 1; None takes the next one.
            commit: False keeps the step for the next call; None and True go on to the next.

        Raises:
            UsageError: a key, value or step cannot be logged. Nothing of the call is stored.

        Example:
            run.log({"loss": 0.5, "eval": {"accuracy": 0.9}})
        """
        rows = self._rows or self._unkept or self._begin()
        if rows is not None:
            rows.log(data, step, commit)

    def define_metric(
        self,
        name: str,
        step_metric: str | None = None,
        *,
        summary: str | None = None,
        goal: Literal["minimize", "maximize"] | None = None,
        hidden: bool | None = None,
        **unknown: object,
    ) -> Definition:
        """Say how a metric is drawn and summed up; return what was said.

        Args:
            name: a key, or the beginning of keys with `*` at its end.
            step_metric: the metric to draw it against instead of the step.
            summary: min, max, mean, best, last or none; several by comma, such as "min,max",
                give `key.min` and `key.max`.
            goal: which way is better.
            hidden: leave it out of the page's charts.
            **unknown: arguments that only wandb knows; they are named once and ignored.

        Example:
            run.define_metric("eval/*", step_metric="epoch", summary="max", goal="maximize")
        """
        if unknown:
            self._notices.once("define_metric()", foreign.ignored("define_metric()", unknown))
        check_definition(name, step_metric, goal)
        content: JsonObject = {"metric": name}
        how = None if summary is None else checked_summary(summary)
        definition = Definition(name, step_metric, how, goal, hidden)
        given: JsonObject = dict(zip(Definition._fields[1:], definition[1:], strict=True))
        content.update({key: value for key, value in given.items() if value is not None})
        self._put(spool.encode_json(spool.DEFINE, content))
        if goal is not None and self._rows is not None:
            self._goals.add(name, goal)
            self._rows.tracked = self._goals.has
            self._rows.on_tracked = self._goals.keep
            self._rows.forget_plans()
        return definition

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was logged is delivered, or on the disk when offline.

        Args:
            timeout: seconds to wait at most; None takes the setting finish_timeout.

        Returns:
            Whether it is; False after the time-out, and at once when the server is absent.

        Example:
            run.flush(timeout=5)
        """
        if timeout is not None and not isinstance(timeout, int | float):
            raise UsageError(f"timeout must be a number of seconds, got {described(timeout)}")
        rows = self._rows
        if rows is None or self._is_finished:
            return True
        seconds = self._origin.settings.finish_timeout if timeout is None else timeout
        left = self._drain(rows, seconds)
        return self._wait(rows, left).is_done and rows.stream.held_bytes == 0

    def finish(self, exit_code: int | None = None, *, quiet: bool | None = None) -> None:
        """End the run and wait, for a bounded time, until it is delivered.

        A copy in a child process only ends its own part.

        Args:
            exit_code: 0 or None if all went well; another makes the run failed.
            quiet: True prints nothing of how it ended.

        Example:
            run.finish()
        """
        if self._is_finished:
            return
        rows = self._rows
        if rows is not None and rows.postpone(lambda: self.finish(exit_code, quiet=quiet)):
            return
        self._is_finished = True
        if rows is None:
            return
        now: JsonObject = {"time_ns": time.time_ns(), "boot_ns": tree.boot_ns()}
        if self._origin.role == "child":
            rows.close(spool.encode_json(spool.CLOSED, now))
            self._drain(rows, 0.0 if self._is_hasty else _CHILD_SECONDS)
            rows.release()
            rows.forget(is_done=True)
            tree.wake(self._tree)
            return
        code = exit_code or 0
        try:
            rows.close(spool.encode_json(spool.FINISH, {"exit_code": code, **now}))
            seconds = 0.0 if self._is_hasty else self._origin.settings.finish_timeout
            left = self._drain(rows, seconds)
            rows.release()
            outcome = self._wait(rows, left)
            rows.forget(is_done=outcome.is_done)
        except BaseException:
            # Ctrl-C, or what another signal's handler raises: the sender goes on without us.
            rows.release()
            rows.forget(is_done=False)
            if not quiet:
                found = delivery.Outcome(tree.read_ack(self._folder), is_done=False)
                self._say_ending(rows, code, found, is_interrupted=True)
            raise
        if not quiet:
            self._say_ending(rows, code, outcome, is_interrupted=self._is_hasty)

    def _say_ending(
        self, rows: Rows, exit_code: int, outcome: delivery.Outcome, *, is_interrupted: bool
    ) -> None:
        is_offline = self.offline
        ack, is_done = outcome
        delivered: int | None = min(_points(ack), rows.points)
        if is_done and not is_offline:
            delivered = rows.points
        elif ack is None and not is_offline and tree.is_out_of_files():
            delivered = None
        is_settled = is_done or (ack is not None and ack.settled >= rows.end)
        place = self._folder
        if is_settled and (is_offline or delivered != rows.points):
            place = resume.spool_folder(self._origin.settings, self._origin.ref)
        ending = terminal.Ending(
            exit_code=exit_code,
            seconds=time.monotonic() - self._started,
            points=rows.points,
            delivered=delivered,
            lost=rows.gap_points,
            is_offline=is_offline,
            trouble=_trouble(ack, self._launcher, is_settled=is_settled),
            spool=place,
            is_settled=is_settled,
            is_deleted=ack is not None and ack.is_deleted,
            is_interrupted=is_interrupted and not is_done,
            removed=None if is_done else rows.stream.removed,
        )
        terminal.say(terminal.ended(ending, _curves(rows, self._goals)))

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.finish(exit_code=exit_code_of(error))

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        from runlore.sdk.start import attach

        origin = self._origin
        # The key stays in staging, where the child finds it: pickles travel far.
        settings = origin.settings._replace(api_key="")
        return attach, (
            tuple(origin.ref),
            tuple(settings),
            origin.name,
            self.step,
            self._tree,
            self._writer,
            origin.program or self._writer,
            dict(self.config),
        )

    def __getattr__(self, name: str) -> NoReturn:
        raise foreign.missing("a run", name)

    def __repr__(self) -> str:
        return f"<runlore.Run {self._origin.ref}>"

    def _leave(self, code: int, *, is_hasty: bool) -> None:
        """End with the program, in haste without waiting; other threads' values are dropped."""
        self._is_leaving, self._is_hasty = True, is_hasty
        if self._rows is not None:
            self._rows.is_leaving = True
            self._rows.end_if_postponed()
        self.finish(code)

    def _begin(self) -> Rows | None:
        """Open this process's stream: at once in `init`, in a child when it first logs."""
        if self._is_finished:
            if self._is_leaving and current_thread() is not main_thread():
                # As in `Rows`: a thread of a child that never logged before its end.
                return None
            raise UsageError("this run is finished; call runlore.init() for another")
        self._writer = writer_id()
        target, header = _papers(self._origin, self._writer)
        self._tree, self._folder = tree.join(self._origin.settings, self._writer, target)
        make_again = partial(tree.restore, self._folder, target, self._origin.settings.home)
        self._launcher = Launcher(self._tree)
        self._rows = Rows(
            Stream(self._folder, header, make_again=make_again),
            step=self._first_step,
            on_tick=self._watch,
            on_skipped=self._notices.skipped,
            on_trouble=self._notices.trouble,
        )
        self._launcher.ensure()
        return self._rows

    def _become_child(self) -> None:
        """Let go of the parent's stream, in a child that was just forked."""
        rows, self._rows = self._rows, None
        if rows is not None:
            # The child goes on behind the step that the parent had reached.
            self._first_step = rows.step
        program = self._origin.program or self._writer
        self._origin = self._origin._replace(role="child", program=program)

    def _put(self, payload: bytes) -> None:
        if self._unkept is not None:
            return
        if len(payload) > spool.MAX_PAYLOAD:
            raise UsageError(
                f"one change of config or summary has at most {spool.MAX_PAYLOAD // 2**20} MiB, "
                f"got {len(payload):,} bytes; keep large things in files"
            )
        rows = self._rows or self._begin()
        if rows is not None:
            rows.put(payload)

    def _write_config(self, values: JsonObject) -> None:
        self._put(spool.encode_json(spool.CONFIG, values))

    def _write_summary(self, values: JsonObject) -> None:
        self._put(spool.encode_json(spool.SUMMARY, values))

    def _write_run(self, content: JsonObject) -> None:
        self._put(spool.encode_json(spool.RUN, content))
        self._told.update(content)

    def _last_values(self) -> dict[str, float | bool | str]:
        rows = self._rows or self._unkept
        return {} if rows is None else rows.last_values()

    def _watch(self) -> None:
        if self._launcher is not None and self._rows is not None:
            self._launcher.ensure()
            self._notices.removed(self._folder, self._rows.stream.restored)

    def _drain(self, rows: Rows, seconds: float) -> float:
        """Wait until what is held in memory has found room; return the seconds that are left."""
        limit = _HELPLESS_SECONDS if rows.stream.is_helpless else seconds
        deadline = time.monotonic() + min(seconds, limit)
        while not rows.retry() and time.monotonic() < deadline:
            self._watch()
            tree.wake(self._tree)
            time.sleep(0.01)
        return max(deadline - time.monotonic(), 0.0)

    def _wait(self, rows: Rows, timeout: float) -> delivery.Outcome:
        assert self._launcher is not None
        args = self._folder, rows.end, self._launcher, rows.restore
        outcome = delivery.wait(*args, is_offline=self.offline, timeout=timeout)
        self._notices.removed(self._folder, rows.stream.restored)
        return outcome


def _papers(origin: Origin, writer: str) -> tuple[JsonObject, JsonObject]:
    """Return a writer's target, for the sender, and the header of its stream."""
    ref, settings, pid = origin.ref, origin.settings, os.getpid()
    address: JsonObject = {
        "owner": ref.owner,
        "project": ref.project,
        "run": ref.run_id,
        "writer": writer,
        "host": os.uname().nodename or "localhost",
        "pid": pid,
        "role": origin.role,
    }
    target: JsonObject = {
        **address,
        "url": settings.url,
        "api_key": settings.api_key,
        "mode": settings.mode,
        "home": settings.home,
        "start": tree.process_start(pid),
    }
    header: JsonObject = {
        **address,
        "boot": tree.boot_id(),
        "boot_ns": tree.boot_ns(),
        "started_ns": time.time_ns(),
        "sdk": f"runlore {__version__}",
        "resumed": origin.is_resumed,
        "program": origin.program or writer,
    }
    if origin.fork is not None:
        header["fork"] = {"run": origin.fork.run, "step": origin.fork.step}
    return target, header


def _curves(rows: Rows, goals: Goals) -> list[terminal.Curve]:
    # By step: the same point seen twice is one.
    points = {key: dict([first]) for key, first in rows.firsts.items()}
    for sample in rows.samples:
        for key, value in zip(sample.keys, sample.values, strict=False):
            points.setdefault(key, {})[sample.step] = value
    curves = []
    for key, (step, _, last) in rows.last_points().items():
        best = goals.best.get(key)
        shape = points.get(key, {})
        if shape and isinstance(last, float):
            shape[step] = last
        curves.append(
            terminal.Curve(
                key=key,
                points=list(shape.items()),
                last=last,
                best=None if best is None else best.value,
                best_of=0 if best is None else best.of,
            )
        )
    return curves


def checked_text(text: object, noun: str) -> str:
    """Return a text that UTF-8 can hold; lone surrogates are escaped.

    Raises:
        UsageError: it is no string.
    """
    if not isinstance(text, str):
        raise UsageError(f"{noun} must be a string, got {described(text)}; use str() of it")
    return text.encode(errors="backslashreplace").decode()


def checked_tags(tags: object) -> list[JsonValue]:
    """Return tags as a list of texts; one text is one tag.

    Raises:
        UsageError: they are no texts.
    """
    if isinstance(tags, str):
        return [checked_text(tags, "a tag")]
    if not isinstance(tags, Iterable):
        raise UsageError(f"tags must be a list of strings, got {described(tags)}")
    return [checked_text(tag, "a tag") for tag in tags]


def exit_code_of(error: BaseException | None) -> int:
    """Return the exit code with which Python would end by this exception."""
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        return exit_code_from(error.code)
    return 130 if isinstance(error, KeyboardInterrupt) else 1


def exit_code_from(code: object) -> int:
    """Return the exit code that `sys.exit(code)` means."""
    if code is None:
        return 0
    return int(code) & 0xFF if isinstance(code, int) else 1


def _trouble(ack: tree.Ack | None, launcher: Launcher | None, *, is_settled: bool) -> str | None:
    """Say why not everything is delivered, as far as it is known."""
    if not is_settled and launcher is not None and not launcher.is_alive():
        return "no sender stays alive to take it"
    return None if ack is None else ack.error


def _points(ack: tree.Ack | None) -> int:
    return 0 if ack is None else ack.points
