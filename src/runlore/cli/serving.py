"""What `runlore serve` does: the server, from its folder to its address."""

import ctypes
import gc
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from runlore import settings
from runlore.cli.console import emit
from runlore.cli.logs import logging_beside
from runlore.errors import UnavailableError, UsageError
from runlore.sdk.leftover import leftovers
from runlore.sdk.staging import staging_roots
from runlore.sdk.sync import own_folders, waiting_writers

if TYPE_CHECKING:
    from runlore.server.backend import Backend
    from runlore.services.access import Access

DEFAULT_PORT = 7333
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_GRACE_SECONDS = 5
# The numbers of these parameters in glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_GC_THRESHOLD = 10_000


class ServeOptions(NamedTuple):
    """What one can choose about a server."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    data: Path | None = None
    public_url: str | None = None


def plain_options(arguments: Sequence[str]) -> ServeOptions | None:
    """Read a command line that is `serve` with options written as `--name value`.

    The library that reads all others takes a fifth of the server's start to load. None leaves
    the arguments to it, and with them help and complaints.
    """
    if arguments[:1] != ["serve"] or len(arguments) % 2 == 0:
        return None
    options = ServeOptions()
    for name, value in zip(arguments[1::2], arguments[2::2], strict=True):
        match name:
            case _ if value.startswith("-"):
                return None
            case "--host":
                options = options._replace(host=value)
            case "--port" if value.isascii() and value.isdigit():
                options = options._replace(port=int(value))
            case "--data":
                options = options._replace(data=Path(value))
            case "--public-url":
                options = options._replace(public_url=value)
            case _:
                return None
    return options


def serve(options: ServeOptions) -> None:
    """Serve until a signal asks to end."""
    with logging_beside():
        _serve(options)


def _serve(options: ServeOptions) -> None:
    host, port, data, public_url = options
    # What is loaded at the start stays: looking through it for garbage again and again takes a
    # fifteenth of the start, and later of every pass of the collector.
    gc.disable()
    found = settings.load()
    home = Path(found.home)
    if public_url is not None:
        _check_url(public_url)
        public_url = public_url.rstrip("/")
    _give_memory_back()
    listener = listen(host, port)
    from runlore.server.backend import open_folder
    from runlore.services.access import Access, shared_key

    folder = data or home / "server"
    backend = open_folder(folder)
    try:
        key, is_new = (None, False)
        if host not in _LOOPBACK:
            key, is_new = shared_key(folder / "key")
        roots = staging_roots(found.staging, found.home)
        own = own_folders(found.home)
        waiting = waiting_writers(own, roots) + len(leftovers(found.home, own, roots))
        address = _address(host, listener.getsockname()[1])
        text = greeting(
            public_url or address,
            data=folder,
            waiting=waiting,
            key_file=folder / "key" if key else None,
            new_key=key if is_new else None,
        )
        # The child delivers to where this server listens, whatever others call it.
        local = _address("127.0.0.1" if host in ("0.0.0.0", "::") else host, _port(listener))
        _run(
            backend,
            Access(key),
            listener,
            public_url=public_url,
            on_ready=lambda: _announce(text, local, key, is_needed=waiting > 0),
        )
    finally:
        backend.close()


def _give_memory_back() -> None:
    """Let large buffers go back to the machine when they are freed.

    glibc learns from the first ones that are freed to keep all up to 32 MiB, and loses what lies
    between them: 160 MB after 600 MB of strings, 90 MB so. A few MB are kept all the same: an
    answer of series needs them for the next moment, and fresh pages cost it a quarter more.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 1024 * 1024)
        mallopt(_TRIM_THRESHOLD, 8 * 1024 * 1024)
    except (AttributeError, OSError):
        # Another C library, which has ways of its own.
        return


