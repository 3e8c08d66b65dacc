"""The command line: one file per group of commands."""


def main() -> None:
    """Run the command line."""
