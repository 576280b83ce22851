"""Imports run one way; every module has its place, and heavy libraries stay behind their one file."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from llmsynthor.executors.processes import LOADED_ONCE

ROOT = Path(__file__).parents[1] / "llmsynthor"
LAYERS = [
    "cli __main__",
    "cli_start cli_import cli_results cli_zones",
    "descriptions progress evaluation.summary",
    "console",
    "preview",
    "arrays",
    "checks",
    "oddities runner",
    "zoneengine zonerun zoneplan",
    "executors.dask_workers executors.processes",
    "executors.ending",
    "executors chunkwork",
    "askers manifest",
    "starter reference",
    "microtables.writing popsim.writing",
    "popsim.building",
    "popsim.variables",
    "popsim.geographies",
    "popsim.reading",
    "popsim.setup popsim.expressions",
    "popsim.accepted popsim",
    "microtables.account",
    "microtables.making",
    "microtables.published microtables.columns microtables.strength microtables.noise",
    "microtables.bins microtables.options microtables seedfile seedlevel",
    "microdata ownfiles",
    "explain likeness usage engine chunkfiles chunking packing zonetables choosing state append batches materialize asking gathering focus_asking report report.build report.page "
    "report.curve report.scenario report.spending report.counting report.scores report.baselines "
    "report.reconciled report.ordered report.association report.zones report.statistics report.used report.tableview report.charts "
    "report.ticks report.maps report.pictures report.formats report.preview_page attempts answered evaluation evaluation.evaluate evaluation.linked evaluation.linkedfiles evaluation.memberpairs evaluation.microdata evaluation.records "
    "evaluation.circular evaluation.baselines evaluation.combinations evaluation.support evaluation.distances "
    "evaluation.downstream evaluation.quality evaluation.values exports exports.dictionary exports.export "
    "exports.records exports.target exports.mapping exports.layout exports.plain exports.activitysim "
    "exports.populationsim exports.matsim exports.population exports.printed exports.steady exports.filling",
    "providers providers.base providers.budget providers.limiter providers.litellm_provider "
    "providers.discovery providers.model_fetch providers.local providers.local_child providers.grammar "
    "runshapes preflight providers.replay providers.promptlog providers.retry providers.secrets providers.structured rundir "
    "focus prompting memberprompting templates guidance views dependencies",
    "feasibility.check feasibility.drawn feasibility.shortfall feasibility.clashes feasibility.certificate feasibility.reach "
    "feasibility.columns feasibility.restricted feasibility.maxsum feasibility.lawful "
    "feasibility.conflict feasibility",
    "localprograms zonesample reconcile scaleto rounded leastsquares drafts nearest preflight margins strangers hashsearch assembly tables statisticset statisticbins statisticclashes statistictables statistic statisticfile moments aims elements ranks shifting valueswaps suppressed members memberbackground layouts linkage tablefile offices offices.acs offices.eurostat offices.nomis shaping totals binwords csvfile decoding workbook figures grouping controls countmatrix dual calibration integerize wholesums pivotal moves copies mutations swaps sampling covering seedsample candidates "
    "background binvalues maxent plan planschema boxes library "
    "jobreconcile jobgaps verdicts discrepancy rules ruletext ruleterms jobfile jobwords jobkeys jobyaml fingerprint job jobvariables jobtables jobforms jobstatistics jobseed jobzones consistency options stopping crosswalk zones",
    "domain errors seeds labels",
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names.split()} | {
    "": len(LAYERS)
}


def modules() -> dict[str, Path]:
    names = {p: ".".join(p.relative_to(ROOT).with_suffix("").parts) for p in ROOT.rglob("*.py")}
    return {name.removesuffix("__init__").rstrip("."): path for path, name in names.items()}


def imported(path: Path) -> set[str]:
    """Return what a file imports when it runs, inside functions too."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
    return found


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_run_one_way(name):
    assert name in RANK, f"give `{name}` a place in LAYERS"
    own = [
        m.removeprefix("llmsynthor").lstrip(".")
        for m in imported(modules()[name])
        if m.startswith("llmsynthor")
    ]
    upward = [module for module in own if RANK[module] < RANK[name]]
    assert upward == []


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("litellm", {"providers.litellm_provider"}),
        ("typer", {"cli", "cli_import", "cli_results", "cli_start", "cli_zones"}),
        ("rich", {"console"}),
        ("sqlglot", {"ruletext"}),
        ("click", set()),
        ("matplotlib", set()),
    ],
)
def test_only_one_file_imports(library, allowed):
    users = {
        n for n, p in modules().items() if any(m.split(".")[0] == library for m in imported(p))
    }
    assert users <= allowed


def test_what_workers_are_forked_with_has_no_threads():
    code = f"import sys, {', '.join(LOADED_ONCE)}; assert 'polars' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_locks_hold_no_addresses():
    for lock in ROOT.parent.glob("*.lock"):
        assert "://" not in lock.read_text()
