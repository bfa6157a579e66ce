"""Curvature of the training loss: largest eigenvalue and trace of its Hessian.

Products with the Hessian are reverse over reverse on one retained graph: forward over reverse is
silently wrong through ``F.layer_norm`` in torch 2.13 and 2.14. scipy's Lanczos finds the largest
eigenvalue, where power iteration may end at the most negative one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

PROBES = 16
TOLERANCE = 1e-3

Product = Callable[[np.ndarray], np.ndarray]


def curvature(model: nn.Module, tokens: Tensor, seed: int = 0) -> tuple[float, float]:
    """Largest eigenvalue and trace of the Hessian of the mean cross-entropy in all parameters.

    Args:
        model: token indices to logits.
        tokens: (sequence, time + 1), a few dozen sequences, since the graph of all of them is kept at once.
        seed: seed of the first Lanczos vector and of the probes.

    Returns:
        lambda_max to a relative 1e-3, and the trace by Hutchinson's estimator of 16 probes.
    """
    with sdpa_kernel(SDPBackend.MATH):  # the fused kernels cannot be differentiated twice
        product, size = hessian_product(model, tokens)
        rng = np.random.default_rng(seed)
        operator = LinearOperator((size, size), matvec=product, dtype=np.float32)
        start = rng.standard_normal(size).astype(np.float32)
        largest = eigsh(operator, k=1, which="LA", tol=TOLERANCE, v0=start, return_eigenvectors=False)
        probes = rng.choice(np.array([-1, 1], np.float32), (PROBES, size))
        trace = np.mean([probe @ product(probe) for probe in probes])
    return float(largest[0]), float(trace)


def hessian_product(model: nn.Module, tokens: Tensor) -> tuple[Product, int]:
    """Make a function from a vector (size,) to the Hessian times it; also return the number of parameters."""
    weights = [p for p in model.parameters() if p.requires_grad]
    loss = F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1).float(), tokens[:, 1:].flatten())
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights, create_graph=True)])

    def product(vector: np.ndarray) -> np.ndarray:
        moved = torch.from_numpy(np.ascontiguousarray(vector.ravel(), np.float32)).to(gradient)
        rows = torch.autograd.grad(gradient, weights, moved, retain_graph=True)
        return torch.cat([row.flatten() for row in rows]).cpu().numpy()

    return product, gradient.numel()
