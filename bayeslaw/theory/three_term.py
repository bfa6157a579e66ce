"""Three-term law of the loss in model size, steps and batch, and its best batch.

L = E + A N^-a + C S^-g + F B^-d, with S steps and the learning rate tuned at each batch. Schaipp et al.,
arXiv 2607.01487, abstract: found in the source. Best batch: derived here, checked numerically.

Nothing is fitted here, and no constants ship with it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bayeslaw.arrays import Floats
from bayeslaw.theory.checks import not_negative, positive


class ThreeTerm(NamedTuple):
    """Constants of the law; units of N, B and D are those of the data.

    Attributes:
        floor: E [nats/token].
        size: A, and ``size_exponent`` a.
        size_exponent: a.
        steps: C, and ``steps_exponent`` g.
        steps_exponent: g.
        batch: F, and ``batch_exponent`` d.
        batch_exponent: d.
    """

    floor: float
    size: float
    size_exponent: float
    steps: float
    steps_exponent: float
    batch: float
    batch_exponent: float


def three_term_loss(
    params_nonembedding: ArrayLike, batch_tokens: ArrayLike, tokens: ArrayLike, law: ThreeTerm
) -> Floats:
    """Loss [nats/token] at a tuned learning rate.

    Args:
        params_nonembedding: N [count].
        batch_tokens: B [tokens].
        tokens: D; steps are D / B.
        law: constants.

    Raises:
        BadInput: an argument outside its range.

    >>> law = ThreeTerm(1.0, 1.0, 0.5, 1.0, 0.5, 1.0, 0.5)
    >>> float(three_term_loss(4.0, 4.0, 64.0, law))  # 1 + 1/2 + 1/4 + 1/2
    2.25
    """
    place = "three_term_loss"
    n = positive(place, "params_nonembedding", params_nonembedding)
    b, d = positive(place, "batch_tokens", batch_tokens), positive(place, "tokens", tokens)
    _check(place, law)
    by_size = law.size * n**-law.size_exponent
    by_steps = law.steps * (d / b) ** -law.steps_exponent
    return np.asarray(law.floor + by_size + by_steps + law.batch * b**-law.batch_exponent)


def three_term_batch(tokens: ArrayLike, law: ThreeTerm) -> Floats:
    """Best batch [tokens] at fixed D: [F d / (C g)]^(1/(g+d)) D^(g/(g+d)); it does not depend on N.

    Theorem 1 of ``lmo`` is g = d = 1/2. Derived here, checked numerically.

    Raises:
        BadInput: an argument outside its range.

    >>> law = ThreeTerm(1.0, 1.0, 0.5, 1.0, 0.5, 1.0, 0.5)
    >>> float(three_term_batch(1e8, law))
    10000.0
    """
    d = positive("three_term_batch", "tokens", tokens)
    _check("three_term_batch", law)
    ratio = law.batch * law.batch_exponent / (law.steps * law.steps_exponent)
    both = law.steps_exponent + law.batch_exponent
    return np.asarray(ratio ** (1 / both) * d ** (law.steps_exponent / both))


def batch_exponent(steps_exponent: float, batch_exponent: float) -> float:
    """d ln B* / d ln D = g / (g + d).

    Raises:
        BadInput: an exponent that is not finite and above 0.

    >>> f"{batch_exponent(0.4, 0.3):.6f}"
    '0.571429'
    """
    g = positive("batch_exponent", "steps_exponent", steps_exponent)
    d = positive("batch_exponent", "batch_exponent", batch_exponent)
    return float(g / (g + d))


def _check(place: str, law: ThreeTerm) -> None:
    for name, value in law._asdict().items():
        (not_negative if name in ("floor", "size", "size_exponent") else positive)(place, name, value)
