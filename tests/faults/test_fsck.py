"""`runlore fsck` on the folder of a real server: clean, damaged, held, mended."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from runlore.testing.processes import until
from runlore.testing.serving import ServerProcess
from runlore.testing.spools import SpoolBuilder, a_run


def fsck(*arguments: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runlore", "fsck", *arguments],
        env={**os.environ, "RUNLORE_HOME": str(home or "/nonexistent")},
        capture_output=True,
        text=True,
        timeout=60,
    )


def a_served_folder(home: Path) -> Path:
    """Let a server take a run and pack it, end it, and return its data folder."""
    builder = SpoolBuilder(a_run())
    for step in range(3000):
        builder.log({"loss": float(step), "acc": 0.5}, step=step)
    builder.end()
    with ServerProcess(home) as server:
        assert server.send_spool(builder).status == 200
        until(lambda: waiting_pieces(home / "server") == 0)
    return home / "server"


def waiting_pieces(folder: Path) -> int:
    log = sqlite3.connect(folder / "history" / "log.db")
    (count,) = log.execute("SELECT count(*) FROM piece").fetchone()
    log.close()
    return int(count)


def test_a_server_s_folder_is_clean_and_a_held_one_is_refused_with_the_way_out(
    tmp_path: Path,
) -> None:
    folder = a_served_folder(tmp_path)
    done = fsck(home=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("no damage\n")
    assert "1 catalog runs" in done.stdout
    with ServerProcess(tmp_path):
        held = fsck("--data", str(folder))
        assert held.returncode == 1
        assert held.stderr.startswith(f"runlore: the data folder '{folder}' is in use by ")
        assert held.stderr.count("\n") == 1
        assert "stop it" in held.stderr
    nothing = fsck("--data", str(tmp_path / "nothing"))
    assert nothing.returncode == 1
    assert "no data folder" in nothing.stderr
    assert not (tmp_path / "nothing").exists()


def test_damage_is_named_for_people_and_as_json_and_what_is_derived_is_mended(
    tmp_path: Path,
) -> None:
    folder = a_served_folder(tmp_path)
    (path,) = (folder / "history" / "history").glob("*.db")
    db = sqlite3.connect(path)
    assert db.execute("UPDATE summary SET body = x'00'").rowcount == 1
    db.execute("UPDATE segment SET body = x'0100' WHERE id = (SELECT max(id) FROM segment)")
    db.commit()
    db.close()
    done = fsck("--data", str(folder))
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if line.startswith("damaged")]
    assert len(lines) == 2
    assert any("summary" in line and "run local/digits/run-1" in line for line in lines)
    assert any("keys 'loss', 'acc'" in line and "steps 0 to 2999" in line for line in lines)
    assert "2 damages; 'runlore fsck --repair' mends" in done.stdout
    # The summary is counted from the blocks, and of these one is lost.
    mended = json.loads(fsck("--data", str(folder), "--repair", "--json").stdout)
    assert mended["repaired"] == []
    assert {tuple(one["keys"]) for one in mended["damaged"]} == {("loss", "acc"), ()}
    assert mended["looked_at"]["block"] == 1


def test_a_damaged_catalog_is_named(tmp_path: Path) -> None:
    folder = a_served_folder(tmp_path)
    db = sqlite3.connect(folder / "catalog.db")
    db.execute("UPDATE run_documents SET document = 'nothing'")
    db.commit()
    db.close()
    done = fsck("--data", str(folder))
    assert done.returncode == 1
    assert "catalog.db: the document of run 'run-1' cannot be decoded" in done.stdout
    (folder / "catalog.db").write_bytes(b"nothing of a database" * 1000)
    done = fsck("--data", str(folder))
    assert done.returncode == 1
    assert "catalog.db: is no database" in done.stdout
