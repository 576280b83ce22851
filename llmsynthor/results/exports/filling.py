"""Filling: which of a run's variables goes into which column, and whether its values fit there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from llmsynthor.results.exports.files import ExportError
from llmsynthor.results.exports.layout import SOURCES, Filled
from llmsynthor.results.exports.records import column_of

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from llmsynthor.results.exports.layout import Code, Fixed, Mapped
    from llmsynthor.results.exports.records import Records
    from llmsynthor.targets.domain import Members, Variable

_MOST_LABELS = 10_000
"""Whole numbers that a map may list; more are no codes."""
_MOST_SHOWN = 6


class Filling:
    """Fills the columns of a layout's tables from the variables of a run, collecting what is wrong."""

    def __init__(
        self, variables: Sequence[Variable], mapped: Mapping[str, Mapped], first: int = 0
    ) -> None:
        """Prepare to fill.

        Args:
            variables: In the order of the batches' columns.
            mapped: Column -> what fills it.
            first: How many of the variables fill columns that are `shared` only, since they are
                another table's own.
        """
        self._positions = {variable.name: i for i, variable in enumerate(variables)}
        self._variables = variables
        self._own = variables[first:]
        self._mapped = mapped
        self._used: set[str] = set()
        self._columns_used: set[str] = set()
        self.missing: list[str] = []
        self.problems = [
            f"{entry.place}: there is no variable `{entry.variable}` (there are: {', '.join(self._positions)})"
            for entry in mapped.values()
            if entry.variable not in self._positions
        ]

    def fixed(
        self,
        file: str,
        columns: Iterable[Fixed],
        *,
        alone: bool = False,
        members: Members | None = None,
    ) -> list[Filled]:
        """Return the columns that a table's layout fixes, as far as variables fill them."""
        filled = []
        for column in columns:
            linked = None if members is None or column.linked == "size" else column.linked
            made = column.made or (column.alone if alone else None) or linked
            entry = self._mapped.get(column.name)
            if made is not None:
                if entry is not None:
                    self._columns_used.add(column.name)
                    self.problems.append(
                        f"{entry.place}: `{column.name}` of {file} is made by the export; leave it out"
                    )
                filled.append(Filled(column.name, SOURCES[made], "integer"))
                continue
            found = self._variable_of(column)
            if found is None and members is not None and column.linked == "size":
                found = self._variables[self._positions[members.size]], None
                column = replace(column, least=0)  # a dwelling where nobody lives is one too
            if found is None:
                if column.required and entry is None:
                    self.missing.append(f"  {file}: {column.words}")
                continue
            variable, values = found
            self._used.add(variable.name)
            self._columns_used.add(column.name)
            checked = self._checked_values(file, column, variable, values)
            filled.append(self._filled(column.name, variable, checked))
        return filled

    def completed(self, own: Sequence[Filled], last: Sequence[Filled] = ()) -> list[Filled]:
        """Return a table's columns: its own, one for every variable that fills none, the last ones.

        A variable's column has its own name, or that which it is mapped to.
        """
        names = {column.name for column in (*own, *last)}
        filled = []
        for variable in self._own:
            entries = [
                (column, entry.values, f"{entry.place}: ")
                for column, entry in self._mapped.items()
                if entry.variable == variable.name and column not in self._columns_used
            ]
            unused = [] if variable.name in self._used else [(variable.name, None, "")]
            for name, values, place in entries or unused:
                if name in names:
                    self.problems.append(
                        f"{place}the variable `{variable.name}` would be a second column `{name}`; give it "
                        f"another name with `--map {variable.name}=NAME`"
                    )
                names.add(name)
                checked = self._whole_map(f"{place}{name}", variable, values)
                filled.append(self._filled(name, variable, checked))
        return [*own, *filled, *last]

    def checked(self, layout: str, *others: Filling) -> None:
        """Refuse what cannot be exported, in the tables that others fill too.

        Raises:
            ExportError: With everything that is missing or wrong.
        """
        every = [self, *others]
        lines, hints = [line for filling in every for line in filling.problems], []
        missing = [line for filling in every for line in filling.missing]
        if lines:
            hints.append(
                "a map file (`--map-file`) gives categories their values: "
                "`columns: {COLUMN: {variable: VARIABLE, values: {CATEGORY: VALUE}}}`"
            )
        if missing:
            names = dict.fromkeys(name for filling in every for name in filling._positions)
            lines += [f"{layout} needs columns that no variable fills:", *missing]
            hints.append(
                "say which variable fills a column: `--map VARIABLE=COLUMN`, or a map file where "
                f"categories need codes (variables here: {', '.join(names)}). What the run "
                "does not have must become a variable of the job: nothing is invented"
            )
        if lines:
            raise ExportError("\n".join(lines), hint="\n".join(hints))

    def _variable_of(self, fixed: Fixed) -> tuple[Variable, dict[str, Code] | None] | None:
        """Return the variable that a map names for a column, or the one that is called like it."""
        column = fixed.name
        entry = self._mapped.get(column)
        if entry is not None:
            position = self._positions.get(entry.variable)
            return None if position is None else (self._variables[position], entry.values)
        elsewhere = {mapped.variable for mapped in self._mapped.values()}
        alike = [
            v
            for v in (self._variables if fixed.shared else self._own)
            if v.name.casefold() == column.casefold() and v.name not in elsewhere
        ]
        exact = [v for v in alike if v.name == column] or alike
        if len(exact) > 1:
            names = ", ".join(f"`{v.name}`" for v in exact)
            self.problems.append(f"{column}: {names} are called alike; choose with `--map`")
        return (exact[0], None) if exact else None

    def _checked_values(
        self, file: str, column: Fixed, variable: Variable, values: dict[str, Code] | None
    ) -> dict[str, Code] | None:
        """Return the values that a column shall hold, having checked that the layout takes them."""
        entry = self._mapped.get(column.name)
        place = f"{f'{entry.place}: ' if entry else ''}{file}: {column.words}"
        if values is not None:
            values = self._whole_map(place, variable, values)
            if values is None:
                return None
        elif not variable.is_numeric and column.holds != "anything":
            values = {label: int(label) if _is_whole(label) else label for label in variable.labels}
        if values is not None:
            wrong = [
                f"`{label}`" if label == str(value) else f"`{label}` -> `{value}`"
                for label, value in values.items()
                if not column.takes(value)
            ]
            if wrong:
                self.problems.append(
                    f"{place}: takes {column.wanted} only; `{variable.name}` has {_listed(wrong)}"
                )
        elif variable.is_numeric:
            whole, ends = variable.is_whole, (variable.low, variable.high)
            if not all(column.takes(int(end) if whole else end) for end in ends):
                self.problems.append(
                    f"{place}: takes {column.wanted} only; `{variable.name}` holds "
                    f"{'whole' if whole else 'real'} numbers from {ends[0]:g} to {ends[1]:g}"
                )
        return values

    def _whole_map(
        self, place: str, variable: Variable, values: dict[str, Code] | None
    ) -> dict[str, Code] | None:
        """Return a map of values, having checked that it names each label once and no other."""
        if values is None:
            return None
        labels = _labels(variable)
        if labels is None:
            self.problems.append(
                f"{place}: `values` is for categories and codes; `{variable.name}` holds "
                f"{variable.kind}s from {variable.low:g} to {variable.high:g}"
            )
            return None
        strange = [f"`{label}`" for label in values if label not in labels]
        absent = [f"`{label}`" for label in labels if label not in values]
        if strange or absent:
            parts = [
                f"{what} {_listed(found)}"
                for what, found in (("there is no", strange), ("no value is given for", absent))
                if found
            ]
            self.problems.append(f"{place}: `values` of `{variable.name}`: {'; '.join(parts)}")
            return None
        return values

    def _filled(self, name: str, variable: Variable, values: dict[str, Code] | None) -> Filled:
        source = column_of(self._positions[variable.name])
        if values is not None:
            return _mapped_column(name, source, values)
        if variable.is_numeric:
            most = int(max(abs(variable.low), abs(variable.high)))
            return Filled(name, source, "integer" if variable.is_whole else "number", most=most)
        return Filled(name, source, "text", labels=variable.labels)


