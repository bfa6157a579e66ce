"""The smooth discrepancy between the law and its cells: a Gaussian process in ln N and ln D.

Kennedy & O'Hagan (2001, JRSS B 63): what a law lacks is a smooth function of where it is asked, so a cell
near fitted ones shares their deviation, and one far away has a fresh one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bayeslaw.arrays import Floats

LENGTHS = {"n": 1.0, "d": 1.5}
"""Distances [nats] over which deviations of cells change: halving and doubling both costs little."""


WANDER = {"level": 1e-3, "lr": 0.07, "batch": 0.07}
"""Standard deviation that a shift gains per square root of a nat beyond the fitted range of ln N and ln D.

A random walk, and an assumption: no sweep can tell what lies beyond it.
"""


def correlation(x: Mapping[str, Floats], y: Mapping[str, Floats]) -> Floats:
    """Matern-5/2 correlation of deviations between places, (place of x, place of y).

    Rasmussen & Williams (2006), equation 4.17.

    Args:
        x, y: covariates about the pivot, shape (place,) each.

    >>> here, there = {"n": np.zeros(1), "d": np.zeros(1)}, {"n": np.array([0.0, 9.0]), "d": np.zeros(2)}
    >>> correlation(here, there).round(3).tolist()
    [[1.0, 0.0]]
    """
    squares = [
        ((np.atleast_1d(x[k])[:, None] - np.atleast_1d(y[k])[None]) / by) ** 2 for k, by in LENGTHS.items()
    ]
    r = np.sqrt(5.0 * sum(squares))
    return np.asarray((1.0 + r + r * r / 3.0) * np.exp(-r))


def modes(x: Mapping[str, Floats]) -> tuple[Floats, Floats]:
    """Eigenvalues (place,) and eigenvectors (place, place) of the correlation of fitted places.

    In their coordinates the places are independent, whatever the spreads of a draw.
    """
    values, vectors = np.linalg.eigh(correlation(x, x))
    return np.maximum(values, 0.0), vectors


def modes_by_group(x: Mapping[str, Floats], group: np.ndarray) -> tuple[Floats, Floats]:
    """The ``modes`` of places that deviate together only within their groups, ``group`` of shape (place,).

    A mode has the number of a place of its group.

    >>> values, vectors = modes_by_group({"n": np.zeros(3), "d": np.zeros(3)}, np.array([0, 1, 0]))
    >>> values.round(3).tolist(), vectors[1].tolist()
    ([0.0, 1.0, 2.0], [0.0, 1.0, 0.0])
    """
    values, vectors = np.zeros(len(group)), np.zeros((len(group), len(group)))
    for g in np.unique(group):
        own = np.flatnonzero(group == g)
        values[own], vectors[np.ix_(own, own)] = modes({name: x[name][own] for name in LENGTHS})
    return values, vectors


def beyond(places: Mapping[str, Floats], here: Mapping[str, float]) -> float:
    """Nats by which a place lies outside the range of fitted ones, summed over ln N and ln D; 0 without any.

    >>> beyond({"n": np.array([0.0, 1.0]), "d": np.array([0.0, 2.0])}, {"n": 1.5, "d": -0.25})
    0.75
    """
    if not len(places["n"]):
        return 0.0
    outside = [max(here[k] - places[k].max(), places[k].min() - here[k], 0.0) for k in LENGTHS]
    return float(sum(outside))


def deviation(
    known: Floats,
    values: Floats,
    across: Floats,
    smooth: Floats,
    white: Floats,
    normal: Floats,
    wandered: float = 0.0,
) -> Floats:
    """Draw the deviation of a place given those of fitted ones (Rasmussen & Williams 2006, 2.19).

    Args:
        known: deviations of the fitted places in the coordinates of ``modes``, shape (draw, place).
        values: their eigenvalues, shape (place,).
        across: correlation of the place with the fitted ones, in the same coordinates, shape (place,).
        smooth, white: standard deviations of what is smooth and of what each place has of its own, (draw,).
        normal: standard normal numbers, shape (draw,).
        wandered: variance that is gained beyond the fitted range.

    Returns:
        Shape (draw,).

    >>> one = np.ones(1)
    >>> deviation(np.full((1, 1), 2.0), one, one, one, 0 * one, one)  # at the fitted place itself
    array([2.])
    """
    variance, own = smooth[:, None] ** 2, white[:, None] ** 2
    weight = variance * across / (variance * values + own)
    left = np.maximum(smooth**2 + white**2 - smooth**2 * np.sum(weight * across, axis=1), 0.0)
    return np.asarray(np.sum(weight * known, axis=1) + np.sqrt(left + wandered) * normal)


WAVES = 32
"""Waves of which one draw of a smooth function is made."""


class Waves(NamedTuple):
    """Draws of smooth functions of the place, of variance 1, as sums of waves.

    Attributes:
        frequencies: shape (draw, wave, covariate).
        phases: shape (draw, wave).
        heights: shift -> shape (draw, wave).
    """

    frequencies: Floats
    phases: Floats
    heights: dict[str, Floats]


def draw_waves(rng: np.random.Generator, draws: int, names: Sequence[str]) -> Waves:
    """Random Fourier features of ``correlation``, anew in each draw (Rahimi & Recht 2007, NeurIPS 20).

    Frequencies of a Matern-5/2 correlation are multivariate t with 5 degrees of freedom (Rasmussen & Williams
    2006, 4.15).
    """
    scale = np.sqrt(5.0 / rng.chisquare(5.0, (draws, WAVES, 1))) / np.array(list(LENGTHS.values()))
    frequencies = scale * rng.standard_normal((draws, WAVES, len(LENGTHS)))
    phases = rng.uniform(0.0, 2.0 * np.pi, (draws, WAVES))
    return Waves(frequencies, phases, {name: rng.standard_normal((draws, WAVES)) for name in names})


def along(waves: Waves, x: Mapping[str, Floats]) -> dict[str, Floats]:
    """The drawn functions at places, shift -> (draw, place).

    >>> waves = draw_waves(np.random.default_rng(0), 20_000, ["lr"])
    >>> x = {"n": np.array([0.0, 0.5]), "d": np.zeros(2)}
    >>> bool(np.allclose(np.cov(along(waves, x)["lr"].T), correlation(x, x), atol=0.03))
    True
    """
    places = np.array([np.atleast_1d(x[name]) for name in LENGTHS])
    angles = np.einsum("dwk,kp->dwp", waves.frequencies, places) + waves.phases[:, :, None]
    cosines = np.sqrt(2.0 / WAVES) * np.cos(angles)
    return {name: np.einsum("dw,dwp->dp", heights, cosines) for name, heights in waves.heights.items()}
