"""Convergence of chains: rank-normalised R-hat, bulk and tail ESS, divergences (Vehtari et al. 2021)."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

RHAT_MAX = 1.01
ESS_MIN = 400.0
WORST = 5
CHANCE = 0.05
"""Of the largest R-hat of perfectly mixed parameters lying above ``rhat_limit``."""


def rhat_limit(parameters: int, chains: int, ess: float) -> float:
    """R-hat that the largest of many perfectly mixed parameters stays below, at least ``RHAT_MAX``.

    Chains are split in halves, whose means scatter about one another as chi-square: for m halves and an ESS
    of S, R-hat - 1 = m/2 (chi2[m - 1] / (m - 1) - 1) / S, of ranks and of folded ranks (Vehtari et al. 2021,
    equations 3 to 5; the distribution is derived here).

    Args:
        parameters: how many.
        chains: how many.
        ess: the least bulk ESS among them; below ``ESS_MIN`` counts as that.

    >>> round(rhat_limit(1, 4, 400.0), 3), round(rhat_limit(700, 4, 400.0), 3), rhat_limit(700, 4, 4e3)
    (1.013, 1.036, 1.01)
    """
    from scipy.stats import chi2

    halves = 2 * chains
    largest = chi2.isf(CHANCE / (2 * parameters), halves - 1) / (halves - 1)
    return max(RHAT_MAX, 1.0 + 0.5 * halves * float(largest - 1.0) / max(ess, ESS_MIN))


def arviz_module() -> Any:
    """Import ArviZ on demand, without the warning about its next version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
    return arviz


def check_chains(
    draws: Mapping[str, NDArray[np.float64]], divergences: int, reported: Collection[str] = ()
) -> dict[str, Any]:
    """Convergence of every scalar parameter.

    Args:
        draws: name -> (chain, draw, ...).
        divergences: number of divergent transitions after warm-up.
        reported: names that people read, whose R-hat may be ``RHAT_MAX``; others have ``rhat_limit``.

    Returns:
        rhat_max, rhat_limit, rhat_reported_max, ess_bulk_min, ess_tail_min, divergences, chains, draws, worst
        (the parameters closest to failing), enough (draws), converged (enough draws and no divergence), and
        messages that say what failed and what to do.
    """
    az = arviz_module()
    data = az.from_dict(posterior=dict(draws)).posterior
    rhat, bulk, tail = az.rhat(data), az.ess(data, method="bulk"), az.ess(data, method="tail")
    rows = [
        (
            f"{name}{list(index) or ''}",
            float(rhat[name].values[index]),
            float(bulk[name].values[index]),
            float(tail[name].values[index]),
        )
        for name in data.data_vars
        for index in np.ndindex(rhat[name].shape)
    ]  # fmt: skip
    rhat_max = max(row[1] for row in rows)
    reported_max = max((float(rhat[name].max()) for name in reported), default=1.0)
    bulk_min, tail_min = min(row[2] for row in rows), min(row[3] for row in rows)
    shape = next(iter(draws.values())).shape
    limit = rhat_limit(len(rows), shape[0], bulk_min)
    messages: list[str] = []
    for found, most in ((reported_max, RHAT_MAX), (rhat_max, limit)):
        if not found <= most:
            text = f"R-hat is {found:.3f}, above {most:.3g}: the chains disagree; draw longer (--draws)"
            messages = messages or [text]
    if not min(bulk_min, tail_min) >= ESS_MIN:
        messages.append(
            f"ESS is {min(bulk_min, tail_min):.0f}, below {ESS_MIN:.0f}: intervals are rough; draw longer"
        )
    enough = not messages
    if divergences:
        messages.append(
            f"{divergences} divergent transitions: a corner of the posterior may be missed; "
            "fit with another --seed"
        )
    worst = sorted(rows, key=lambda row: (-row[1], min(row[2:])))[:WORST]
    return {
        "converged": not messages,
        "enough": enough,
        "messages": messages,
        "rhat_max": rhat_max,
        "rhat_limit": limit,
        "rhat_reported_max": reported_max,
        "ess_bulk_min": bulk_min,
        "ess_tail_min": tail_min,
        "divergences": int(divergences),
        "chains": int(shape[0]),
        "draws": int(shape[1]),
        "worst": [{"parameter": p, "rhat": r, "ess_bulk": b, "ess_tail": t} for p, r, b, t in worst],
    }
