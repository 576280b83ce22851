"""A run on disk as Python has it: its records, its report, and all that is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from llmsynthor.app.scorecard import as_html, scorecard, verdict
from llmsynthor.errors import InputError
from llmsynthor.job.load import read_resolved
from llmsynthor.store.directory import RunDirectory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from os import PathLike

    from llmsynthor.job.model import Job
    from llmsynthor.results.exports.asked import Exported
    from llmsynthor.results.exports.population import RecordKind

_TARGETS = {
    "name": pl.String, "role": pl.String, "figures": pl.Int64, "tvd": pl.Float64, "tae": pl.Float64,
    "max_entropy_tvd": pl.Float64, "noise_tvd": pl.Float64, "error": pl.Float64, "pass": pl.Boolean,
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
        rows: list[dict[str, Any]] = [
            {
                **{key: table[key] for key in ("name", "role", "tvd", "tae", "pass")},
                "figures": table["cells"],
                "max_entropy_tvd": table["baseline"]["maxent"],
                "noise_tvd": table["noise_floor_tvd"],
            }
            for table in self.report["tables"]
        ]
        for entry in self.report.get("statistics", []):
            errors = [g["error"] for g in entry["groups"] if g["error"] is not None]
            more = {"figures": len(entry["groups"]), "error": max(errors, default=None)}
            rows.append({key: entry[key] for key in ("name", "role", "pass")} | more)
        return pl.DataFrame(rows, schema=_TARGETS)

    def records(self) -> pl.DataFrame:
        """Return all records, in the order of their files."""
        return self._all_of("data")

    def members(self) -> pl.DataFrame:
        """Return the members of the records, such as the persons of households.

        Raises:
            InputError: The job has no `members`.
        """
        if self.job.members is None:
            raise InputError(f"{self.path}: its records have no members")
        return self._all_of("members")

    def provenance(self) -> pl.DataFrame:
        """Return where each record came from, in the order of `records`."""
        return self._all_of("provenance")

    def _all_of(self, folder: str) -> pl.DataFrame:
        from llmsynthor.store.targets_used import check_whole

        check_whole(self._run)
        return self._run.read_all(folder)

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
        encoding: str | None = None,
        separator: str | None = None,
        decimal: str = ".",
        tell: Callable[[str], None] = lambda _: None,
    ) -> dict[str, Any]:
        """Hold the records against real ones that nobody trained on; only aggregates are kept.

        Args:
            microdata: The real records, CSV, XLSX or parquet.
            members: File of their members, where the run's records have members.
            key: Column that links the two files, if not as in the run.
            columns: Column -> the variable that it holds; or texts `COLUMN=VARIABLE`.
            weight: Column with what each real record counts.
            target: Variable to train on synthetic and test on real for.
            sdmetrics: Whether SDMetrics' score is wanted too.
            most_triples: Of more triples of variables, so many are drawn.
            encoding: Of text files; None leaves it to the file, as for the separator.
            separator: What stands between their columns.
            decimal: What stands before their decimals.
            tell: Hears what is being done; default: nobody.

        Returns:
            What `evaluation.json` holds; the report shows it too.

        Raises:
            InputError: The run is not finished, or the real records cannot be used as they are.
        """
        from llmsynthor.job.file_form import form_of_options
        from llmsynthor.results.evaluation.evaluate import Options, evaluate

        people = None if members is None else Path(members)
        form = form_of_options(encoding, separator, decimal)
        options = Options(
            _pairs(columns), weight, target, sdmetrics, most_triples, people, key, form
        )
        found = evaluate(self._run, Path(microdata), options, tell)
        self.write_report()  # the page shows what was found
        return found

    def export(
        self,
        format: str,
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
        from llmsynthor.results.exports.asked import ExportOptions
        from llmsynthor.results.exports.formats import export

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
        return verdict(report) if report else [f"{self._run.manifest().status}, no report yet"]


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
