"""`runlore serve`: its options and its help."""

from pathlib import Path
from typing import Annotated

import typer

from runlore.cli import serving


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 takes a free one.")
    ] = serving.DEFAULT_PORT,
    data: Annotated[
        Path | None, typer.Option(help="Folder for runs; default: server in the setting home.")
    ] = None,
    public_url: Annotated[
        str | None, typer.Option(help="Address under which others reach this server.")
    ] = None,
) -> None:
    """Take what programs log, and show it.

    Example: runlore serve --port 7333
    """
    serving.serve(serving.ServeOptions(host=host, port=port, data=data, public_url=public_url))
