"""The three-term law's best batch against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.theory.three_term import ThreeTerm, batch_exponent, three_term_batch, three_term_loss
from tests.theory.brute_force import least, slope

LAW = ThreeTerm(0.0, 0.0, 0.0, 50.0, 0.4, 30.0, 0.3)


@pytest.mark.parametrize("tokens", [1e6, 1e9, 1e12])
def test_the_best_batch_is_the_minimum(tokens):
    place, _ = least(lambda x: three_term_loss(1e9, np.exp(x), tokens, LAW), [8.0])
    assert np.log(three_term_batch(tokens, LAW)) == pytest.approx(place[0], abs=1e-6)


def test_its_exponent():
    tokens = np.array([1e6, 1e9, 1e12])
    assert f"{slope(three_term_batch(tokens, LAW), tokens):.6f}" == "0.571429"
    assert f"{batch_exponent(0.4, 0.3):.6f}" == "0.571429"


def test_floor_and_size_shift_the_loss_only():
    law = LAW._replace(floor=1.5, size=400.0, size_exponent=0.3)
    assert three_term_batch(1e9, law) == three_term_batch(1e9, LAW)
    more = three_term_loss(1e9, 1e5, 1e9, law) - three_term_loss(1e9, 1e5, 1e9, LAW)
    assert more == pytest.approx(1.5 + 400 * 1e9**-0.3)


def test_a_law_without_a_trade_off_is_refused():
    with pytest.raises(BadInput, match=r"three_term_batch: batch = 0\.0; expected finite numbers above 0"):
        three_term_batch(1e9, LAW._replace(batch=0.0))
