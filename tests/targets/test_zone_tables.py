"""Crosswalks and their errors; chunks; the tables of a chunk; how they are packed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from zone_world import write_region

from llmsynthor.cli.main import main
from llmsynthor.store.chunks import packed, unpacked
from llmsynthor.targets.by_zone import chunk_zones, of_chunk, over_parts, without_zones
from llmsynthor.targets.domain import Domain, Variable
from llmsynthor.targets.margins import common_groups, renumbered
from llmsynthor.targets.table import Table, TableSet
from llmsynthor.targets.zones import Level, Zones

if TYPE_CHECKING:
    from pathlib import Path


def _validate(job: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["validate", str(job)]) == 2
    return capsys.readouterr().err


def _line(file: Path, number: int, text: str) -> None:
    lines = file.read_text().splitlines()
    lines[number - 1] = text
    file.write_text("\n".join(lines) + "\n")


def test_a_zone_in_two_tracts_is_named_with_both_lines(tmp_path, capsys):
    job = write_region(tmp_path, 20)
    _line(tmp_path / "geo.csv", 9, "taz2,tract9,district0")
    said = _validate(job, capsys)
    assert said == (
        "error: geo.csv:9: taz `taz2` lies in tract `tract9`, and in `tract0` on line 4\n\n"
        "hint: a zone lies within one place of each geography\n"
    )


def test_a_crosswalk_without_a_column(tmp_path, capsys):
    job = write_region(tmp_path, 20)
    _line(tmp_path / "geo.csv", 1, "TAZ,track,district")
    assert _validate(job, capsys) == (
        "error: geo.csv:1: there is no column `tract`; did you mean `track`? (columns: TAZ, track, district)\n\n"
        "hint: `zones.columns: {NAME IN THE FILE: name}` renames a column\n"
    )


def test_zones_that_a_table_misses_or_has_too_many_are_named(tmp_path, capsys):
    job = write_region(tmp_path, 20)
    file = tmp_path / "taz_size.csv"
    lines = file.read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("taz7,", "taz8,"))]
    file.write_text("\n".join([*kept, "tazz,s0,0", "tazy,s0,0"]) + "\n")
    assert _validate(job, capsys) == (
        "error: taz_size.csv:74: 2 places of `taz` (`tazz`, `tazy`) are not in geo.csv\n"
        "error: taz_size.csv: 2 places of `taz` (`taz7`, `taz8`) of geo.csv are missing\n"
        "hint: list each `taz`, with 0 where nobody is\n\n2 problems; nothing was spent\n"
    )


def test_a_table_has_one_geography(tmp_path, capsys):
    job = write_region(tmp_path, 20)
    lines = (tmp_path / "taz_size.csv").read_text().splitlines()
    wide = [line + (",tract" if i == 0 else ",tract0") for i, line in enumerate(lines)]
    (tmp_path / "taz_size.csv").write_text("\n".join(wide) + "\n")
    assert _validate(job, capsys) == (
        "error: taz_size.csv:1: both `taz` and `tract` are columns; a table has one geography, for "
        "the crosswalk geo.csv gives the coarser ones\n"
    )


def test_tables_of_two_geographies_that_disagree(tmp_path, capsys):
    job = write_region(tmp_path, 20)
    content = yaml.safe_load(job.read_text())
    rows = ["tract0,90", "tract1,100", "tract2,100", "tract3,100"]
    (tmp_path / "tract.csv").write_text("\n".join(["tract,count", *rows]) + "\n")
    content["tables"] = [{"file": "taz_size.csv"}, {"file": "tract.csv"}]
    job.write_text(yaml.safe_dump(content))
    said = _validate(job, capsys)
    assert said.startswith("error: tract.csv: taz=tract0 has 90, and 78 in taz_size.csv\n")


@pytest.mark.parametrize(
    ("zones", "words"),
    [
        ({"variable": "taz", "within": ["taz"]}, "`taz` is named twice in `variable` and `within`"),
        ({"variable": "size"}, None),
        ({"variable": "taz", "within": ["cars"]}, "`cars` is a variable already"),
    ],
)
def test_wrong_keys(tmp_path, capsys, zones, words):
    job = write_region(tmp_path, 10)
    content = yaml.safe_load(job.read_text())
    content["zones"] = {"crosswalk": "geo.csv", **zones}
    job.write_text(yaml.safe_dump(content))
    assert (words or "there is no column `size`") in _validate(job, capsys)


def test_rules_are_not_about_zones_and_executors_need_them(tmp_path, capsys):
    job = write_region(tmp_path, 10)
    content = yaml.safe_load(job.read_text())
    content["rules"] = [{"name": "nobody here", "forbid": "taz = 'taz1'"}]
    job.write_text(yaml.safe_dump(content))
    assert "rules.0 `nobody here`: it names the zone variable `taz`; rules are about" in _validate(
        job, capsys
    )
    content = yaml.safe_load(write_region(tmp_path, 10).read_text())
    del content["zones"]
    content |= {"executor": {"processes": 2}, "tables": [{"file": "size_workers.csv"}]}
    job.write_text(yaml.safe_dump(content))
    assert "executor: has no effect without `zones`; leave it out" in _validate(job, capsys)


def test_validate_tells_of_chunks_and_memory(tmp_path, capsys):
    job = write_region(tmp_path, 60)
    assert main(["validate", str(job), "--set", "executor={processes: 2}"]) == 0
    out = capsys.readouterr().out
    assert "\nzones: 60 in 12 chunks of about " in out
    assert " records (largest: 5 zones), 2 workers, about " in out


@st.composite
def regions(draw: st.DrawFn) -> tuple[TableSet, np.ndarray, int]:
    """Return tables counted from records, those records, and records of a chunk."""
    size = draw(st.integers(2, 14))
    seed = draw(st.integers(0, 10_000))
    random = np.random.default_rng(seed)
    tract = renumbered(random.integers(0, draw(st.integers(1, size)), size))[1]
    district = renumbered(random.integers(0, 2, size))[1]
    levels = tuple(
        Level(name, tuple(f"{name}{i}" for i in range(group.max() + 1)), group)
        for name, group in (("tract", tract), ("district", district))
    )
    labels = tuple(f"z{i}" for i in range(size))
    zones = Zones("zone", labels, levels, "geo.csv")
    domain = Domain(
        (Variable("zone", "category", labels), Variable("a", "category", ("x", "y", "w")))
    )
    codes = np.stack([random.integers(0, size, 200), random.integers(0, 3, 200)], axis=1)
    identity = np.arange(3, dtype=np.int32)
    tables = []
    for name in ("zone", "tract", "district", None):
        scope = ("a",) if name is None else ("zone", "a")
        groups = (identity,) if name is None else (zones.group(name), identity)
        places = () if name is None else (zones.places(name),)
        shape = (*(len(place) for place in places), 3)
        empty = Table(
            name or "region", "t.csv", "control", scope, (*places, ("x", "y", "w")), groups,
            np.ones(shape), "count",
        )  # fmt: skip
        tables.append(_filled(empty, codes, domain))
    return TableSet(domain, tuple(tables), zones=zones), codes, draw(st.integers(10, 250))


def _filled(table: Table, codes: np.ndarray, domain: Domain) -> Table:
    from dataclasses import replace

    return replace(table, figures=table.tally(codes, domain).reshape(table.figures.shape) + 0.0)


@settings(max_examples=60)
@given(regions())
def test_the_tables_of_the_chunks_add_up_to_those_of_the_job(region):
    tables, codes, chunk_records = region
    assert tables.zones is not None
    chunking = chunk_zones(tables, tables.zones, len(codes), chunk_records)
    assert sorted(np.concatenate(chunking.zones).tolist()) == list(range(len(tables.zones.labels)))
    parts = codes.copy()
    parts[:, 0] = chunking.part[codes[:, 0]]
    coarse = over_parts(tables, chunking)
    for table in coarse.tables:  # the records meet every table over chunks
        assert (table.tally(parts, coarse.domain) == table.figures.ravel()).all()
    held = {table.name: np.zeros(table.cells) for table in tables.tables}
    for number, own in enumerate(chunking.zones):
        rows = np.isin(codes[:, 0], own)
        if not rows.any():
            continue
        small = of_chunk(tables, chunking, number, len(codes), parts[rows])
        local = codes[rows].copy()
        local[:, 0] = np.argsort(np.argsort(own))[np.searchsorted(np.sort(own), local[:, 0])]
        for table in small.tables:  # and of the chunk
            assert (table.tally(local, small.domain) == table.figures.ravel()).all()
            full = next(t for t in tables.tables if t.name == table.name)
            part = held[table.name].reshape(full.figures.shape)
            where = [full.labels[0].index(label) for label in table.labels[0]]
            np.add.at(part, where, table.figures)
    for table in tables.tables:
        assert held[table.name] == pytest.approx(table.figures.ravel())


@settings(max_examples=40)
@given(regions())
def test_what_is_packed_comes_back(region):
    tables, codes, _ = region
    found = unpacked(packed(tables))
    assert found.domain == tables.domain
    for one, two in zip(found.tables, tables.tables, strict=True):
        assert (one.name, one.scope, one.labels) == (two.name, two.scope, two.labels)
        assert (one.tally(codes, found.domain) == two.tally(codes, tables.domain)).all()
    assert found.zones.labels == tables.zones.labels
    with pytest.raises(ValueError, match=r".+"):
        unpacked(packed(tables)[:100])


def test_without_zones_tables_that_are_alike_are_one():
    labels = ("z0", "z1")
    zones = Zones("zone", labels, (), "geo.csv")
    domain = Domain((Variable("zone", "category", labels), Variable("a", "category", ("x", "y"))))
    two = np.arange(2, dtype=np.int32)
    over = Table("one", "1.csv", "control", ("zone", "a"), (labels, ("x", "y")), (two, two), np.array([[1.0, 2], [3, 4]]), "count")  # fmt: skip
    plain = Table("two", "2.csv", "control", ("a",), (("x", "y"),), (two,), np.array([4.0, 6]), "count")  # fmt: skip
    alone = Table("three", "3.csv", "control", ("zone",), (labels,), (two,), np.array([3.0, 7]), "count")  # fmt: skip
    found = without_zones(TableSet(domain, (over, plain, alone), zones=zones))
    assert found.domain.names == ("a",)
    assert [(t.name, t.figures.tolist()) for t in found.tables] == [("one", [4.0, 6.0])]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=20))
def test_common_groups_are_the_finest_common_coarsening(pairs):
    first, second = (np.array(side) for side in zip(*pairs, strict=True))
    found = common_groups(first, second)
    for i in range(len(pairs)):
        for j in range(len(pairs)):
            if first[i] == first[j] or second[i] == second[j]:
                assert found[i] == found[j]
    for group in (first, second):  # as many groups as the graph has components
        assert len(np.unique(found)) <= len(np.unique(group))
