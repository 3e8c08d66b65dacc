"""`runlore settings`: the settings and where they come from."""

from typing import Annotated

import typer

from runlore import settings
from runlore.cli.console import emit_json, emit_table

app = typer.Typer(no_args_is_help=True)


@app.callback()
def show() -> None:
    """Show the settings and where they come from."""


@app.command("list")
def list_settings(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List each setting with its value and origin; of the key only that there is one.

    Example: runlore settings list
    """
    found = settings.origins()
    helps = {setting.name: setting.help for setting in settings.SETTINGS}
    shown = {
        name: "(set)" if name == "api_key" and value else value
        for name, (value, _) in found.items()
    }
    if as_json:
        emit_json(
            {
                name: {"value": shown[name], "origin": found[name].origin, "help": helps[name]}
                for name in found
            }
        )
        return
    rows = [(name, shown[name] or "-", found[name].origin, helps[name]) for name in found]
    emit_table(("setting", "value", "origin", "meaning"), rows)
