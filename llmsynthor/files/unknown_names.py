"""What a table's entry names wrongly: columns, headers, labels, groups, each with a way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmsynthor.errors import Problem, TableError
from llmsynthor.files.totals import is_total_word
from llmsynthor.job.schema_walk import written
from llmsynthor.text import and_more, clean, did_you_mean, first_of, listed, nearest, quoted

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterator, Mapping, Sequence

    from llmsynthor.files.rows import TextTable
    from llmsynthor.job.tables import TableSpec
    from llmsynthor.job.variables import CategoryVariable, VariableSpec

_SHOWN = 12
_FEW = 1
"""So many unknown columns are said one by one at most."""
NO_LABEL = (
    "in the table's entry, `values: {VARIABLE: {LABEL IN THE FILE: label}}` renames a label, and "
    "`totals: [LABEL]` says that one stands for a total"
)
_MOST_LABELS = 6


def suggestion(given: str, known: Collection[str]) -> str:
    """Return the known name that is meant, or the known names, to end a message with."""
    there = first_of([clean(name) for name in sorted(known)], _SHOWN)
    return did_you_mean(given, known, f" (known: {there})")


def no_label_hint(label: str, known: Collection[str]) -> str | None:
    """Return what a label that is like none may be, or None."""
    return NO_LABEL if label and not nearest(label, known) else None


def unknown_columns(
    file: str, scope: Sequence[str], known: Collection[str], unsure: Container[str]
) -> list[Problem]:
    """Return the columns that are no variable; many of them that are like none in one problem.

    Columns that are `unsure` may be variables.
    """
    if not scope:
        return [Problem("there is no column with a variable, only figures", file, 1)]
    unknown = [name for name in scope if name not in known and name not in unsure]
    others = [name for name in unknown if not nearest(name, known)]
    together = others if len(others) > _FEW else []
    found = [
        Problem(
            f"column `{clean(name)}` is no variable of the job{suggestion(name, known)}",
            file,
            1,
            hint="in the table's entry, `columns: {NAME IN THE FILE: variable}` renames a column, and "
            "`ignore: [NAME]` leaves one out",
        )
        for name in unknown
        if name not in together
    ]
    if together:
        message = f"columns {_listed(together)} are no variables of the job{suggestion('', known)}"
        hint = (
            "in the table's entry, `ignore: others` leaves out all columns that are no variable and "
            "no figure, and `columns: {NAME IN THE FILE: variable}` renames one"
        )
        found.append(Problem(message, file, 1, hint=hint))
    return found


def check_headers(spec: TableSpec, text: TextTable, variables: Mapping[str, VariableSpec]) -> None:
    """Refuse a wide file some of whose columns are taken for categories and are like none.

    Raises:
        TableError: Names them all at once.
    """
    wide = spec.wide
    if wide is None or not wide.takes_rest or text.headers is None:
        return
    name = wide.variables[0]
    variable, renamed = variables.get(name), spec.values.get(name, {})
    if variable is None or variable.type != "category":
        return
    known = {*variable.values, *spec.groups.get(name, ()), *renamed}
    headers = list(dict.fromkeys(text.headers))
    stray = [
        header
        for header in headers
        if header not in known and not is_total_word(header, spec.totals)
        if not nearest(header, known)
    ]
    if stray and len(stray) < len(headers):
        what = "columns" if len(stray) > 1 else "column"
        message = (
            f"`wide` takes the {what} {_listed(stray)} for a category of `{clean(name)}` each, as "
            "all that are nothing else"
        )
        hint = f"leave them out: `ignore: {written(stray)}` in the table's entry"
        raise TableError.of([Problem(message, spec.file, 1, hint=hint)])


def _listed(names: Sequence[str]) -> str:
    shown = quoted(names)
    return and_more(shown, _SHOWN) if len(shown) > _SHOWN else listed(shown)


def wrong_groups(
    spec: TableSpec, scope: Container[str], variables: Mapping[str, VariableSpec]
) -> list[Problem]:
    """Return what is wrong with the `groups` of a table's entry."""
    found: list[str] = []
    for name, groups in spec.groups.items():
        where = f"`groups.{clean(name)}`"
        variable = variables.get(name)
        if variable is None or name not in scope:
            found.append(f"{where} groups `{clean(name)}`, which is no column of the file")
        elif variable.type != "category":
            found.append(f"{where} is for categories; the bins of a number come from the file")
        else:
            found += [f"{where} {wrong}" for wrong in _wrong_partition(groups, variable)]
    return [Problem(message, spec.file) for message in found]


def _wrong_partition(
    groups: Mapping[str, Sequence[str]], variable: CategoryVariable
) -> Iterator[str]:
    empty = [label for label, inside in groups.items() if not inside]
    if empty:
        yield f"has no category in the group {_shown(empty)}; leave the group out"
    held = [category for inside in groups.values() for category in inside]
    stray = [c for c in dict.fromkeys(held) if c not in variable.values]
    if stray:
        yield f"has {_shown(stray)}, which the variable does not have as a category"
    twice = [c for c in dict.fromkeys(held) if held.count(c) > 1]
    if twice:
        yield f"has {_shown(twice)} more than once; each category stands in one group"
    missing = [c for c in variable.values if c not in held]
    if missing:
        yield f"lacks {_shown(missing)}; each category stands in one group"


def _shown(labels: Sequence[str]) -> str:
    return and_more(quoted(labels), _MOST_LABELS)
