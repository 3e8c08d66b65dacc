"""The command line: one file per group of commands."""

import sys


def main() -> None:
    """Run the command line."""
    from runlore.cli.entry import run

    sys.exit(run(sys.argv[1:]))
