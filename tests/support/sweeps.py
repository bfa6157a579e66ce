"""Made-up sweeps whose optimum is known, for the tests of cells and of evaluation."""

import numpy as np
import pandas as pd


def basin(u, v, rate_curvature=0.010, batch_curvature=0.006, ridge=0.4, steep=0.5):
    """Excess ln loss at u = ln(rate / best), v = ln(batch / best); steeper above the best rate."""
    x = u - ridge * v
    linex = rate_curvature * 2 * (np.exp(steep * x) - 1 - steep * x) / steep**2
    return linex + batch_curvature * v**2


def grid_cell(
    params=1e8,
    tokens=1e10,
    best=(2e-3, 4e5),
    loss=2.5,
    noise=0.0,
    seed=0,
    rates=11,
    batches=9,
    excess=basin,
    **columns,
):
    """One cell: a grid in steps of sqrt 2 around ``best``, finished, loss = ``loss`` exp(excess + noise)."""
    steps = [np.log(2) / 2 * (np.arange(k) - k // 2) for k in (rates, batches)]
    u, v = (x.ravel() for x in np.meshgrid(*steps))
    scatter = noise * np.random.default_rng(seed).standard_normal(len(u))
    table = pd.DataFrame(
        {
            "study": "made up",
            "optimizer": "adamw",
            "params_nonembedding": params,
            "tokens": tokens,
            "learning_rate": best[0] * np.exp(u),
            "batch_tokens": best[1] * np.exp(v),
            "loss": loss * np.exp(excess(u, v) + scatter),
            "status": "finished",
        }
    )
    return table.assign(run_id=[f"{params:g}-{tokens:g}-{i}" for i in range(len(table))], **columns)
