"""Spectral density of the Hessian by stochastic Lanczos quadrature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayeslaw.errors import BadInput
from bayeslaw.spectra.lanczos import symmetric, tridiagonal
from bayeslaw.spectra.landscape import Cost, Landscape, Map, preconditioned

FEWEST_PROBES = 8


@dataclass(frozen=True)
class SpectralDensity:
    """Share of eigenvalues by size, as point masses; ``density_at`` smooths it.

    Attributes:
        nodes: (probe, vector), eigenvalues of each probe's quadrature.
        weights: (probe, vector), their shares; each probe's sum to 1.
        size: parameters, count.
        cost: of the measurement.
    """

    nodes: np.ndarray
    weights: np.ndarray
    size: int
    cost: Cost

    @property
    def trace(self) -> float:
        """Size x mean eigenvalue."""
        return float(self.size * (self.nodes * self.weights).sum(axis=1).mean())

    @property
    def span(self) -> tuple[float, float]:
        """Least and largest node."""
        return float(self.nodes.min()), float(self.nodes.max())


def spectral_density(
    here: Landscape,
    inverse_root: Map | None = None,
    probes: int = FEWEST_PROBES,
    vectors: int = 40,
    seed: int = 0,
) -> SpectralDensity:
    """Spectral density of H, or of P^-1/2 H P^-1/2.

    Moments up to 2 ``vectors`` - 1 are exact for each probe, and unbiased. Source: Ghorbani,
    Krishnan and Xiao 2019 (arXiv:1901.10159).

    Args:
        here: where.
        inverse_root: of P; see ``NextStep``.
        probes: random starts; fewer than 8 leave too much noise.
        vectors: Lanczos vectors a probe; memory holds as many of the weights' size.
        seed: of the probes.

    Raises:
        BadInput: too few probes or vectors; a Hessian that is not finite or not symmetric.
    """
    if probes < FEWEST_PROBES or vectors < 2:
        raise BadInput(
            f"spectral_density: probes = {probes}, vectors = {vectors}; expected at least {FEWEST_PROBES} "
            "and 2; "
            "fewer leave mostly noise"
        )
    spent = here.meter.start()
    rng = np.random.default_rng(seed)
    nodes, weights = np.zeros((2, probes, min(vectors, here.size)))
    with preconditioned(here, inverse_root) as product:
        for row in range(probes):
            start = here.vector(rng.choice([-1.0, 1.0], here.size))
            values, basis = symmetric(tridiagonal(product, start, nodes.shape[1])).ritz()
            nodes[row, : len(values)], weights[row, : len(values)] = values, basis[0] ** 2
            nodes[row, len(values) :] = values[-1]  # of weight 0
    return SpectralDensity(nodes, weights, here.size, spent())


def density_at(found: SpectralDensity, grid: np.ndarray, width: float) -> np.ndarray:
    """Density at points, each mass spread as a Gaussian; it integrates to 1.

    Args:
        found: the masses.
        grid: (point,), in units of eigenvalues.
        width: standard deviation of the Gaussian, in the same.

    Returns:
        (point,), share per unit of eigenvalue, mean over probes.
    """
    off = (np.asarray(grid)[:, None, None] - found.nodes) / width
    bells = np.exp(-0.5 * off**2) / (width * np.sqrt(2 * np.pi))
    return (bells * found.weights).sum(axis=2).mean(axis=1)
