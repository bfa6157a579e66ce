"""Gradient noise scale: the batch at which noise and signal of the gradient are equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayeslaw.errors import BadInput
from bayeslaw.spectra.landscape import Cost, Landscape, Map, Vector


@dataclass(frozen=True)
class NoiseScale:
    """tr(Sigma) / |G|^2, or tr(P^-1 Sigma) / G'P^-1 G, in sequences.

    Attributes:
        noise: variance of one sequence's gradient, summed over weights; unbiased.
        signal: squared length of the true gradient; unbiased, so that few sequences may leave it below 0.
        cost: of the measurement.
    """

    noise: float
    signal: float
    cost: Cost

    @property
    def value(self) -> float:
        """Noise over signal [sequences]; infinite where the signal is lost in the noise.

        >>> NoiseScale(6.0, 2.0, Cost(1.0, 0.0)).value
        3.0
        """
        return self.noise / self.signal if self.signal > 0 else float("inf")


def noise_scale(here: Landscape, inverse_root: Map | None = None, piece: int = 1) -> NoiseScale:
    """Noise scale from gradients of pieces of the measured sequences and of all of them.

    Source: McCandlish, Kaplan, Amodei et al. 2018 (arXiv:1812.06162), appendix A.1. One ratio of few
    sequences is biased: average measurements with ``pooled``.

    Args:
        here: where.
        inverse_root: of P, for the preconditioned noise scale; see ``NextStep``.
        piece: sequences a piece.

    Raises:
        BadInput: fewer than 2 pieces.
    """
    spent = here.meter.start()
    squares, count, summed = 0.0, 0, here.vector(np.zeros(here.size))
    for gradient in here.pieces(piece):
        scaled = gradient if inverse_root is None else inverse_root(gradient)
        squares, count, summed = squares + _square(scaled), count + 1, summed + scaled
    squares, pieces = (float(x) for x in here.total(here.vector(np.array([squares, count]))))
    if pieces < 2:
        raise BadInput(
            f"noise_scale: {here.sequences} sequences in pieces of {piece}; expected at least 2 pieces; "
            "measure more sequences"
        )
    small, large = squares / pieces, _square(here.total(summed) / pieces)
    noise = (small - large) / (1 - 1 / pieces) * piece
    return NoiseScale(noise, (pieces * large - small) / (pieces - 1), spent())


def pooled(measurements: Sequence[NoiseScale]) -> NoiseScale:
    """Several measurements as one: noise and signal are averaged apart, for a mean of ratios is biased.

    >>> pooled([NoiseScale(4.0, 1.0, Cost(1.0, 0.5)), NoiseScale(8.0, 3.0, Cost(1.0, 0.5))]).value
    3.0

    Raises:
        BadInput: for none.
    """
    if not measurements:
        raise BadInput("pooled: no measurements; expected at least one; measure the noise scale first")
    costs = [m.cost for m in measurements]
    return NoiseScale(
        float(np.mean([m.noise for m in measurements])),
        float(np.mean([m.signal for m in measurements])),
        Cost(sum(c.gradients for c in costs), sum(c.seconds for c in costs)),
    )


def _square(v: Vector) -> float:
    return float(v @ v)
