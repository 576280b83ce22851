"""Whatever form a table is published in, it comes back as the targets that were cut."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from published_forms import AGES, SHAPE, VARIABLES, published

from llmsynthor.cli.main import main
from llmsynthor.job.load import load_job
from llmsynthor.targets.agreement import disagreements
from llmsynthor.targets.build import gather_tables

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from llmsynthor.targets.table import TableSet


@st.composite
def _populations(draw):
    size = int(np.prod(SHAPE))
    counts = st.lists(st.integers(0, draw(st.sampled_from([9, 3000, 2_000_000]))), min_size=size, max_size=size)  # fmt: skip
    return np.array(draw(counts)).reshape(SHAPE)


def write_job(folder: Path, entries: list[dict[str, Any]], records: int, **more: Any) -> Path:
    job = {
        "version": 1,
        "name": "forms",
        "records": records,
        "variables": VARIABLES,
        "tables": entries,
        "provider": {"model": "none"},
        **more,
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def codes_of(tables: TableSet) -> np.ndarray:
    """Return a record of each cell of the population, by the domain's codes."""
    domain = tables.domain
    cells = np.indices(SHAPE).reshape(3, -1)
    codes = np.zeros((cells.shape[1], len(domain.names)), dtype=np.int32)
    for position, name in enumerate(VARIABLES):
        own = cells[position]
        if name == "age":
            own = domain["age"].encode_values(np.array(AGES)[own])
        codes[:, domain.positions[name]] = own
    return codes


@pytest.mark.slow
@given(st.data())
@settings(max_examples=150)
def test_consistent_tables_in_any_form_come_back_as_the_same_targets(tmp_path, data):
    joint = data.draw(_populations().filter(lambda counts: counts.sum() > 0))
    entries = [
        published(data.draw, tmp_path, number, joint)
        for number in range(data.draw(st.integers(1, 3)))
    ]
    path = write_job(tmp_path, entries, int(joint.sum()))
    tables, problems = gather_tables(load_job(path, []))
    assert problems == []
    assert disagreements(tables) == []
    codes = codes_of(tables)
    for table in tables.tables:
        held = table.tally(codes, tables.domain, joint.ravel().astype(float))
        assert not table.is_soft
        if table.measure == "count":
            assert table.figures.ravel().tolist() == held.tolist()
        else:
            assert table.share.ravel() == pytest.approx(held / joint.sum(), abs=1e-9)


_GARBAGE = st.one_of(
    st.binary(max_size=12),
    st.sampled_from(
        [b",", b";", b'"', b"\n", b"\r", b"\x00", b"\xff\xfe", b"-1", b"1e400", b"nan", b"*", b"9" * 20,
         b"Total", b"count", b"<5", b"0.5 %", b"\xc2\xa0", b"age,sex", b"="]
    ),
)  # fmt: skip


@pytest.mark.slow
@given(st.data())
@settings(max_examples=60)
def test_no_damage_to_a_published_table_gives_a_traceback(tmp_path, capsys, data):
    """Bytes replaced, left out or put in; the answer is a valid job or problems, as JSON."""
    joint = data.draw(_populations().filter(lambda counts: counts.sum() > 0))
    entries = [published(data.draw, tmp_path, number, joint) for number in range(2)]
    file = tmp_path / entries[0]["file"]
    content = file.read_bytes()
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        end = min(start + data.draw(st.integers(0, 8)), len(content))
        content = content[:start] + data.draw(_GARBAGE) + content[end:]
    file.write_bytes(content)
    policy = data.draw(st.sampled_from(["error", "least_squares", {"scale_to": "t0"}]))
    job = write_job(tmp_path, entries, int(joint.sum()), reconcile=policy)
    capsys.readouterr()
    code = main(["validate", str(job), "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert (code, answer["valid"], bool(answer["problems"])) in [(0, True, False), (2, False, True)]
