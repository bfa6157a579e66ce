"""Trace of the Hessian from random probes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayeslaw.errors import BadInput
from bayeslaw.spectra.lanczos import orthogonal
from bayeslaw.spectra.landscape import Cost, Landscape, Map, Vector, norm, preconditioned


@dataclass(frozen=True)
class Trace:
    """Trace of the Hessian, or of P^-1/2 H P^-1/2.

    Attributes:
        value: unbiased.
        standard_error: from the spread over probes; NaN for one.
        products: Hessian products used.
        cost: of the measurement.
    """

    value: float
    standard_error: float
    products: int
    cost: Cost


def hutchinson(here: Landscape, inverse_root: Map | None = None, probes: int = 16, seed: int = 0) -> Trace:
    """Mean of z' H z over probes z of random signs.

    One probe has the variance 2 sum of squares off the diagonal. Source: Hutchinson 1990.

    Args:
        here: where.
        inverse_root: of P; see ``NextStep``.
        probes: count, one product each.
        seed: of the probes.

    Raises:
        BadInput: fewer than 1 probe.
    """
    _at_least("hutchinson: probes", probes, 1)
    spent = here.meter.start()
    rng = np.random.default_rng(seed)
    with preconditioned(here, inverse_root) as product:
        values = [_form(product, _signs(here, rng)) for _ in range(probes)]
    return Trace(float(np.mean(values)), _standard_error(values), probes, spent())


def hutch_plus_plus(
    here: Landscape, inverse_root: Map | None = None, products: int = 24, seed: int = 0
) -> Trace:
    """Exact trace on the range of a random sketch, and Hutchinson's on what is left.

    Better than ``hutchinson`` at equal cost where few eigenvalues dominate. Source: Meyer, Musco, Musco and
    Woodruff 2021, algorithm 1.

    Args:
        here: where.
        inverse_root: of P; see ``NextStep``.
        products: a third for the sketch, a third for its trace, a third for the rest; memory holds a third
            of it in vectors.
        seed: of the probes.

    Raises:
        BadInput: fewer than 3 products.
    """
    _at_least("hutch_plus_plus: products", products, 3)
    spent = here.meter.start()
    rng = np.random.default_rng(seed)
    third = min(products // 3, here.size)
    with preconditioned(here, inverse_root) as product:
        basis = orthonormal([product(_signs(here, rng)) for _ in range(third)])
        kept = sum(_form(product, q) for q in basis)
        left = [_form(product, orthogonal(_signs(here, rng), basis)) for _ in range(third)]
    return Trace(kept + float(np.mean(left)), _standard_error(left), 2 * third + len(basis), spent())


def orthonormal(vectors: list[Vector]) -> list[Vector]:
    """An orthonormal basis of the span of vectors.

    >>> [q.tolist() for q in orthonormal([np.array([2.0, 0.0]), np.array([1.0, 0.0]), np.array([1.0, 3.0])])]
    [[1.0, 0.0], [0.0, 1.0]]
    """
    basis: list[Vector] = []
    for v in vectors:
        left = orthogonal(v, basis)
        if norm(left) > 1e-6 * norm(v):
            basis.append(left / norm(left))
    return basis


def _form(product: Map, v: Vector) -> float:
    return float(v @ product(v))


def _signs(here: Landscape, rng: np.random.Generator) -> Vector:
    return here.vector(rng.choice([-1.0, 1.0], here.size))


def _standard_error(values: list[float]) -> float:
    return float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise BadInput(f"{name} = {value}; expected at least {least}; take more")
