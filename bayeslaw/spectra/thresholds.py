"""Largest stable learning rate x eigenvalue on a quadratic, for each form of an optimizer's step.

Weights move by - learning rate x u each step, g is the gradient, m the momentum, beta its decay. For a step
with a preconditioner, u = P^-1 m, the eigenvalue is that of P^-1/2 H P^-1/2. Each is where a root of the
step's characteristic polynomial passes -1; the tests find the same from the roots. Source of Adam's:
Cohen et al. 2022 (arXiv:2207.14484).
"""

from __future__ import annotations

from bayeslaw.errors import BadInput


def gradient_descent() -> float:
    """Threshold of u = g, and of RMSprop without momentum.

    >>> gradient_descent()
    2.0
    """
    return 2.0


def heavy_ball(beta: float) -> float:
    """Threshold of m <- beta m + g, u = m: SGD and RMSprop of torch with momentum.

    >>> heavy_ball(0.9)
    3.8
    """
    return 2 * (1 + _beta(beta))


def moving_average(beta: float) -> float:
    """Threshold of m <- beta m + (1 - beta) g, u = m: Adam, AdamW.

    >>> round(moving_average(0.9), 9), round(moving_average(0.95), 9)
    (38.0, 78.0)
    """
    return heavy_ball(beta) / (1 - beta)


def nesterov(beta: float) -> float:
    """Threshold of m <- beta m + g, u = g + beta m: SGD of torch with ``nesterov=True``.

    >>> round(nesterov(0.9), 5)
    1.35714
    """
    return heavy_ball(beta) / (1 + 2 * beta)


def moving_average_nesterov(beta: float) -> float:
    """Threshold of m <- beta m + (1 - beta) g, u = beta m + (1 - beta) g: Muon.

    >>> round(moving_average_nesterov(0.9), 3), round(moving_average_nesterov(0.95), 1)
    (13.571, 26.9)
    """
    return nesterov(beta) / (1 - beta)


def decayed(threshold: float, learning_rate: float, weight_decay: float) -> float:
    """Threshold with decoupled decay: weights <- (1 - learning rate x decay) weights - learning rate x u.

    >>> round(decayed(moving_average(0.9), 1e-2, 0.1), 4)
    37.981
    """
    return threshold * (1 - learning_rate * weight_decay / 2)


def _beta(beta: float) -> float:
    if not 0 <= beta < 1:
        raise BadInput(f"beta = {beta}; expected at least 0 and below 1; give the momentum")
    return beta


FORMS = {
    "adam": (moving_average, 0.9),
    "adamw": (moving_average, 0.9),
    "muon": (moving_average_nesterov, 0.95),
    "sgd": (heavy_ball, 0.9),
}
"""Optimizer -> form of its step in PyTorch and the lab, and the usual beta."""


def of_optimizer(name: str, beta: float | None = None) -> float:
    """Threshold of an optimizer by its name, at a decay of its momentum or the usual one.

    >>> of_optimizer("sgd"), round(of_optimizer("adamw", 0.95), 9)
    (3.8, 78.0)

    Raises:
        BadInput: an optimizer whose step has no threshold here.
    """
    if name not in FORMS:
        raise BadInput(
            f"stability threshold of {name}: unknown; expected one of {', '.join(FORMS)}; name one of these"
        )
    form, usual = FORMS[name]
    return form(usual if beta is None else beta)
