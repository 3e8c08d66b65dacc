"""What other users, strange servers and forged files may try against sender and sync."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runlore.sdk.staging import Staged, staging_roots
from runlore.testing.processes import Senders, until
from runlore.testing.programs import World
from runlore.testing.serving import ServerProcess
from runlore.testing.spool_server import SpoolServer
from runlore.testing.staged_writer import StagedWriter, a_tree
from runlore.wire import spool

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="another user's folder needs root")
NOBODY = 65534


@pytest.fixture
def stranger() -> Iterator[SpoolServer]:
    """A server that is not the user's."""
    with SpoolServer() as server:
        yield server


def a_root(place: Path, mode: int) -> Path:
    root = place / f"runlore-{os.getuid()}"
    root.mkdir()
    root.chmod(mode)
    return root


def test_a_staging_folder_that_others_may_enter_is_not_read(tmp_path: Path) -> None:
    root = a_root(tmp_path, 0o755)
    assert staging_roots(str(tmp_path), str(tmp_path / "home")) == []
    root.chmod(0o700)
    assert staging_roots(str(tmp_path), str(tmp_path / "home")) == [str(root)]


def test_a_link_in_place_of_the_staging_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / f"runlore-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    assert staging_roots(str(tmp_path), str(tmp_path / "home")) == []


@pytest.mark.root
@needs_root
def test_sync_touches_nothing_in_the_staging_folder_of_somebody_else(
    world: World, tmp_path: Path
) -> None:
    victim = tmp_path / "precious"
    victim.write_text("12345678")
    root = a_root(world.staging, 0o755)
    tree = root / "999999999-1"
    tree.mkdir()
    (tree / "lock").symlink_to(victim)
    for path in (root, tree):
        os.chown(path, NOBODY, NOBODY)
    done = world.sync()
    assert (done.returncode, done.stderr) == (0, "")
    assert victim.read_text() == "12345678"
    assert tree.exists()


def test_the_key_is_not_sent_where_an_ack_in_a_strange_folder_says(
    world: World, tmp_path: Path, server: SpoolServer, stranger: SpoolServer
) -> None:
    folder = tmp_path / "downloaded"
    writer = a_settled_writer(tmp_path, server)
    shutil.copytree(writer.path.parent, folder)
    ack = {"url": stranger.url, "server": "x", "next": 8, "points": 0, "finished": False}
    (folder / "w1.ack").write_text(json.dumps(ack))
    environment = {"RUNLORE_API_KEY": "secret", "RUNLORE_URL": ""}
    done = world.sync(str(folder), **environment)
    assert stranger.posts == []
    assert stranger.url not in done.stdout + done.stderr


def a_settled_writer(home: Path, server: SpoolServer) -> StagedWriter:
    """Write a spool file, as a sender would."""
    staging = home / "staged"
    writer = StagedWriter(a_tree(staging), url=server.url, home=home)
    writer.log({"loss": 1.0}, 0)
    staged = Staged(str(writer.folder))
    staged.scan()
    writer.path.parent.mkdir(parents=True)
    writer.path.write_bytes(staged.read(0, 2**20))
    shutil.rmtree(staging)
    return writer


NAMES = {"owner": "local", "project": "digits", "run": "r1", "writer": "w1", "role": "main"}


def forged(**more: object) -> bytes:
    return bytes([spool.HEADER]) + json.dumps({**NAMES, **more}).encode()


