"""What the sender costs: CPU at full speed, at ten calls a second and idle, memory, a short run.

Run it as `python benchmarks/sender.py`; with `--frozen 30` (as root) also the worst log call
while the disk of the home stands still for so many seconds. With wandb importable its short run is
measured too.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from runlore.testing.programs import World
from runlore.testing.serving import ServerProcess

FULL_SPEED = """
import resource, sys, time, runlore
run = runlore.init()
run.log({"loss": 0.0})
run.flush(20)
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
before = cpu()
for n in range(COUNT):
    run.log({"loss": n / 7})
print("program", (cpu() - before) / COUNT * 1e6, flush=True)
run.flush(60)
print("flushed", flush=True)
sys.stdin.readline()
run.finish()
"""
SLOW = """
import sys, time, runlore
run = runlore.init()
run.log({"loss": 0.0})
run.flush(20)
print("ready", flush=True)
sys.stdin.readline()
for n in range(CALLS):
    run.log({"loss": n / 7})
    time.sleep(0.1)
print("done", flush=True)
sys.stdin.readline()
run.finish()
"""
SHORT = """
import runlore
run = runlore.init()
for n in range(10):
    run.log({"loss": n / 7})
run.finish()
"""
FROZEN = """
import subprocess, time, runlore
run = runlore.init(dir=HOME)
run.log({"loss": 0.0})
run.flush(20)
subprocess.run(["fsfreeze", "--freeze", DISK], check=True)
worst, n, began = 0.0, 0, time.monotonic()
while time.monotonic() - began < SECONDS:
    before = time.perf_counter()
    run.log({"loss": n / 7})
    worst = max(worst, time.perf_counter() - before)
    n += 1
    time.sleep(0.0005)
subprocess.run(["fsfreeze", "--unfreeze", DISK], check=True)
run.finish()
print("worst", worst * 1e3, n)
"""


def cpu_ms(pid: int) -> float:
    """Return the CPU time of all threads of a process, exactly."""
    tasks = Path(f"/proc/{pid}/task")
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e6


def resident_kib(pid: int) -> int:
    """Return the resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def full_speed(world: World, count: int) -> None:
    process = world.start(f"COUNT = {count}\n{FULL_SPEED}")
    sender = world.sender()
    first = cpu_ms(sender)
    program = float(line(process).split()[1])
    line(process)
    per_call = (cpu_ms(sender) - first) / count * 1e3
    print(
        f"full speed, 1 scalar: program {program:.2f} + sender {per_call:.2f} "
        f"= {program + per_call:.2f} us a call (goal 8); sender then {resident_kib(sender)} KiB"
    )
    end(process, world)


def slow_and_idle(world: World, calls: int, idle_seconds: float) -> None:
    process = world.start(f"CALLS = {calls}\n{SLOW}")
    sender = world.sender()
    line(process)
    before = cpu_ms(sender), cpu_ms(process.pid)
    began = time.monotonic()
    tell(process)
    line(process)
    seconds = time.monotonic() - began
    used = cpu_ms(sender) - before[0], cpu_ms(process.pid) - before[1]
    print(
        f"10 calls/s: program {used[1] / seconds:.2f} + sender {used[0] / seconds:.2f} ms/s "
        f"= {sum(used) / seconds / 10:.2f} % of a core (goal 1)"
    )
    time.sleep(6)
    first = cpu_ms(sender)
    time.sleep(idle_seconds)
    print(
        f"idle: {(cpu_ms(sender) - first) / idle_seconds:.2f} ms/s (goal 1.5), "
        f"{resident_kib(sender)} KiB (goal 14 MB)"
    )
    end(process, world)


def short_runs(world: World, times: int) -> None:
    walls = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", SHORT], env=world.environment(), check=True, stderr=-3
        )
        walls.append(time.perf_counter() - began)
    print(
        f"import + init + 10 logs + finish: median {statistics.median(walls):.3f} s, "
        f"least {min(walls):.3f} s (goal 0.15)"
    )
    world.settle()
    if find_spec("wandb"):
        wandb_runs(3)


def wandb_runs(times: int) -> None:
    walls = []
    with tempfile.TemporaryDirectory() as folder:
        places = {"WANDB_MODE": "offline", "WANDB_DIR": folder, "WANDB_SILENT": "true"}
        for _ in range(times):
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, "-c", SHORT.replace("runlore", "wandb")],
                env={**os.environ, **places},
                check=True,
            )
            walls.append(time.perf_counter() - began)
    print(f"the same by wandb, offline: median {statistics.median(walls):.3f} s")


def frozen(world: World, folder: Path, seconds: int) -> None:
    image, place = folder / "image", folder / "disk"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(64 * 2**20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    try:
        head = f"HOME, DISK, SECONDS = {str(place / 'home')!r}, {str(place)!r}, {seconds}\n"
        out = world.run(head + FROZEN)
        _, worst, calls = next(text for text in out.splitlines() if text[:5] == "worst").split()
        print(f"disk frozen {seconds} s: worst of {calls} calls {float(worst):.2f} ms (goal 5)")
        world.settle()
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", place], check=False, stderr=-3)
        subprocess.run(["umount", "--lazy", place], check=True)


def tell(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def end(process: "subprocess.Popen[str]", world: World) -> None:
    tell(process)
    process.wait(30)
    world.settle()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--frozen", type=int, default=0, metavar="SECONDS")
    chosen = arguments.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ServerProcess(folder / "server") as server:
            world = World(server.url, folder)
            try:
                short_runs(world, 9)
                full_speed(world, 500_000)
                slow_and_idle(world, 60, 10.0)
                if chosen.frozen:
                    frozen(world, folder, chosen.frozen)
            finally:
                world.close()


if __name__ == "__main__":
    main()
