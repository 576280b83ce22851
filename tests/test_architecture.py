"""`docs/architecture.md` says what the code is: its tables, and every station of its walks."""

from __future__ import annotations

import ast
import re

import pytest
from architecture import PACKAGE, PAGE, made

TEXT = PAGE.read_text(encoding="utf-8")
STATIONS = re.findall(r"`([\w/]+\.py)`(?: `(\w+)`)?", TEXT.partition("## The walk")[2])


def test_the_tables_are_those_of_the_code():
    assert made(TEXT) == TEXT, "`make schema` writes docs/architecture.md anew"


def test_there_are_walks():
    assert len(STATIONS) > 30


@pytest.mark.parametrize(("file", "name"), STATIONS)
def test_every_station_is_there(file, name):
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    assert not name or name in {n.name for n in tree.body if isinstance(n, kinds)}
