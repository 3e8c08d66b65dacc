"""What the terminal says: one line when a run begins, a few when it ends."""

import sys
from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

from runlore.core.metric import Value
from runlore.core.text import printable, printable_lines
from runlore.sdk.values import shown

_BARS = "▁▂▃▄▅▆▇█"
_TELLING = ("loss", "acc", "f1", "auc", "reward", "error", "perplexity", "score", "val", "eval")
MAX_KEYS = 6


class Curve(NamedTuple):
    """One key's history as the terminal shows it.

    `points` are some of its (step, value), the first and the last among them; `best` and
    `best_of` are set where a goal is known.
    """

    key: str
    points: Sequence[tuple[int, float]]
    last: Value
    best: float | None = None
    best_of: int = 0


class Ending(NamedTuple):
    """How a run ended, for its last lines.

    `delivered` of `points` values are on a server, None if that cannot be read; `lost` were
    counted as a gap. `trouble` says why not all of it is delivered; `spool` is where it waits, on
    the disk if `is_settled`, else still in staging. `is_deleted` says that the server has deleted
    the run and takes no more, `is_interrupted` that nobody waited for the end of delivery,
    `removed` why staging, which somebody removed, could not be made again.
    """

    exit_code: int
    seconds: float
    points: int
    delivered: int | None
    lost: int
    is_offline: bool
    trouble: str | None
    spool: str
    is_settled: bool
    is_deleted: bool = False
    is_interrupted: bool = False
    removed: str | None = None


class Notices:
    """What one run has to say while it goes on, each thing once and a hundred at most."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def once(self, what: str, text: str) -> None:
        """Say a text unless something was said under this word."""
        if what in self._said or len(self._said) > 100:
            return
        self._said.add(what)
        say(text)

    def skipped(self, key: str) -> None:
        """Say that a value was None."""
        self.once(
            f"None:{key}",
            f"runlore: {shown(key)} was None and was skipped; log NaN to show a hole",
        )

    def removed(self, folder: str, times: int) -> None:
        """Say that staging was removed, if it was, and is there again."""
        if times:
            self.once(
                "removed",
                f"runlore: {folder} was removed while the run goes on, as systemd does when its "
                "user logs out; it is made again with what waited there. 'loginctl enable-linger' "
                "or RUNLORE_STAGING, a folder outside /dev/shm, prevents that",
            )

    def trouble(self, trouble: str) -> None:
        """Say why what is logged has to wait."""
        self.once(
            "trouble",
            f"runlore: no room for what is logged ({trouble}); up to 64 MiB wait, then points "
            "are counted instead of kept",
        )


def say(text: str) -> None:
    """Print lines to stderr, or nowhere if there is none."""
    try:
        sys.stderr.write(printable_lines(text) + "\n")
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError, UnicodeError):
        return


def started(name: str, url: str | None) -> str:
    """Return the first line of a run; without a URL it is offline."""
    return f"runlore: {printable(name)} · {url or 'offline'}"


def ended(ending: Ending, curves: Sequence[Curve]) -> str:
    """Return the last lines of a run."""
    word = "finished" if ending.exit_code == 0 else f"failed with exit code {ending.exit_code}"
    stopped = ", interrupted while it waited" if ending.is_interrupted else ""
    lines = [f"runlore: {word} in {duration(ending.seconds)} · {_delivery(ending)}{stopped}"]
    if ending.lost:
        lines.append(
            f"runlore: {ending.lost:,} points could not be kept: nothing took them over in time"
        )
    reason = f"{ending.trouble}; " if ending.trouble else ""
    if ending.delivered is None:
        lines.append(
            "runlore: how much of it is delivered cannot be read here, where no more files may be "
            "opened; the sender goes on with the rest, and 'runlore sync' delivers what it leaves"
        )
    elif ending.removed is not None:
        lines.append(
            f"runlore: {ending.spool} was removed and could not be made again ({ending.removed}); "
            "of what waited there only what is on the disk already goes out, with 'runlore sync' "
            "or the next 'runlore serve' on this machine"
        )
    elif ending.is_interrupted and not ending.is_deleted:
        goal = "the disk" if ending.is_offline else "the server"
        if ending.is_offline or ending.delivered < ending.points:
            lines.append(
                f"runlore: {reason}the sender goes on bringing the rest to {goal} without this "
                "program; what it leaves goes out with 'runlore sync' or the next 'runlore serve' "
                "on this machine"
            )
    elif not ending.is_settled:
        lines.append(
            f"runlore: {reason}the rest is not on the disk yet but in {ending.spool}, which a "
            "restart of this machine empties; 'runlore sync' brings it out"
        )
    elif ending.is_deleted:
        lines.append(
            f"runlore: {reason}what came after that stays in {ending.spool}; log to another id, "
            "or bring it to another server with 'runlore sync FOLDER --url ADDRESS'"
        )
    elif not ending.is_offline and ending.delivered < ending.points:
        lines.append(
            f"runlore: {reason}the rest is in {ending.spool} and goes out with 'runlore sync' "
            "or the next 'runlore serve' on this machine"
        )
    elif ending.is_offline:
        lines.append(f"runlore: deliver it with: runlore sync {ending.spool}")
    return "\n".join(lines + _curves(curves))


def duration(seconds: float) -> str:
    """Return a length of time as people say it: 0.4s, 12s, 3m 12s, 2h 5m, 4d 2h."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days}d {hour}h"
    if hours:
        return f"{hours}h {minute}m"
    return f"{minutes}m {second}s" if minutes else f"{second}s"


