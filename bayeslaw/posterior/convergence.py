"""Convergence of chains: rank-normalised R-hat, bulk and tail ESS, divergences (Vehtari et al. 2021)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

RHAT_MAX = 1.01
ESS_MIN = 400.0
WORST = 5


def arviz_module() -> Any:
    """Import ArviZ on demand, without the warning about its next version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
    return arviz


def check_chains(draws: Mapping[str, NDArray[np.float64]], divergences: int) -> dict[str, Any]:
    """Convergence of every scalar parameter.

    Args:
        draws: name -> (chain, draw, ...).
        divergences: number of divergent transitions after warm-up.

    Returns:
        rhat_max, ess_bulk_min, ess_tail_min, divergences, chains, draws, worst (the parameters closest to
        failing), enough (draws), converged (enough draws and no divergence), and messages that say what
        failed and what to do.
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
    bulk_min, tail_min = min(row[2] for row in rows), min(row[3] for row in rows)
    shape = next(iter(draws.values())).shape
    messages: list[str] = []
    if not rhat_max <= RHAT_MAX:
        messages.append(
            f"R-hat is {rhat_max:.3f}, above {RHAT_MAX}: the chains disagree; draw longer (--draws)"
        )
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
        "ess_bulk_min": bulk_min,
        "ess_tail_min": tail_min,
        "divergences": int(divergences),
        "chains": int(shape[0]),
        "draws": int(shape[1]),
        "worst": [{"parameter": p, "rhat": r, "ess_bulk": b, "ess_tail": t} for p, r, b, t in worst],
    }
