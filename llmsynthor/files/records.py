"""Reading real records as they are: text from CSV and XLSX, typed columns from parquet."""

from __future__ import annotations

import csv
import io
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING

import polars as pl

from llmsynthor.errors import InputError, MicrodataError, Problem
from llmsynthor.files.decoding import decoded, read_sheet
from llmsynthor.job.file_form import Form
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmsynthor.files.inputs import Inputs

SEPARATORS = {",": "commas", ";": "`;`", "\t": "tabs", "|": "`|`"}
_SNIFFED = 1 << 20
TEXT_KINDS = {".csv", ".tsv", ".tab", ".txt"}
_DECIMAL_COMMA = r"(^[+-]?|\d),(\d)"


@dataclass(frozen=True, eq=False)
class Records:
    """Real records as their file gives them.

    Attributes:
        file: The path as the user gave it.
        sha256: Hash of the file's bytes.
        frame: One row per record; every column of a CSV is text, null where nothing stands.
        form: How it is written, as far as the user said so.
        first: The line of the first record; None where records are not a line each.
    """

    file: str
    sha256: str
    frame: pl.DataFrame
    form: Form
    first: int | None = None

    @property
    def rows(self) -> int:
        """Return the number of records."""
        return self.frame.height

    def text(self, column: str) -> pl.Series:
        """Return a column as text without blanks at its ends, null where nothing stands."""
        return self.frame.get_column(column).cast(pl.String).str.strip_chars()

    def numbers(self, column: str) -> pl.Series:
        """Return a column as `text` does, numbers with decimal points."""
        return with_points(self.text(column), self.form)

    @property
    def has_lines(self) -> bool:
        """Return whether a record is a line of the file; else it is a row."""
        return self.first is not None

    def place(self, row: int) -> int:
        """Return the line of a row, or where the file has no lines its number from 1."""
        return row + (1 if self.first is None else self.first)


