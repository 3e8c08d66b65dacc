"""`runlore fsck`: find damage in a data folder, and mend what can be mended."""

from pathlib import Path
from typing import Annotated

import typer

from runlore import settings
from runlore.cli.console import EXIT_USE, emit, emit_json
from runlore.core.json import JsonObject
from runlore.errors import UsageError
from runlore.store.embedded.metrics_check import check_store, held, repair_store
from runlore.store.embedded.metrics_findings import Finding, Findings
from runlore.store.embedded.runs_check import check_catalog


def fsck(
    data: Annotated[
        Path | None, typer.Option("--data", help="Data folder; ~/.runlore/server by default.")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what can be mended; else nothing is written.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find and name damage in a data folder that no server holds; exit code 1 if there is any.

    Example: runlore fsck --data ~/.runlore/server
    """
    folder = data or Path(settings.load().home) / "server"
    if not folder.is_dir():
        raise UsageError(
            f"there is no data folder {str(folder)!r}; name that of a server with --data"
        )
    # A server that never got as far as to make its stores has nothing that can be damaged.
    history = folder / "history"
    with held(folder):
        findings, left = Findings(), list[Finding]()
        if (folder / "catalog.db").exists() or history.is_dir():
            if history.is_dir() and repair:
                findings, left = repair_store(history)
            elif history.is_dir():
                findings = check_store(history)
                left = list(findings.found)
            catalog = Findings()
            check_catalog(folder / "catalog.db", catalog)
            findings.looked += catalog.looked
            findings.found += catalog.found
            left += catalog.found
    _print(folder, findings, left, as_json=as_json)
    if left:
        raise typer.Exit(code=EXIT_USE)


def _print(folder: Path, findings: Findings, left: list[Finding], *, as_json: bool) -> None:
    mended = [one for one in findings.found if one not in left]
    if as_json:
        emit_json(
            {
                "folder": str(folder),
                "looked_at": dict(sorted(findings.looked.items())),
                "damaged": [_json(one) for one in left],
                "repaired": [_json(one) for one in mended],
            }
        )
        return
    for one in mended:
        emit(f"repaired  {_line(one)}")
    for one in left:
        emit(f"damaged   {_line(one)}")
    counts = ", ".join(f"{count:,} {name}" for name, count in sorted(findings.looked.items()))
    emit(f"looked at {counts or 'nothing: the folder holds no store yet'}")
    emit(f"{len(mended)} damages repaired, {len(left)} left" if mended else _result(left))


def _result(left: list[Finding]) -> str:
    if not left:
        return "no damage"
    noun = "damage" if len(left) == 1 else "damages"
    return f"{len(left)} {noun}; 'runlore fsck --repair' mends what can be mended"


def _line(one: Finding) -> str:
    parts = [f"{one.file}: {one.what}"]
    if one.run:
        parts.append(f"run {one.run}")
    if one.keys:
        shown = ", ".join(map(repr, one.keys[:3]))
        parts.append(f"keys {shown}" + (f" and {len(one.keys) - 3} more" * (len(one.keys) > 3)))
    if one.steps is not None:
        parts.append(f"steps {one.steps[0]} to {one.steps[1]}")
    if one.size is not None:
        parts.append(f"{one.size:,} bytes")
    return "; ".join([*parts, one.means])


def _json(one: Finding) -> JsonObject:
    return {
        "file": one.file,
        "what": one.what,
        "means": one.means,
        "run": one.run or None,
        "keys": list(one.keys),
        "steps": None if one.steps is None else list(one.steps),
        "bytes": one.size,
    }
