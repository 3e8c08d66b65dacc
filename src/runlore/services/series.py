"""Series for charts: what may be asked at once, and the columns that are sent."""

from collections.abc import Sequence

from runlore.core.run import run_ref
from runlore.errors import UsageError
from runlore.store.metrics import MetricStore, Series

MAX_BUCKETS = 10_000
MAX_SERIES = 20_000
MAX_POINTS = 8_000_000


def read_series(
    metrics: MetricStore,
    owner: str,
    project: str,
    *,
    runs: Sequence[str],
    keys: Sequence[str],
    buckets: int,
    start: int | None,
    stop: int | None,
) -> list[Series]:
    """Return the series of some runs and keys, each in at most `buckets` buckets.

    Raises:
        UsageError: more is asked for than one answer should hold.
    """
    if not 2 <= buckets <= MAX_BUCKETS:
        raise UsageError(f"buckets must be 2 to {MAX_BUCKETS}, got {buckets}")
    count = len(runs) * len(keys)
    if count > MAX_SERIES or count * buckets > MAX_POINTS:
        raise UsageError(
            f"{len(runs)} runs × {len(keys)} keys × {buckets} buckets are more than one answer "
            f"holds ({MAX_SERIES} series, {MAX_POINTS} points); ask for fewer at a time"
        )
    refs = [run_ref(owner, project, run) for run in dict.fromkeys(runs)]
    return metrics.series(refs, list(dict.fromkeys(keys)), buckets=buckets, start=start, stop=stop)