class RecordFile:
    """A file of records that is open: its columns are known, and any of them can be read."""

    def __init__(
        self, file: str, inputs: Inputs, form: Form | None = None, comment: str | None = None
    ) -> None:
        """Open a file.

        Args:
            file: The name of a `.csv`, `.tsv`, `.tab`, `.txt`, `.parquet` or `.xlsx` file.
            inputs: The files among which it is.
            form: How it is written; what it leaves open, the file must tell.
            comment: Lines of a text file that begin so are not read.

        Raises:
            MicrodataError: The file is missing, empty, or not what its name says.
        """
        self.file, self.form = file, form or Form()
        self._comment, self._kind = comment, PurePath(file).suffix.lower()
        self._first = 2
        self._lines: int | None = None
        if self._kind not in {*TEXT_KINDS, ".parquet", ".xlsx"}:
            raise MicrodataError(
                f"{file}: the file name must end in .csv, .tsv, .txt, .xlsx or .parquet"
            )
        with self._errors():
            self._content = inputs.read(file)
            self.sha256 = inputs.sha256(file)
            names = self._names()
        self.columns = [" ".join(name.removeprefix("\ufeff").split()) for name in names]
        twice = sorted({n for n in self.columns if n and self.columns.count(n) > 1})
        if twice:
            raise MicrodataError(
                f"{file}:1: {self.columns.count(twice[0])} columns are named `{twice[0]}`"
            )

    def read(self, columns: Sequence[str] | None = None) -> Records:
        """Return the records, with all columns or those of some names.

        Raises:
            MicrodataError: They cannot be read.
        """
        wanted = [
            place
            for place, name in enumerate(self.columns)
            # Excel writes empty columns behind a table: of those without a name the first counts
            if (name in columns if columns is not None else place == self.columns.index(name))
        ]
        with self._errors():
            frame = self._frame(wanted)
        frame.columns = [self.columns[place] for place in wanted]
        # comments further down, and cells of several lines, leave no telling which line a record is
        told = self._lines is not None and self._first - 1 + frame.height == self._lines
        return Records(self.file, self.sha256, frame, self.form, self._first if told else None)

    def _names(self) -> list[str]:
        """Return the header as it stands there; what else is told by the text's begin is kept."""
        if self._kind == ".parquet":
            return list(pl.read_parquet_schema(io.BytesIO(self._content)))
        if self._kind == ".xlsx":
            rows = read_sheet(self.file, self._content, self.form)
            used = [line for line, row in enumerate(rows) if any(cell.strip() for cell in row)]
            if not used:
                raise MicrodataError(f"{self.file}: the file is empty")
            self._first, self._lines = used[0] + 2, used[-1] + 1
            self._rows = rows[used[0] : used[-1] + 1]
            return self._rows[0]
        text = decoded(self.file, self._content, self.form)
        self._lines = text.rstrip("\r\n").count("\n") + 1
        lines = list(io.StringIO(text[:_SNIFFED], newline=""))
        begin = [
            line for line in lines if self._comment is None or not line.startswith(self._comment)
        ]
        while begin and not begin[0].strip("\r\n"):
            begin.pop(0)
        self._first += lines.index(begin[0]) if begin else 0
        self._content = text.encode()
        told = _separator(begin)
        self._separator = self.form.separator or told
        names = _fields(begin, self._separator)[0]
        if len(names) == 1 < len(_fields(begin, told)[0]):
            message = (
                f"the columns are separated by {SEPARATORS[told]}, and read as if by "
                f"{SEPARATORS[self._separator]}"
            )
            hint = f"leave {self.form.key('separator')} out"
            raise MicrodataError.of([Problem(message, self.file, 1, hint=hint)])
        given = self._csv(n_rows=0).columns
        # polars leaves a doubled quote inside a quoted name doubled
        return names if len(names) == len(given) else given

    def _frame(self, wanted: list[int]) -> pl.DataFrame:
        if self._kind == ".parquet":
            return pl.read_parquet(io.BytesIO(self._content), columns=wanted)
        if self._kind == ".xlsx":
            below = self._rows[1:]
            columns = {str(place): [row[place] or None for row in below] for place in wanted}
            return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
        return self._csv(columns=wanted)

    def _csv(self, n_rows: int | None = None, columns: list[int] | None = None) -> pl.DataFrame:
        return pl.read_csv(
            self._content,
            infer_schema=False,
            separator=self._separator,
            comment_prefix=self._comment,
            n_rows=n_rows,
            columns=columns,
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what others raise into the error of a file of records."""
        try:
            yield
        except MicrodataError:
            raise
        except InputError as error:
            raise MicrodataError.of(error.problems) from None
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            reason = clean((str(error).splitlines() or ["damaged"])[0], 160)
            raise MicrodataError(
                f"{self.file}: not a readable {self._kind[1:]} file ({reason})"
            ) from None


def read_records(file: str, inputs: Inputs, form: Form | None = None) -> Records:
    """Read all of a file of records; see `RecordFile`.

    Raises:
        MicrodataError: It cannot be read, or holds none.
    """
    records = RecordFile(file, inputs, form).read()
    if records.rows == 0:
        raise MicrodataError(f"{file}: there are no records below the header")
    return records


def _fields(lines: Sequence[str], separator: str) -> list[list[str]]:
    """Return the header and the row below it; nothing where they cannot be read."""
    try:
        return list(islice(csv.reader(lines, delimiter=separator), 2)) or [[]]
    except csv.Error:
        return [[]]


def _separator(lines: Sequence[str]) -> str:
    """Return what parts the header: most often, and into as many columns as the row below."""

    def fit(mark: str) -> tuple[bool, int, bool]:
        fields = _fields(lines, mark)
        return len({len(row) for row in fields}) == 1, len(fields[0]), mark == ","

    return max(
        (mark for mark in SEPARATORS if len(_fields(lines, mark)[0]) > 1), key=fit, default=","
    )


def with_points(text: pl.Series, form: Form) -> pl.Series:
    """Return numbers with decimal points, whatever stands before their decimals."""
    return text.str.replace_all(_DECIMAL_COMMA, "$1.$2") if form.decimal == "," else text


def comma_hint(text: pl.Series, form: Form) -> str | None:
    """Return what to say where numbers seem to have decimal commas; None where they do not."""
    if form.decimal == "," or not text.str.contains(r"^[+-]?\d*,\d+$").any():
        return None
    return form.way_out(
        "where a comma stands before decimals, say so{place}: {key}", "decimal", ",", "write points"
    )
