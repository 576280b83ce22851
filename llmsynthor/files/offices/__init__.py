"""Forms in which statistical offices publish tables."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING, Protocol

from llmsynthor.job.tables import OFFICES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmsynthor.files.numbers import Missing
    from llmsynthor.files.rows import Row, TextTable
    from llmsynthor.job.tables import TableSpec


class Form(Protocol):
    """What reads an office's form; the office's module is one."""

    MISSING: Mapping[str, Missing]
    """The office's marks in place of a figure."""

    def read_form(self, spec: TableSpec, rows: Sequence[Row]) -> TextTable:
        """Return the columns that the file's rows mean.

        Raises:
            TableError: The file has another form.
        """
        ...


def form_of(name: str) -> Form:
    """Return what reads the form of an office in `OFFICES`."""
    form: Form = pkgutil.resolve_name(OFFICES[name].reader)
    return form