def greeting(
    address: str, *, data: Path, waiting: int, key_file: Path | None, new_key: str | None
) -> str:
    """Say where the server is and how to log to it."""
    lines = [f"Runlore is ready at {address}", ""]
    if key_file is not None:
        if new_key is not None:
            lines += [
                f"  log a browser in   {address}/login?key={new_key}",
                f"  key for programs   export RUNLORE_API_KEY={new_key}",
                f"                     shown this once; kept in {key_file}",
                "",
            ]
        else:
            lines += [f"  the key is kept in {key_file}", ""]
    lines += ["Log to it:", ""]
    if address != settings.DEFAULT_URL:
        lines += [f"  export RUNLORE_URL={address}", ""]
    lines += [
        "  import runlore",
        '  run = runlore.init(project="first", config={"lr": 0.1})',
        '  run.log({"loss": 0.5})',
        "  run.finish()",
        "",
        f"Runs are kept in {data}",
    ]
    if waiting:
        noun = "spool waits" if waiting == 1 else "spools wait"
        lines.append(f"{waiting} {noun} on this machine and will be delivered now")
    lines.append("Ctrl-C ends the server; programs keep logging to their spools meanwhile")
    return "\n".join(lines)


def _check_url(public_url: str) -> None:
    try:
        public = urlsplit(public_url)
        is_address = public.scheme in ("http", "https") and bool(public.hostname)
    except ValueError:
        is_address = False
    if not is_address:
        raise UsageError(
            f"--public-url must be an address such as http://runs.example.org, got {public_url!r}"
        )


def listen(host: str, port: int) -> socket.socket:
    """Take the port before anything else is done."""
    if not 0 <= port <= 65535:
        raise UsageError(f"--port must be 0 to 65535, got {port}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off; without, each answer, which
    # goes out in two writes, waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(512)
    except OSError as error:
        listener.close()
        if error.errno == 98 or isinstance(error, PermissionError):
            why = "is taken by another program" if error.errno == 98 else "is not yours to take"
            raise UsageError(
                f"port {port} {why}; choose another with --port, or --port 0 for a free one"
            ) from error
        raise UsageError(
            f"cannot listen on {host!r}: {error.strerror or error}; --host takes an address "
            "of this machine, 0.0.0.0 for all of them"
        ) from error
    return listener


def _run(
    backend: "Backend",
    access: "Access",
    listener: socket.socket,
    *,
    public_url: str | None,
    on_ready: Callable[[], "subprocess.Popen[bytes] | None"],
) -> None:
    """Serve until a signal asks to end."""
    import asyncio

    import uvicorn

    from runlore.server.app import create_app
    from runlore.server.connection import Complaints, Connection, allow_many

    allow_many()
    children: list[subprocess.Popen[bytes]] = []

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            asyncio.get_running_loop().set_exception_handler(Complaints())
            await super().startup(sockets)
            gc.freeze()
            # What a request makes is freed without the collector, nearly always: by its own
            # threshold it takes a twentieth of the work of a busy server.
            gc.set_threshold(_GC_THRESHOLD)
            gc.enable()
            if self.started:
                child = on_ready()
                if child is not None:
                    children.append(child)

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            # uvicorn's own raises the signal again behind it, before the stores are closed.
            for one in (signal.SIGINT, signal.SIGTERM):
                signal.signal(one, self.handle_exit)
            yield

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            # Open streams would keep the server from ending until its grace is over.
            backend.live.close()
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        create_app(backend, access=access, public_url=public_url),
        http=Connection,
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        # What is below are complaints about clients, which nobody here can act on.
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    try:
        Server(config).run(sockets=[listener])
    finally:
        for child in children:
            child.terminate()


def _announce(
    text: str, url: str, key: str | None, *, is_needed: bool
) -> "subprocess.Popen[bytes] | None":
    """Print that the server is ready, and start to deliver what waits on this machine."""
    emit(text)
    if not is_needed:
        return None
    environment = dict(os.environ)
    if key is not None:
        environment["RUNLORE_API_KEY"] = key
    try:
        # Its data, which nobody reads, goes to stdout; what it has to say, to the server's stderr.
        return subprocess.Popen(
            [sys.executable, "-m", "runlore", "sync", "--json", "--url", url],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    except OSError as error:
        raise UnavailableError(f"cannot start the delivery of spools: {error}") from error


def _address(host: str, port: int) -> str:
    shown = "127.0.0.1" if host == "localhost" else host
    if host in ("0.0.0.0", "::"):
        shown = socket.gethostname()
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def _port(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])
