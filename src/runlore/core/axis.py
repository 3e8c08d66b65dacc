"""An x axis: what a chart's points are placed by."""

from dataclasses import dataclass
from typing import Literal

from runlore.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The step, the wall time, or another metric, named by `key`.

    Raises:
        UsageError: a key is missing, or given to an axis that has none.
    """

    kind: Literal["step", "time", "key"] = "step"
    key: str | None = None

    def __post_init__(self) -> None:
        if (self.kind == "key") != (self.key is not None):
            raise UsageError(
                f"an x axis of kind 'key' needs a key, and no other has one; got {self.kind!r} "
                f"with {self.key!r}"
            )


STEP = Axis()
