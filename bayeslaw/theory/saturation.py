"""A learning rate that rises with the batch and stops rising above a critical batch.

eta* = eta_max / (1 + B_c / B), eta_max = exp(a) (N/N0)^g_N (D/D0)^g_D, B_c = b0 (D/D0)^p (N/N0)^r.

Dependence on B: form of McCandlish et al., arXiv 1812.06162, from memory. Combination with powers of N and D:
derived here. The proxy of ``lmo`` has no saturation: it would have eta* rise as sqrt(B) for ever.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bayeslaw.arrays import Floats
from bayeslaw.theory.checks import positive


class Saturation(NamedTuple):
    """Constants of the law.

    Attributes:
        log_rate: a, ln of eta_max at N0 and D0.
        rate_by_params: g_N.
        rate_by_tokens: g_D.
        batch_tokens: b0, critical batch at N0 and D0 [tokens].
        batch_by_tokens: p.
        batch_by_params: r.
        params: N0 [count].
        tokens: D0 [count].
    """

    log_rate: float
    rate_by_params: float
    rate_by_tokens: float
    batch_tokens: float
    batch_by_tokens: float
    batch_by_params: float = 0.0
    params: float = 5e8
    tokens: float = 2e10


def saturating_learning_rate(
    params_nonembedding: ArrayLike, tokens: ArrayLike, batch_tokens: ArrayLike, law: Saturation
) -> Floats:
    """Best peak learning rate at given N, D and batch; arguments broadcast.

    Args:
        params_nonembedding: N [count].
        tokens: D [count].
        batch_tokens: B [tokens].
        law: constants.

    Raises:
        BadInput: a size that is not finite and above 0.

    >>> law = Saturation(0.0, -0.6, 0.3, 2e5, 0.8)
    >>> print(saturating_learning_rate(5e8, 2e10, [2e5, 2e15], law))  # at B_c half of eta_max
    [0.5 1. ]
    """
    place = "saturating_learning_rate"
    n, d = positive(place, "params_nonembedding", params_nonembedding), positive(place, "tokens", tokens)
    b = positive(place, "batch_tokens", batch_tokens)
    largest = np.exp(law.log_rate + law.rate_by_params * np.log(n / law.params))
    largest = largest * (d / law.tokens) ** law.rate_by_tokens
    return np.asarray(largest / (1 + critical_batch(n, d, law) / b))


def critical_batch(params_nonembedding: ArrayLike, tokens: ArrayLike, law: Saturation) -> Floats:
    """B_c [tokens], where the learning rate is half of its largest.

    Raises:
        BadInput: a size that is not finite and above 0.

    >>> float(critical_batch(5e8, 4e10, Saturation(0.0, -0.6, 0.3, 2e5, 1.0)))
    400000.0
    """
    place = "critical_batch"
    n, d = positive(place, "params_nonembedding", params_nonembedding), positive(place, "tokens", tokens)
    level = positive(place, "batch_tokens", law.batch_tokens)
    return np.asarray(
        level * (d / law.tokens) ** law.batch_by_tokens * (n / law.params) ** law.batch_by_params
    )


def saturation_slope(ratio: ArrayLike) -> Floats:
    """d ln eta* / d ln B at B = ratio B_c: 1 / (1 + ratio), from 1 far below to 0 far above.

    Raises:
        BadInput: a ratio that is not finite and above 0.

    >>> print(saturation_slope([0.25, 1.0, 4.0]))
    [0.8 0.5 0.2]
    """
    return np.asarray(1 / (1 + positive("saturation_slope", "ratio", ratio)))
