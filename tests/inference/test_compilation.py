"""One compilation for all tables of one shape."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from bayeslaw.inference.compilation import hoisted, padded
from bayeslaw.inference.laplace import density
from bayeslaw.law.observations import prepare
from bayeslaw.law.parameters import DEFAULT_PARTS
from bayeslaw.law.simulation import example_design, simulate_runs


def swept(seed, runs=24, larger=1.0):
    """A table with diverged runs, of the same twelve cells whatever the number of runs."""
    design = example_design(24, params=(2e7 * larger, 5e7 * larger, 1.2e8 * larger))
    table = simulate_runs(design, seed=seed).iloc[:runs].reset_index(drop=True)
    return table.assign(status=np.where(table.index == 0, "diverged", table["status"]))


def test_repetitions_change_no_density():
    """Runs of the first one's kind: diverged, so that an outcome counted twice would show."""
    plain = prepare(swept(1, 21), parts=DEFAULT_PARTS)
    longer = padded(plain)
    assert (len(plain.cell), len(longer.cell)) == (21, 24)
    targets = density(plain), density(longer)
    x = targets[0].start + 0.3 * np.random.default_rng(0).standard_normal(len(targets[0].start))
    (value, _), slope = targets[0].sloped(x, 1.0, 1.0)
    (padded_value, _), padded_slope = targets[1].sloped(x, 1.0, 1.0)
    assert float(padded_value) == pytest.approx(float(value), rel=1e-12)
    assert np.asarray(padded_slope) == pytest.approx(np.asarray(slope), rel=1e-9, abs=1e-9)


def test_tables_of_one_shape_are_one_program():
    """Other losses, networks twice as large (so another pivot), three runs fewer."""

    def program(runs):
        target = density(padded(prepare(runs, parts=DEFAULT_PARTS)))
        return target.sloped.func.lower(*target.sloped.args, target.start, 1.0, 1.0).as_text()

    first = program(swept(1))
    assert all(program(other) == first for other in (swept(2, larger=2.0), swept(3, 21)))


def test_hoisted_keeps_structure_and_derivatives():
    weights = np.arange(3.0)
    explicit, arrays = hoisted(lambda x: {"y": (weights * x["a"] ** 2).sum()}, {"a": np.ones(3)})
    slope = jax.grad(lambda x: explicit(arrays, x)["y"])({"a": np.full(3, 2.0)})
    assert slope["a"].tolist() == [0.0, 4.0, 8.0]
