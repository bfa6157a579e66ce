"""Width over depth, an optional part of the law: its slope is recovered, and used where a target has one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bayeslaw.advice.prediction import predict
from bayeslaw.inference.approximation import approximate
from bayeslaw.inference.effort import EFFORTS
from bayeslaw.law.observations import prepare
from bayeslaw.target import Target

SLOPE, SHAPES = -0.3, ((256, 16), (512, 4), (1024, 1))


def shaped(rates=7, noise=1e-3):
    """Runs of three shapes of one size, at two D, with both normalisations of one of them."""
    steps = np.linspace(-1.2, 1.2, rates)
    rows = [
        (width, depth, norm, d, step)
        for width, depth in SHAPES
        for norm in (("rmsnorm", "layernorm") if depth == 4 else ("rmsnorm",))
        for d in (2e8, 6e8)
        for step in steps
    ]
    table = pd.DataFrame(rows, columns=["width", "depth", "normalization", "tokens", "step"])
    best = np.log(2e-3) + SLOPE * np.log(table["width"] / table["depth"] / 64.0)
    rate = np.log(2e-3) + SLOPE * np.log(table["width"] / table["depth"] / 64.0) * 0.5 + table["step"]
    loss = np.log(3.0) + 0.01 * (rate - best) ** 2
    return table.drop(columns="step").assign(
        run_id=[str(i) for i in range(len(table))],
        study="ours",
        optimizer="adamw",
        params_nonembedding=12.0 * 2**20,
        sequence_length=1024.0,
        learning_rate=np.exp(rate),
        batch_tokens=1e5,
        loss=np.exp(loss + noise * np.random.default_rng(0).standard_normal(len(table))),
        status="finished",
    )


def test_shapes_and_normalisations_are_cells_of_their_own():
    observed = prepare(shaped(), parts=["shape"])
    assert (len(observed.cells), list(observed.pivot)) == (8, ["n", "d", "aspect"])
    values = ("rmsnorm", "layernorm")
    assert observed.factor_values == {"normalization": values, "normalization_level": values}
    assert not observed.off.any()
    without = prepare(shaped())
    assert len(without.cells) == 2
    assert without.off.mean() == pytest.approx(0.25)  # the other normalisation departs from the usual one


@pytest.mark.slow
def test_the_slope_is_recovered_and_used():
    fit = approximate(shaped(), parts=["shape"], draws=300, effort=EFFORTS["quick"])
    slope = fit.common["alpha_aspect"]
    assert abs(slope.mean() - SLOPE) < 3 * slope.std()
    assert slope.std() < 0.15
    rate = {
        aspect: predict(fit, Target(1e8, 2e9, "adamw", "ours", 1e5, {"aspect": aspect}))
        for aspect in (32.0, 128.0)
    }
    ratio = (
        rate[128.0]["optimum"]["learning_rate"]["median"] / rate[32.0]["optimum"]["learning_rate"]["median"]
    )
    assert ratio == pytest.approx(4.0 ** slope.mean(), rel=0.05)
    assert "width_over_depth_decades" in rate[32.0]["extrapolation"]
