"""Columns that hold one thing, each of other runs, such as ``eval_loss`` and ``eval.loss``."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from bayeslaw.runs.column_names import RANKED, ROLES, alternatives, loss_kind


def unite(raw: pd.DataFrame, mapping: Mapping[str, str]) -> tuple[pd.DataFrame, list[str]]:
    """Fill the likeliest column of each role from others of that role that no run has beside it.

    Args:
        raw: the foreign table.
        mapping: role to column, as given by the user; these columns stay as they are.

    Returns:
        The table, without the columns that were moved, and a note for each of them.

    >>> unite(pd.DataFrame({"eval_loss": [3.0, None], "eval.loss": [None, 2.0]}), {})
    (   eval_loss
    0        3.0
    1        2.0, ['took eval.loss where eval_loss is missing: 1 run'])
    """
    notes = []
    for role in ROLES:
        free = [name for name in raw if name not in mapping.values()]
        found = [] if role in mapping or role in (*RANKED, "study") else alternatives(role, free)
        for place, other in enumerate(found):
            first = next(
                (name for name in found[:place] if name in raw and _one(raw, role, name, other)), None
            )
            if first:
                runs = int(raw[other].notna().sum())
                raw = raw.assign(**{first: raw[first].where(raw[first].notna(), raw[other])})
                raw = raw.drop(columns=other)
                notes.append(
                    f"took {other} where {first} is missing: {runs} {'run' if runs == 1 else 'runs'}"
                )
    return raw, notes


def _one(raw: pd.DataFrame, role: str, first: str, other: str) -> bool:
    """Whether two columns are one: both have values, never in one row, and of one kind of loss."""
    has, has_too = raw[first].notna(), raw[other].notna()
    apart = has.any() and has_too.any() and not (has & has_too).any()
    return bool(apart and (role != "loss" or loss_kind(first) == loss_kind(other)))
