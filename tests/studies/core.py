"""The fits of the studies: of the core of the law, and of the law as users get it."""

from __future__ import annotations

import sys

import pandas as pd

from bayeslaw.posterior.draws import Posterior


def fit_core(runs: pd.DataFrame, seed: int = 0, sources: tuple[str, ...] = ()) -> Posterior:
    """Fit with NUTS without the parts beyond the core, as ``bayeslaw fit --parts core`` does."""
    from bayeslaw.inference.fitting import fit

    return fit(runs, seed, sources=sources, say=_say, parts=())


def fit_default(runs: pd.DataFrame, seed: int = 0) -> Posterior:
    """Fit with NUTS as ``bayeslaw fit`` does."""
    from bayeslaw.inference.fitting import fit

    return fit(runs, seed, say=_say)


def _say(message: str) -> None:
    print("   ", message, file=sys.stderr, flush=True)
