"""Exact counts of parameters and of floating point operations."""

from __future__ import annotations

from bayeslaw.lab.models.networks import NETWORKS
from bayeslaw.lab.models.transformer import Shape


def counts(shape: Shape) -> dict[str, int]:
    """Count parameters by group; ``tests/models`` compares them with the modules.

    Of a triangular matrix only what is used counts.

    >>> counts(Shape(vocabulary=1024, width=32, depth=2, heads=2))
    {'embedding': 32768, 'head': 0, 'attention': 8192, 'feed_forward': 16384, 'norms': 160}
    """
    matrices = 2 if shape.activation == "gelu" else 3
    mixing, count = NETWORKS[shape.model].mixing(shape)
    return {
        "embedding": _embedding(shape),
        "head": 0 if shape.tied else shape.vocabulary * shape.width,
        mixing: shape.depth * count,
        "feed_forward": shape.depth * matrices * shape.width * shape.hidden,
        "norms": (2 * shape.depth + 1) * shape.width,
    }


def params_embedding(shape: Shape) -> int:
    """Count embedding and, if it is not tied, output head."""
    groups = counts(shape)
    return groups["embedding"] + groups["head"]


def params_nonembedding(shape: Shape) -> int:
    """Count N of the run table: everything except embedding and output head.

    >>> params_nonembedding(Shape(vocabulary=1024, width=32, depth=2, heads=2))
    24736
    """
    return sum(counts(shape).values()) - params_embedding(shape)


def flops_per_token(shape: Shape, sequence_length: int) -> int:
    """Count floating point operations to train on one token, or patch: forward, and twice that for backward.

    Matrix products only: 6 for each weight that multiplies (the head's too, tied or not; looking up an
    embedding multiplies nothing), and what mixes positions: 12 x width x time a block for attention's scores
    and averages, causal masking not deducted. Source: Chowdhery et al. 2022 (PaLM), appendix B.

    >>> flops_per_token(Shape(vocabulary=1024, width=32, depth=2, heads=2), 128)
    442368
    """
    network, head = NETWORKS[shape.model], shape.vocabulary * shape.width
    outer = _patches(shape) + head // sequence_length if network.images else head
    mixed = shape.depth * network.mixing_flops(shape, sequence_length)
    return 6 * (counts(shape)["feed_forward"] + outer) + mixed


def _embedding(shape: Shape) -> int:
    network = NETWORKS[shape.model]
    if not network.images:
        return shape.vocabulary * shape.width
    return _patches(shape) + network.places * shape.length * shape.width


def _patches(shape: Shape) -> int:
    return shape.patch**2 * shape.channels * shape.width
