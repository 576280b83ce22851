"""What the rules allow, so finely that what is refused is proven impossible, and what they link.

A bin may hold lawful and unlawful values side by side. So the bins of numbers that rules speak of
are cut into *atoms*: sets of values that no rule tells apart, each stood for by one value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmsynthor.candidates.rules import broken_mask, category_series, number_series
from llmsynthor.feasibility.columns import LARGEST, max_out
from llmsynthor.feasibility.words import Conflict
from llmsynthor.fitting.maxent import TooLargeError, elimination_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from llmsynthor.candidates.rules import Rule
    from llmsynthor.targets.domain import Domain, Variable
    from llmsynthor.targets.table import Table

_GRID_LIMIT = 400_000
_MOST_WHOLE_NUMBERS = 200
"""Up to so many whole numbers are tried one by one, whatever the rule computes with them."""

_TEXT = re.compile(r"'(?:[^']|'')*'")
_SIGN = re.compile(r"([=<>(,]|\bAND\b|\bBETWEEN\b)\s*-\s*(?=[\d.])", re.IGNORECASE)
_LITERAL = re.compile(r"(?<![\w\"])\d+(?:\.\d*)?|(?<![\w\"])\.\d+")
_WORD = re.compile(r"\"[^\"]*\"|[A-Za-z_]\w*")
_LOGIC = {"AND", "OR", "NOT", "IN", "BETWEEN", "IS", "NULL", "TRUE", "FALSE"}
_SYMBOLS = re.compile(r"[\s\d.,()=<>!]*")
_VARIABLE_RIGHT = re.compile(
    r"(?:[=<>,]|\bIN\b|\bBETWEEN\b)[\s(]*[A-Za-z_\"]|\bBETWEEN\b", re.IGNORECASE
)


@dataclass(frozen=True, eq=False)
class Lawful:
    """Atoms of every variable, and what each rule allows.

    Attributes:
        bins: By variable the domain's code of each atom, int64, shape `(atoms,)`.
        allowed: By rule number whether each combination of the atoms of its scope keeps it,
            bool, in the order of `Rule.scope`.
        rules: All rules, those too that are not in `allowed` because they cannot be tabulated.
    """

    domain: Domain
    rules: tuple[Rule, ...]
    bins: dict[str, np.ndarray]
    allowed: dict[int, np.ndarray]

    @property
    def is_complete(self) -> bool:
        """Return whether every rule could be tabulated."""
        return len(self.allowed) == len(self.rules)

    def codes(self, names: Sequence[str], atoms: np.ndarray) -> np.ndarray:
        """Return domain codes of atoms (rows x `names`); -1 in all other variables, int32."""
        codes = np.full((len(atoms), len(self.domain.names)), -1, dtype=np.int32)
        for column, name in enumerate(names):
            codes[:, self.domain.positions[name]] = self.bins[name][atoms[:, column]]
        return codes


def tabulate(rules: Sequence[Rule], domain: Domain) -> Lawful:
    """Return what every rule allows; a rule that cannot be tried with certainty is left out."""
    points: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    unsure: set[str] = set()
    for variable in domain.variables:
        speaking = [rule for rule in rules if variable.name in rule.scope]
        points[variable.name], sure = _points(variable, speaking)
        unsure |= set() if sure else {variable.name}
    allowed: dict[int, np.ndarray] = {}
    for number, rule in enumerate(rules):
        shape = [len(points[name][0]) for name in rule.scope]
        certain = not unsure & set(rule.scope) or _compares_with_numbers_only(rule, domain)
        if certain and float(np.prod([float(n) for n in shape])) <= _GRID_LIMIT:
            allowed[number] = _try(rule, domain, points, shape)
    bins = {name: codes for name, (codes, _) in points.items()}
    return _merged(Lawful(domain, tuple(rules), bins, allowed))


def _points(
    variable: Variable, rules: Sequence[Rule]
) -> tuple[tuple[np.ndarray, np.ndarray], bool]:
    """Return codes and values to try, and whether they suffice for every rule.

    Where they do not, they suffice still for rules that only compare with numbers: truth then
    changes at those numbers alone, and each of them and each gap between two has its value.
    """
    if not variable.is_numeric or not rules:
        codes = np.arange(variable.size)
        return (codes, codes.astype(float)), True
    edges = np.asarray(variable.edges)
    if variable.is_whole and edges[-1] - edges[0] <= _MOST_WHOLE_NUMBERS:
        values = np.arange(edges[0], edges[-1])
        return (variable.encode_values(values).astype(np.int64), values), True
    cuts = [float(x) for rule in rules for x in _LITERAL.findall(_TEXT.sub("", rule.text))]
    cuts = sorted({*edges.tolist(), *cuts, *(-x for x in cuts)})
    values = np.array(sorted({*cuts, *((a + b) / 2 for a, b in pairwise(cuts))}))
    if variable.is_whole:
        values = np.unique(np.concatenate([np.floor(values), np.ceil(values)]))
        values = np.unique(np.concatenate([values - 1, values, values + 1]))
    values = values[(values >= variable.low) & (values <= variable.high)]
    return (variable.encode_values(values).astype(np.int64), values), False


def _compares_with_numbers_only(rule: Rule, domain: Domain) -> bool:
    """Return whether a rule compares variables with constants, and computes nothing.

    Of two numbers in one rule it must be plain that they are not compared with each other.
    """
    text = _SIGN.sub(r"\1 ", _TEXT.sub("0", rule.text.partition(": ")[2]))
    words = {word.strip('"') for word in _WORD.findall(text) if word.upper() not in _LOGIC}
    if not words <= set(rule.scope) or not _SYMBOLS.fullmatch(_WORD.sub("", text)):
        return False
    numbers = sum(domain[name].is_numeric for name in rule.scope)
    return numbers <= 1 or not _VARIABLE_RIGHT.search(text)


def _try(
    rule: Rule,
    domain: Domain,
    points: dict[str, tuple[np.ndarray, np.ndarray]],
    shape: Sequence[int],
) -> np.ndarray:
    grid = np.meshgrid(*(np.arange(size) for size in shape), indexing="ij")
    columns = []
    for name, flat in zip(rule.scope, grid, strict=True):
        codes, values = points[name]
        variable = domain[name]
        columns.append(
            number_series(variable, values[flat.ravel()])
            if variable.is_numeric
            else category_series(variable, codes[flat.ravel()])
        )
    return (~broken_mask([rule], pl.DataFrame(columns))).reshape(shape)


def _merged(lawful: Lawful) -> Lawful:
    """Return the same with atoms made one where they lie in one bin and no rule tells them apart."""
    bins, allowed = dict(lawful.bins), dict(lawful.allowed)
    for name in lawful.domain.names:
        marks = [bins[name][:, None]]
        speaking = [n for n in allowed if name in lawful.rules[n].scope]
        for number in speaking:
            axis = lawful.rules[number].scope.index(name)
            marks.append(np.moveaxis(allowed[number], axis, 0).reshape(len(bins[name]), -1))
        _, first = np.unique(np.concatenate(marks, axis=1), axis=0, return_index=True)
        kept = np.sort(first)
        bins[name] = bins[name][kept]
        for number in speaking:
            axis = lawful.rules[number].scope.index(name)
            allowed[number] = np.take(allowed[number], kept, axis=axis)
    return Lawful(lawful.domain, lawful.rules, bins, allowed)


def impossible_rules(lawful: Lawful, records: int) -> list[Conflict]:
    """Return each rule that allows nothing, or else sets of rules that allow nothing together."""
    found = [
        Conflict(records, (), ((n, lawful.rules[n]),))
        for n, allowed in sorted(lawful.allowed.items())
        if not allowed.any()
    ]
    if found:
        return found
    for _, rules in components((), lawful):
        if not reach(lawful, rules, ()).any():
            least = shrunk(rules, lambda some: not reach(lawful, some, ()).any())
            found.append(Conflict(records, (), tuple((n, lawful.rules[n]) for n in least)))
    return found


def components(
    tables: Sequence[Table], lawful: Lawful
) -> list[tuple[tuple[Table, ...], tuple[int, ...]]]:
    """Return tables and tabulated rules, apart where no variable links them."""
    parts: list[tuple[set[str], list[Table | int]]] = []
    members: list[Table | int] = [*tables, *sorted(lawful.allowed)]
    for member in members:
        scope = set(lawful.rules[member].scope if isinstance(member, int) else member.scope)
        near = [part for part in parts if part[0] & scope]
        parts = [part for part in parts if not part[0] & scope]
        linked = [m for part in near for m in part[1]]
        parts.append((scope.union(*(part[0] for part in near)), [*linked, member]))
    return [
        (
            tuple(m for m in own if not isinstance(m, int)),
            tuple(sorted(m for m in own if isinstance(m, int))),
        )
        for _, own in parts
    ]


def reach(lawful: Lawful, rules: Iterable[int], keep: tuple[str, ...]) -> np.ndarray:
    """Return which combinations of atoms of `keep` some record has that keeps all `rules`.

    All are, where the rules are too entangled to tell.
    """
    factors = [
        (lawful.rules[n].scope, np.where(lawful.allowed[n], 0.0, -np.inf)) for n in sorted(rules)
    ]
    sizes = {name: len(codes) for name, codes in lawful.bins.items()}
    try:
        order = elimination_order([scope for scope, _ in factors], sizes, keep, LARGEST)
    except TooLargeError:
        return np.ones([sizes[name] for name in keep], dtype=bool)
    return np.asarray(max_out(factors, sizes, keep, order)[0] > -np.inf)


def shrunk(members: Sequence[int], still: Callable[[Sequence[int]], bool]) -> list[int]:
    """Return members of which none can be left out without losing the conflict (deletion filter)."""
    kept = list(members)
    for member in members:
        fewer = [m for m in kept if m != member]
        if still(fewer):
            kept = fewer
    return kept
