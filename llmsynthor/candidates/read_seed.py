"""A seed sample: real records linked with their members, without those that do not fit.

What a single record has wrong leaves that record out, as long as it is the few: a warning then says
how many and where the first is. Where it is more than a few, the job describes the file wrongly,
and that is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.candidates.rules import broken_mask
from llmsynthor.candidates.seed_file import (
    Level,
    first_of,
    keys_of,
    limits_of,
    need,
    read_level,
    refuse_absent,
    stacked,
    weights_of,
)
from llmsynthor.candidates.seed_sample import SeedSample
from llmsynthor.errors import MicrodataError, Problem
from llmsynthor.files.bins import format_number
from llmsynthor.seeds import generator
from llmsynthor.text import clean, count_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.candidates.sampler import Sampler
    from llmsynthor.files.inputs import Inputs
    from llmsynthor.job.seed_sample import SeedSampleSpec
    from llmsynthor.targets.domain import Domain, Members

FEW = 0.01
"""Share of the records that may be left out for what is wrong in them."""


def read_seed(
    spec: SeedSampleSpec, inputs: Inputs, sampler: Sampler
) -> tuple[SeedSample, list[Problem]]:
    """Return the job's seed sample, and what was left out of it.

    Args:
        spec: The job's `seed_sample`.
        inputs: The job's files.
        sampler: Knows the job's domain and rules.

    Raises:
        MicrodataError: A file cannot be read, does not fit the job, or has more than a few records
            that do not.
    """
    members = sampler.members
    fill = spec.missing == "background"
    level = read_level(inputs, spec, _record_of(sampler))
    refuse_absent(level, _record_of(sampler), members, fill=fill)
    weight, keys = weights_of(level, spec.weight), keys_of(level, spec.key)
    own: Level | None = None
    if members is None:
        domain = sampler.domain
        codes, limits = stacked(level, domain), limits_of(level, domain)
        present = np.array([name in level.codes for name in domain.names])
    else:
        own = _members_level(inputs, spec, members, fill=fill)
        key = spec.members.key if spec.members else ""
        slots = None if own is None else _slots(own, key, level, keys, members)
        codes, limits = _with_members(level, own, slots, members)
        present = _present(level, own, members)
    _lawless(level, sampler, codes, limits, present)
    warnings = _accounted([level] if own is None else [level, own])
    kept = level.sound
    if not kept.any():
        raise MicrodataError(f"{spec.file}: no record is left of {count_of(level.rows, 'record')}")
    share = None if spec.share == "auto" else float(spec.share)
    named = [key for key, there in zip(keys, kept, strict=True) if there]
    sample = SeedSample(codes[kept], present, limits[kept], weight[kept], named, share)
    return sample, warnings


def _record_of(sampler: Sampler) -> Domain:
    """Return the variables of the record."""
    return sampler.domain if sampler.members is None else sampler.members.record


def _members_level(
    inputs: Inputs, spec: SeedSampleSpec, members: Members, *, fill: bool
) -> Level | None:
    """Return the file of the members, or None where they are drawn from the tables."""
    if spec.members is not None:
        own = read_level(inputs, spec.members, members.own)
        refuse_absent(own, members.own, members, fill=fill)
        return own
    if fill:
        return None
    raise MicrodataError(
        f"{spec.file}: the job's records have members, and `seed_sample` names no file of them",
        hint="name it in `seed_sample.members`, or have them drawn from the tables with "
        "`missing: background`",
    )


def _slots(
    own: Level, column: str, level: Level, keys: Sequence[str], members: Members
) -> tuple[np.ndarray, np.ndarray]:
    """Return the record and the slot (from 0) of each member; leave out what does not fit.

    The order within a record is that of the file.
    """
    need(own, column)
    place = {key: row for row, key in enumerate(keys)}
    text = own.text(column)
    record = np.array([place.get(key, -1) for key in text.to_list()], dtype=np.int64)
    shown = clean(first_of(text, record < 0))
    own.leave_out(record < 0, f"no record of {level.file} has the key `{shown}`")
    order = np.argsort(record, kind="stable")
    sizes = np.bincount(record[record >= 0], minlength=level.rows)
    starts = np.concatenate([[0], np.cumsum(sizes)])[:-1] + int((record < 0).sum())
    slot = np.full(own.rows, -1, dtype=np.int64)
    slot[order] = np.arange(own.rows) - np.where(record < 0, 0, starts[record])[order]
    _check_sizes(level, sizes, members)
    bad = record[~own.sound & (record >= 0)]
    unsound = np.zeros(level.rows, dtype=bool)
    unsound[bad] = True
    level.leave_out(unsound, f"a member of the record, in {own.file}, is left out")
    return record, slot


def _check_sizes(level: Level, sizes: np.ndarray, members: Members) -> None:
    """Take the number of members as the record's size where the file does not tell it."""
    known = {int(number): code for code, number in enumerate(members.number)}
    code = np.array([known.get(int(n), -1) for n in sizes], dtype=np.int32)
    name = members.size
    least, most = format_number(min(known)), format_number(max(known))
    if name in level.codes:
        given = np.where(level.codes[name] < 0, -1, members.number[level.codes[name]])
        none = (sizes == 0) & (given != 0)
        level.leave_out(none, "the record has no members")
        wrong = sizes != given
        row = int((wrong & level.sound).argmax())
        level.leave_out(
            wrong,
            f"`{name}` is {given[row]} and the record has {count_of(int(sizes[row]), 'member')}",
        )
    else:
        level.codes[name] = code
    row = int(((code < 0) & level.sound).argmax())
    level.leave_out(
        code < 0,
        f"the record has {count_of(int(sizes[row]), 'member')}, and `{name}` goes from {least} to "
        f"{most}",
    )


