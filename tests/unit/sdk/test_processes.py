"""Real programs: forks, spawned children, signals and exit codes, read from the disk."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runlore.wire import spool
from tests.unit.sdk.streams import ended, settled, until


def run_program(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = folder / "program.py"
    path.write_text(text)
    return subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=60, cwd=folder
    )


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("sys.exit('no data')", 1),
        ("sys.exit()", 0),
        ("raise RuntimeError('boom')", 1),
        ("raise KeyboardInterrupt", 130),
    ],
)
def test_a_program_that_ends_without_finish_is_finished_with_its_exit_code(
    home: Path, tmp_path: Path, ending: str, code: int
) -> None:
    done = run_program(
        f"import sys, runlore\nrunlore.init()\nrunlore.log({{'loss': 1.0}})\n{ending}\n", tmp_path
    )
    assert done.returncode in (code, -signal.SIGINT)
    (found,) = ended(home, 1)
    assert [finish["exit_code"] for finish in found.of(spool.FINISH)] == [code]
    assert found.rows == [(0, {"loss": 1.0})]
    word = "finished" if code == 0 else f"failed with exit code {code}"
    assert f"runlore: {word} in" in done.stderr


def test_a_thread_that_logs_until_the_program_is_gone_prints_nothing(
    home: Path, tmp_path: Path
) -> None:
    done = run_program(
        "import threading, time, runlore\n"
        "run = runlore.init()\n"
        "def work(log):\n"
        "    while True:\n"
        "        log({'loss': 1.0})\n"
        "        run.config['seen'] = time.time()\n"
        "        time.sleep(0.001)\n"
        "for log in (run.log, runlore.log):\n"
        "    threading.Thread(target=work, args=(log,), daemon=True).start()\n"
        "while run.step < 20:\n"
        "    time.sleep(0.001)\n",
        tmp_path,
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr, done.stderr
    (found,) = ended(home, 1)
    assert [step for step, _ in found.rows] == list(range(len(found.rows)))
    assert len(found.rows) >= 20


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_program_that_a_signal_kills_keeps_what_it_logged(
    home: Path, tmp_path: Path, number: int
) -> None:
    done = run_program(
        "import os, runlore\nrunlore.init()\n"
        "for i in range(1000):\n    runlore.log({'loss': 1.0 * i})\n"
        f"os.kill(os.getpid(), {number})\n",
        tmp_path,
    )
    assert done.returncode == -number
    (found,) = ended(home, 1)
    assert [step for step, _ in found.rows] == list(range(1000))
    assert found.kinds[-1] == spool.LOST


FORK = """
import os, runlore
run = runlore.init()
for i in range(10):
    run.log({"who": 0, "i": i})
pids = []
for who in (1, 2):
    pid = os.fork()
    if pid == 0:
        for i in range(1000):
            runlore.log({"who": who, "i": i})
        run.finish()
        os._exit(0)
    pids.append(pid)
for i in range(1000):
    run.log({"who": 0, "i": i + 10})
for pid in pids:
    os.waitpid(pid, 0)
run.log({"who": 0, "i": -1})
run.finish()
"""


def test_forked_children_write_streams_of_their_own_and_only_the_parent_ends_the_run(
    home: Path, tmp_path: Path
) -> None:
    done = run_program(FORK, tmp_path)
    assert done.returncode == 0, done.stderr
    main, *children = ended(home, 3)
    assert [values["i"] for _, values in main.rows] == [*range(1010), -1]
    assert (main.role, main.kinds[-1]) == ("main", spool.FINISH)
    assert sorted(child.rows[0][1]["who"] for child in children) == [1, 2]
    for child in children:
        assert (child.role, child.kinds[-1]) == ("child", spool.CLOSED)
        assert [values["i"] for _, values in child.rows] == list(range(1000))
        # A child goes on behind the step that its parent had reached.
        assert [step for step, _ in child.rows] == list(range(10, 1010))


POOL = """
import multiprocessing, runlore

def work(run, who):
    for i in range(100):
        run.log({{"who": who, "i": i}})