def sparkline(points: Sequence[tuple[int, float]], width: int) -> str:
    """Draw values over their steps in so many characters; empty where there is no shape.

    Each character stands for an equal part of the steps and shows the mean of its finite values;
    a part without any lies on the line between its neighbors.
    """
    finite = [(step, value) for step, value in points if isfinite(value)]
    if len(finite) < 2:
        return ""
    first = min(step for step, _ in finite)
    span = max(step for step, _ in finite) - first + 1
    width = min(width, len(finite))
    parts: list[list[float]] = [[] for _ in range(width)]
    for step, value in finite:
        parts[(step - first) * width // span].append(value)
    means = _joined([sum(v / len(part) for v in part) if part else None for part in parts])
    low, high = min(means), max(means)
    if not isfinite(high - low):
        return ""
    if high - low <= 1e-9 * max(abs(high), abs(low)):
        # Rounding in the means must not look like a shape.
        return _BARS[3] * width
    top = len(_BARS) - 1
    return "".join(_BARS[round((mean - low) / (high - low) * top)] for mean in means)


def number(value: Value) -> str:
    """Return a value in three significant digits, a string in quotes and short."""
    if isinstance(value, str):
        return repr(value if len(value) <= 20 else value[:19] + "…")
    if isinstance(value, bool) or not isfinite(value):
        return str(value)
    if value.is_integer() and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.3g}"


def short_key(key: str) -> str:
    """Return a key without control characters, cut to 28 characters."""
    text = printable(key)
    return text if len(text) <= 28 else "…" + text[-27:]


def _joined(means: Sequence[float | None]) -> list[float]:
    """Fill holes with the straight line between the two ends; the first and last are given."""
    joined: list[float] = []
    hole = 0
    for mean in means:
        if mean is None:
            hole += 1
            continue
        if hole:
            before = joined[-1]
            joined += [
                before + (mean / (hole + 1) - before / (hole + 1)) * at
                for at in range(1, hole + 1)
            ]
            hole = 0
        joined.append(mean)
    return joined


def _delivery(ending: Ending) -> str:
    if ending.is_offline:
        return f"{ending.points:,} points kept offline"
    if ending.delivered is None:
        return f"{ending.points:,} points logged"
    return f"{ending.delivered:,} of {ending.points:,} points delivered"


def _curves(curves: Sequence[Curve]) -> list[str]:
    chosen = sorted(curves, key=_rank)[:MAX_KEYS]
    if not chosen:
        return []
    names = [short_key(curve.key) for curve in chosen]
    cells = [_cell(curve) for curve in chosen]
    name_width = max(map(len, names))
    cell_width = max(map(len, cells))
    shown = [
        f"{name:<{name_width}}  {cell:<{cell_width}}"
        for name, cell in zip(names, cells, strict=True)
    ]
    return ["  " + "      ".join(shown[at : at + 2]).rstrip() for at in range(0, len(shown), 2)]


def _cell(curve: Curve) -> str:
    if curve.best is not None:
        best = "" if curve.best == curve.last else f" {number(curve.best)}"
        return f"{number(curve.last)}, best{best} of {curve.best_of:,}"
    bars = sparkline(curve.points, 8)
    if not bars:
        return number(curve.last)
    return f"{number(curve.points[0][1])} {bars} {number(curve.last)}"


def _rank(curve: Curve) -> tuple[bool, int]:
    name = curve.key.lower()
    found = [at for at, word in enumerate(_TELLING) if word in name]
    return curve.best is None, min(found, default=len(_TELLING))
