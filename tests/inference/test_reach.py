"""How far runs reach from the best settings, and whether a posterior's file keeps it."""

import numpy as np
import pytest

from bayeslaw.advice.target_surface import log_lr_at_batch, surface_at
from bayeslaw.inference.approximation import approximate
from bayeslaw.inference.effort import EFFORTS
from bayeslaw.law.simulation import example_design, simulate_runs
from bayeslaw.posterior.netcdf import read_posterior, write_posterior
from bayeslaw.target import Target


@pytest.fixture(scope="module")
def runs():
    return simulate_runs(example_design(48, params=(2e7, 1e8), tokens_per_param=(20.0,), seed=3), seed=3)


@pytest.fixture(scope="module")
def fit(runs):
    return approximate(runs, (), draws=200, effort=EFFORTS["quick"])


def test_it_is_the_range_of_runs_about_the_ridge(fit, runs):
    off = []
    for cell in fit.cells:
        at = surface_at(fit, Target.of_cell(cell))
        mine = runs[runs["params_nonembedding"] == cell.params_nonembedding]
        best = [np.median(log_lr_at_batch(at, x)) for x in np.log(mine["batch_tokens"])]
        off += list(np.log(mine["learning_rate"]) - best)
    least, greatest = fit.tried["example", "adamw"]["learning_rate"]
    assert (least, greatest) == pytest.approx((min(off), max(off)), abs=0.1)
    assert fit.tried["example", "adamw"]["batch_tokens"][0] < 0


def test_the_file_keeps_it(fit, tmp_path):
    write_posterior(fit, tmp_path / "p.nc")
    again = read_posterior(tmp_path / "p.nc").tried["example", "adamw"]
    for name, ends in fit.tried["example", "adamw"].items():
        assert again[name] == pytest.approx(ends)
