"""Reading real records (CSV or parquet) as they are: text from CSV, typed columns from parquet."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmsynthor.errors import MicrodataError, TableError

if TYPE_CHECKING:
    from llmsynthor.files.inputs import Inputs

_SEPARATORS = ",;\t|"
_SNIFFED = 1 << 20


@dataclass(frozen=True, eq=False)
class Records:
    """Real records as their file gives them.

    Attributes:
        file: The path as the user gave it.
        sha256: Hash of the file's bytes.
        frame: One row per record; every column of a CSV is text, null where nothing stands.
    """

    file: str
    sha256: str
    frame: pl.DataFrame

    @property
    def rows(self) -> int:
        """Return the number of records."""
        return self.frame.height


def read_records(file: str, inputs: Inputs) -> Records:
    """Read a file of records.

    Args:
        file: The name of a `.csv`, `.tsv` or `.parquet` file; the separator of text is taken from
            the header.
        inputs: The files among which it is.

    Raises:
        MicrodataError: The file is missing, empty, or not what its name says.
    """
    kind = PurePath(file).suffix.lower()
    if kind not in {".csv", ".tsv", ".parquet"}:
        raise MicrodataError(f"{file}: the file name must end in .csv, .tsv or .parquet")
    try:
        content = inputs.read(file)
        frame = pl.read_parquet(content) if kind == ".parquet" else _read_text(file, content)
    except TableError as error:
        raise MicrodataError.of(error.problems) from None
    except UnicodeDecodeError as error:
        raise MicrodataError(
            f"{file}: byte {error.start} is not UTF-8", hint="save the file as UTF-8"
        ) from None
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0][:160]
        raise MicrodataError(f"{file}: not a readable {kind[1:]} file ({reason})") from None
    frame = _with_plain_names(file, frame)
    if frame.height == 0:
        raise MicrodataError(f"{file}: there are no records below the header")
    return Records(file, inputs.sha256(file), frame)


def _read_text(file: str, content: bytes) -> pl.DataFrame:
    start = _start(file, content)
    header = start.splitlines()[0]
    separator = max(_SEPARATORS, key=lambda mark: (header.count(mark), mark == ","))
    names = next(csv.reader(io.StringIO(start, newline=""), delimiter=separator), [])
    _refuse_twins(file, [name.strip() for name in names])
    frame = pl.read_csv(content, infer_schema=False, separator=separator)
    if len(names) != frame.width:
        return frame
    frame.columns = names  # polars leaves a doubled quote inside a quoted name doubled
    return frame


def _start(file: str, content: bytes) -> str:
    """Return the first lines, which must be UTF-8 text."""
    start = content[:_SNIFFED]
    if not start.strip():
        raise MicrodataError(f"{file}: the file is empty")
    whole = start if len(start) < _SNIFFED else start[: start.rfind(b"\n") + 1] or start
    return whole.decode("utf-8-sig").lstrip("\r\n")


def _with_plain_names(file: str, frame: pl.DataFrame) -> pl.DataFrame:
    names = [" ".join(name.removeprefix("\ufeff").split()) for name in frame.columns]
    _refuse_twins(file, names)
    return frame.rename(dict(zip(frame.columns, names, strict=True)))


def _refuse_twins(file: str, names: list[str]) -> None:
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise MicrodataError(f"{file}:1: {names.count(twins[0])} columns are named `{twins[0]}`")


def row_weights(records: Records, column: str) -> np.ndarray:
    """Return the weight of each record, `(rows,)`, from a column of 0 or more.

    Raises:
        MicrodataError: The column is not there, or a value is missing, negative or no number.
    """
    if column not in records.frame.columns:
        raise MicrodataError(
            f"{records.file}: there is no column `{column}` to weigh by "
            f"(columns: {', '.join(records.frame.columns)})"
        )
    given = records.frame[column]
    weights = given.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        raise MicrodataError(
            f"{records.file}: the weight `{column}` of record {int(wrong[0]) + 1} is "
            f"`{given[int(wrong[0])]}`, not a number of 0 or more ({len(wrong)} such records)"
        )
    if not weights.sum() > 0:
        raise MicrodataError(f"{records.file}: every weight in `{column}` is 0")
    return weights
