"""Figures of curvature: each line shows the numbers it was given."""

from __future__ import annotations

import numpy as np

from bayeslaw.plots import plot_sharpness, plot_spectral_density


def lines(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_the_density_is_drawn_with_the_largest_eigenvalue_marked():
    grid = np.linspace(-1, 9, 101)
    bell = np.exp(-0.5 * grid**2)
    ax = plot_spectral_density(grid, {"before": bell, "after": bell / 2}, {"after": 7.5})
    assert np.array_equal(lines(ax)["after"].get_ydata(), bell / 2)
    (mark,) = [line for line in ax.get_lines() if len(set(line.get_xdata())) == 1]
    assert mark.get_xdata()[0] == 7.5
    assert mark.get_color() == lines(ax)["after"].get_color()
    assert ax.get_xlim() == (-1, 9)
    assert ax.get_ylim()[0] > 0


def test_each_network_has_its_own_limit_of_stability():
    steps, path = np.array([0.0, 20, 256]), np.array([0.0, 26, 256])
    ax = plot_sharpness(steps, {"small": steps + 1, "large": steps + 2}, {"large": (path, 38 / (path + 1))})
    assert np.array_equal(lines(ax)["small"].get_ydata(), steps + 1)
    dashed = [line for line in ax.get_lines() if line.get_linestyle() == "--" and len(line.get_xdata())]
    assert [line.get_color() for line in dashed] == [lines(ax)["large"].get_color()]
    assert np.array_equal(dashed[0].get_ydata(), 38 / (path + 1))
