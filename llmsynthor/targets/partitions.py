"""Groups of categories: which categories a table counts together, and what is wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.errors import Problem
from llmsynthor.text import and_more, clean, quoted

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from llmsynthor.job.tables import TableSpec
    from llmsynthor.job.variables import CategoryVariable, VariableSpec

_SHOWN = 6


def wrong_groups(
    spec: TableSpec, scope: Container[str], variables: Mapping[str, VariableSpec]
) -> list[Problem]:
    """Return what is wrong with the `groups` of a table's entry.

    Args:
        spec: The table's entry in the job.
        scope: The variables that the file has.
        variables: The job's variables.
    """
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
    return and_more(quoted(labels), _SHOWN)


def common_groups(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return code -> cell of the finest partition that two groupings of codes can be summed to.

    Codes that share a group in either fall together. Cells are numbered by their first codes.

    Example:
        >>> common_groups(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2])).tolist()
        [0, 0, 0, 1]
    """
    least = np.arange(len(first))
    while True:
        before = least
        for own in (first, second):
            smallest = np.full(int(own.max()) + 1, len(first))
            np.minimum.at(smallest, own, least)
            least = smallest[own]
        if (least == before).all():
            return np.unique(least, return_inverse=True)[1]
