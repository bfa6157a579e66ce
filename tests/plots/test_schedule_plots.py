"""Figures of schedules show the numbers they are given."""

from __future__ import annotations

import numpy as np
import pytest

from bayeslaw.plots.schedules import plot_costs, plot_shifts
from bayeslaw.schedules.advice import SHARES, option_costs
from bayeslaw.schedules.pooled import pooled_fit


def test_costs_and_their_bands():
    costs = option_costs(pooled_fit(), 50_000, None, "linear")
    lower, middle, upper = costs
    assert ((lower <= middle) & (middle <= upper)).all()
    ax = plot_costs(np.array(SHARES), {"linear": costs})
    (line,) = ax.lines
    assert line.get_ydata() == pytest.approx(middle)
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(upper.max())


def test_shifts_by_theory_and_by_runs():
    shares = np.array([0.1, 0.9])
    ax = plot_shifts(shares, {"theory": np.array([-0.7, 0.0])}, {"runs": ([0.1, 0.9], [-0.8, 0.0])})
    theory, runs = ax.lines
    assert theory.get_ydata() == pytest.approx([-0.7, 0.0])
    assert (runs.get_label(), runs.get_linestyle()) == ("runs", "None")
