"""Warnings on what a fit cannot learn from a run table, where answers come from the prior."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from bayeslaw.arrays import Floats
from bayeslaw.law.places import cell_labels, known_covariates
from bayeslaw.law.terms import COVARIATES, OPTIMA, coordinates, covariates_in, degree, reference, value_of
from bayeslaw.target import SIZE

MIN_TRIED = 3
"""Number of distinct values in a cell below which its edges are not informative."""

SAME = 1e-2
"""Difference of a covariate [nats] that counts as none, and of tied covariates relative to their range."""

SETTINGS = {"learning_rate": "learning rate", "batch_tokens": "batch"}


def fit_doubts(runs: pd.DataFrame) -> list[str]:
    """Warnings on a fit to these runs, one sentence each.

    Args:
        runs: a valid run table (``bayeslaw.runs.schema``).

    Returns:
        Sentences that name the study and optimizer, the gap and what to run next; empty if there is no gap.
    """
    used = runs[runs["status"] != "stopped"]
    checks: tuple[Callable[[pd.DataFrame], Iterable[str]], ...] = (_one_value, _sizes, _edges)
    return [
        f"{study}, {optimizer}: {text}"
        for (study, optimizer), group in used.groupby(["study", "optimizer"])
        for check in checks
        for text in check(group)
    ]


def _one_value(group: pd.DataFrame) -> Iterable[str]:
    """Find a learning rate or batch that never varies within a cell, which says nothing about its optimum."""
    for name, words in SETTINGS.items():
        per_cell = group.groupby(list(SIZE))[name].nunique()
        if per_cell.max() == 1:
            tried = group[name].unique()
            how = f"{tried[0]:.3g}" if len(tried) == 1 else "one a cell"
            yield (
                f"one {words} only ({how}): the best {words} is the prior's, and its interval wide; "
                f"run two more, a factor 2 below and above"
            )


def _sizes(group: pd.DataFrame) -> Iterable[str]:
    """Exponents need cells that differ in each covariate, and not in all of them together."""
    names = known_covariates(group)
    labels = cell_labels(group, names, ()).drop_duplicates()
    if len(labels) == 1:
        yield "one cell (N, D) only: the exponents are the prior's; add a second size to extrapolate"
        return
    x = coordinates({name: labels[name].to_numpy() for name in labels.columns[2:]}, reference(names))
    lone, tied = unseparated(x)
    if not (lone or tied):
        return
    constant = [name for name in names if np.ptp(x[name]) < SAME]
    words = {"n": "N", "d": "D"} | {name: COVARIATES[name].label for name in names if name not in ("n", "d")}
    said = [f"{_listed(lone)} {'is' if len(lone) == 1 else 'are'} the prior's"] if lone else []
    said += [f"these runs do not separate {_listed(each)}" for each in tied]
    if constant:
        why = f"one {_listed([words[name] for name in constant])} only"
        action = f"add runs with another {_listed([words[name] for name in constant], 'or')}"
    else:
        why = f"{_listed([words[name] for name in names])} vary together"
        action = "add cells in which one of them differs alone"
    yield f"{why}: {'; '.join(said)}; {action}"


def unseparated(x: Mapping[str, Floats]) -> tuple[list[str], list[list[str]]]:
    """Exponents of learning rate and batch that cells at some covariates cannot tell.

    The rank and null vectors of the terms of first order over the cells, each optimum by itself.

    Args:
        x: covariate -> coordinate of each cell, (cell,).

    Returns:
        Parameters that no cells measure, and groups of which only combinations are measured.

    >>> unseparated({"n": np.array([0.0, 1.0]), "d": np.array([0.0, 1.0])})
    (['delta'], [['epsilon', 'epsilon_n']])
    """
    lone: list[str] = []
    tied: list[list[str]] = []
    for optimum in OPTIMA.values():
        terms = [t for t in optimum.terms if degree(t.of) == 1 and covariates_in([t]) <= set(x)]
        if optimum.curvature or not terms:
            continue
        columns = np.stack([np.asarray(value_of(t.of, x), float) for t in terms], axis=1)
        columns -= columns.mean(axis=0)
        size = np.abs(columns).max(axis=0)
        lone += [t.parameter for t, most in zip(terms, size, strict=True) if most < SAME]
        kept = np.flatnonzero(size >= SAME)
        _, values, vectors = np.linalg.svd(columns[:, kept] / size[kept], full_matrices=True)
        rank = int((values > SAME * len(columns)).sum())
        groups = [np.flatnonzero(np.abs(vector) > 0.1) for vector in vectors[rank:]]
        tied += [[terms[kept[i]].parameter for i in group] for group in groups]
    return lone, tied


def _listed(names: Sequence[str], last: str = "and") -> str:
    return f" {last} ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def _edges(group: pd.DataFrame) -> Iterable[str]:
    """Find groups whose best runs mostly have the smallest or largest value tried: the optimum may lie
    beyond.

    A diverged run bounds the learning rate from above, like a worse loss.
    """
    for name, words in SETTINGS.items():
        sides = [_side(cell, name) for _, cell in group.groupby(list(SIZE))]
        known = [side for side in sides if side is not None]
        for side, beyond in (("smallest", "lower"), ("largest", "higher")):
            count = known.count(side)
            if 2 * count > len(known):
                yield (
                    f"in {count} of {len(known)} cells the best run has the {side} {words} tried: "
                    f"the optimum may lie {beyond}; extend the scan"
                )


def _side(cell: pd.DataFrame, name: str) -> str | None:
    """``smallest``, ``largest`` or ``inside``; None if too few values were tried or no run finished."""
    finished = cell[cell["status"] == "finished"]
    if finished.empty or cell[name].nunique() < MIN_TRIED:
        return None
    best = finished.loc[finished["loss"].idxmin(), name]
    if best == cell[name].min():
        return "smallest"
    return "largest" if best == cell[name].max() else "inside"
