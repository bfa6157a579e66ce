"""BST scaling: best batch and step size under a Kurdyka-Lojasiewicz condition, carried to other horizons.

Islamov et al., arXiv 2603.21191; found in the source. T is the training length in tokens, B S the tokens per
step (B sequences of S tokens), lambda eta the step of the Frank-Wolfe form with decoupled decay. L is the
smoothness in the oracle's norm, mu the slope of the dual gradient norm against the excess loss, rho the norm
equivalence and sigma the noise of a token's gradient.

The measured constants alone move the best learning rate hardly with size: this theory does not explain why
it falls with N in the standard parametrization.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.theory.checks import positive


class Constants(NamedTuple):
    """Constants of a model.

    Attributes:
        smoothness: L.
        slope: mu.
        equivalence: rho.
    """

    smoothness: float
    slope: float
    equivalence: float


class Setting(NamedTuple):
    """What is carried over.

    Attributes:
        batch_tokens: B S [tokens].
        step: lambda eta.
    """

    batch_tokens: Floats
    step: Floats


def attainable_loss(
    batch_tokens: ArrayLike, tokens: ArrayLike, constants: Constants, noise: float = 1.0
) -> Floats:
    """Order of the excess loss at the best step, without logarithms; its constant is not known.

    max{L BS / (mu^2 T), (L (rho sigma)^2 / (mu^4 T))^1/3, rho sigma / (mu (T^2 BS)^1/6)}. Found in the
    source.

    Args:
        batch_tokens: B S [tokens].
        tokens: T.
        constants: of the model.
        noise: sigma.

    Raises:
        BadInput: an argument that is not finite and above 0.

    >>> f"{attainable_loss(1000.0, 1e3, Constants(1.0, 1.0, 1.0)):.3f}"  # one step
    '1.000'
    """
    place = "attainable_loss"
    b, t = positive(place, "batch_tokens", batch_tokens), positive(place, "tokens", tokens)
    smooth, mu, rough = _checked(place, constants, noise)
    steps = smooth * b / (mu**2 * t)
    noisy = (smooth * rough**2 / (mu**4 * t)) ** (1 / 3)
    small = rough / (mu * (t**2 * b) ** (1 / 6))
    return np.maximum(np.maximum(steps, noisy), small)


def best_batch_tokens(tokens: ArrayLike, constants: Constants, noise: float = 1.0) -> Floats:
    """B S = (T mu rho sigma / L)^2/3 [tokens]: the largest batch before too few steps are left.

    Found in the source. There the first two terms of ``attainable_loss`` are equal (derived here, checked
    numerically).

    Raises:
        BadInput: an argument that is not finite and above 0.

    >>> f"{best_batch_tokens(1e9, Constants(1.0, 1.0, 1.0)):.6g}"
    '1e+06'
    """
    t = positive("best_batch_tokens", "tokens", tokens)
    smooth, mu, rough = _checked("best_batch_tokens", constants, noise)
    return np.asarray((t * mu * rough / smooth) ** (2 / 3))


def carry(
    setting: Setting, tokens: tuple[ArrayLike, ArrayLike], old: Constants, new: Constants | None = None
) -> Setting:
    """A setting tuned at T0 tokens, for T1 tokens and perhaps another model.

    B1 S1 = B0 S0 [(T1/T0) r]^2/3 and (lambda eta)1 = (lambda eta)0 [sqrt(T0/T1) r]^2/3 with
    r = mu1 rho1 L0 / (mu0 rho0 L1). Found in the source. So the exponents in T are 2/3 and -1/3.

    Args:
        setting: tuned.
        tokens: T0 and T1.
        old: constants of the model that was tuned.
        new: of the other; None for the same.

    Raises:
        BadInput: an argument that is not finite and above 0.

    >>> longer = carry(Setting(1e5, 1e-3), (1e9, 8e9), Constants(7.0, 3.0, 60.0))
    >>> f"{longer.batch_tokens:.6g} {longer.step:.3g}"
    '400000 0.0005'
    """
    place = "carry"
    batch = positive(place, "batch_tokens", setting.batch_tokens)
    step = positive(place, "step", setting.step)
    longer = positive(place, "tokens", tokens[1]) / positive(place, "tokens", tokens[0])
    before, after = _checked(place, old, 1.0), _checked(place, new or old, 1.0)
    ratio = after[1] * after[2] * before[0] / (before[1] * before[2] * after[0])
    return Setting(batch * (longer * ratio) ** (2 / 3), step * (ratio / np.sqrt(longer)) ** (2 / 3))


def measured_constants(layers: float, width: float, batch: float) -> Constants:
    """L, mu and rho of their transformers, as the paper fitted them.

    L = 0.4 (layers + 0.7)^0.2 (width + 126)^0.35, mu = 5.2 (layers + 1.7)^-0.2,
    rho = 4.1 (layers - 2.7)^0.25 (width - 250.8)^0.3 (B - 9.4)^0.1. Found in the source. B is the batch of
    the measurement; its unit is not known here.

    Args:
        layers: number of transformer blocks, above 2.7.
        width: of the residual stream, above 250.8.
        batch: B, above 9.4.

    Raises:
        BadInput: an argument outside its range.

    >>> "{:.1f} {:.1f}".format(*measured_constants(12, 768, 32)[:2])  # the paper's 124M model
    '7.2 3.1'
    """
    least = {"layers": (layers, 2.7), "width": (width, 250.8), "batch": (batch, 9.4)}
    for name, (value, low) in least.items():
        if not positive("measured_constants", name, value) > low:
            raise BadInput(
                f"measured_constants: {name} = {value!r}; expected above {low}, where the paper's fit of rho "
                "ends; choose a larger one"
            )
    return Constants(
        float(0.4 * (layers + 0.7) ** 0.2 * (width + 126) ** 0.35),
        float(5.2 * (layers + 1.7) ** -0.2),
        float(4.1 * (layers - 2.7) ** 0.25 * (width - 250.8) ** 0.3 * (batch - 9.4) ** 0.1),
    )


def _checked(place: str, constants: Constants, noise: float) -> tuple[Floats, Floats, Floats]:
    """L, mu and rho sigma."""
    smooth, mu, rho = (positive(place, name, getattr(constants, name)) for name in Constants._fields)
    return smooth, mu, rho * positive(place, "noise", noise)
