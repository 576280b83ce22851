"""What a job is made from: real records, an example, another program's set-up; and a model to try."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from llmsynthor.errors import JobError
from llmsynthor.job.load import LoadedJob, load_job
from llmsynthor.starting.safe_folder import check_folder, fill

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmsynthor.starting.from_records.options import Kind, Missing


def tables_from(
    microdata: str | PathLike[str] | Any,  # noqa: ANN401 - a frame of any library
    out: str | PathLike[str] | None = None,
    *,
    variables: Sequence[str] | None = None,
    types: Mapping[str, Kind] | None = None,
    bins: Mapping[str, str] | None = None,
    joints: Sequence[Sequence[str]] = (),
    strongest: int | None = None,
    hold_out: int | None = None,
    rare: int = 0,
    missing: Missing = "auto",
    weight: str | None = None,
    epsilon: float | None = None,
    seed: int | None = None,
    encoding: str | None = None,
    separator: str | None = None,
    decimal: str = ".",
    overwrite: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> LoadedJob:
    """Make a job and its target tables from real records (`docs/tables.md`).

    Args:
        microdata: The records: a CSV, XLSX or parquet file, or a frame (polars or pandas).
        out: A new folder for the job; None keeps its tables in memory.
        variables: Columns to use; None are all that are fit.
        types: Column -> type, where it is not to be inferred.
        bins: Column -> how to cut it, such as `quantile:10` or `0,18,65`.
        joints: Columns of joint tables to be met.
        strongest: How many pairs to meet beside these, by mutual information.
        hold_out: How many of the next strongest pairs are for scoring only.
        rare: Categories with fewer records are merged.
        missing: What becomes of records without a value.
        weight: Column that records are weighted by.
        epsilon: Privacy loss of the noise over all tables together; None adds none.
        seed: Of the noise, for tests.
        encoding: Of a text file; None leaves it to the file, as for the separator.
        separator: What stands between its columns.
        decimal: What stands before its decimals.
        overwrite: Whether what this wrote there before is replaced.
        tell: Hears the account of it, line by line; default: nobody.

    Raises:
        InputError: The records or the options cannot be used, or the folder is not free.
    """
    from llmsynthor.files.inputs import Inputs
    from llmsynthor.files.records import read_records
    from llmsynthor.job.file_form import form_of_options
    from llmsynthor.starting.from_records.making import make_tables
    from llmsynthor.starting.from_records.options import TableOptions
    from llmsynthor.starting.from_records.writing import job_files, told

    options = TableOptions(
        None if variables is None else tuple(variables), types or {}, bins or {},
        tuple(map(tuple, joints)), strongest, hold_out, rare, missing, weight, epsilon, seed,
    )  # fmt: skip
    if out is not None:
        check_folder(Path(out), overwrite=overwrite)
    elif overwrite:
        raise JobError("`overwrite` is for a folder: give `out` too")
    form = form_of_options(encoding, separator, decimal)
    in_file = isinstance(microdata, str | PathLike)
    name, given = (str(microdata), {}) if in_file else ("records.csv", {"records.csv": microdata})
    made = make_tables(read_records(name, Inputs(given=given), form), options)
    files = job_files(made)
    if out is None:
        loaded = load_job(yaml.safe_load(files["job.yaml"]))
        frames = {spec.file: files[spec.file].encode() for spec in loaded.job.tables}
        loaded = replace(loaded, frames=frames)
    else:
        fill(Path(out), files, overwrite=overwrite)
        loaded = load_job(Path(out) / "job.yaml")
    for line in told(made):
        tell(line)
    return loaded


def example(name: str, out: str | PathLike[str], *, overwrite: bool = False) -> LoadedJob:
    """Write a small job with tables and recorded replies, which runs without a key; return it.

    Args:
        name: `population`, `mobility` or `ecommerce`.
        out: A new or empty folder.
        overwrite: Whether what this wrote there before is replaced.

    Raises:
        InputError: There is no such example, or the folder is not free.
    """
    from llmsynthor.starting.starters import EXAMPLES, write_starter

    if name not in EXAMPLES:
        raise JobError(f"--example {name}: the examples are {', '.join(EXAMPLES)}")
    write_starter(Path(out), name, overwrite=overwrite)
    return load_job(Path(out) / "job.yaml")


def import_populationsim(
    folder: Path, out: Path, *, overwrite: bool, tell: Callable[[str], None]
) -> None:
    """Write a job of PopulationSim's controls, control totals and seed tables.

    Raises:
        InputError: The set-up cannot be read, or the folder is not free.
    """
    from llmsynthor.starting.from_populationsim.building import build
    from llmsynthor.starting.from_populationsim.setup import read_setup
    from llmsynthor.starting.from_populationsim.writing import account, job_files

    check_folder(out, overwrite=overwrite)
    tell(f"reading {folder}")
    made = build(read_setup(folder))
    fill(out, job_files(made, out), overwrite=overwrite)
    for line in account(made):
        tell(line)


def fetch_model(folder: Path) -> tuple[Path, str]:
    """Return the small model's file, fetched unless it is there, and what to expect of it."""
    from llmsynthor.llm.providers.fetch import WARNING, fetch

    return fetch(folder).absolute(), WARNING


def keys_of_a_job() -> tuple[dict[str, Any], str]:
    """Return the keys of a job: as JSON Schema, and as a page."""
    from llmsynthor.job.model import job_schema
    from llmsynthor.job.reference import job_reference

    return job_schema(), job_reference(job_schema())
