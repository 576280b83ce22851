"""The tables of `docs/architecture.md`, made from the code; run as a script it writes them anew."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE, PAGE = ROOT / "llmsynthor", ROOT / "docs" / "architecture.md"
LAYERS = [
    ["cli"],
    ["app"],
    ["starting", "results"],
    ["engine"],
    ["store", "llm", "feasibility"],
    ["candidates"],
    ["fitting"],
    ["targets"],
    ["files"],
    ["job"],
    ["errors", "text", "seeds"],
]
"""From the top down; those of one layer know nothing of each other, but for the ground's three."""
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
GROUND = LAYERS[-1]


@cache
def imports(path: Path) -> dict[str, int]:
    """Return the modules that a file names in imports, for types and inside functions too."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name: node.lineno for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "llmsynthor":
            found |= {f"llmsynthor.{alias.name}": node.lineno for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found[str(node.module)] = node.lineno
    return found


def own_imports(path: Path) -> dict[str, int]:
    """Return what a file imports of the package, by the place below its top."""
    whole = {m: line for m, line in imports(path).items() if m.split(".")[0] == "llmsynthor"}
    return {m.removeprefix("llmsynthor").lstrip("."): line for m, line in whole.items()}


def charter(path: Path) -> str:
    """Return the first line of a module's docstring."""
    told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return told.split("\n")[0]


def packages() -> str:
    """Return the table of packages, with their inner ones."""
    rows = ["| package | what it is for |", "|---|---|"]
    for name in (name for names in LAYERS for name in names):
        folder = PACKAGE / name
        if not folder.is_dir():
            rows.append(f"| `{name}.py` | {charter(PACKAGE / f'{name}.py')} |")
            continue
        rows.append(f"| **`{name}/`** | {charter(folder / '__init__.py')} |")
        inner = sorted(path.parent for path in folder.rglob("__init__.py") if path.parent != folder)
        rows += [
            f"| `{path.relative_to(PACKAGE).as_posix()}/` | {charter(path / '__init__.py')} |"
            for path in inner
        ]
    return "\n".join(rows)


def matrix() -> str:
    """Return who imports whom."""
    names = [name for names in LAYERS[:-1] for name in names]
    known: dict[str, set[str]] = {name: set() for name in names}
    for name in names:
        for path in (PACKAGE / name).rglob("*.py"):
            known[name] |= {module.split(".")[0] for module in own_imports(path)}
    rows = ["| | " + " | ".join(names[1:]) + " |", "|---" * len(names) + "|"]
    for name in names[:-1]:
        marks = [
            ("●" if other in known[name] else "·") if RANK[other] > RANK[name] else ""
            for other in names[1:]
        ]
        rows.append(f"| **{name}** | " + " | ".join(marks) + " |")
    return "\n".join(rows)


def made(page: str) -> str:
    """Return the page with its tables made from the code."""
    for mark, text in (("packages", packages()), ("matrix", matrix())):
        between = re.compile(f"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.DOTALL)
        page = between.sub(lambda m, text=text: f"{m[1]}{text}\n{m[2]}", page)
    return page


if __name__ == "__main__":
    PAGE.write_text(made(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
