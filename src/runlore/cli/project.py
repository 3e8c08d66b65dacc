"""`runlore project`: list projects."""

from typing import Annotated

import typer

from runlore.cli.console import ago, emit_json, emit_table
from runlore.sdk.api import Api

app = typer.Typer(no_args_is_help=True)


@app.callback()
def project() -> None:
    """List projects."""


@app.command("list")
def list_projects(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    url: Annotated[str | None, typer.Option("--url", help="Address of the server.")] = None,
) -> None:
    """List all projects, last active first.

    Example: runlore project list --json
    """
    projects = Api(url).projects()
    if as_json:
        emit_json(
            [
                {
                    "owner": one.owner,
                    "name": one.name,
                    "runs": one.runs,
                    "running": one.running,
                    "points": one.points,
                    "created_at": one.created_at.isoformat(),
                    "active_at": one.active_at.isoformat(),
                }
                for one in projects
            ]
        )
        return
    rows = [
        (
            f"{one.owner}/{one.name}",
            f"{one.runs:,}",
            f"{one.running:,}",
            f"{one.points:,}",
            ago(one.active_at.isoformat()),
        )
        for one in projects
    ]
    emit_table(
        ("project", "runs", "running", "points", "active"), rows, right="runs running points"
    )
