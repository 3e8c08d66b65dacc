"""The application loads no more at its start than it needs."""

import subprocess
import sys

_START = """
import sys, tempfile
from pathlib import Path
import runlore.cli.entry, runlore.cli.serving, uvicorn
from runlore.server.app import create_app
from runlore.server.backend import open_folder
from runlore.server.connection import Connection
from runlore.services.access import Access
with tempfile.TemporaryDirectory() as folder:
    backend = open_folder(Path(folder))
    create_app(backend, access=Access(None))
    backend.close()
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_the_start_loads_no_library_that_only_later_requests_need() -> None:
    done = subprocess.run([sys.executable, "-c", _START], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert {"litestar", "sqlalchemy", "numpy"} <= loaded
    assert loaded & {"pydantic", "typer", "regex", "rich", "jinja2", "httpx", "pyarrow"} == set()
