r"""Tables of Eurostat as TSV of the bulk download.

Source: Eurostat's description of the format. The first column joins the codes of all dimensions but
time with commas, `freq,unit,age,sex,geo\\TIME_PERIOD` being its header; the others are times. A cell is a
figure, or `:` where there is none, and may end in flags such as `p` (provisional).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llmsynthor.errors import Problem, TableError
from llmsynthor.files.rows import Row, TextTable
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.files.numbers import Missing
    from llmsynthor.job.tables import TableSpec

MISSING: dict[str, Missing] = {":": "unknown"}
_CELL = re.compile(r"(:|[-+]?\d[\d.eE+-]*)\s*([a-z]*)")
_TOTALS = {"sex": "T"}
"""Codes of totals that no other publisher would understand: T of both sexes."""


def read_form(spec: TableSpec, rows: Sequence[Row]) -> TextTable:
    """Return a column for each dimension, `time`, and `count`; flags are left out.

    Raises:
        TableError: The file has another form.
    """
    given = [row for row in rows if not row.is_blank]
    header = [cell.strip() for cell in given[0].cells] if given else [""]
    joined, slash, _ = header[0].partition("\\")
    names = [name.strip() for name in joined.split(",")]
    if not slash or len(header) < 2:
        message = (
            "`format: eurostat` needs a first column such as `unit,age,sex,geo\\TIME_PERIOD` and one "
            f"for each time, separated by tabs; here is `{clean(header[0], 60)}`"
        )
        raise TableError.of([Problem(message, spec.file, given[0].line if given else None)])
    figure = "share" if spec.percent else "count"
    columns: dict[str, list[str]] = {name: [] for name in (*names, "time", figure)}
    lines, problems = [], []
    for row in given[1:]:
        codes = [code.strip() for code in row.cells[0].split(",")]
        if len(codes) != len(names) or len(row.cells) != len(header):
            message = f"this row has {len(codes)} codes and {len(row.cells) - 1} times"
            wanted = f"the header has {len(names)} and {len(header) - 1}"
            problems.append(Problem(f"{message}, {wanted}", spec.file, row.line))
            continue
        for time, cell in zip(header[1:], row.cells[1:], strict=True):
            for name, code in zip(names, codes, strict=True):
                columns[name].append("Total" if code == _TOTALS.get(name) else code)
            columns["time"].append(time)
            match = _CELL.fullmatch(cell.strip())
            columns[figure].append(match[1] if match else cell.strip())
            lines.append(row.line)
    if problems:
        raise TableError.of(problems[:8])
    if not lines:
        raise TableError.of([Problem("there are no rows below the header", spec.file)])
    return TextTable(columns, lines)