@pytest.mark.parametrize(
    "payload",
    [
        bytes([spool.HEADER]) + b"[" * 500_000,
        bytes([spool.HEADER]) + b"not json",
        bytes([spool.HEADER]) + b"\xff\xfe",
        bytes([spool.HEADER]) + b"[]",
        forged(pid=10**300),
        forged(boot_ns=10**400, pid=1),
        forged(boot_ns=True, pid=-1),
        forged(run="../../../../tmp/x"),
        forged(owner="a/../b"),
        forged(project="p?offset=0#"),
        forged(writer="w\r\nX-Injected: 1"),
        forged(run="x" * 100_000),
    ],
    ids=lambda payload: repr(payload[1:60]),
)
def test_a_forged_header_is_refused_and_the_others_are_delivered(
    payload: bytes, tmp_path: Path, world: World, real_server: ServerProcess
) -> None:
    payload = payload.replace(b'"r1"', f'"r{time.monotonic_ns()}"'.encode())
    host = os.uname().nodename
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    if payload.endswith(b"}"):
        more = json.dumps({"host": host, "boot": boot})[1:]
        payload = payload[:-1] + b", " + more.encode()
    bad = spool.PREAMBLE + spool.frame(payload)
    folder = tmp_path / "spools"
    folder.mkdir()
    (folder / "a.rlspool").write_bytes(bad)
    good = b"".join(
        spool.frame(part)
        for part in (
            spool.encode_json(spool.HEADER, {**NAMES, "run": "good", "writer": "good"}),
            spool.encode_keys(0, ["loss"]),
            spool.encode_loose_row(0, 0, [0], [0.5]),
        )
    )
    (folder / "good.rlspool").write_bytes(spool.PREAMBLE + good)
    done = world.sync(str(folder))
    assert "Traceback" not in done.stderr, done.stderr
    assert "local/digits/good" in done.stdout
    assert sorted(path.name for path in folder.iterdir() if path.suffix == ".rlspool") == [
        "a.rlspool",
        "good.rlspool",
    ]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[" * 1_000_000, "is that a Runlore server?"),
        (b'{"next": ' + b"9" * 5000 + b"}", "is that a Runlore server?"),
        (b'{"next": 1e999, "server": "x"}', "is that a Runlore server?"),
        (b'{"next": true, "server": "x"}', "is that a Runlore server?"),
    ],
    ids=lambda given: repr(given[:20]),
)
def test_a_hostile_answer_is_said_and_the_sender_goes_on(
    body: bytes,
    said: str,
    tmp_path: Path,
    staging: Path,
    server: SpoolServer,
    senders: Senders,
) -> None:
    server.manner, server.body = "says", body
    writer = StagedWriter(a_tree(staging), url=server.url, home=tmp_path)
    writer.log({"loss": 1.0}, 0)
    process = senders.start(writer.tree)
    until(lambda: said in str(writer.ack().get("error")), shown=writer.ack)
    server.manner = "well"
    until(lambda: writer.ack().get("next") == writer.tail, shown=writer.ack)
    assert process.poll() is None


def test_what_a_server_says_reaches_the_terminal_without_its_control_characters(
    tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    server.manner, server.status = "says", 422
    server.body = json.dumps({"detail": "\x1b]0;owned\x07 no\r\nrunlore: " + "x" * 9000}).encode()
    writer = StagedWriter(a_tree(staging), url=server.url, home=tmp_path)
    writer.log({"loss": 1.0}, 0)
    senders.start(writer.tree)
    until(lambda: "owned" in str(writer.ack().get("error")), shown=writer.ack)
    error = str(writer.ack()["error"])
    assert error.isprintable()
    assert len(error) < 600


def test_a_redirect_is_named_and_not_followed(
    tmp_path: Path,
    staging: Path,
    server: SpoolServer,
    stranger: SpoolServer,
    senders: Senders,
) -> None:
    server.manner, server.status = "says", 307
    server.extra = {"Location": stranger.url + "/api"}
    writer = StagedWriter(a_tree(staging), url=server.url, home=tmp_path)
    writer.log({"loss": 1.0}, 0)
    senders.start(writer.tree)
    until(lambda: "sends us on to" in str(writer.ack().get("error")), shown=writer.ack)
    assert stranger.url in str(writer.ack()["error"])
    assert "RUNLORE_URL" in str(writer.ack()["error"])
    assert stranger.posts == []


def test_what_the_sender_writes_is_for_its_user_alone(
    tmp_path: Path, staging: Path, server: SpoolServer, senders: Senders
) -> None:
    previous = os.umask(0)
    try:
        writer = StagedWriter(a_tree(staging), url=server.url, home=tmp_path / "home")
        sender = senders.start(writer.tree)
    finally:
        os.umask(previous)
    writer.log({"loss": 1.0}, 0)
    writer.finish()
    until(lambda: writer.path.with_suffix(".ack").exists(), shown=writer.ack)
    for path in (tmp_path / "home").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path
    with open(f"/proc/{sender.pid}/cmdline", "rb") as file:
        assert b"api" not in file.read()
