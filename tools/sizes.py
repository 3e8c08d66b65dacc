"""The size guard: no file, function, class or component outgrows what a reader can hold.

Run as `python -m tools.sizes`.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tools.paths import ROOT

PYTHON_FILE = 600
FUNCTION = 80
CLASS = 400
PUBLIC_METHODS = 25
PARAMETERS = 12
TYPESCRIPT_FILE = 500
COMPONENT = 150

_PYTHON_ROOMS = ("src", "tests", "tools", "benchmarks", "examples")
_TYPESCRIPT_ROOMS = ("web/src", "web/tests", "web/tools")
_COMPONENT = re.compile(
    r"^(?:export )?(?:function ([A-Z]\w*)"
    r"|const ([A-Z]\w*)[^=]*= *(?:memo\b|forwardRef\b|.*(?:=>|\($)))"
)


class Excess(NamedTuple):
    """Something that is larger than it may be."""

    where: str
    what: str
    size: int
    limit: int


class Seen(NamedTuple):
    """What the guard looked at in one file."""

    functions: int
    classes: int
    components: int
    excesses: list[Excess]


def check_python(text: str, where: str) -> Seen:
    """Measure one Python file."""
    source = text.splitlines()
    excesses = _over(where, "the file's lines", len(source), PYTHON_FILE)
    functions = classes = 0
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions += 1
            place = f"{where}:{node.lineno}"
            length = _lines(node) - _docstring_lines(node)
            excesses += _over(place, f"lines of {node.name}()", length, FUNCTION)
            # A door that mirrors another library's signature is marked so for ruff, and here.
            if "noqa: PLR0913" not in source[node.lineno - 1]:
                given = node.args
                count = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs)
                excesses += _over(place, f"parameters of {node.name}()", count, PARAMETERS)
        elif isinstance(node, ast.ClassDef):
            classes += 1
            place = f"{where}:{node.lineno}"
            excesses += _over(place, f"lines of class {node.name}", _lines(node), CLASS)
            methods = [
                member
                for member in node.body
                if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef)
                and not member.name.startswith("_")
                and not member.name.startswith("test_")
            ]
            what = f"public methods of class {node.name}"
            excesses += _over(place, what, len(methods), PUBLIC_METHODS)
    return Seen(functions, classes, 0, excesses)


def check_typescript(text: str, where: str) -> Seen:
    """Measure one TypeScript file; a component ends at the brace in the first column."""
    lines = text.splitlines()
    excesses = _over(where, "the file's lines", len(lines), TYPESCRIPT_FILE)
    components = 0
    if where.endswith(".tsx"):
        for index, line in enumerate(lines):
            match = _COMPONENT.match(line)
            if match is None:
                continue
            components += 1
            name = match[1] or match[2]
            rest = enumerate(lines[index + 1 :], start=2)
            size = next((count for count, other in rest if re.match(r"[}\])]", other)), 1)
            excesses += _over(f"{where}:{index + 1}", f"lines of <{name}>", size, COMPONENT)
    return Seen(0, 0, components, excesses)


def main() -> int:
    """Measure the whole repository."""
    python = list(_files(_PYTHON_ROOMS, (".py",)))
    typescript = list(_files(_TYPESCRIPT_ROOMS, (".ts", ".tsx", ".mjs")))
    seen = [check_python(path.read_text(), _name(path)) for path in python]
    seen += [check_typescript(path.read_text(), _name(path)) for path in typescript]
    for excess in (excess for one in seen for excess in one.excesses):
        print(f"{excess.where}: {excess.what}: {excess.size}, at most {excess.limit}; split it")
    functions = sum(one.functions for one in seen)
    classes = sum(one.classes for one in seen)
    components = sum(one.components for one in seen)
    print(
        f"{len(python)} Python files, {functions} functions, {classes} classes, "
        f"{len(typescript)} TypeScript files, {components} components"
    )
    if not (python and functions and classes and typescript and components):
        print("the guard saw none of something that must be there: its folders have moved")
        return 1
    return int(any(one.excesses for one in seen))


def _files(rooms: tuple[str, ...], suffixes: tuple[str, ...]) -> Iterator[Path]:
    for room in rooms:
        for path in sorted((ROOT / room).rglob("*")):
            if path.suffix in suffixes and "node_modules" not in path.parts:
                yield path


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Documentation does not make a function longer to understand."""
    first = node.body[0]
    if isinstance(first, ast.Expr) and ast.get_docstring(node) is not None:
        return (first.end_lineno or first.lineno) - first.lineno + 1
    return 0


def _over(where: str, what: str, size: int, limit: int) -> list[Excess]:
    return [Excess(where, what, size, limit)] if size > limit else []


if __name__ == "__main__":
    sys.exit(main())
