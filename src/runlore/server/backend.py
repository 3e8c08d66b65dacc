"""What the routes speak to: stores and services of one data folder, opened and closed together."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from runlore.errors import ConflictError, DamageError, UnavailableError, UsageError
from runlore.server.live import LiveBus
from runlore.services.ingest import Ingest
from runlore.services.runs import Runs
from runlore.store.embedded.metrics import EmbeddedMetricStore
from runlore.store.embedded.runs import EmbeddedRunStore
from runlore.store.metrics import MetricStore
from runlore.store.runs import RunStore


@dataclass(frozen=True, kw_only=True)
class Backend:
    """The stores and services of one server."""

    metrics: MetricStore
    catalog: RunStore
    ingest: Ingest
    runs: Runs
    live: LiveBus
    lock: int | None

    def close(self) -> None:
        """Commit what waits and let go of the files."""
        self.ingest.close()
        self.metrics.close()
        self.catalog.close()
        if self.lock is not None:
            os.close(self.lock)


def open_folder(folder: Path) -> Backend:
    """Open the data folder of a server, made if it is not there.

    Raises:
        ConflictError: another server has it open.
        UsageError: it cannot be read or written, or a newer Runlore has written it.
        DamageError: what it holds is not what was written.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise _useless(folder, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise ConflictError(
            f"another server uses the data folder {str(folder)!r}; stop that one or choose "
            "another folder with --data"
        ) from error
    try:
        _check_whole(folder)
        catalog = EmbeddedRunStore(folder / "catalog.db")
        metrics = EmbeddedMetricStore(folder / "history")
        return open_backend(metrics, catalog, lock=lock)
    except OSError as error:
        os.close(lock)
        raise _useless(folder, error) from error
    except BaseException:
        os.close(lock)
        raise


def open_backend(metrics: MetricStore, catalog: RunStore, *, lock: int | None = None) -> Backend:
    """Put services on stores; `lock` is the descriptor that keeps other servers away."""
    live = LiveBus()
    ingest = Ingest(metrics, catalog, tell=live.tell, check=lambda: _check_present(lock))
    runs = Runs(catalog, metrics, ingest, tell=live.tell)
    return Backend(
        metrics=metrics, catalog=catalog, ingest=ingest, runs=runs, live=live, lock=lock
    )


def _useless(folder: Path, error: OSError) -> UsageError:
    return UsageError(
        f"cannot use the data folder {str(folder)!r}: {error.strerror or error}; "
        "mend that or choose another with --data"
    )


def _check_whole(folder: Path) -> None:
    """Refuse history without a catalog: all runs would seem to be gone."""
    if (folder / "history" / "log.db").is_file() and not (folder / "catalog.db").exists():
        raise DamageError(
            f"{str(folder / 'catalog.db')!r} is missing, and with it names, configs and states of "
            f"all runs in {str(folder / 'history')!r}; put it back from a backup, or move that "
            "folder away to begin anew",
            offset=0,
        )


def _check_present(lock: int | None) -> None:
    """Refuse to go on where the folder was removed: what goes into its files is lost."""
    if lock is not None and os.fstat(lock).st_nlink == 0:
        raise UnavailableError(
            "the data folder of the server was removed while it runs; start the server again"
        )
