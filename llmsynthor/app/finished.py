"""A run on disk as Python has it: its records, its report, and all that is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from llmsynthor.app.scorecard import as_html, scorecard, verdict
from llmsynthor.errors import InputError, RunDirectoryError
from llmsynthor.job.load import read_resolved
from llmsynthor.store.directory import RunDirectory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from os import PathLike

    from llmsynthor.job.model import Job
    from llmsynthor.results.exports.export import Exported, Format
    from llmsynthor.results.exports.population import RecordKind

_TARGETS = {
    "target": pl.String, "role": pl.String, "figures": pl.Int64, "tvd": pl.Float64,
    "max_entropy": pl.Float64, "noise": pl.Float64, "error": pl.Float64, "pass": pl.Boolean,
}  # fmt: skip


class Run:
    """A run's directory: what was made, and how near it came."""

    def __init__(self, folder: str | PathLike[str]) -> None:
        self.path = Path(folder)
        self._run = RunDirectory(self.path)
        self._run.manifest()

    @property
    def job(self) -> Job:
        """Return the job that was run, every default written out."""
        return read_resolved(self.path / "job.resolved.yaml")

    @property
    def report(self) -> dict[str, Any]:
        """Return `report.json`, which is written anew where it is missing."""
        return self._run.report() or self.write_report()

    @property
    def passed(self) -> bool:
        """Return whether all is made, every control table is met and no rule is broken."""
        return bool(self.report["pass"])

    @property
    def targets(self) -> pl.DataFrame:
        """Return a row for each table and statistic: how near the records are.

        `error` is of a statistic, the rest of tables; `pass` is null for what was held out.
        """
        report = self.report
        rows = [
            (t["name"], t["role"], t["cells"], t["tvd"], t["baseline"]["maxent"],
             t["noise_floor_tvd"], None, t["pass"])
            for t in report["tables"]
        ]  # fmt: skip
        for entry in report.get("statistics", []):
            errors = [g["error"] for g in entry["groups"] if g["error"] is not None]
            worst = max(errors, default=None)
            groups = len(entry["groups"])
            rows.append(
                (entry["name"], entry["role"], groups, None, None, None, worst, entry["pass"])
            )
        return pl.DataFrame(rows, schema=_TARGETS, orient="row")

    def records(self) -> pl.DataFrame:
        """Return all records, in the order of their files."""
        return self._frame(lambda index: self._batch(index)[0])

    def members(self) -> pl.DataFrame:
        """Return the members of the records, such as the persons of households.

        Raises:
            InputError: The job has no `members`.
        """
        if self.job.members is None:
            raise InputError(f"{self.path}: its records have no members")
        return self._frame(self._run.read_members)

    def provenance(self) -> pl.DataFrame:
        """Return where each record came from, in the order of `records`."""
        return self._frame(lambda index: self._batch(index)[1])

    def _batch(self, index: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        found = self._run.read_batch(index)
        if found is None:
            raise RunDirectoryError(f"{self._run.batch_path(index)}: has just been removed")
        return found

    def _frame(self, read: Callable[[int], pl.DataFrame]) -> pl.DataFrame:
        from llmsynthor.store.targets_used import check_whole

        check_whole(self._run)
        files = self._run.batch_files()
        if not files:
            raise RunDirectoryError(f"{self.path}: holds no records yet")
        return pl.concat([read(int(path.stem)) for path in files])

    def write_report(self) -> dict[str, Any]:
        """Write report and data dictionary again, from the records; return the report."""
        from llmsynthor.results.report.build import write_report

        return write_report(self._run)

    def evaluate(
        self,
        microdata: str | PathLike[str],
        *,
        members: str | PathLike[str] | None = None,
        key: str | None = None,
        columns: Mapping[str, str] | Iterable[str] = (),
        weight: str | None = None,
        target: str | None = None,
        sdmetrics: bool = False,
        most_triples: int = 2000,
        tell: Callable[[str], None] | None = None,
    ) -> dict[str, Any]:
        """Hold the records against real ones that nobody trained on; only aggregates are kept.

        Args:
            microdata: The real records, CSV or parquet.
            members: Their members, where the run's records have members.
            key: Column that links the two files, if not as in the run.
            columns: Column -> the variable that it holds, where the names differ; or texts
                `COLUMN=VARIABLE`.
            weight: Column with what each real record counts.
            target: Variable to train on synthetic and test on real for.
            sdmetrics: Whether SDMetrics' score is wanted too.
            most_triples: Triples of variables compared; of more, so many are drawn.
            tell: Hears what is being done.

        Returns:
            What `evaluation.json` holds; the report shows it too.

        Raises:
            InputError: The run is not finished, or the real records cannot be used as they are.
        """
        from llmsynthor.results.evaluation.evaluate import Options, evaluate

        people = None if members is None else Path(members)
        options = Options(_pairs(columns), weight, target, sdmetrics, most_triples, people, key)
        found = evaluate(self._run, Path(microdata), options, tell or (lambda _: None))
        self.write_report()  # the page shows what was found
        return found

    def export(
        self,
        format: Format,
        out: str | PathLike[str],
        *,
        columns: Mapping[str, str] | Iterable[str] = (),
        map_file: str | PathLike[str] | None = None,
        records: RecordKind | None = None,
        one_person_households: bool = False,
        provenance: bool = False,
        gzip: bool = False,
        overwrite: bool = False,
        partial: bool = False,
    ) -> Exported:
        """Write the records for another program; the run stays as it is (`docs/exports.md`).

        Args:
            format: Of the files.
            out: A folder, or for formats of one file that file.
            columns: Variable -> the name of its column; or texts `VARIABLE=COLUMN`.
            map_file: A YAML file with columns, their variables and values.
            records: What one record is, for layouts of households and persons.
            one_person_households: Whether each person gets a household.
            provenance: Whether iteration and proposal are written too.
            gzip: Whether to compress.
            overwrite: Whether files that are there are replaced.
            partial: Whether a run that is not finished will do.

        Raises:
            InputError: It cannot be made as asked for; nothing was written.
        """
        from llmsynthor.results.exports.export import ExportOptions, export

        options = ExportOptions(
            format, Path(out), None if map_file is None else Path(map_file), _pairs(columns),
            records, one_person_households, provenance, gzip, overwrite, partial,
        )  # fmt: skip
        return export(self._run, options)

    def explain(self, record: int) -> dict[str, Any]:
        """Return where a record came from: its proposal, the reason, the model, the prompt.

        Args:
            record: Its number, from 0, in the order of `records`.
        """
        from llmsynthor.results.explain import explain

        return explain(self._run, record)

    def __repr__(self) -> str:
        return f"<Run {self.path}: {self._lines()[0]}>"

    def _repr_html_(self) -> str:
        report = self._run.report()
        return as_html([f"{self.path}", *self._lines()], scorecard(report) if report else ())

    def _lines(self) -> list[str]:
        report = self._run.report()
        return verdict(report) if report else [f"{self._run.manifest()['status']}, no report yet"]


def _pairs(given: Mapping[str, str] | Iterable[str]) -> tuple[str, ...]:
    """Return pairs as options have them."""
    return (
        tuple(f"{a}={b}" for a, b in given.items()) if isinstance(given, Mapping) else tuple(given)
    )


def open_run(folder: str | PathLike[str]) -> Run:
    """Return a run that is on disk.

    Raises:
        RunDirectoryError: There is none.
    """
    return Run(folder)
