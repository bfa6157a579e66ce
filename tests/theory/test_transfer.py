"""BST scaling: where its terms balance, what it carries, and how little its constants move."""

from __future__ import annotations

import numpy as np
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.theory.transfer import (
    Constants,
    Setting,
    attainable_loss,
    best_batch_tokens,
    carry,
    measured_constants,
)

MODEL = Constants(7.2, 3.1, 62.7)


@pytest.mark.parametrize("tokens", [1e8, 1e11])
def test_the_best_batch_is_the_largest_that_costs_nothing(tokens):
    batch = best_batch_tokens(tokens, MODEL, noise=2.0)
    loss = attainable_loss(batch * np.array([0.5, 1.0, 2.0]), tokens, MODEL, noise=2.0)
    assert loss[0] == pytest.approx(loss[1])
    assert loss[2] == pytest.approx(2 * loss[1])


def test_exponents_in_tokens():
    start = Setting(np.array(1e5), np.array(1e-3))
    longer = carry(start, (1e9, 1e12), MODEL)
    assert longer.batch_tokens == pytest.approx(1e5 * 1000 ** (2 / 3))
    assert longer.step == pytest.approx(1e-3 * 1000 ** (-1 / 3))


def test_what_was_the_best_batch_still_is():
    other = Constants(10.6, 2.9, 111.9)
    start = Setting(best_batch_tokens(1e9, MODEL), np.array(1e-3))
    carried = carry(start, (1e9, 3e10), MODEL, other)
    assert carried.batch_tokens == pytest.approx(float(best_batch_tokens(3e10, other)))
    back = carry(carried, (3e10, 1e9), other, MODEL)
    assert [float(each) for each in back] == pytest.approx([float(each) for each in start])


def test_the_measured_constants():
    found = measured_constants(12, 768, 32)
    assert [round(each, 1) for each in found[:2]] == [7.2, 3.1]  # the paper's 124M model
    large = measured_constants(18, 2048, 32)
    step = carry(Setting(np.array(1.0), np.array(1.0)), (1e9, 1e9), found, large).step
    grown = 18 * 2048**2 / (12 * 768**2)
    assert abs(np.log(step) / np.log(grown)) < 0.05  # nothing like the fall that is measured
    with pytest.raises(BadInput, match=r"width = 128; expected above 250\.8"):
        measured_constants(12, 128, 32)
