"""Curvature against a Hessian written out in full."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bayeslaw.lab.models.transformer import Shape, build
from bayeslaw.lab.train.curvature import curvature, hessian_product

TOKENS = torch.randint(12, (4, 7), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("norm", ["rmsnorm", "layernorm"])
def test_eigenvalue_and_trace_are_those_of_the_dense_hessian(norm):
    model = build(Shape(vocabulary=12, width=4, depth=1, heads=1, norm=norm), 6, seed=0)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        product, size = hessian_product(model, TOKENS)
        dense = np.stack([product(column) for column in np.eye(size, dtype=np.float32)])
    np.testing.assert_allclose(dense, dense.T, atol=1e-5)
    largest, trace = curvature(model, TOKENS)
    assert largest == pytest.approx(np.linalg.eigvalsh(dense)[-1], rel=2e-3)
    spread = 2 * (np.square(dense).sum() - np.square(np.diag(dense)).sum())  # variance of one probe
    assert abs(trace - np.trace(dense)) < 4 * np.sqrt(spread / 16)


def test_the_product_is_the_slope_of_the_gradient():
    """In 64 bits, against a central difference of the gradient."""
    model = build(Shape(vocabulary=12, width=4, depth=1, heads=1), 6, seed=0).double()
    weights = list(model.parameters())

    def gradient():
        loss = torch.nn.functional.cross_entropy(model(TOKENS[:, :-1]).flatten(0, 1), TOKENS[:, 1:].flatten())
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights)])

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        product, size = hessian_product(model, TOKENS)
        vector = np.random.default_rng(0).standard_normal(size).astype(np.float32)
        found = product(vector)
        ends = []
        for sign in (1, -1):
            moved = torch.nn.utils.parameters_to_vector(weights) + sign * 1e-4 * torch.from_numpy(vector)
            torch.nn.utils.vector_to_parameters(moved.detach(), weights)
            ends.append(gradient())
            torch.nn.utils.vector_to_parameters(
                (moved - sign * 1e-4 * torch.from_numpy(vector)).detach(), weights
            )
    np.testing.assert_allclose(found, ((ends[0] - ends[1]) / 2e-4).numpy(), rtol=1e-3, atol=1e-4)
