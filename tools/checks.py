"""`./dev check`: everything that can be said about the code without running it."""

from tools.environment import node_environment
from tools.paths import LOGS, WEB, in_venv
from tools.steps import Board, Step, StepError, last_line


def check(board: Board) -> None:
    """Run all guards, two at a time, and fail if one of them does.

    Raises:
        StepError: at least one guard found something.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    if not board.attempt_all(guards(), at_once=2):
        raise StepError("check")


def guards() -> list[Step]:
    """Return the guards, the slowest first."""
    python = in_venv("python")
    return [
        _guard("types (mypy)", "check-types", in_venv("mypy")),
        Step(
            name="page: types, lint, borders",
            log="check-page",
            command=["npm", "run", "--silent", "check"],
            cwd=WEB,
            environment=node_environment(),
            detail=last_line,
            timeout_s=300,
        ),
        _guard("rooms (import-linter)", "check-rooms", in_venv("lint-imports")),
        _guard("lint (ruff)", "check-lint", in_venv("ruff"), "check", "."),
        _guard("format (ruff)", "check-format", in_venv("ruff"), "format", "--check", "."),
        _guard("sizes", "check-sizes", python, "-m", "tools.sizes"),
        _guard("hygiene", "check-hygiene", python, "-m", "tools.hygiene"),
    ]


def _guard(name: str, log: str, *command: str) -> Step:
    return Step(name=name, log=log, command=command, detail=last_line, timeout_s=300)
