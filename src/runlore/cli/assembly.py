"""Assembles the command line, loading only the commands that are called."""

import importlib
from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import typer


class Group(NamedTuple):
    """A word that can follow `runlore`, and where its commands are."""

    name: str
    place: str
    help: str


BARE = (
    Group("serve", "runlore.cli.serve:serve", "Take what programs log, and show it."),
    Group("demo", "runlore.cli.demo:demo", "Train eight small networks and watch them."),
    Group("sync", "runlore.cli.sync:sync", "Deliver the spools of this machine to a server."),
    Group("fsck", "runlore.cli.fsck:fsck", "Find damage in a data folder, and mend it."),
)
NOUNS = (
    Group("run", "runlore.cli.run:app", "List, get, update and delete runs."),
    Group("project", "runlore.cli.project:app", "List projects."),
    Group("settings", "runlore.cli.settings:app", "Show the settings and where they come from."),
)


def assemble(arguments: Sequence[str]) -> typer.Typer:
    """Make the command line that these arguments need; the others are there by name alone."""
    app = typer.Typer(
        name="runlore",
        help="Keeps everything that machine-learning people try.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    called = next((word for word in arguments if not word.startswith("-")), None)
    for name, place, text in BARE:
        if name == called:
            # Its own docstring is its help: it has an example.
            app.command(name)(cast(Callable[[], None], _load(place)))
        else:
            app.command(name, help=text)(_nothing)
    for name, place, text in NOUNS:
        group = cast(typer.Typer, _load(place)) if name == called else typer.Typer()
        app.add_typer(group, name=name, help=text)
    return app


def _options(
    version: bool = typer.Option(
        False,
        "--version",
        help="Print the version and end.",
        is_eager=True,
        callback=lambda is_asked: _print_version(is_asked=is_asked),
    ),
) -> None:
    """Take the options of `runlore` itself."""


def _print_version(*, is_asked: bool) -> None:
    if is_asked:
        from runlore.cli.console import emit
        from runlore.version import __version__

        emit(__version__)
        raise typer.Exit


def _nothing() -> None:
    """Stand for a command that was not called."""


def _load(place: str) -> object:
    module, _, name = place.partition(":")
    found: object = getattr(importlib.import_module(module), name)
    return found
