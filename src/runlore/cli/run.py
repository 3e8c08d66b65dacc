"""`runlore run`: list, get, update, export and delete runs."""

import json
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from runlore.cli.console import ago, emit, emit_json, emit_table
from runlore.core.json import JsonObject, JsonValue
from runlore.core.run import RunState
from runlore.core.text import printable
from runlore.errors import UsageError
from runlore.sdk.api import Api
from runlore.sdk.api_run import ApiRun

app = typer.Typer(no_args_is_help=True)

_SHOWN_KEYS = 3
_SHOWN_CHARACTERS = 32
_BREAK = "\n"
_Url = Annotated[str | None, typer.Option("--url", help="Address of the server.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_RunName = Annotated[str, typer.Argument(help="project/run or owner/project/run")]


@app.command("list")
def list_runs(
    project: Annotated[str, typer.Argument(help="project or owner/project")],
    search: Annotated[str, typer.Option(help="Part of a name, id or tag, or /regex/.")] = "",
    state: Annotated[
        str | None, typer.Option(help="running, finished, failed or crashed.")
    ] = None,
    where: Annotated[
        str, typer.Option("--filter", help="Such as \"config.lr < 0.1 AND tags = 'good'\".")
    ] = "",
    sort: Annotated[str, typer.Option(help="Columns, such as -summary.loss,name.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: _Json = False,
    url: _Url = None,
) -> None:
    """List the runs of a project, newest first or as asked.

    Example: runlore run list digits --filter "points > 0 AND name LIKE '%'" --sort=-created_at
    """
    if state not in (None, "running", "finished", "failed", "crashed"):
        raise UsageError(f"--state must be running, finished, failed or crashed, got {state!r}")
    found = Api(url).runs(
        project,
        search=search,
        state=cast(RunState | None, state),
        filter=where,
        sort=sort,
    )
    runs = list(islice(found, limit))
    if as_json:
        emit_json([run.to_json() for run in runs])
        return
    head = ("id", "name", "state", "points", "created", "summary")
    rows = [
        (
            run.id,
            run.name,
            run.state,
            f"{run.points:,}",
            ago(run.created_at.isoformat()),
            _short(run.summary),
        )
        for run in runs
    ]
    emit_table(head, rows, right="points")


@app.command("get")
def get_run(run: _RunName, as_json: _Json = False, url: _Url = None) -> None:
    """Show a run.

    Example: runlore run get digits/k3f9x2ab
    """
    _show(Api(url).run(run), as_json)


@app.command("update")
def update_run(
    run: _RunName,
    name: Annotated[str | None, typer.Option(help="New name.")] = None,
    notes: Annotated[str | None, typer.Option(help="New notes.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="New tags, in place of all others; repeat it.")
    ] = None,
    color: Annotated[str | None, typer.Option(help="Color as #rrggbb; '' for its own.")] = None,
    config: Annotated[
        list[str] | None, typer.Option(help="key=value to set, the value as JSON; repeat it.")
    ] = None,
    as_json: _Json = False,
    url: _Url = None,
) -> None:
    """Change a run.

    Example: runlore run update digits/k3f9x2ab --name baseline --tag good
    """
    if all(given is None for given in (name, notes, tag, color, config)):
        raise UsageError(
            "nothing to change; name one of --name, --notes, --tag, --color, --config"
        )
    found = Api(url).run(run)
    found.update(
        name=name,
        notes=notes,
        tags=tag,
        color=color,
        config=dict(map(_pair, config)) if config is not None else None,
    )
    _show(found, as_json)


@app.command("export")
def export_run(
    run: _RunName,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write it.")],
    format: Annotated[
        str | None, typer.Option(help="parquet or csv; else the file's name tells.")
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option(help="Only this metric; repeat it for more.")
    ] = None,
    as_json: _Json = False,
    url: _Url = None,
) -> None:
    """Write all points of a run into a file, superseded ones marked.

    Example: runlore run export digits/k3f9x2ab -o points.parquet
    """
    if format not in (None, "parquet", "csv"):
        raise UsageError(f"--format must be parquet or csv, got {format!r}")
    known = cast(Literal["parquet", "csv"] | None, format)
    found = Api(url).run(run)
    path = found.export(output, format=known, keys=key)
    size = path.stat().st_size
    if as_json:
        emit_json({"run": str(found.ref), "path": str(path), "bytes": size})
    else:
        emit(f"wrote {path}, {size:,} bytes")


@app.command("delete")
def delete_run(
    run: _RunName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: _Json = False,
    url: _Url = None,
) -> None:
    """Delete a run for good.

    Example: runlore run delete digits/k3f9x2ab --yes
    """
    found = Api(url).run(run)
    if not yes:
        typer.confirm(
            f"Delete run {found.ref} ({printable(found.name)}) with {found.points:,} points "
            "for good?",
            abort=True,
            err=True,
        )
    freed = found.delete()
    if as_json:
        emit_json({"deleted": found.id, "freed_bytes": freed})
    else:
        emit(f"deleted {found.ref}, {freed:,} bytes freed")


def _show(run: ApiRun, as_json: bool) -> None:
    if as_json:
        emit_json(run.to_json())
        return
    emit(f"{run.ref}  {printable(run.name)}")
    emit(f"  state    {run.state}")
    emit(f"  created  {run.created_at.isoformat(timespec='seconds')}")
    if run.finished_at is not None:
        emit(f"  ended    {run.finished_at.isoformat(timespec='seconds')}")
    emit(f"  points   {run.points:,}")
    lost = cast(int, run.to_json().get("gaps", 0))
    if lost:
        emit(f"  lost     {lost:,} points, which the program counted but could not keep")
    fork = run.to_json().get("fork")
    if isinstance(fork, dict):
        emit(f"  fork     of {fork.get('run')} at step {fork.get('step')}")
    if run.tags:
        emit(f"  tags     {', '.join(map(printable, run.tags))}")
    if run.notes:
        emit(f"  notes    {run.notes.replace(_BREAK, _BREAK + ' ' * 11)}")
    emit(f"  page     {run.url}")
    for title, content in (("config", run.config), ("summary", run.summary)):
        if content:
            emit(f"  {title}")
            shown = [(printable(key), printable(_value(one))) for key, one in content.items()]
            width = max(len(key) for key, _ in shown)
            for key, value in shown:
                emit(f"    {key.ljust(width)}  {value}")


def _short(summary: JsonObject) -> str:
    """Show the first values of a summary, long ones from their beginning."""
    values = [(key, value) for key, value in summary.items() if not isinstance(value, dict)]
    shown = [f"{_cut(key)} {_cut(_value(value))}" for key, value in values[:_SHOWN_KEYS]]
    rest = len(values) - len(shown)
    return " · ".join(shown) + (f" · {rest} more" if rest else "")


def _cut(text: str) -> str:
    # One long text would make every line of the table as wide.
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"


def _value(value: JsonValue) -> str:
    if isinstance(value, float):
        # A count is read as one: 19,999 and not 2e+04.
        return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _pair(text: str) -> tuple[str, JsonValue]:
    key, mark, value = text.partition("=")
    if not key or not mark:
        raise UsageError(f"--config must be key=value, got {text!r}")
    try:
        return key, cast(JsonValue, json.loads(value))
    except ValueError:
        return key, value
