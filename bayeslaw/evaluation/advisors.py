"""A fitted posterior as an ``Advisor``, to be scored beside baselines and published laws."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from bayeslaw.advice.decision import decide
from bayeslaw.advice.prediction import run_noise
from bayeslaw.advice.target_surface import (
    TargetSurface,
    absorbed_by,
    fitted_cell,
    optimum_draws,
    run_excess,
    surface_at,
)
from bayeslaw.arrays import Floats
from bayeslaw.posterior import pooling
from bayeslaw.posterior.draws import Posterior
from bayeslaw.target import Target

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class PosteriorAdvisor:
    """A posterior as an ``Advisor`` (``bayeslaw.evaluation.scores``).

    Attributes:
        posterior: the fit.
        seed: seed of draws of unseen groups, studies and cells, and of noise.
        label: name in tables.
    """

    posterior: Posterior = field(repr=False)
    seed: int = field(default=0, kw_only=True)
    label: str = field(default="posterior", kw_only=True)

    def recommend(self, target: Target) -> dict[str, float]:
        """The settings of least expected loss: learning rate, batch, and the others it knows of."""
        return decide(surface_at(self.posterior, target, self.seed, independent=True))

    def optimum_draws(self, target: Target) -> dict[str, Floats]:
        """Draws of the best settings under the same keys, shape (draw,) each."""
        return optimum_draws(surface_at(self.posterior, target, self.seed, independent=True))

    def loss_draws(self, runs: pd.DataFrame) -> Floats:
        """Predictive draws of the runs' loss [nats/token], run noise included, shape (draw, run).

        Runs of one cell share its shift: the fitted one, or a drawn one if the cell was not fitted.
        """
        from bayeslaw.advice.cells import cells_of, off_settings

        rows = runs.reset_index(drop=True)
        off = off_settings(rows, self.posterior)
        result = np.empty((self.posterior.draws, len(rows)))
        for where, cell in cells_of(rows, self.posterior):
            at = surface_at(self.posterior, Target.of_cell(cell), self.seed)
            result[:, where] = self._cell_draws(at, rows.iloc[where], off[where])
        return result

    def _cell_draws(self, at: TargetSurface, runs: pd.DataFrame, off: Floats) -> Floats:
        target = at.target
        excess = run_excess(at, runs, absorbed_by(self.posterior, target, at.extras))
        key = (target.study, target.optimizer, target.params_nonembedding, target.tokens)
        p = {name: values[:, None] for name, values in at.p.items()}
        noise = run_noise(p, excess, pooling.keyed_rng(self.seed, "runs", *key), off)
        return np.exp(at.log_loss[:, None] + excess + noise)


def fitted_cells(posterior: Posterior, runs: pd.DataFrame) -> int:
    """How many cells of a run table the posterior was fitted to."""
    from bayeslaw.advice.cells import cells_of

    return sum(
        fitted_cell(posterior, Target.of_cell(cell)) is not None for _, cell in cells_of(runs, posterior)
    )
