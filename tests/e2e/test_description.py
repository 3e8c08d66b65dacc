"""The page's types are what the server says of itself."""

import os
import subprocess
from pathlib import Path

from runlore.testing.serving import ServerProcess
from tools.environment import node_environment
from tools.paths import WEB


def test_the_pages_types_are_made_of_what_the_server_describes(tmp_path: Path) -> None:
    made = tmp_path / "schema.ts"
    with ServerProcess(tmp_path / "home") as server:
        description = f"{server.url}/api/openapi.json"
        command = ["npx", "openapi-typescript", description, "-o", str(made)]
        subprocess.run(
            command,
            cwd=WEB,
            env={**os.environ, **node_environment()},
            check=True,
            capture_output=True,
            timeout=120,
        )

    kept = (WEB / "src" / "api" / "schema.ts").read_text()
    assert made.read_text() == kept, "run ./dev serve, and in web/: npm run types"
