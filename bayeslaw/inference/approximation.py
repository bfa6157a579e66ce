"""A posterior in seconds, to compare structures of the law: Gaussian draws about the mode (Laplace)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bayeslaw.inference.effort import FULL, Effort, double_precision
from bayeslaw.inference.fitting import keep_posterior, named_sites, observations
from bayeslaw.inference.laplace import density, whitening
from bayeslaw.law.parameters import DEFAULT_PARTS
from bayeslaw.posterior.draws import Posterior

DRAWS = 400


def approximate(
    runs: pd.DataFrame,
    parts: Sequence[str] = DEFAULT_PARTS,
    seed: int = 0,
    draws: int = DRAWS,
    effort: Effort = FULL,
    population: Posterior | None = None,
) -> Posterior:
    """Draws of the Gaussian with the mode and the information that NUTS would start from.

    Spreads are at their estimates, each with its own standard deviation, so the answer is somewhat too sure
    of itself. It ranks structures; it is no posterior to act on.

    Args:
        runs: a valid run table.
        parts: of the law, beyond its core (``parameters.PARTS``).
        seed: of the draws.
        draws: how many.
        effort: rounds of EM, and how hard XLA optimises: many small fits want a low level.
        population: as of ``fitting.fit``.

    Raises:
        BadInput: nothing finished.
    """
    with double_precision():
        observed = observations(runs, parts, population)
        target = density(observed, effort)
        w = whitening(observed, target, seed, effort.em_steps)
        z = np.random.default_rng(seed).standard_normal((draws, len(w.mean)))
        named = named_sites(target, (w.mean + z @ w.scale.T)[None])
        diagnostics = {"converged": False, "messages": ["a Gaussian approximation, not drawn by NUTS"]}
        return keep_posterior(runs, observed, named, diagnostics, seed, (), "laplace")
