"""The loss about one point: what every measurement needs of a framework, and what it spends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bayeslaw.errors import BadInput

Vector = Any
"""One-dimensional array of NumPy, PyTorch or JAX: ``+``, ``*``, ``/`` and ``@`` mean the same in each."""

Map = Callable[[Vector], Vector]

FORWARD, GRADIENT, GRAPH_PRODUCT, PRODUCT = 1 / 3, 1.0, 2.0, 3.0
"""Nominal cost [gradient evaluations] of a forward pass, of a gradient, of a Hessian product on a graph that
is kept (backward through forward and backward), and of one that builds its graph anew."""


@dataclass(frozen=True)
class Cost:
    """What a measurement spent.

    Attributes:
        gradients: gradient evaluations on all the measured sequences, nominal (``PRODUCT`` and the like).
        seconds: wall clock.
    """

    gradients: float
    seconds: float


@dataclass
class Meter:
    """Counts gradient evaluations; the one thing here that changes."""

    gradients: float = 0.0

    def add(self, gradients: float) -> None:
        """Count so many more."""
        self.gradients += gradients

    def start(self) -> Callable[[], Cost]:
        """A function that says what was spent since.

        >>> meter = Meter()
        >>> spent = meter.start()
        >>> meter.add(2.0)
        >>> spent().gradients
        2.0
        """
        gradients, began = self.gradients, time.perf_counter()
        return lambda: Cost(self.gradients - gradients, time.perf_counter() - began)


@dataclass(frozen=True)
class Landscape:
    """Mean loss of a model on fixed sequences, about its weights as one flat vector.

    ``for_torch.landscape`` and ``for_jax.landscape`` make one. Weights that are shared count once.

    Attributes:
        weights: the framework's own parameters, in the order of the vector.
        size: parameters, count.
        sequences: measured, over all processes, count.
        vector: from a NumPy vector to the framework's, in the weights' type and place.
        loss: mean loss, of the weights moved by a vector, or of the weights themselves (None).
        gradient: of the mean loss.
        pieces: gradients of this process's sequences, so many at a time (the surplus is left out).
        total: sum of a vector over processes.
        hessian: opens the map from a vector to the Hessian times it. The graph that it keeps is freed when it
            closes; opened within itself it is the same.
        meter: what was spent.
    """

    weights: Any
    size: int
    sequences: int
    vector: Callable[[np.ndarray], Vector]
    loss: Callable[[Vector | None], float]
    gradient: Callable[[], Vector]
    pieces: Callable[[int], Iterator[Vector]]
    total: Map
    hessian: Callable[[], AbstractContextManager[Map]]
    meter: Meter = field(default_factory=Meter)


@dataclass(frozen=True)
class NextStep:
    """What the optimizer would do next, given a gradient; ``for_torch.next_step`` and ``for_jax.next_step``.

    Attributes:
        gradient: that the optimizer receives (clipped).
        update: u of the step weights - learning rate x u, weight decay left out.
        inverse_root: v -> P^-1/2 v, where u = P^-1 m; None where the step is no linear map of a momentum m
            (Lion, and optimizers that are not known).
        threshold: largest stable learning rate x lambda_max(P^-1/2 H P^-1/2); None beside no
            ``inverse_root``.
    """

    gradient: Vector
    update: Vector
    inverse_root: Map | None = None
    threshold: float | None = None


@contextmanager
def preconditioned(here: Landscape, inverse_root: Map | None) -> Iterator[Map]:
    """Open the Hessian H, or P^-1/2 H P^-1/2 where the map of P^-1/2 is given."""
    with here.hessian() as product:
        if inverse_root is None:
            yield product
        else:
            yield lambda v: inverse_root(product(inverse_root(v)))


def norm(v: Vector) -> float:
    """Euclidean length.

    >>> norm(np.array([3.0, 4.0]))
    5.0
    """
    return float(v @ v) ** 0.5


def finite(value: float, what: str) -> float:
    """The value, where it is finite.

    Raises:
        BadInput: otherwise.
    """
    if not np.isfinite(value):
        raise BadInput(
            f"{what} = {value}; expected a finite number; measure before the run diverges, or look at its "
            "weights"
        )
    return value
