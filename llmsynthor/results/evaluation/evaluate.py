"""What `evaluate` does: records of a run against real ones, written as aggregates only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmsynthor import __version__
from llmsynthor.errors import JobError, RunDirectoryError
from llmsynthor.results.baselines import Independent, maximum_entropy
from llmsynthor.results.evaluation.combinations import (
    KINDS,
    choose_scopes,
    compare_members,
    compare_scopes,
    part_of,
)
from llmsynthor.results.evaluation.distances import compare_numbers
from llmsynthor.results.evaluation.downstream import check_target, train_and_test
from llmsynthor.results.evaluation.linked import check_files, read_linked, read_linked_files
from llmsynthor.results.evaluation.quality import check_sdmetrics, quality_score
from llmsynthor.results.evaluation.real import Microdata, already_given, read_microdata
from llmsynthor.results.evaluation.records import effective_rows, read_synthetic
from llmsynthor.results.evaluation.support import compare_support
from llmsynthor.store.directory import EVALUATION
from llmsynthor.store.targets_used import load_used

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmsynthor.candidates.sampler import Sampler
    from llmsynthor.job.file_form import Form
    from llmsynthor.results.baselines import Baseline
    from llmsynthor.results.evaluation.linked import LinkedFiles
    from llmsynthor.results.evaluation.records import Records
    from llmsynthor.store.directory import RunDirectory
    from llmsynthor.store.lines import Manifest
    from llmsynthor.targets.domain import Members

MOST_TRIPLES = 2000


@dataclass(frozen=True)
class Options:
    """How the real records are read, and what is computed beyond the comparisons.

    Attributes:
        columns: `COLUMN=variable` for each column that is not named as its variable.
        weight: Column with what each real record counts.
        target: Variable to train on synthetic and test on real for.
        sdmetrics: Whether SDMetrics' quality score is wanted.
        most_triples: If there are more triples of variables, this many are drawn.
        members: File of the real records' members, where the run's records have members.
        key: Column of both files that links them; None is the one that the run's data have.
        form: How the files are written.
    """

    columns: tuple[str, ...] = ()
    weight: str | None = None
    target: str | None = None
    sdmetrics: bool = False
    most_triples: int = MOST_TRIPLES
    members: Path | None = None
    key: str | None = None
    form: Form | None = None


def evaluate(
    run: RunDirectory, path: Path, options: Options, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Compare the records of a finished run with real ones; write `evaluation.json`.

    Args:
        run: The run.
        path: The real records; where they have members, the options name the file of these.
        options: How to read them and what else to compute.
        tell: Is told what is being done, one line at a time.

    Raises:
        RunDirectoryError: There is no run, or it is not finished.
        MicrodataError: The real records cannot be used as they are.
        JobError: An option cannot be honoured.
    """
    manifest = _finished(run)
    job, sampler = load_used(run)
    if options.most_triples < 0:
        raise JobError(f"--most-triples must be 0 or more, got {options.most_triples}")
    check_files(run, sampler.members, path, options.members, options.key)
    records = sampler.domain if sampler.members is None else sampler.members.record
    if options.target is not None and options.target not in records.names:
        _check_level(options.target, sampler.members)
        check_target(options.target, records.names, records.names)
    microdata, files = _read(path, sampler, options)
    real = microdata.records
    if options.target is not None:
        check_target(options.target, records.names, real.names)
    if options.sdmetrics:
        check_sdmetrics()
    made = None if sampler.members is None else read_linked(run, sampler, sampler.members)
    synthetic = read_synthetic(run, sampler) if made is None else made.records
    tell(f"{real.rows:,} real records, {synthetic.rows:,} synthetic, {len(real.names)} variables")
    given = already_given(microdata, sampler.tables.control, manifest.inputs)
    if given is not None:
        tell(f"warning: {given}")
    baseline = maximum_entropy(sampler, job.records)
    content: dict[str, Any] = {
        "version": 1,
        "version_llmsynthor": __version__,
        "job_fingerprint": manifest.job_fingerprint,
        "seed": job.seed,
        "records": synthetic.rows,
        "microdata": describe(microdata) | {"given": given},
        "combinations": _combinations(real, synthetic, sampler, baseline, options, tell),
        "support": None,
        "numbers": compare_numbers(real, synthetic, job.seed),
        "downstream": None,
        "sdmetrics": None,
    }
    if files is not None and made is not None:
        content["members"] = {
            "microdata": describe(files.members),
            **compare_members(files, made, sampler, baseline, tell),
        }
        own = files.members.records.names
        content["numbers"] += compare_numbers(
            files.linked.members.only(own), made.members.only(own), job.seed
        )
    tell("comparing whole combinations")
    independent = Independent(records, sampler.marginals)
    baselines: dict[str, Baseline] = {"maximum_entropy": baseline, "independent": independent}
    content["support"] = compare_support(real, synthetic, baselines, job.seed)
    if options.target is not None:
        tell(f"training predictors of {options.target}")
        content["downstream"] = train_and_test(real, synthetic, options.target, job.seed)
    if options.sdmetrics:
        tell("computing SDMetrics' quality score")
        content["sdmetrics"] = quality_score(real, synthetic, job.seed)
    run.write_json(EVALUATION, content)
    return content


def _read(path: Path, sampler: Sampler, options: Options) -> tuple[Microdata, LinkedFiles | None]:
    """Return the real records, and where they have members both files."""
    if sampler.members is None or options.members is None:
        domain = sampler.domain
        real = read_microdata(path, domain, options.columns, options.weight, form=options.form)
        return real, None
    files = read_linked_files(
        (path, options.members),
        sampler.members,
        sampler.tables.domain,
        options.columns,
        options.weight,
        options.key,
        options.form,
    )
    return files.records, files


def _check_level(target: str, members: Members | None) -> None:
    if members is not None and target in members.own.positions:
        raise JobError(
            f"--target `{target}`: is a variable of {members.name}s; a variable of {members.of}s can "
            "be predicted"
        )


def _finished(run: RunDirectory) -> Manifest:
    manifest = run.manifest()
    if not manifest.is_complete:
        raise RunDirectoryError(
            f"{run.path}: the run is not finished (its status is {manifest.status}), and its "
            "records are not yet those that it will have",
            hint="`llmsynthor run JOB --resume` finishes it",
        )
    return manifest


def describe(microdata: Microdata) -> dict[str, Any]:
    """Return what may be told of the real records: names and numbers of rows, no record."""
    records = microdata.records
    return {
        "file": microdata.file,
        "sha256": microdata.sha256,
        "rows": records.rows,
        "effective_rows": effective_rows(records.rows, records.weights),
        "weight": microdata.weight,
        "columns": dict(microdata.columns),
        "absent": list(microdata.absent),
        "alike": {name: column for name, column in microdata.absent.items() if column},
        "missing": {name: int(mask.sum()) for name, mask in records.missing.items()},
        "in_bins": microdata.in_bins,
    }


def _combinations(
    real: Records,
    synthetic: Records,
    sampler: Sampler,
    baseline: Baseline,
    options: Options,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Return the comparison of all pairs and of all, or enough, triples."""
    result: dict[str, Any] = {"maxent_method": baseline.method}
    for size, kind in KINDS.items():
        whole_of_pairs = len(real.names) ** 2
        most = options.most_triples if kind == "triples" else whole_of_pairs
        scopes, whole = choose_scopes(real.names, size, most, sampler.seed)
        tell(f"comparing {len(scopes):,} of {whole:,} {kind} of variables")
        found, left_out = compare_scopes(scopes, real, synthetic, sampler.tables, baseline)
        result[kind] = part_of(found, left_out, whole)
    return result
