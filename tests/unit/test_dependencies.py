"""What the package imports, it declares; what it declares, the lock pins."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import runlore
from tools.paths import LOCK, ROOT

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _declared() -> dict[str, set[str]]:
    """Return the declared names: those of the package and its extras, and those of developers."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = table["project"]
    product = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    groups = {"product": product, "dev": table["dependency-groups"]["dev"]}
    return {
        group: {_normal(match[0]) for text in texts if (match := _NAME.match(text))}
        for group, texts in groups.items()
    }


def _imported() -> dict[str, Path]:
    """Return the top-level modules that the package imports, each with one place of it."""
    found: dict[str, Path] = {}
    for path in Path(runlore.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            found |= {name.partition(".")[0]: path for name in names}
    return found


def test_every_module_that_the_package_imports_belongs_to_a_declared_dependency() -> None:
    declared = _declared()["product"]
    # The shipped contract suites need what the developers have.
    allowed = declared | _declared()["dev"]
    distributions = packages_distributions()
    foreign = {
        name: path
        for name, path in _imported().items()
        if name not in sys.stdlib_module_names and name != "runlore"
    }
    assert len(foreign) > 3
    undeclared = {
        f"{name} in {path.relative_to(ROOT)}"
        for name, path in foreign.items()
        if not {_normal(one) for one in distributions.get(name, [name])}
        & (allowed if "testing" in path.parts else declared)
    }
    assert undeclared == set()


def test_the_lock_pins_everything_that_is_declared() -> None:
    pinned = {_normal(name) for name in re.findall(r"(?m)^([\w.-]+)==", LOCK.read_text())}
    declared = _declared()
    assert len(pinned) > 20
    assert (declared["product"] | declared["dev"]) - pinned == set()
