"""`./dev`: one command for all that a developer does."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from tools import bare_machine, bench, environment, suites
from tools.checks import check
from tools.lock import COMPILE
from tools.paths import ROOT, in_venv
from tools.steps import Board, Step, StepError


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    options, rest = _parser().parse_known_args(arguments)
    if rest and options.command != "serve":
        _parser().error(f"./dev {options.command} takes no {rest[0]!r}")
    os.chdir(ROOT)
    commands: dict[str, Callable[[], int]] = {
        "setup": _setup,
        "demo": lambda: _demo(end=options.exit),
        "serve": lambda: _serve(rest),
        "check": _check,
        "test": lambda: _test(fast=options.fast),
        "test-all": _test_all,
        "bench": lambda: _bench(peers=options.peers),
        "lock": _lock,
    }
    try:
        return commands[options.command]()
    except StepError:
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./dev", description="One command for all of it.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("setup", help="install everything into this clone")
    demo = commands.add_parser("demo", help="train eight small networks and watch them")
    demo.add_argument("--exit", action="store_true", help="end once every point has arrived")
    commands.add_parser("serve", help="run the server; options are those of runlore serve")
    commands.add_parser("check", help="format, lint, types, rooms, sizes, page; under a minute")
    test = commands.add_parser("test", help="check, then every suite but the slow tests")
    test.add_argument("--fast", action="store_true", help="unit and contract tests only")
    commands.add_parser("test-all", help="test, then the slow tests and the bare-machine proof")
    benchmarks = commands.add_parser(
        "bench", help="the benchmarks beside their goals; some minutes"
    )
    benchmarks.add_argument(
        "--peers", action="store_true", help="measure wandb and trackio as well"
    )
    commands.add_parser("lock", help="pin the newest allowed versions of all packages")
    return parser


def _setup() -> int:
    board = Board("setup")
    _set_up_all(board)
    board.finish("ready: ./dev demo, ./dev test")
    return 0


def _demo(*, end: bool) -> int:
    board = Board("demo")
    environment.set_up(board, environment.python_packages)
    command = [in_venv("python"), "-m", "tools.demo", *(["--exit"] if end else [])]
    # Replaced rather than waited for: Ctrl-C is for the demo, which ends what it started.
    os.execv(command[0], command)


def _serve(rest: Sequence[str]) -> int:
    board = Board("serve")
    environment.set_up(
        board,
        environment.python_packages,
        environment.page_packages,
        environment.built_page,
    )
    os.execv(in_venv("runlore"), ["runlore", "serve", *rest])


def _check() -> int:
    board = Board("check")
    environment.set_up(board, environment.python_packages, environment.page_packages)
    check(board)
    board.finish("all guards are content")
    return 0


def _test(*, fast: bool) -> int:
    board = Board("test --fast" if fast else "test")
    if fast:
        environment.set_up(board, environment.python_packages)
        return _close(board, suites.run_quick(board), checked=True)
    _set_up_all(board)
    checked = _attempt_check(board)
    return _close(board, suites.run_usual(board), checked=checked)


def _test_all() -> int:
    board = Board("test-all")
    _set_up_all(board)
    checked = _attempt_check(board)
    usual = suites.run_usual(board)
    slow = suites.run_slow(board)
    total = suites.Tally(*(one + other for one, other in zip(usual, slow, strict=True)))
    return _close(board, total, checked=_attempt_bare_machine(board) and checked)


def _attempt_bare_machine(board: Board) -> bool:
    why = bare_machine.obstacle()
    if why:
        board.done("bare machine", f"skipped: {why}")
        return True
    try:
        bare_machine.prove(board, bare_machine.COMMANDS, cold=False)
    except StepError:
        return False
    return True


def _set_up_all(board: Board) -> None:
    environment.set_up(
        board,
        environment.python_packages,
        environment.page_packages,
        environment.built_page,
        environment.browser,
    )


def _attempt_check(board: Board) -> bool:
    try:
        check(board)
    except StepError:
        return False
    return True


def _close(board: Board, tally: suites.Tally, *, checked: bool) -> int:
    """Say the sum. The guards are no tests: they are not counted, and fail the command alone."""
    board.finish("tests done" if checked else "a guard found something, see above; tests done")
    print(tally)
    return 0 if checked and tally.failed == 0 and tally.passed else 1


def _bench(*, peers: bool) -> int:
    board = Board("bench")
    _set_up_all(board)
    succeeded = bench.bench(board, peers=peers)
    board.finish("measured" if succeeded else "a driver failed, see above")
    return 0 if succeeded else 1


def _lock() -> int:
    board = Board("lock")
    environment.set_up(board, environment.python_packages)
    board.run(Step(name="requirements.lock", log="lock", command=[in_venv("uv"), *COMPILE]))
    board.finish("look at `git diff requirements.lock`, then ./dev setup")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
