"""What a fit says about itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bayeslaw.advice.target_surface import optimum_draws, surface_at
from bayeslaw.diagnosis.summary import fit_summary
from bayeslaw.target import Target
from tests.support.fakes import fake_posterior
from tests.support.sweeps import grid_cell

CELLS = [(1e8, 2e9), (1e9, 2e10)]


@pytest.mark.parametrize(
    ("factors", "said"),
    [
        ((0.5, 1.0, 2.0), None),
        ((2.0, 4.0, 8.0), "below"),
        ((0.1, 0.2, 0.4), "above"),
        ((2.0, 4.0), None),  # two values bracket nothing, and are not fitted
    ],
)
def test_a_fitted_decay_outside_the_scan_is_doubted(factors, said):
    posterior = fake_posterior(spread=0.0)
    tables = []
    for n, d in CELLS:
        best = np.median(optimum_draws(surface_at(posterior, Target(n, d, "adamw", "ours")))["weight_decay"])
        cell = grid_cell(n, d).assign(study="ours")
        tables.append(cell.assign(weight_decay=best * np.resize(factors, len(cell))))
    said_of = fit_summary(posterior, pd.concat(tables))["warnings"]
    expected = (
        f"ours, adamw: in 2 of 2 cells the fitted best weight decay lies {said} all values tried: "
        "it is extrapolated; extend the scan"
    )
    assert [text for text in said_of if "weight decay" in text] == ([expected] if said else [])
