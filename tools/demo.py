"""`./dev demo`: training begins at once, and the page is built while the points wait.

Run by .venv's Python, once Runlore itself is installed there.
"""

import os
import socket
import sys
from collections.abc import Sequence

from runlore.cli.demo import PAUSE_S, Demo, end_as_by_ctrl_c, watch
from runlore.errors import RunloreError
from runlore.settings import DEFAULT_URL
from tools.environment import built_page, page_packages, set_up
from tools.paths import CACHE, ROOT
from tools.steps import Board, StepError


def main(arguments: Sequence[str]) -> int:
    """Run the demo in a home of its own, so that it meets no other data and no other server."""
    end_as_by_ctrl_c()
    exit_after = "--exit" in arguments
    home = CACHE / "demo"
    ignored = [name for name in ("RUNLORE_HOME", "RUNLORE_URL") if os.environ.get(name)]
    if ignored:
        print(
            f"runlore: {' and '.join(ignored)} not used: ./dev demo has a home and a server of "
            "its own, so that it meets no other data; 'runlore demo' takes yours"
        )
    os.environ["RUNLORE_HOME"] = str(home)
    running = Demo(home=str(home), url=_free_url())
    try:
        running.train(pause_s=0.0 if exit_after else PAUSE_S)
        board = Board(
            "eight networks are learning to read digits (examples/digits.py)",
            aside=lambda: f"{running.logged():,} points wait in the spool",
        )
        set_up(board, page_packages, built_page)
        watch(running, exit_after=exit_after)
    except StepError:
        return 1
    except RunloreError as error:
        print(f"runlore: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
    finally:
        running.close()
    print(f"runlore: to see it again: RUNLORE_HOME={home.relative_to(ROOT)} ./dev serve")
    return 0


def _free_url() -> str:
    """Return the default address, or one with another port if that is taken."""
    default = int(DEFAULT_URL.rpartition(":")[2])
    for port in (default, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return f"http://127.0.0.1:{probe.getsockname()[1]}"
    raise AssertionError("the kernel always has a free port")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
