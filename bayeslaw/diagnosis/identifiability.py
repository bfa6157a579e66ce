"""Warnings on what a fit cannot learn from a run table, where answers come from the prior."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pandas as pd

MIN_TRIED = 3
"""Number of distinct values in a cell below which its edges are not informative."""

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
        per_cell = group.groupby(["params_nonembedding", "tokens"])[name].nunique()
        if per_cell.max() == 1:
            tried = group[name].unique()
            how = f"{tried[0]:.3g}" if len(tried) == 1 else "one a cell"
            yield (
                f"one {words} only ({how}): the best {words} is the prior's, and its interval wide; "
                f"run two more, a factor 2 below and above"
            )


def _sizes(group: pd.DataFrame) -> Iterable[str]:
    """Check that cells differ in N, in D, and in N at one D (or D at one N), as exponents need."""
    cells = group[["params_nonembedding", "tokens"]].drop_duplicates()
    sizes, tokens = (cells[name].nunique() for name in ("params_nonembedding", "tokens"))
    if len(cells) == 1:
        yield "one cell (N, D) only: the exponents are the prior's; add a second size to extrapolate"
    elif sizes == 1:
        yield "one N only: gamma is the prior's; add runs of another model size"
    elif tokens == 1:
        yield "one D only: delta and epsilon are the prior's; add runs with other numbers of tokens"
    elif (cells["tokens"] / cells["params_nonembedding"]).round(1).nunique() == 1:
        yield (
            "tokens per parameter never vary: only gamma + delta is measured, their split is the prior's; "
            "add runs with more tokens at one N"
        )


def _edges(group: pd.DataFrame) -> Iterable[str]:
    """Find groups whose best runs mostly have the smallest or largest value tried: the optimum may lie
    beyond.

    A diverged run bounds the learning rate from above, like a worse loss.
    """
    for name, words in SETTINGS.items():
        sides = [_side(cell, name) for _, cell in group.groupby(["params_nonembedding", "tokens"])]
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
