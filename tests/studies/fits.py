"""The fits of the studies: of the core of the law, and of the law as users get it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pandas as pd

from bayeslaw.law.parameters import DEFAULT_PARTS
from bayeslaw.posterior.draws import Posterior


def fit_parts(
    runs: pd.DataFrame,
    parts: Sequence[str] = DEFAULT_PARTS,
    seed: int = 0,
    sources: tuple[str, ...] = (),
) -> Posterior:
    """Fit with NUTS, by default as ``bayeslaw fit`` does; what it says goes to stderr."""
    from bayeslaw.inference.fitting import fit

    def say(message: str) -> None:
        print("   ", message, file=sys.stderr, flush=True)

    return fit(runs, seed, sources=sources, say=say, parts=parts)


def fit_core(runs: pd.DataFrame, seed: int = 0, sources: tuple[str, ...] = ()) -> Posterior:
    """Fit without the parts beyond the core, as ``bayeslaw fit --parts core`` does."""
    return fit_parts(runs, (), seed, sources)


def fit_default(runs: pd.DataFrame, seed: int = 0) -> Posterior:
    """Fit the law that users get."""
    return fit_parts(runs, seed=seed)
