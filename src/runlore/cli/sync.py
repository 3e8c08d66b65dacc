"""`runlore sync`: deliver what waits on this machine."""

import json
import os
from collections.abc import Sequence
from typing import Annotated

import typer

from runlore import settings as settings_table
from runlore.cli.console import EXIT_SERVER, EXIT_USE, complain, emit
from runlore.sdk.leftover import leftovers, settle_leftovers
from runlore.sdk.orphans import Chosen, settle_orphans
from runlore.sdk.settle import ack_path
from runlore.sdk.staging import read_object, staging_roots
from runlore.sdk.sync import Delivery, Syncer, own_folders, spool_files


def sync(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DIR]...", help="Folders with spools; default: all spools of this user."
        ),
    ] = None,
    url: Annotated[str | None, typer.Option(help="Address of the server.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per spool file.")
    ] = False,
) -> None:
    """Deliver what waits on this machine to a server; twice changes nothing.

    Example: runlore sync ~/.runlore/spool --url http://127.0.0.1:7333
    """
    found = settings_table.load(url=url)
    roots = staging_roots(found.staging, found.home)
    is_chosen = settings_table.origins(url=url)["url"].origin != "default"
    chosen = Chosen(found.url, found.api_key) if is_chosen else None
    deliveries, troubles = settle_orphans(roots, chosen)
    # Their files hold a part of what is delivered already.
    done = {os.path.realpath(delivery.path) for _, delivery in deliveries}
    own = own_folders(found.home)
    troubles += settle_leftovers(found.home, leftovers(found.home, own, roots))
    folders = paths or own
    files = [path for path in spool_files(folders) if os.path.realpath(path) not in done]
    syncers: dict[str, Syncer] = {}
    elsewhere: list[str] = []
    for path in files:
        known = read_object(ack_path(path)).get("url")
        # In somebody else's folder an address may be a trap for the key.
        is_own = any(os.path.realpath(path).startswith(folder + "/") for folder in own)
        where = known if isinstance(known, str) and is_own and not is_chosen else found.url
        if where not in syncers:
            syncers[where] = Syncer(where, found.api_key, roots)
        other = None if paths else syncers[where].belongs_elsewhere(path)
        if other is not None:
            elsewhere.append(other)
        else:
            deliveries.append((where, syncers[where].deliver(path)))
    for syncer in syncers.values():
        syncer.close()
    if as_json:
        for where, delivery in deliveries:
            emit(as_line(where, delivery))
        for trouble in troubles:
            complain(trouble)
    else:
        emit(summary(deliveries, folders, troubles=troubles, elsewhere=elsewhere))
    if any(delivery.is_away for _, delivery in deliveries):
        raise typer.Exit(EXIT_SERVER)
    if troubles or any(one.trouble or one.unwanted or not one.is_whole for _, one in deliveries):
        raise typer.Exit(EXIT_USE)


def as_line(url: str, delivery: Delivery) -> str:
    """Encode a delivery as one line of JSON."""
    run = None if delivery.run is None else str(delivery.run)
    return json.dumps({"url": url, **delivery._asdict(), "run": run})


def summary(
    deliveries: Sequence[tuple[str, Delivery]],
    folders: Sequence[str],
    *,
    troubles: Sequence[str] = (),
    elsewhere: Sequence[str] = (),
) -> str:
    """Say per run what was delivered, and which files are not as they should be."""
    if not deliveries and not troubles and not elsewhere:
        return f"runlore: nothing to deliver in {', '.join(folders) or 'any spool'}"
    lines: list[str] = []
    runs = _by_run(deliveries)
    for url in dict.fromkeys(url for url, _ in runs):
        mine = {run: found for (where, run), found in runs.items() if where == url}
        lines.append(f"runlore: {_count(len(mine), 'run')} for {url}")
        width = max(len(run) for run in mine)
        for run, found in mine.items():
            lines.append(f"  {run.ljust(width)}  {_one_run(found)}")
            lines += [f"    {_file(d)}: {d.notice}" for d in found if d.notice]
            lines += [f"    {d.trouble}" for d in _once_each(found)]
    lines += [
        f"runlore: {_count(elsewhere.count(url), 'spool')} left out, begun by another server "
        f"at {url}; to deliver such here too, name the folder"
        for url in dict.fromkeys(elsewhere)
    ]
    lines += [f"runlore: {trouble}" for trouble in troubles]
    missing = sum(any(d.trouble for d in found) for found in runs.values())
    if missing:
        lines.append(
            f"runlore: {missing} of {_count(len(runs), 'run')} not delivered whole; what is "
            "missing waits for the next 'runlore sync'"
        )
    if unwanted := sum(any(d.unwanted for d in found) for found in runs.values()):
        lines.append(
            f"runlore: {unwanted} of {_count(len(runs), 'run')} not delivered: deleted on the "
            "server, which takes no more of it; its file stays until you remove it or bring it "
            "to another server"
        )
    elif runs and not missing:
        is_whole = not troubles and not any(delivery.notice for _, delivery in deliveries)
        lines.append(f"runlore: everything {'' if is_whole else 'else '}is delivered")
    return "\n".join(lines)


def _by_run(
    deliveries: Sequence[tuple[str, Delivery]],
) -> dict[tuple[str, str], list[Delivery]]:
    runs: dict[tuple[str, str], list[Delivery]] = {}
    for url, delivery in deliveries:
        name = str(delivery.run) if delivery.run is not None else delivery.path
        runs.setdefault((url, name), []).append(delivery)
    return runs


def _one_run(found: Sequence[Delivery]) -> str:
    points = [delivery.points for delivery in found if delivery.points is not None]
    parts = [_count(sum(points), "point")] if points else []
    if len(found) > 1:
        parts.append(_count(len(found), "writer"))
    sent = sum(delivery.sent for delivery in found)
    if all(delivery.is_deleted for delivery in found):
        return "deleted on the server"
    nothing = "nothing delivered" if any(delivery.trouble for delivery in found) else "nothing new"
    parts.append(f"{_bytes(sent)} delivered" if sent else nothing)
    return " · ".join(parts)


def _once_each(found: Sequence[Delivery]) -> list[Delivery]:
    return list({d.trouble: d for d in found if d.trouble}.values())


def _file(delivery: Delivery) -> str:
    return os.path.basename(delivery.path)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _bytes(number: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return _count(number, "byte")