def of_both_levels(
    records: Records, members: Members, mapped: Mapping[str, Mapped], shared: Container[str] = ()
) -> tuple[Filling, Filling]:
    """Return what fills the table of the records, and what fills that of their members.

    Both have the `shared` columns from the records.
    """
    own = {name: e for name, e in mapped.items() if e.variable in members.record.positions}
    others = {name: e for name, e in mapped.items() if name not in own or name in shared}
    both = records.of_members(members).variables
    first = len(records.variables)
    return Filling(records.variables, own), Filling(both, others, first)


def _mapped_column(name: str, source: str, values: dict[str, Code]) -> Filled:
    """Return a column of mapped values, of the narrowest kind that holds them all."""
    kinds = {type(value) for value in values.values()}
    if kinds == {bool}:
        return Filled(name, source, "boolean", values)
    if kinds == {int}:
        return Filled(
            name, source, "integer", values, most=max(abs(int(v)) for v in values.values())
        )
    if kinds <= {int, float}:
        return Filled(name, source, "number", {k: float(v) for k, v in values.items()})
    texts: dict[str, Code] = {label: str(value) for label, value in values.items()}
    return Filled(name, source, "text", texts, tuple(str(t) for t in texts.values()))


def _labels(variable: Variable) -> set[str] | None:
    """Return what a map of values must name, or None where values are too many."""
    if not variable.is_numeric:
        return set(variable.labels)
    if variable.kind == "number" or variable.high - variable.low >= _MOST_LABELS:
        return None
    return {str(number) for number in range(int(variable.low), int(variable.high) + 1)}


def _is_whole(label: str) -> bool:
    return label.isascii() and label.removeprefix("-").isdigit() and str(int(label)) == label


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_SHOWN]) + (" ..." if len(names) > _MOST_SHOWN else "")
