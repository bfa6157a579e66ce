"""The fit of the studies whose results are of the core of the law."""

from __future__ import annotations

import sys

import pandas as pd

from bayeslaw.posterior.draws import Posterior


def fit_core(runs: pd.DataFrame, seed: int = 0, sources: tuple[str, ...] = ()) -> Posterior:
    """Fit with NUTS without the parts beyond the core, as ``bayeslaw fit --parts core`` does."""
    from bayeslaw.inference.fitting import fit

    def say(message: str) -> None:
        print("   ", message, file=sys.stderr, flush=True)

    return fit(runs, seed, sources=sources, say=say, parts=())