def _with_members(
    level: Level,
    own: Level | None,
    slots: tuple[np.ndarray, np.ndarray] | None,
    members: Members,
) -> tuple[np.ndarray, np.ndarray]:
    """Return codes and limits of records with their members beside them."""
    codes = stacked(level, members.record)  # the size may have been counted since
    limits = limits_of(level, members.record)
    width = len(members.own.names)
    numeric = sum(v.is_numeric for v in members.own.variables)
    wide = np.zeros((level.rows, members.most, width), dtype=np.int32)
    tight = np.empty((level.rows, members.most, 2, numeric))
    tight[:, :, 0], tight[:, :, 1] = -np.inf, np.inf
    if own is not None and slots is not None:
        record, slot = slots
        there = (record >= 0) & (slot >= 0) & (slot < members.most) & own.sound
        wide[record[there], slot[there]] = stacked(own, members.own)[there]
        tight[record[there], slot[there]] = limits_of(own, members.own)[there]
    together = np.concatenate([codes, wide.reshape(level.rows, -1)], axis=1)
    flat = tight.transpose(0, 2, 1, 3).reshape(level.rows, 2, -1)
    return together, np.concatenate([limits, flat], axis=2)


def _present(level: Level, own: Level | None, members: Members) -> np.ndarray:
    """Return which wide variables the sample has, `(variables,)`."""
    of_record = [name in level.codes for name in members.record.names]
    of_own = [own is not None and name in own.codes for name in members.own.names]
    return np.array([*of_record, *(of_own * members.most)])


def _lawless(
    level: Level, sampler: Sampler, codes: np.ndarray, limits: np.ndarray, present: np.ndarray
) -> None:
    """Leave out records that break a rule about what they tell; that may be many."""
    names = {n for n, there in zip(sampler.domain.names, present, strict=True) if there}
    rules = [rule for rule in sampler.rules if set(rule.scope) <= names]
    sound = np.flatnonzero(level.sound)
    if not rules or not len(sound):
        return
    random = generator(sampler.seed, "sample", "lawful")
    low, high = limits[sound, 0], limits[sound, 1]
    frame = sampler.frame(codes[sound], sampler.draw_positions(codes[sound], low, high, random))
    for rule in rules:
        broken = np.zeros(level.rows, dtype=bool)
        broken[sound] = broken_mask([rule], frame)
        level.leave_out(broken, f"the record breaks the rule `{clean(rule.name)}`", "rule")


def _accounted(levels: Sequence[Level]) -> list[Problem]:
    """Return a warning for each reason why records were left out.

    Raises:
        MicrodataError: More than a few were left out for what is wrong in them.
    """
    found: list[Problem] = []
    too_many = False
    for level in levels:
        wrong = sum(left.rows for left in level.left_out if left.kind == "wrong")
        too_many |= wrong > FEW * level.rows
        for left in level.left_out:
            unit = "line" if level.records.has_lines else "row"
            found.append(
                Problem(
                    f"{left.rows:,} of {count_of(level.rows, 'record')} left out of the seed sample: "
                    f"{left.words} (first on {unit} {level.records.place(left.first)})",
                    level.file,
                )
            )
    if too_many:
        raise MicrodataError.of(
            [
                *found,
                Problem(
                    f"that is more than {100 * FEW:.0f} % of the records",
                    hint="map values in `seed_sample.values` and columns in `columns`, widen the "
                    "variables' limits, or take out records that the job is not about",
                ),
            ]
        )
    return found
