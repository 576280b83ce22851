"""Peer: `ipfn`, iterative proportional fitting of dense arrays, then weighted draws."""

from __future__ import annotations

import contextlib
import sys
import warnings
from importlib.metadata import version

import numpy as np
from ipfn.ipfn import ipfn
from peers.interface import Result, Task, run_peer

NOTES = (
    "sees the tables only; ipfn copies an array over all variables for every table, here {gb:.1f} GB "
    "in all, so each group of variables that tables connect is fitted by itself ({groups}) and the "
    "groups are joined at random, which is the same distribution; records are drawn, so the tables "
    "are met as by a sample"
)


def make(task: Task) -> Result:
    """Fit each connected group of variables and draw the records of each group."""
    random = np.random.default_rng(task.seed)
    groups = task.components()
    codes = np.zeros((task.records, len(task.names)), dtype=np.int64)
    for group in groups:
        fitted = fit(task, group)
        chosen = random.choice(fitted.size, task.records, p=fitted.ravel() / fitted.sum())
        for name, drawn in zip(group, np.unravel_index(chosen, fitted.shape), strict=True):
            codes[:, task.names.index(name)] = drawn
    sizes = " + ".join(str(len(group)) for group in groups)
    cells = float(np.prod([len(labels) for labels in task.variables.values()]))
    needed = 8e-9 * cells * len(task.needed_tables(set(task.names)))
    notes = NOTES.format(gb=needed, groups=f"{sizes} variables")
    return Result(codes, "ipfn (numpy) from a uniform seed", version("ipfn"), notes)


def fit(task: Task, group: tuple[str, ...]) -> np.ndarray:
    """Return the fitted counts over the variables of a group."""
    tables = task.needed_tables(set(group))
    seed = np.ones([len(task.variables[name]) for name in group])
    axes = [[group.index(name) for name in table.scope] for table in tables]
    # ipfn takes the wrong cells where the dimensions of a target do not ascend
    targets = [
        np.transpose(table.counts, np.argsort(axis)).astype(float)
        for table, axis in zip(tables, axes, strict=True)
    ]
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore", RuntimeWarning)  # ipfn divides by empty target cells
        return np.asarray(ipfn(seed, targets, [sorted(axis) for axis in axes]).iteration())


if __name__ == "__main__":
    run_peer(make)
