"""Imports run downwards only, through every package; heavy libraries stay behind their one file."""

from __future__ import annotations

import ast
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from architecture import GROUND, PACKAGE, RANK, imports, own_imports

from llmsynthor.engine.executors.processes import LOADED_ONCE

if TYPE_CHECKING:
    from pathlib import Path

DOORS = {"__init__", "__main__"}
"""The way in: may know the top, and nothing knows them."""
SIBLINGS = ["results.report", "results.evaluation", "results.exports", "results.explain"]
FILES = sorted(PACKAGE.rglob("*.py"))


def package(module: str) -> str:
    return module.split(".")[0]


def place(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


@pytest.mark.parametrize("path", FILES, ids=place)
def test_imports_run_down(path):
    own = package(place(path))
    assert own in RANK or own in DOORS, f"give `{own}` a place in LAYERS"
    wrong = []
    for module, line in own_imports(path).items():
        other = package(module)
        if own in DOORS or other in {own, "__version__"} or (own, other) == ("cli", ""):
            continue
        allowed = RANK[other] > RANK[own] or (own in GROUND and other in GROUND)
        if not allowed:
            wrong.append(f"{place(path)}:{line} knows {module}")
    assert wrong == []


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").glob("*.py")), ids=place)
def test_commands_know_the_door_and_what_is_behind_it_in_app_only(path):
    allowed = {"", "app", "cli", *GROUND}
    assert {package(module) for module in own_imports(path)} <= allowed


@pytest.mark.parametrize("path", FILES, ids=place)
def test_parts_of_results_do_not_know_each_other(path):
    own = next((s for s in SIBLINGS if place(path).startswith(s)), None)
    others = [s for s in SIBLINGS if own and s != own]
    assert [m for m in own_imports(path) if m.startswith(tuple(others))] == []


def test_only_doors_and_ground_stand_beside_the_packages():
    alone = {path.stem for path in PACKAGE.glob("*.py")}
    assert alone == DOORS | set(GROUND)


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES}), ids=str)
def test_every_package_says_in_one_line_what_it_is_for(folder):
    told = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    assert told
    assert len(told.splitlines()[0]) > 30


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("litellm", {"llm.providers.litellm"}),
        ("sqlglot", {"candidates.rule_text"}),
        ("typer", {"cli.main", "cli.results", "cli.start"}),
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
    for lock in PACKAGE.parent.glob("*.lock"):
        assert "://" not in lock.read_text()
