"""Imports run downwards only, through every package; heavy libraries stay behind their one file."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from llmsynthor.engine.executors.processes import LOADED_ONCE

ROOT = Path(__file__).parents[1] / "llmsynthor"
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
DOORS = {"__init__", "__main__"}
"""The way in: may know the top, and nothing knows them."""
SIBLINGS = ["results.report", "results.evaluation", "results.exports", "results.explain"]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
GROUND = len(LAYERS) - 1
FILES = sorted(ROOT.rglob("*.py"))


@cache
def imports(path: Path) -> dict[str, int]:
    """Return the modules that a file names in imports, for types and inside functions too."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text())):
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


def package(module: str) -> str:
    return module.split(".")[0]


def place(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize("path", FILES, ids=place)
def test_imports_run_down(path):
    own = package(place(path))
    assert own in RANK or own in DOORS, f"give `{own}` a place in LAYERS"
    wrong = []
    for module, line in own_imports(path).items():
        other = package(module)
        if own in DOORS or other in {own, "__version__"}:
            continue
        allowed = RANK[other] > RANK[own] or RANK[own] == GROUND == RANK[other]
        if not allowed:
            wrong.append(f"{place(path)}:{line} knows {module}")
    assert wrong == []


@pytest.mark.parametrize("path", FILES, ids=place)
def test_parts_of_results_do_not_know_each_other(path):
    own = next((s for s in SIBLINGS if place(path).startswith(s)), None)
    others = [s for s in SIBLINGS if own and s != own]
    assert [m for m in own_imports(path) if m.startswith(tuple(others))] == []


def test_only_doors_and_ground_stand_beside_the_packages():
    alone = {path.stem for path in ROOT.glob("*.py")}
    assert alone == DOORS | set(LAYERS[-1])


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES}), ids=str)
def test_every_package_says_in_one_line_what_it_is_for(folder):
    told = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    assert told
    assert len(told.splitlines()[0]) > 30


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("litellm", {"llm.providers.litellm"}),
        ("sqlglot", {"candidates.rules"}),
        ("typer", {"cli.main", "cli.results", "cli.start", "cli.zones"}),
        ("rich", {"cli.console"}),
        ("click", set()),
        ("matplotlib", set()),
    ],
)
def test_only_one_file_imports(library, allowed):
    users = {place(p) for p in FILES if any(m.split(".")[0] == library for m in imports(p))}
    assert users <= allowed


def test_what_workers_are_forked_with_has_no_threads():
    code = f"import sys, {', '.join(LOADED_ONCE)}; assert 'polars' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_locks_hold_no_addresses():
    for lock in ROOT.parent.glob("*.lock"):
        assert "://" not in lock.read_text()
