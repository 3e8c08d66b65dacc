"""`./dev bench`: runs the drivers of benchmarks/ and sets what they say beside the goals."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tools import environment
from tools.paths import CACHE, ROOT, in_venv
from tools.stamps import digest, is_fresh, mark
from tools.steps import Board, Step, log_of

PEERS = CACHE / "peers"
# What is measured beside a peer runs where the peer can be imported.
_BESIDE_PEERS = ("charts", "ingest", "log", "sender")
# The drivers use runlore.testing, which needs hypothesis.
_PACKAGES = ("numpy", "hypothesis")
_PEERS = ("wandb", "trackio", "tensorboardX", "mlflow", "aim>=3.29,<4")
_DRIVER_S = 900.0


class Figure(NamedTuple):
    """One goal, and where a driver's output tells how far we are.

    Attributes:
        pattern: its groups are the figure, or two figures of which the second is to be
            divided by the first.
        is_least: the goal is a least value and not a greatest.
        without: what to say when the driver's output does not tell it.
    """

    measure: str
    driver: str
    pattern: str
    goal: float
    unit: str
    is_least: bool = False
    without: str = "not told by the driver"

    def read(self, output: str) -> float | None:
        """Return what a driver measured."""
        found = re.search(self.pattern, output, re.DOTALL)
        if found is None:
            return None
        numbers = [float(text.replace(",", "")) for text in found.groups()]
        return numbers[1] / numbers[0] if len(numbers) == 2 else numbers[0]

    def is_met(self, value: float) -> bool:
        """Tell whether a value keeps the goal."""
        return value >= self.goal if self.is_least else value <= self.goal


_NO_PEERS = "needs the peers: ./dev bench --peers"
_NO_DISK = "needs root, to freeze a disk"


def _beside_json(kind: str, scalars: int, goal: float) -> Figure:
    pattern = rf"log, {scalars} scalars:.*?{kind} +[\d.]+ us +([\d.]+)x"
    return Figure(f"log, {scalars} scalars, {kind}, to a JSON append", "log", pattern, goal, "x")


def _beside_peer(peer: str, scalars: int, goal: float) -> Figure:
    pattern = rf"log, {scalars} scalars:.*?python +([\d.]+) us.*?{peer} +([\d.]+) us"
    measure = f"log, {scalars} scalars: {peer} to ours"
    return Figure(measure, "log", pattern, goal, "x", is_least=True, without=_NO_PEERS)


def _beside_ingest(peer: str) -> Figure:
    pattern = rf"beside {peer} .*?ours is ([\d.]+)x"
    measure = f"points/s of 50 runs: ours to {peer}"
    return Figure(measure, "ingest", pattern, 10, "x", is_least=True, without=_NO_PEERS)


def _beside_chart(peer: str, chart: str) -> Figure:
    pattern = rf"chart of {chart}, {peer} .*?ours is ([\d.]+)x"
    measure = f"{chart} over HTTP: {peer} to ours"
    return Figure(measure, "charts", pattern, 30, "x", is_least=True, without=_NO_PEERS)


FIGURES = (
    *(
        _beside_json(kind, count, goal)
        for count, goal in ((1, 0.6), (10, 0.4), (100, 0.4))
        for kind in ("python", "numpy")
    ),
    *(_beside_peer("wandb", count, 20) for count in (1, 10, 100)),
    *(_beside_peer("trackio", count, 1) for count in (1, 10, 100)),
    Figure("log beside a busy thread, mean", "log", r"busy thread: mean ([\d.]+)", 20, "us"),
    Figure(
        "worst log while the disk hangs",
        "sender",
        r"disk frozen .*? calls ([\d.]+) ms",
        5,
        "ms",
        without=_NO_DISK,
    ),
    Figure("CPU per call, program and sender", "sender", r"full speed.*? = ([\d.]+) us", 8, "us"),
    Figure("CPU at 10 calls/s", "sender", r"10 calls/s:.*? = ([\d.]+) %", 1, "%"),
    Figure("sender idle, CPU", "sender", r"idle: ([\d.]+) ms/s", 1.5, "ms/s"),
    Figure("sender idle, memory", "sender", r"idle: .*? (\d+) KiB", 14 * 1e6 / 1024, "KiB"),
    Figure("init", "log", r"init \(goal 10\): least [\d.]+, median ([\d.]+)", 10, "ms"),
    Figure("import to finish, delivered", "sender", r"finish: median ([\d.]+) s", 0.15, "s"),
    Figure(
        "import to finish: wandb to ours",
        "sender",
        r"finish: median ([\d.]+) s.*?the same by wandb, offline: median ([\d.]+) s",
        8,
        "x",
        is_least=True,
        without=_NO_PEERS,
    ),
    Figure("logged to visible, p99", "page", r"to visible, p50/p99 +\d+ / (\d+) ms", 1000, "ms"),
    Figure("charts 50 ms away, cold", "page", r"ms away, 8 runs +, drawn +(\d+) ms", 700, "ms"),
    Figure("1000 lines: pointer move, CPU", "page", r"1 panel , move +([\d.]+) ms", 16, "ms"),
    Figure("1000 lines: zoom, CPU", "page", r"1 panel , zoom +([\d.]+) ms", 150, "ms"),
    Figure("server CPU per point", "server", r"point, CPU until idle +([\d.]+) us", 1, "us"),
    Figure("server CPU per tiny post", "server", r"tiny post, CPU +([\d.]+) ms", 1.5, "ms"),
    Figure("server ready", "server", r"ready, median of 5 +([\d.]+) s", 0.8, "s"),
    Figure("server idle memory", "server", r"idle memory, resident +([\d.]+) MB", 100, "MB"),
    Figure("1 x 100 k steps over HTTP", "series", r"1 x 100 k.*? ([\d.]+) ms median", 2, "ms"),
    Figure("20 x 10 k steps over HTTP", "series", r"20 x 10 k.*? ([\d.]+) ms median", 6, "ms"),
    Figure("series while 100 k points/s come in", "series", r"load, 95 % +([\d.]+) ms", 50, "ms"),
    *(
        _beside_chart(peer, chart)
        for chart in ("1 x 100 k steps", "20 x 10 k steps")
        for peer in ("trackio", "mlflow", "aim")
    ),
    Figure(
        "50 runs from 4 programs, durable",
        "ingest",
        r"programs: ([\d,]+) points/s",
        200_000,
        "/s",
        is_least=True,
    ),
    *(_beside_ingest(peer) for peer in ("wandb", "trackio", "tensorboardX")),
    Figure("256 writers, 20 pages, CPU", "writers", r"server ([\d.]+) % of a core", 60, "%"),
    Figure("256 writers, 20 pages, refused", "writers", r"back-pressure (\d+) answers", 0, ""),
    Figure("1000 x 10 k steps, CPU", "series", r"200 buckets +([\d.]+) ms CPU", 80, "ms"),
    Figure("export to Parquet", "series", r"parquet +([\d.]+) M", 1, "M/s", is_least=True),
    Figure(
        "10,000 runs: filter, sort, page, CPU",
        "runlist",
        r"filter, sort, first page +([\d.]+) ms",
        30,
        "ms",
    ),
    Figure("10,000 runs: distinct keys, CPU", "runlist", r"distinct keys +([\d.]+) ms", 20, "ms"),
    Figure("clone to first live curve", "demo", r"first live curve +([\d.]+) s", 90, "s"),
)


def bench(board: Board, *, peers: bool) -> bool:
    """Run all drivers, print the table, and return whether every driver came to its end.

    A goal that is missed fails nothing: times of a busy machine say little.
    """
    if peers:
        _install_peers(board)
    board.note(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; best run on a quiet one")
    drivers = sorted(path.stem for path in (ROOT / "benchmarks").glob("[a-z]*.py"))
    outputs: dict[str, str] = {}
    for driver in drivers:
        step = _step(driver, peers=peers)
        if board.attempt(step):
            outputs[driver] = log_of(step).read_text(errors="replace")
    for line in table(FIGURES, outputs):
        print(line)
    print(f"all that the drivers said: {(CACHE / 'log').relative_to(ROOT)}/bench-*.log")
    return bool(drivers) and len(outputs) == len(drivers)


def table(figures: Sequence[Figure], outputs: Mapping[str, str]) -> list[str]:
    """Return the lines of the table of goals."""
    lines = [f"{'measure':42} {'goal':>13} {'seen':>13}"]
    for figure in figures:
        sign = "≥" if figure.is_least else "≤"
        goal = f"{sign} {_number(figure.goal)} {figure.unit}"
        output = outputs.get(figure.driver)
        value = None if output is None else figure.read(output)
        seen = "-"
        if value is not None:
            seen = f"{_number(value)} {figure.unit}"
            verdict = "met" if figure.is_met(value) else "missed"
        elif output is not None:
            verdict = figure.without
        else:
            verdict = f"{figure.driver}.py failed"
        lines.append(f"{figure.measure:42} {goal:>13} {seen:>13}  {verdict}")
    return lines


def _number(value: float) -> str:
    return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def _step(driver: str, *, peers: bool) -> Step:
    beside = peers and driver in _BESIDE_PEERS
    python = str(PEERS / "bin" / "python") if beside else in_venv("python")
    # A disk to freeze is a loop device of our own; mounting it is for root alone.
    more = ["--frozen", "30"] if driver == "sender" and os.geteuid() == 0 else []
    found = environment.browser_path()
    return Step(
        name=f"benchmarks/{driver}.py",
        log=f"bench-{driver}",
        command=[python, str(ROOT / "benchmarks" / f"{driver}.py"), *more],
        environment={
            # Without bytecode on the disk each start would be a compilation.
            "PYTHONDONTWRITEBYTECODE": "",
            **({"RUNLORE_CHROMIUM": found} if found else {}),
        },
        timeout_s=_DRIVER_S,
    )


def _install_peers(board: Board) -> None:
    """Make the virtual environment that holds the other trackers beside ours.

    One that cannot be installed here (Aim 3 has no wheels for Python 3.13) is left out.
    """
    state = digest([ROOT / "pyproject.toml"], extra=" ".join([*_PACKAGES, *_PEERS]))
    if is_fresh("peers", state) and (PEERS / "bin" / "python").exists():
        board.done(", ".join(_PEERS), "unchanged")
        return
    variables = environment.uv_variables()
    uv = in_venv("uv")
    make = [uv, "venv", "--clear", "--python", in_venv("python"), str(PEERS)]
    board.run(Step(name="environment of the peers", log="bench-venv", command=make))
    install = [uv, "pip", "install", "--python", str(PEERS / "bin" / "python")]
    board.run(
        Step(
            name="Runlore beside the peers",
            log="bench-runlore",
            command=[*install, "--editable", ".[server]", *_PACKAGES],
            environment=variables,
        )
    )
    steps = [
        Step(name=peer, log=f"peer-{peer}", command=[*install, peer], environment=variables)
        for peer in _PEERS
    ]
    if board.attempt_all(steps, at_once=1):
        mark("peers", state)