if __name__ == "__main__":
    run = runlore.init()
    run.log({{"who": -1, "i": 0}})
    context = multiprocessing.get_context({method!r})
    children = [context.Process(target=work, args=(run, who)) for who in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    print(sum(child.exitcode for child in children))
    run.finish()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_run_handed_to_a_child_process_logs_to_the_same_run(
    home: Path, tmp_path: Path, method: str
) -> None:
    done = run_program(POOL.format(method=method), tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr
    main, *children = ended(home, 3)
    assert main.rows == [(0, {"who": -1.0, "i": 0.0})]
    assert sorted(child.rows[0][1]["who"] for child in children) == [0, 1]
    header = main.of(spool.HEADER)[0]
    for child in children:
        assert [values["i"] for _, values in child.rows] == list(range(100))
        assert child.kinds[-1] == spool.CLOSED
        told = child.of(spool.HEADER)[0]
        assert (told["run"], told["program"]) == (header["run"], header["writer"])
    assert done.stderr.count("finished in") == 1


LATE = """
import multiprocessing, threading, runlore

def late(run, over):
    over.wait()
    for i in range(5):
        run.log({{"late": i}})

def work(run):
    run.log({{"early": 1}})
    over = threading.Event()
    threading.Thread(target=late, args=(run, over)).start()
    # Called when the child has done all else and waits for its threads.
    threading._register_atexit(over.set)

if __name__ == "__main__":
    with runlore.init() as run:
        child = multiprocessing.get_context({method!r}).Process(target=work, args=(run,))
        child.start()
        child.join()
        print(child.exitcode)
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_thread_that_a_child_process_waits_for_is_heard_to_its_last_word(
    home: Path, tmp_path: Path, method: str
) -> None:
    done = run_program(LATE.format(method=method), tmp_path)
    assert done.stdout.strip() == "0", done.stderr
    _, child = ended(home, 2)
    expected = [{"early": 1.0}, *({"late": float(i)} for i in range(5))]
    assert [values for _, values in child.rows] == expected


def test_a_child_that_never_logs_leaves_nothing(home: Path, tmp_path: Path) -> None:
    run_program(
        "import os, runlore\nrun = runlore.init()\npid = os.fork()\n"
        "if pid:\n    os.waitpid(pid, 0)\n",
        tmp_path,
    )
    (found,) = ended(home, 1)
    assert found.role == "main"


def test_a_thread_of_a_child_that_logs_first_after_the_end_prints_nothing(
    home: Path, tmp_path: Path
) -> None:
    done = run_program(
        "import atexit, os, sys, threading, runlore\nrun = runlore.init()\nrun.log({'a': 1})\n"
        "pid = os.fork()\n"
        "if pid:\n    os.waitpid(pid, 0)\n    raise SystemExit\n"
        "over, logged = threading.Event(), threading.Event()\n"
        "def work():\n    over.wait()\n"
        "    run.log({'a': 2})\n    run.config['seen'] = 1\n    logged.set()\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        # What is registered first is called last: behind the end of the run.
        "def end():\n    over.set()\n    assert logged.wait(30), 'it failed'\n"
        "atexit.unregister(runlore.sdk.start._at_exit)\natexit.register(end)\n"
        "atexit.register(runlore.sdk.start._at_exit)\n",
        tmp_path,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert "it failed" not in done.stderr, done.stderr
    (found,) = ended(home, 1)
    assert found.rows == [(0, {"a": 1.0})]


def test_init_in_a_forked_child_begins_a_run_of_its_own(home: Path, tmp_path: Path) -> None:
    run_program(
        "import os, runlore\nrun = runlore.init()\npid = os.fork()\n"
        "if pid == 0:\n    runlore.init().log({'loss': 2.0})\n    raise SystemExit\n"
        "os.waitpid(pid, 0)\nrun.log({'loss': 1.0})\n",
        tmp_path,
    )
    found = ended(home, 2)
    assert sorted(values["loss"] for one in found for _, values in one.rows) == [1.0, 2.0]
    assert {one.role for one in found} == {"main"}


def test_a_signal_handler_may_log_in_the_middle_of_a_log(home: Path, tmp_path: Path) -> None:
    done = run_program(
        "import itertools, signal, runlore\nrun = runlore.init()\nhits = itertools.count()\n"
        "def handle(*_):\n    hit = next(hits)\n    run.log({'hit': hit, f'h{hit}': 1})\n"
        "signal.signal(signal.SIGALRM, handle)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)\n"
        "for i in range(60_000):\n    run.log({'loss': i})\n"
        "    if i % 10 == 0:\n        run.log({f'k{i % 5000}': i})\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)\nprint(next(hits))\n"
        "assert run.flush(20)\nrun.finish()\n",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    hits = int(done.stdout)
    (found,) = ended(home, 1)
    assert hits > 20
    assert sorted(v["hit"] for _, v in found.rows if "hit" in v) == list(range(hits))
    assert [v["loss"] for _, v in found.rows if "loss" in v] == list(range(60_000))


def test_a_signal_handler_may_log_in_the_middle_of_a_write_where_nothing_is_mapped(
    home: Path, tmp_path: Path
) -> None:
    done = run_program(
        "import itertools, signal, runlore\nfrom runlore.sdk import segments\n"
        "segments._is_preallocated = lambda fd, size: False\n"
        "run = runlore.init()\nhits = itertools.count()\n"
        "def handle(*_):\n    run.log({'hit': next(hits), 'other': 1.0})\n"
        "signal.signal(signal.SIGALRM, handle)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)\n"
        "for i in range(30_000):\n    run.log({'loss': i})\n"
        "    if i % 10 == 0:\n        run.log({f'k{i % 5000}': i})\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)\nprint(next(hits))\nrun.finish()\n",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    hits = int(done.stdout)
    (found,) = ended(home, 1)
    assert hits > 20
    assert sorted(v["hit"] for _, v in found.rows if "hit" in v) == list(range(hits))
    assert [v["loss"] for _, v in found.rows if "loss" in v] == list(range(30_000))


@pytest.mark.parametrize("is_mapped", [True, False])
def test_a_signal_handler_that_raises_in_the_middle_of_a_log_loses_and_doubles_nothing(
    home: Path, tmp_path: Path, is_mapped: bool
) -> None:
    mapped = "" if is_mapped else "segments._is_preallocated = lambda fd, size: False\n"
    done = run_program(
        "import json, random, signal, runlore\nfrom runlore.sdk import segments\n"
        f"{mapped}run = runlore.init()\nkept, hits = [], 0\n"
        "def handle(*_):\n    raise TimeoutError\n"
        "signal.signal(signal.SIGALRM, handle)\n"
        "for i in range(20_000):\n"
        "    try:\n"
        "        signal.setitimer(signal.ITIMER_REAL, random.choice((1e-5, 3e-5, 1e-4, 1)))\n"
        "        if i % 7:\n            run.log({'i': i, 'b': 2.0})\n"
        "        else:\n            run.log({'i': i, f'k{i % 500}': 1, 'text': 'x' * 1000})\n"
        "        signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "        kept.append(i)\n"
        "    except TimeoutError:\n        hits += 1\n"
        "signal.signal(signal.SIGALRM, signal.SIG_IGN)\n"
        "run.finish()\nprint(json.dumps([hits, kept]))\n",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    hits, kept = json.loads(done.stdout)
    (found,) = ended(home, 1)
    rows = [values["i"] for _, values in found.rows]
    assert hits > 20
    assert len(rows) == len(set(rows))
    assert set(kept) <= set(rows)


@pytest.mark.parametrize("leave", ["raise SystemExit(3)", "return"])
def test_a_signal_handler_that_finishes_the_run_in_the_middle_of_making_room_loses_nothing(
    home: Path, tmp_path: Path, leave: str
) -> None:
    done = run_program(
        "import os, signal, time, runlore\nfrom runlore.sdk import spool\n"
        "run = runlore.init()\nmake = spool.make_segment\n"
        f"def handle(*_):\n    run.finish(3)\n    {leave}\n"
        "def make_slowly(path, size):\n"
        "    spool.make_segment = make\n    signal.raise_signal(signal.SIGTERM)\n"
        "    return make(path, size)\n"
        "signal.signal(signal.SIGTERM, handle)\nspool.make_segment = make_slowly\n"
        "began = time.monotonic()\n"
        "for i in range(100_000):\n    run.log({'i': i})\n    if run.is_finished:\n"
        "        break\nassert time.monotonic() - began < 15\nraise SystemExit(3)\n",
        tmp_path,
    )
    assert done.returncode == 3, done.stderr
    assert "could not be kept" not in done.stderr
    (found,) = ended(home, 1)
    assert [step for step, _ in found.rows] == list(range(len(found.rows)))
    assert len(found.rows) > 1000
    assert [end["exit_code"] for end in found.of(spool.FINISH)] == [3]


def test_a_storm_of_signals_loses_nothing_where_segments_are_written(
    home: Path, tmp_path: Path
) -> None:
    done = run_program(
        "import errno, os, signal, time, runlore\n"
        "def refuse(*_):\n    raise OSError(errno.EOPNOTSUPP, 'not here')\n"
        "os.posix_fallocate = refuse\n"
        "run = runlore.init()\nhits = count = 0\n"
        "def handle(*_):\n    global hits\n"
        "    number = hits\n    hits += 1\n"
        "    run.log({'h': number, 'text': 'h' * 30_000})\n"
        "signal.signal(signal.SIGALRM, handle)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)\n"
        "until = time.monotonic() + 0.5\n"
        "while time.monotonic() < until:\n"
        "    run.log({'m': count, 'text': 'm' * 3000})\n    count += 1\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)\nrun.finish()\nprint([hits, count])\n",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "could not be kept" not in done.stderr
    hits, count = json.loads(done.stdout)
    assert hits > 20
    (found,) = ended(home, 1)
    rows = [values for _, values in found.rows]
    assert [values["m"] for values in rows if "m" in values] == list(range(count))
    assert sorted(values["h"] for values in rows if "h" in values) == list(range(hits))


def test_the_sender_holds_nothing_of_the_program_and_is_not_its_child(
    home: Path, tmp_path: Path, staging: Path
) -> None:
    done = run_program(
        "import os, runlore, time\n"
        "read, write = os.pipe()\nos.set_inheritable(write, True)\n"
        "run = runlore.init()\nrun.log({'loss': 1.0})\nassert run.flush(20)\n"
        "try:\n    os.wait()\nexcept ChildProcessError:\n    print('no child')\n"
        "os.close(write)\nassert os.read(read, 1) == b''\nprint('pipe closed')\nrun.finish()\n",
        tmp_path,
    )
    # subprocess.run returns only when nobody holds the program's standard streams any more.
    assert done.stdout.split("\n")[:2] == ["no child", "pipe closed"], done.stderr


def test_an_exit_that_was_caught_before_a_run_does_not_fail_it(home: Path, tmp_path: Path) -> None:
    run_program(
        "import sys, runlore\nrunlore.init().finish()\n"
        "try:\n    sys.exit(3)\nexcept SystemExit:\n    pass\n"
        "runlore.init()\n",
        tmp_path,
    )
    codes = [one.of(spool.FINISH)[0]["exit_code"] for one in ended(home, 2)]
    assert codes == [0, 0]


def test_a_sender_starts_beside_descriptors_above_the_limit(home: Path, tmp_path: Path) -> None:
    done = run_program(
        "import os, resource, runlore\n"
        "read, write = os.pipe()\nos.dup2(write, 200)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "run = runlore.init()\nrun.log({'loss': 1.0})\nassert run.flush(20)\nrun.finish()\n",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr


_NARROW = """
import os, runlore
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
runlore.init
soft, hard = getrlimit(RLIMIT_NOFILE)
def narrow():
    setrlimit(RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, hard))
def widen():
    setrlimit(RLIMIT_NOFILE, (soft, hard))
"""


def test_a_program_without_descriptors_left_logs_on_and_keeps_all_once_there_are_some(
    home: Path, tmp_path: Path
) -> None:
    done = run_program(
        f"{_NARROW}run = runlore.init()\nnarrow()\n"
        "for step in range(3):\n    run.log({'text': 'x' * 2**20, 'loss': 1.0 * step})\n"
        "widen()\nrun.finish()\n",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "no room for what is logged (Too many open files)" in done.stderr
    (found,) = ended(home, 1)
    assert [step for step, _ in found.rows] == [0, 1, 2]


@pytest.mark.parametrize("arguments", ["", "id='known', mode='online'"])
def test_without_descriptors_left_a_run_does_not_begin_and_says_what_to_do(
    home: Path, tmp_path: Path, arguments: str
) -> None:
    done = run_program(
        f"{_NARROW}narrow()\ntry:\n    runlore.init({arguments})\n"
        "except runlore.errors.UsageError as error:\n    print(error)\n",
        tmp_path,
    )
    assert "Too many open files; close files that the program no longer needs" in done.stdout, done
    assert done.stderr == ""


def test_a_header_names_the_main_writer_of_its_own_run_down_to_grandchildren(
    home: Path, tmp_path: Path
) -> None:
    done = run_program(
        "import os, runlore\n"
        "runs = [runlore.init(id=one, reinit='create_new') for one in 'ab']\n"
        "def fork(depth):\n"
        "    pid = os.fork()\n"
        "    if pid:\n        os.waitpid(pid, 0)\n        return\n"
        "    if depth % 2 == 0:\n"
        "        for run in runs:\n            run.log({'depth': depth})\n"
        "    if depth < 4:\n        fork(depth + 1)\n"
        "    for run in runs:\n        run.finish()\n"
        "    os._exit(0)\n"
        "fork(1)\nfor run in runs:\n    run.finish()\n",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    headers = [found.of(spool.HEADER)[0] for found in ended(home, 6)]
    mains = {header["run"]: header["writer"] for header in headers if header["role"] == "main"}
    assert sorted(map(str, mains)) == ["a", "b"]
    assert len(headers) == 6
    assert all(header["program"] == mains[header["run"]] for header in headers)


def test_two_runs_of_one_address_are_both_ended_with_their_program(
    home: Path, tmp_path: Path
) -> None:
    done = run_program(
        "import runlore\n"
        "for _ in 'ab':\n"
        "    runlore.init(id='one', reinit='create_new').log({'loss': 1.0})\n",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert [found.of(spool.FINISH)[0]["exit_code"] for found in ended(home, 2)] == [0, 0]


def test_a_sender_that_died_is_started_again(home: Path, tmp_path: Path, staging: Path) -> None:
    done = run_program(
        "import os, signal, time, runlore\nfrom pathlib import Path\n"
        "from runlore.sdk import launch\nlaunch.RESTART_SECONDS = 0.2\n"
        "run = runlore.init()\nrun.log({'loss': 0.0})\nassert run.flush(20)\n"
        "pid = int(Path(run._tree, 'lock').read_text())\nos.kill(pid, signal.SIGKILL)\n"
        "time.sleep(0.3)\n"
        "run.log({'loss': 1.0})\nprint(run.flush(20))\n"
        "print(int(Path(run._tree, 'lock').read_text()) != pid)\nrun.finish()\n",
        tmp_path,
    )
    assert done.stdout.split() == ["True", "True"], done.stderr
    (found,) = ended(home, 1)
    assert [step for step, _ in found.rows] == [0, 1]


def test_a_resumed_run_goes_on_behind_the_last_step_on_this_machine(home: Path) -> None:
    import runlore

    with runlore.init(id="again") as run:
        for _ in range(30_000):
            run.log({"loss": 1.0})
    with runlore.init(id="again", resume="must") as run:
        assert run.step == 30_000
        assert run.resumed
        run.log({"loss": 0.5})
    first, second = sorted(settled(home), key=lambda found: len(found.rows))
    assert first.rows == [(30_000, {"loss": 0.5})]
    assert [one.of(spool.HEADER)[0]["resumed"] for one in (second, first)] == [False, True]


def test_import_loads_all_that_logging_needs_and_no_heavy_library(home: Path) -> None:
    def modules(text: str) -> set[str]:
        code = (
            f"import sys\nbefore = set(sys.modules)\n{text}\nprint(*(set(sys.modules) - before))"
        )
        return set(
            subprocess.run(
                [sys.executable, "-S", "-c", code],
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
                env={**os.environ, "PYTHONPATH": str(Path("src").resolve())},
            ).stdout.split()
        )

    loaded = modules("import runlore")
    assert modules("import runlore; runlore.init(); runlore.log({'a': 1})") == loaded
    heavy = {"numpy", "msgspec", "httpx", "inspect", "dataclasses", "subprocess", "socket", "uuid"}
    assert not loaded & heavy
    assert len(loaded) < 90
    until(lambda: len(settled(home)) == 1)
