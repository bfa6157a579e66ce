"""Lanczos with full reorthogonalisation: the largest eigenvalue, and the matrix behind a density."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bayeslaw.errors import BadInput
from bayeslaw.spectra.landscape import Cost, Landscape, Map, Vector, finite, norm, preconditioned

EXHAUSTED = 1e-6
"""A next vector shorter than this share of the matrix's scale is rounding: the Krylov space is whole."""

ASYMMETRIC = 0.05
"""A Hessian whose products differ from their mirror images by more than this share is refused."""


@dataclass(frozen=True)
class Tridiagonal:
    """The matrix in the Lanczos basis.

    Attributes:
        diagonal: (k,).
        beside: (k,), below the diagonal; the last is the length of the residual.
        asymmetry: largest product that symmetry makes zero or equal to another, over the largest entry.
            Rounding leaves about 1e-6 in 32 bits; wrong second derivatives leave much more.
    """

    diagonal: np.ndarray
    beside: np.ndarray
    asymmetry: float

    def ritz(self) -> tuple[np.ndarray, np.ndarray]:
        """Ritz values (k,), ascending, and vectors in the columns of (k, k)."""
        beside = self.beside[:-1]
        return np.linalg.eigh(np.diag(self.diagonal) + np.diag(beside, 1) + np.diag(beside, -1))


@dataclass(frozen=True)
class Eigenvalue:
    """The largest eigenvalue (algebraic, not in size).

    Attributes:
        value: Ritz value; never above the eigenvalue, but for rounding.
        residual: length of H v - value v for the Ritz vector v of length 1; some eigenvalue lies within it of
            ``value``. Where that is the largest, the error is about residual^2 over the gap to the next.
        vectors: Lanczos vectors used.
        asymmetry: of ``Tridiagonal``.
        cost: of the measurement.
    """

    value: float
    residual: float
    vectors: int
    asymmetry: float
    cost: Cost


def largest_eigenvalue(
    here: Landscape,
    inverse_root: Map | None = None,
    vectors: int = 20,
    tolerance: float = 1e-2,
    seed: int = 0,
) -> Eigenvalue:
    """Largest eigenvalue of the Hessian H, or of P^-1/2 H P^-1/2.

    Source: Saad 2011, Numerical Methods for Large Eigenvalue Problems.

    Args:
        here: where.
        inverse_root: of P; see ``NextStep``.
        vectors: at most; memory holds as many of the weights' size.
        tolerance: stop where the residual is at most this share of the value.
        seed: of the first vector.

    Raises:
        BadInput: a Hessian that is not finite or not symmetric, fewer than 1 vector.
    """
    if vectors < 1:
        raise BadInput(f"largest_eigenvalue: vectors = {vectors}; expected at least 1; 20 is usual")
    spent = here.meter.start()
    start = here.vector(np.random.default_rng(seed).standard_normal(here.size))

    def enough(found: Tridiagonal) -> bool:
        value, residual = top(found)
        return residual <= tolerance * abs(value)

    with preconditioned(here, inverse_root) as product:
        found = tridiagonal(product, start, min(vectors, here.size), enough)
    return Eigenvalue(*top(found), len(found.diagonal), symmetric(found).asymmetry, spent())


def tridiagonal(
    product: Map, start: Vector, vectors: int, enough: Callable[[Tridiagonal], bool] = lambda found: False
) -> Tridiagonal:
    """Lanczos from one vector; each new one is made orthogonal to all before it, twice.

    Args:
        product: of a symmetric matrix with a vector.
        start: of any length but 0.
        vectors: at most.
        enough: stops early.

    >>> found = tridiagonal(lambda v: np.array([1.0, 2.0, 4.0]) * v, np.ones(3), 3)
    >>> found.ritz()[0].round(6).tolist()
    [1.0, 2.0, 4.0]
    """
    basis = [start / norm(start)]
    diagonal: list[float] = []
    beside: list[float] = []
    mirrored = scale = 0.0
    while True:
        image = product(basis[-1])
        along = [float(q @ image) for q in basis]
        finite(sum(along), "Hessian product")
        diagonal.append(along[-1])
        expected = [0.0] * (len(basis) - 2) + beside[-1:]
        mirrored = max([mirrored, *(abs(a - e) for a, e in zip(along, expected))])
        image = orthogonal(image, basis)
        beside.append(norm(image))
        scale = max(scale, abs(diagonal[-1]), beside[-1])
        found = Tridiagonal(np.array(diagonal), np.array(beside), mirrored / scale if scale else 0.0)
        if len(basis) >= vectors or beside[-1] <= EXHAUSTED * scale or enough(found):
            return found
        basis.append(image / beside[-1])


def orthogonal(v: Vector, basis: list[Vector]) -> Vector:
    """What of a vector is orthogonal to an orthonormal basis; Gram and Schmidt twice, against rounding."""
    for _ in range(2):
        for q in basis:
            v = v - float(q @ v) * q
    return v


def top(found: Tridiagonal) -> tuple[float, float]:
    """Largest Ritz value and its residual."""
    values, vectors = found.ritz()
    return float(values[-1]), float(found.beside[-1] * abs(vectors[-1, -1]))


def symmetric(found: Tridiagonal) -> Tridiagonal:
    """The matrix, where it comes from a symmetric one.

    Raises:
        BadInput: otherwise: some operation has wrong second derivatives, or the loss differs from call to
        call.
    """
    if found.asymmetry > ASYMMETRIC:
        raise BadInput(
            f"the Hessian is asymmetric by {found.asymmetry:.1%}; expected rounding; an operation of the "
            "model "
            "has no true second derivative, or the loss is random: replace the fused operation, switch "
            "dropout off"
        )
    return found
