"""Exponents in size and aspect against the shapes that they are of."""

from __future__ import annotations

import numpy as np
import pytest

from bayeslaw.theory.shapes import size_exponents


@pytest.mark.parametrize(("width", "depth"), [(-1.0, 0.0), (-0.8, -0.4), (0.0, -1.5)])
def test_they_are_the_slopes_over_shapes_of_other_size_and_aspect(width, depth):
    w, layers = np.meshgrid([256.0, 512.0, 4096.0], [2.0, 12.0, 48.0])
    columns = np.stack([np.ones(w.size), np.log(12 * w**2 * layers).ravel(), np.log(w / layers).ravel()])
    rate = width * np.log(w) + depth * np.log(layers)
    slopes = np.linalg.lstsq(columns.T, rate.ravel(), rcond=None)[0]
    assert size_exponents(width, depth) == pytest.approx(tuple(slopes[1:]))


def test_one_rate_per_width_is_a_third_of_it_in_size_and_aspect():
    assert size_exponents(-1.0, 0.0) == pytest.approx((-1 / 3, -1 / 3))
