"""Households with persons made in memory: who lives together, their tables and candidates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.fitting.whole.mutations import Variety
from llmsynthor.targets.domain import Domain, Members, Variable
from llmsynthor.targets.table import Table, TableSet

if TYPE_CHECKING:
    from collections.abc import Sequence

RECORD = {"size": 6, "tenure": 3, "income": 5, "cars": 4, "zone": 8}
OWN = {"age": 10, "sex": 2, "role": 4, "work": 4, "school": 4}
RECORD_SCOPES = [
    ("size", "zone"),
    ("tenure", "zone"),
    ("income", "tenure"),
    ("cars", "size"),
    ("cars", "income"),
    ("size", "tenure"),
]
MEMBER_SCOPES = [
    ("age", "sex"),
    ("role", "age"),
    ("work", "sex"),
    ("work", "age"),
    ("school", "age"),
    ("age", "zone"),
    ("work", "tenure"),
    ("school", "sex"),
]


def members_of(most: int, record: dict[str, int], own: dict[str, int]) -> Members:
    """Make households of 1 to `most` persons with variables of so many categories."""

    def domain(sizes: dict[str, int]) -> Domain:
        return Domain(
            tuple(
                Variable(name, "category", tuple(f"{name}{k}" for k in range(size)))
                for name, size in sizes.items()
            )
        )

    sizes = {**record, "size": most}
    numbers = np.arange(1, most + 1)
    return Members("person", "household", "size", numbers, domain(sizes), domain(own))


def table_of(
    members: Members, codes: np.ndarray, scope: Sequence[str], counts_members: bool
) -> Table:
    """Count a population."""
    both = Domain((*members.record.variables, *members.own.variables))
    shape = tuple(both[name].size for name in scope)
    name = "_".join(scope) + ("_persons" if counts_members else "")
    table = Table(
        name=name,
        file=f"{name}.csv",
        role="control",
        scope=tuple(scope),
        labels=tuple(both[name].labels for name in scope),
        groups=tuple(np.arange(size, dtype=np.int32) for size in shape),
        figures=np.ones(shape),
        measure="count",
        members=members if counts_members else None,
        per_record=float(members.sizes(codes).mean()) if counts_members else 1.0,
    )
    figures = table.tally(codes, members.wide).reshape(shape).astype(float)
    return replace(table, figures=figures)


def households(members: Members, rows: int, random: np.random.Generator) -> np.ndarray:
    """Draw households of head, spouse, children and others, as wide codes.

    Who lives in a household depends on the head's age; ages of couples are near each other, those
    of children a generation below.
    """
    sizes = {v.name: v.size for v in (*members.record.variables, *members.own.variables)}
    codes = np.zeros((rows, len(members.wide.names)), dtype=np.int32)
    head = random.binomial(sizes["age"] - 1, 0.5, rows)
    middle = np.exp(-np.abs(head - sizes["age"] * 0.4))[:, None]
    size = 1 + random.binomial(members.most - 1, 0.15 + 0.35 * middle[:, 0])
    place = {name: i for i, name in enumerate(members.wide.names)}
    codes[:, place["size"]] = size - 1
    for name in members.record.names:
        if name != members.size:
            lean = (head + size + random.normal(0, 2.5, rows)) / (sizes["age"] + members.most)
            codes[:, place[name]] = np.clip(lean * sizes[name], 0, sizes[name] - 1)
    for slot in range(members.most):
        child = (slot >= 2) | ((slot == 1) & (random.random(rows) < 0.3))
        age = head + np.where(child & (slot > 0), -3, 0) + random.integers(-1, 2, rows) * (slot > 0)
        age = np.clip(age, 0, sizes["age"] - 1)
        role = np.where(slot == 0, 0, np.where(child, 2 + (random.random(rows) < 0.2), 1))
        own = {"age": age, "role": np.minimum(role, sizes.get("role", 1) - 1)}
        for name in members.own.names:
            if name not in own:
                noise = random.normal(0, 0.35, rows)
                own[name] = np.clip((age / sizes["age"] + noise) * sizes[name], 0, sizes[name] - 1)
            codes[:, place[members.column(name, slot)]] = own[name]
    return members.emptied(codes)


@dataclass
class MemberWorld:
    """A population, its tables at both levels, and candidates from a like but different one."""

    seed: int = 0
    records: int = 8000
    candidates: int = 100_000
    most: int = 6
    record: tuple[str, ...] = tuple(RECORD)
    own: tuple[str, ...] = tuple(OWN)
    record_scopes: Sequence[tuple[str, ...]] = tuple(RECORD_SCOPES)
    member_scopes: Sequence[tuple[str, ...]] = tuple(MEMBER_SCOPES)
    known: bool = False
    """Whether the candidates hold the population."""

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        self.members = members_of(
            self.most, {n: RECORD[n] for n in self.record}, {n: OWN[n] for n in self.own}
        )
        self.population = households(self.members, self.records, random)
        tables = [table_of(self.members, self.population, s, False) for s in self.record_scopes]
        tables += [table_of(self.members, self.population, s, True) for s in self.member_scopes]
        both = Domain((*self.members.record.variables, *self.members.own.variables))
        self.tables = TableSet(both, tuple(tables), self.members)
        drawn = households(self.members, self.candidates, random)
        noise = np.stack(
            [random.integers(0, v.size, len(drawn)) for v in self.wide.variables], axis=1
        )
        strange = random.random(drawn.shape) < 0.15
        strange[:, : len(self.record)] = random.random((len(drawn), len(self.record))) < 0.1
        drawn = self.members.emptied(np.where(strange, noise, drawn).astype(np.int32))
        parts = [drawn, self.population] if self.known else [drawn]
        self.codes = np.unique(np.concatenate(parts), axis=0).astype(np.int32)
        self.prior = random.dirichlet(np.ones(len(self.codes)))

    @property
    def wide(self) -> Domain:
        return self.members.wide

    @cached_property
    def variety(self) -> Variety:
        """Let every candidate take every value of each variable."""
        share = tuple(np.full((1, size), 1 / size) for size in self.wide.sizes)
        owner = np.zeros(len(self.codes), dtype=np.int64)

        def complete(codes: np.ndarray, _owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            assert (codes == self.members.emptied(codes)).all()
            return np.empty((len(codes), 0)), np.ones(len(codes), dtype=bool)

        return Variety(
            self.codes, owner, share, self.tables.control, self.wide, complete, self.members
        )
