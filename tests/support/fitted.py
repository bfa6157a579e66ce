"""Runs made from a made-up posterior, as if it had been fitted to them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bayeslaw.advice.target_surface import run_excess, surface_at
from bayeslaw.law import surface
from bayeslaw.target import Target


def runs_of(fit, count=20, seed=0, width=0.5, noise=1.0):
    """Finished runs of every cell of a posterior, scattered about the optimum of its first draw."""
    rng = np.random.default_rng(seed)
    return pd.concat([_cell(fit, cell, count, rng, width, noise) for cell in fit.cells], ignore_index=True)


def _cell(fit, cell, count, rng, width, noise):
    study, optimizer, n, d = cell[:4]
    at = surface_at(fit, Target.of_cell(cell))
    u, v = width * rng.standard_normal((2, count))
    table = pd.DataFrame(
        {
            "run_id": [f"{study}-{optimizer}-{n:g}-{d:g}-{i}" for i in range(count)],
            "study": study,
            "optimizer": optimizer,
            "params_nonembedding": n,
            "tokens": d,
            "sequence_length": 2048.0,
            "learning_rate": np.exp(at.log_lr[0] + u),
            "batch_tokens": np.exp(at.log_batch[0] + v),
            "status": "finished",
        }
    )
    excess = run_excess(at, table)[0]
    p = {name: values[0] for name, values in at.p.items()}
    scatter = surface.noise_scale(p, excess, np.zeros(1)) * rng.standard_t(
        float(surface.noise_dof(p, 0.0)), count
    )
    return table.assign(loss=np.exp(at.log_loss[0] + excess + noise * scatter))
