"""P^-1/2 of optimizers whose step is u = P^-1 m, from their state as it will be at the next step.

Arrays are of NumPy, PyTorch or JAX, of the weights' shape. The moments already hold the next gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any


def adam(second_moment: Array, steps: int, beta1: float, beta2: float, epsilon: float) -> Array:
    """Diagonal of P^-1/2 of Adam, P = (sqrt(v / (1 - beta2^t)) + epsilon) (1 - beta1^t).

    Source: Kalra and Barkeshli 2024 (arXiv:2406.09405). With it u = P^-1 m, where m is the moving
    average without bias correction, so that ``thresholds.moving_average`` holds from the first step on.

    Args:
        second_moment: v, moving average of squared gradients.
        steps: t, the next step's number, 1 for the first.
        beta1, beta2, epsilon: of the optimizer.

    >>> first = adam(np.array(0.05 * 0.2**2), 1, 0.9, 0.95, 0.0)  # P of the first step is (1 - beta1) |g|
    >>> round(float(first) ** -2, 9)
    0.02
    """
    root = (second_moment / (1 - beta2**steps)) ** 0.5 + epsilon
    return (root * (1 - beta1**steps)) ** -0.5


def rmsprop(second_moment: Array, epsilon: float) -> Array:
    """Diagonal of P^-1/2 of RMSprop, P = sqrt(v) + epsilon (no bias correction in torch).

    >>> float(rmsprop(np.array(16.0), 0.0))
    0.5
    """
    return (second_moment**0.5 + epsilon) ** -0.5


def muon(
    momentum: np.ndarray, coefficients: tuple[float, float, float], iterations: int, epsilon: float
) -> np.ndarray:
    """P^-1/2 of Muon for one matrix M (rows, columns), square, on the shorter side of M.

    Muon's step is f(M), which passes each singular value s of M / |M| through ``iterations`` of
    s <- a s + b s^3 + c s^5. It equals P^-1 M where P^-1 has M's singular vectors and eigenvalues
    f(s) / (s |M|): about 1 / singular value, bounded by a^iterations / |M|.

    Args:
        momentum: M, what the next step makes orthogonal.
        coefficients: a, b, c.
        iterations: of Newton and Schulz.
        epsilon: least |M|.

    Returns:
        (rows, rows), to multiply from the left, or (columns, columns) from the right where rows > columns.
    """
    wide = momentum if momentum.shape[0] <= momentum.shape[1] else momentum.T
    vectors, values, _ = np.linalg.svd(wide, full_matrices=False)
    length = max(float(np.sqrt(np.square(values).sum())), epsilon)
    small = np.maximum(values / length, 1e-12)  # f(s) / s has a limit at 0, which this reaches
    gain = newton_schulz(small, coefficients, iterations) / (small * length)
    return (vectors * np.sqrt(np.maximum(gain, 0.0))) @ vectors.T


def newton_schulz(
    values: np.ndarray, coefficients: tuple[float, float, float], iterations: int
) -> np.ndarray:
    """Singular values after Muon's iterations: near 1, but for the smallest.

    >>> newton_schulz(np.array([1e-9, 0.1, 1.0]), (3.4445, -4.775, 2.0315), 5).round(2).tolist()
    [0.0, 0.71, 0.7]
    """
    a, b, c = coefficients
    for _ in range(iterations):
        values = a * values + b * values**3 + c * values**5
    return values
