"""Runs a command line, and turns errors into one line and an exit code."""

import sys
from collections.abc import Sequence

from runlore.cli.console import EXIT_SERVER, EXIT_USE, complain
from runlore.errors import RunloreError, UnavailableError


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code: 1 for use, 2 for parsing, 3 for the server."""
    try:
        _call(list(arguments))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else EXIT_USE
    except UnavailableError as error:
        complain(str(error))
        return EXIT_SERVER
    except RunloreError as error:
        complain(str(error))
        return EXIT_USE
    except BrokenPipeError:
        # Whoever read the output, `head` for one, has seen enough.
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return EXIT_USE
    return 0


def _call(arguments: list[str]) -> None:
    if arguments[:1] == ["serve"]:
        from runlore.cli import serving

        options = serving.plain_options(arguments)
        if options is not None:
            serving.serve(options)
            return
    from runlore.cli.assembly import assemble

    assemble(arguments)(arguments, prog_name="runlore", standalone_mode=True)
