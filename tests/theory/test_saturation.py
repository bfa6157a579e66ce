"""The learning rate that saturates in the batch."""

from __future__ import annotations

import numpy as np
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.theory.saturation import (
    Saturation,
    critical_batch,
    saturating_learning_rate,
    saturation_slope,
)

LAW = Saturation(-6.0, -0.6, 0.3, 2e5, 0.8, -0.5)
SIZE = (3e8, 6e9)


def test_half_of_the_largest_rate_at_the_critical_batch():
    critical = critical_batch(*SIZE, LAW)
    half, whole = saturating_learning_rate(*SIZE, critical * np.array([1.0, 1e12]), LAW)
    assert whole == pytest.approx(2 * half)
    assert saturation_slope(1.0) == 0.5


@pytest.mark.parametrize("ratio", [1e-3, 0.3, 1.0, 20.0])
def test_the_slope_is_the_derivative(ratio):
    step = 1e-5
    batches = ratio * critical_batch(*SIZE, LAW) * np.exp([-step, step])
    rates = saturating_learning_rate(*SIZE, batches, LAW)
    assert saturation_slope(ratio) == pytest.approx(np.diff(np.log(rates))[0] / (2 * step), rel=1e-6)


def test_exponents_of_its_two_parts():
    large = saturating_learning_rate([3e8, 3e9, 3e8], [6e9, 6e9, 6e10], 1e30, LAW)
    assert np.log10(large[1:] / large[0]) == pytest.approx([-0.6, 0.3])
    critical = critical_batch([3e8, 3e9, 3e8], [6e9, 6e9, 6e10], LAW)
    assert np.log10(critical[1:] / critical[0]) == pytest.approx([-0.5, 0.8])


def test_a_size_that_is_none_is_refused():
    with pytest.raises(BadInput, match=r"saturating_learning_rate: batch_tokens = 0\.0"):
        saturating_learning_rate(*SIZE, 0.0, LAW)
