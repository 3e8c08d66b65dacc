"""Delivery over TLS: a CA that the user names, and certificates that nobody vouches for."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runlore.testing.processes import until
from runlore.testing.programs import World
from runlore.testing.spool_server import SpoolServer

PROGRAM = """
import runlore
run = runlore.init(id="tls")
for step in range(100):
    run.log({"loss": step})
run.finish()
"""


def a_certificate(folder: Path, name: str) -> Path:
    """Make a certificate that signs itself, with its key, in one file."""
    path = folder / "server.pem"
    subject = ("-subj", "/CN=runlore test", "-addext", f"subjectAltName={name}")
    new = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    files = ("-keyout", str(path), "-out", str(folder / "ca.pem"))
    subprocess.run(["openssl", *new, *subject, *files], check=True, capture_output=True)
    with path.open("ab") as file:
        file.write((folder / "ca.pem").read_bytes())
    return path


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[SpoolServer]:
    with SpoolServer(certificate=a_certificate(tmp_path, "IP:127.0.0.1")) as server:
        yield server


def test_a_run_is_delivered_to_a_server_whose_ca_is_named(
    secure: SpoolServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    world = World(secure.url, tmp_path / "home")
    try:
        said = world.run(PROGRAM)
        assert secure.url.startswith("https://")
        assert "100 of 100 points delivered" in said
        world.settle()
        (name,) = secure.streams
        assert [row.step for row in secure.rows(name.rpartition("/")[2])] == list(range(100))
    finally:
        world.close()


@pytest.mark.parametrize("trouble", ["nobody vouches", "another name"])
def test_a_bad_certificate_is_said_with_the_way_out_and_holds_up_no_program(
    trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "IP:127.0.0.1" if trouble == "nobody vouches" else "DNS:lab.example"
    certificate = a_certificate(tmp_path, name)
    if trouble == "another name":
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with SpoolServer(certificate=certificate) as server:
        world = World(server.url, tmp_path / "home")
        try:
            # Finish waits a minute for a server that is there; the program may not take so long.
            said = world.run(PROGRAM)
            assert f"{server.url} shows a certificate that is not trusted" in said
            assert ("self-signed" in said) == (trouble == "nobody vouches")
            assert "SSL_CERT_FILE" in said
            assert "goes out with 'runlore sync'" in said
            assert server.posts == []
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
            if trouble == "nobody vouches":
                done = world.sync()
                assert done.returncode == 0, done.stdout + done.stderr
                until(lambda: len(server.streams) == 1)
        finally:
            world.close()
