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
        """Settings of least expected loss: learning rate, batch, and other fitted hyperparameters."""
        return decide(surface_at(self.posterior, target, self.seed, alone=True))

    def optimum_draws(self, target: Target) -> dict[str, Floats]:
        """Draws of the best settings under the same keys, shape (draw,) each."""
        return optimum_draws(surface_at(self.posterior, target, self.seed, alone=True))

    def loss_draws(self, runs: pd.DataFrame) -> Floats:
        """Predictive draws of the runs' loss [nats/token], run noise included, shape (draw, run).

        Runs of one cell share its shift: the fitted one, or a drawn one if the cell was not fitted.
        """
        from bayeslaw.law.observations import off_usual
        from bayeslaw.runs.schema import CELL

        rows = runs.reset_index(drop=True)
        cell = rows.groupby(list(CELL), sort=True).ngroup().to_numpy(np.int64)
        off = off_usual(rows, cell, (rows["status"] == "finished").to_numpy())
        result = np.empty((self.posterior.draws, len(rows)))
        for key, members in rows.groupby(list(CELL), sort=True):
            study, optimizer, n, d = key
            basin = surface_at(self.posterior, Target(float(n), float(d), optimizer, study), self.seed)
            where = members.index.to_numpy()
            result[:, where] = self._cell_draws(basin, members, off[where])
        return result

    def _cell_draws(self, basin: TargetSurface, runs: pd.DataFrame, off: Floats) -> Floats:
        target = basin.target
        excess = run_excess(basin, runs, absorbed_by(self.posterior, target, basin.extras))
        key = (target.study, target.optimizer, target.params_nonembedding, target.tokens)
        p = {name: values[:, None] for name, values in basin.p.items()}
        noise = run_noise(p, excess, pooling.keyed_rng(self.seed, "runs", *key), off)
        return np.exp(basin.log_loss[:, None] + excess + noise)


def fitted_cells(posterior: Posterior, runs: pd.DataFrame) -> int:
    """Number of cells of a run table that the posterior was fitted to."""
    from bayeslaw.runs.schema import CELL

    cells = runs[list(CELL)].drop_duplicates().itertuples(index=False)
    targets = (Target(float(n), float(d), str(o), str(s)) for s, o, n, d in cells)
    return sum(fitted_cell(posterior, target) is not None for target in targets)
