"""Reading real records (CSV or parquet) as they are: text from CSV, typed columns from parquet."""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmsynthor.errors import MicrodataError

if TYPE_CHECKING:
    from pathlib import Path

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


def read_records(path: Path) -> Records:
    """Read a file of records.

    Args:
        path: A `.csv`, `.tsv` or `.parquet` file; the separator of text is taken from the header.

    Raises:
        MicrodataError: The file is missing, empty, or not what its name says.
    """
    kind = path.suffix.lower()
    if kind not in {".csv", ".tsv", ".parquet"}:
        raise MicrodataError(f"{path}: the file name must end in .csv, .tsv or .parquet")
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        frame = pl.read_parquet(path, glob=False) if kind == ".parquet" else _read_text(path)
    except FileNotFoundError:
        raise MicrodataError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise MicrodataError(
            f"{path}: byte {error.start} is not UTF-8", hint="save the file as UTF-8"
        ) from None
    except OSError as error:
        raise MicrodataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0][:160]
        raise MicrodataError(f"{path}: not a readable {kind[1:]} file ({reason})") from None
    frame = _with_plain_names(path, frame)
    if frame.height == 0:
        raise MicrodataError(f"{path}: there are no records below the header")
    return Records(str(path), digest, frame)


def _read_text(path: Path) -> pl.DataFrame:
    start = _start(path)
    header = start.splitlines()[0]
    separator = max(_SEPARATORS, key=lambda mark: (header.count(mark), mark == ","))
    names = next(csv.reader(io.StringIO(start, newline=""), delimiter=separator), [])
    _refuse_twins(path, [name.strip() for name in names])
    frame = pl.read_csv(path, infer_schema=False, separator=separator, glob=False)
    if len(names) != frame.width:
        return frame
    frame.columns = names  # polars leaves a doubled quote inside a quoted name doubled
    return frame


def _start(path: Path) -> str:
    """Return the first lines, which must be UTF-8 text."""
    with path.open("rb") as file:
        start = file.read(_SNIFFED)
    if not start.strip():
        raise MicrodataError(f"{path}: the file is empty")
    whole = start if len(start) < _SNIFFED else start[: start.rfind(b"\n") + 1] or start
    return whole.decode("utf-8-sig").lstrip("\r\n")


def _with_plain_names(path: Path, frame: pl.DataFrame) -> pl.DataFrame:
    names = [" ".join(name.removeprefix("\ufeff").split()) for name in frame.columns]
    _refuse_twins(path, names)
    return frame.rename(dict(zip(frame.columns, names, strict=True)))


def _refuse_twins(path: Path, names: list[str]) -> None:
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise MicrodataError(f"{path}:1: {names.count(twins[0])} columns are named `{twins[0]}`")


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
