"""A small finished sweep to rehearse on: two small cells for sale, and a large one that judges."""

from __future__ import annotations

import pandas as pd

from bayeslaw.runs.schema import validate
from bayeslaw.target import Target
from tests.support.sweeps import grid_cell

TARGET = Target(1e9, 2e10, "adamw", None)
CHEAP = 6 * 1e8 * 2e9


def sweep():
    small = [grid_cell(n, d, (4e-3, 2e5), 3.0, rates=5, batches=4) for n, d in ((1e8, 2e9), (3e8, 6e9))]
    large = grid_cell(1e9, 2e10, (2e-3, 4e5), 2.5, noise=1e-4, rates=7, batches=7)
    return validate(pd.concat([*small, large], ignore_index=True), "sweep")
