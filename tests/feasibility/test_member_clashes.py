"""Tables and rules of a job with members that clash: what is refused, what is warned of, with numbers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from household_job import job_content, write_job
from member_world import MemberWorld

from llmsynthor.candidates.rules import compile_rules
from llmsynthor.candidates.sampler import Sampler
from llmsynthor.cli.main import main
from llmsynthor.feasibility.drawn import Weighing, check_drawn
from llmsynthor.fitting.controls import binding_tables
from llmsynthor.fitting.dual import inverted
from llmsynthor.job.load import load_job
from llmsynthor.job.model import RuleSpec
from llmsynthor.targets.build import load_tables

if TYPE_CHECKING:
    from pathlib import Path

ADULTS = {"name": "adults only", "require": "ALL(age >= 18)"}
OWNERS = {
    "name": "owners are couples",
    "require": "tenure <> 'owned' OR COUNT(role = 'partner') = 1",
}
COUPLES = {"name": "couples", "require": "size = '1' OR COUNT(role = 'partner') = 1"}
HINT = "hint: correct a table or a rule, or give a table a `weight` or `tolerance` so that it gives way"


def with_rule(folder: Path, rule: dict[str, Any], **changes: Any) -> Path:
    return write_job(folder, rules=[*job_content()["rules"], rule], **changes)


def told(job: Path, capsys: pytest.CaptureFixture[str], code: int) -> str:
    """Return what `validate` writes to stderr, without the folder and numbers of candidates."""
    assert main(["validate", str(job)]) == code
    text = capsys.readouterr().err.replace(f"{job.parent}/", "")
    return re.sub(r"the [\d,]+ candidate", "the N candidate", text)


@pytest.mark.slow
def test_a_cell_that_one_rule_empties_is_refused_before_anything_is_spent(tmp_path, capsys):
    job = with_rule(tmp_path, ADULTS)
    words = (
        "error: age_role.csv: age=0-15, role=child wants 70 persons, and none of the households "
        "drawn for it keeps the rule `adults only`\n"
        f"  rules.2 `adults only` (require: ALL(age >= 18))\n\n{HINT}\n"
    )
    assert told(job, capsys, 2) == words
    assert main(["run", str(job), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == words
    assert not (tmp_path / "out").exists()


def test_a_soft_table_gives_way_to_the_rule(tmp_path, capsys):
    tables = [
        {"file": "size_tenure.csv"},
        {"file": "age_role.csv", "tolerance": 0.5},
        {"file": "sex.csv"},
    ]
    job = with_rule(tmp_path, ADULTS, tables=tables)
    assert "adults only" not in told(job, capsys, 0)


@pytest.mark.slow
def test_a_cell_that_two_rules_empty_is_a_warning(tmp_path, capsys):
    job = with_rule(tmp_path, OWNERS)
    found = told(job, capsys, 0)
    assert (
        "warning: size_tenure.csv: size=1, tenure=owned wants 50 households, and no household drawn "
        "for it keeps all the rules (`one head`, `owners are couples`); only a model's proposals or "
        "a seed sample may have one\n"
    ) in found
    assert (
        "size_tenure.csv cannot be met while the rules `one head` and `owners are couples` hold: "
        "however the N candidate households are weighted, 50 households at least are in wrong "
        "cells, and without the rule `one head` 0, and without the rule `owners are couples` 0 (for "
        "example size_tenure.csv: size=1, tenure=owned wants 50 households and gets 0; "
    ) in found


@pytest.mark.slow
def test_too_few_members_for_a_rule_is_a_warning_with_numbers(tmp_path, capsys):
    """110 households of two or more want a partner each, and there are 85."""
    job = with_rule(tmp_path, COUPLES)
    clash = (
        "age_role.csv and size_tenure.csv cannot both be met while the rule `couples` holds: however "
        "the N candidate households are weighted, 25 persons and households at least are in wrong "
        "cells, and without the rule `couples` 0 (for example "
    )
    assert clash in told(job, capsys, 0)
    out = tmp_path / "out"
    assert main(["run", str(job), "--out", str(out), "-q"]) == 3
    note = re.sub(r"the [\d,]+ candidate", "the N candidate", capsys.readouterr().err)
    assert f"WARNING calibration did not converge: {clash}" in note
    assert "more `engine.candidates`" not in note


def test_tables_of_both_levels_that_clash_without_a_rule(tmp_path, capsys):
    """90 households of one person, and 100 persons who live alone."""
    job = write_job(tmp_path, rules=[])
    rows = ["1,female,60", "1,male,40", "2,female,60", "2,male,60", "3,female,60", "3,male,60"]
    text = "\n".join(["size,sex,count", *rows, "4,female,10", "4,male,20"])
    (tmp_path / "size_sex.csv").write_text(f"{text}\n")
    job.write_text(
        job.read_text().replace("- file: sex.csv", "- file: sex.csv\n- file: size_sex.csv")
    )
    assert (
        "size_sex.csv and size_tenure.csv cannot both be met: however the N candidate households are "
        "weighted, "
    ) in told(job, capsys, 0)


def test_rules_that_leave_nobody_are_named_where_one_does_it_alone(tmp_path, capsys):
    job = with_rule(tmp_path, {"name": "old", "require": "MIN(age) > 200"})
    assert told(job, capsys, 2) == (
        "error: none of 1,000 households drawn from the tables keeps the rule `old`\n\n"
        "hint: loosen a rule, or correct the tables\n"
    )


def test_the_bound_holds_for_any_weights_and_is_reached(tmp_path):
    loaded = load_job(with_rule(tmp_path, COUPLES))
    tables = load_tables(loaded)
    rules = compile_rules(loaded.job.rules, tables.domain, tables.members)
    codes = Sampler(tables, rules, 1).candidates([], 1.0, 2000, 0)[0].codes
    kept = binding_tables(tables.hard)
    least, fitted = Weighing(kept, codes, tables.wide, 200).shortfall()
    wanted = [table.wanted(200).ravel() for table in kept]

    def wrong(held: list[np.ndarray] | tuple[np.ndarray, ...]) -> float:
        return sum(float(np.abs(h - w).sum()) for h, w in zip(held, wanted, strict=True)) / 2

    assert wrong(fitted) == pytest.approx(least, abs=1e-6)
    random = np.random.default_rng(3)
    for _ in range(50):
        weights = random.dirichlet(np.full(len(codes), 0.01)) * 200
        assert wrong([t.tally(codes, tables.wide, weights) for t in kept]) >= least - 1e-6


def test_a_matrix_that_rounding_has_spoilt_is_mended():
    """Where tables cannot be met, the Hessian of the calibration may be none that can be factored."""
    spoilt = np.array([[1.0, 1.0, 0.0], [1.0, 1.0 - 1e-9, 0.0], [0.0, 0.0, 2.0]])
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(spoilt)
    found = inverted(spoilt.copy())(np.array([1.0, 1.0, 4.0]))
    assert spoilt @ found == pytest.approx([1.0, 1.0, 4.0], abs=1e-6)
    whole = np.array([[2.0, 1.0], [1.0, 3.0]])
    assert inverted(whole.copy())(np.array([3.0, 4.0])) == pytest.approx([1.0, 1.0], abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "records"), [(0, 300), (3, 8000), (5, 300), (6, 100)])
def test_tables_of_one_population_do_not_clash(seed, records):
    """Rare households may be missing among those drawn: so few are no clash."""
    world = MemberWorld(seed=seed, records=records, candidates=1000)
    rule = RuleSpec(name="head", require="COUNT(role = 'role0') = 1")
    rules = compile_rules([rule], world.tables.domain, world.members)
    assert check_drawn(Sampler(world.tables, rules, seed), records) == []
