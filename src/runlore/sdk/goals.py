"""What `define_metric` may say, and the best value so far of each key that has a goal."""

from typing import NamedTuple

from runlore.errors import UsageError
from runlore.sdk.values import check_key, described, shown

_SUMMARIES = frozenset(("min", "max", "mean", "best", "last", "none"))


class Definition(NamedTuple):
    """What `define_metric` was told of a metric; None where it was told nothing."""

    name: str
    step_metric: str | None
    summary: str | None
    goal: str | None
    hidden: bool | None


class Best(NamedTuple):
    """The best value of a key, and of how many."""

    value: float
    of: int


class Goals:
    """Which way is better, by key or by glob; the best value of each key.

    Attributes:
        best: the best value so far, by key.
    """

    def __init__(self) -> None:
        self.best: dict[str, Best] = {}
        self._goals: dict[str, str] = {}

    def add(self, name: str, goal: str) -> None:
        """Set the goal of a key, or of all keys that a glob covers."""
        self._goals[name] = goal

    def has(self, key: str) -> bool:
        """Whether a key has a goal."""
        return self._goal_of(key) is not None

    def keep(self, key: str, value: float) -> None:
        """Take in a value; NaN is never the best."""
        best = self.best.get(key)
        if best is None or best.value != best.value:
            self.best[key] = Best(value, 1 if best is None else best.of + 1)
            return
        is_better = value < best.value if self._goal_of(key) == "minimize" else value > best.value
        self.best[key] = Best(value if is_better else best.value, best.of + 1)

    def _goal_of(self, key: str) -> str | None:
        goal = self._goals.get(key)
        if goal is not None:
            return goal
        for name, found in self._goals.items():
            if name.endswith("*") and key.startswith(name[:-1]):
                return found
        return None


def check_definition(name: object, step_metric: object, goal: object) -> None:
    """Raise UsageError if `define_metric` cannot mean what it was told."""
    for what, key in (("metric", name), ("step_metric", step_metric)):
        if key is None and what == "step_metric":
            continue
        if not isinstance(key, str):
            raise UsageError(f"{what} must be a key, got {described(key)}; name what you log")
        check_key(key)
    if "*" in str(name)[:-1]:
        raise UsageError(
            f"a metric's glob has one '*' and at its end, got {name!r}; for example 'eval/*'"
        )
    if goal not in (None, "minimize", "maximize"):
        raise UsageError(f"goal must be 'minimize' or 'maximize', got {goal!r}")


def checked_summary(summary: object) -> str:
    """Return the ways to sum up a metric, joined by commas.

    Raises:
        UsageError: one of them is unknown, or "none" stands beside another.
    """
    words = [word.strip() for word in summary.split(",")] if isinstance(summary, str) else []
    # wandb's word for what is logged last.
    words = ["last" if word == "copy" else word for word in words]
    if not words or not _SUMMARIES.issuperset(words) or ("none" in words and len(words) > 1):
        raise UsageError(
            f"summary must be one of {', '.join(sorted(_SUMMARIES))}, or several but none joined "
            f"by commas, got {shown(summary)}"
        )
    return ",".join(dict.fromkeys(words))
