"""What the curvature of one's own network says of its best learning rate, and a surface conditioned on it.

ln eta* = level + slope (ln lambda - mean ln lambda) + residual, lambda the largest eigenvalue of the
preconditioned Hessian early in warm-up (``bayeslaw.spectra.Curvature.lambda_preconditioned``). The line was
fitted to the networks of ``assets/shapes.csv`` by ``python -m tests.studies.curvature_advice run``, which
also says what it is worth. It speaks of networks, optimizers and batches like those only.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bayeslaw.advice.target_surface import TargetSurface, at_draws, log_lr_at_batch
from bayeslaw.arrays import Floats
from bayeslaw.assets import CURVATURE
from bayeslaw.errors import BadInput
from bayeslaw.intervals import Interval, ends
from bayeslaw.posterior.importance import RELIABLE, smoothed

OUTSIDE = 1.5
"""Factor beyond the measured lambda above which the line says nothing: it is steep, and its range narrow."""

FAR = {"params_nonembedding": 10.0, "tokens": OUTSIDE, "batch_tokens": OUTSIDE}
"""Factor beyond the measured networks above which it says nothing. D and batch say where in the warm-up
lambda was measured: with four times the tokens the line misleads (docs/curvature.md)."""


@dataclass(frozen=True)
class CurvatureLaw:
    """A line fitted by least squares to networks of one optimizer; logarithms are natural.

    Attributes:
        networks: number of them.
        level: mean of ln eta*.
        slope: of ln eta* in ln lambda.
        mean_log_lambda: mean of ln lambda.
        square_log_lambda: sum of squared deviations from it.
        residual_sd: of ln eta* about the line, with ``networks`` - 2 degrees of freedom.
        ranges: smallest and largest ``lambda_max``, ``params_nonembedding``, ``tokens`` and ``batch_tokens``.
        measured: how lambda was measured.
    """

    networks: int
    level: float
    slope: float
    mean_log_lambda: float
    square_log_lambda: float
    residual_sd: float
    ranges: dict[str, tuple[float, float]]
    measured: str

    @property
    def dof(self) -> int:
        """Degrees of freedom of the residual."""
        return self.networks - 2

    def predict(self, log_lambda: float) -> tuple[float, float]:
        """Location and scale of the Student t of one more network's ln eta*.

        >>> law = CurvatureLaw(12, -4.0, -2.0, 6.0, 1.0, 0.2, {}, "")
        >>> location, scale = law.predict(6.5)
        >>> location, round(scale, 4)
        (-5.0, 0.2309)
        """
        gap = log_lambda - self.mean_log_lambda
        spread = 1 + 1 / self.networks + gap**2 / self.square_log_lambda
        return self.level + self.slope * gap, self.residual_sd * math.sqrt(spread)


class Conditioned(NamedTuple):
    """A surface given lambda.

    Attributes:
        surface: draws of it, drawn again by their weights.
        told: for ``Prediction.curvature``.
        warnings: one sentence each.
    """

    surface: TargetSurface
    told: dict[str, float]
    warnings: list[str]


def fit_line(log_lambda: Floats, log_rate: Floats) -> tuple[float, float, float]:
    """Least squares: level at the mean of ln lambda, slope, standard deviation of the residual.

    >>> level, slope, sd = fit_line(np.array([0.0, 1.0, 2.0, 3.0]), np.array([4.0, 2.0, 0.0, -2.0]))
    >>> round(level, 6), round(slope, 6), round(sd, 6)
    (1.0, -2.0, 0.0)
    """
    gaps = log_lambda - log_lambda.mean()
    slope = float(gaps @ log_rate / (gaps @ gaps))
    residual = log_rate - log_rate.mean() - slope * gaps
    return float(log_rate.mean()), slope, float(np.sqrt(residual @ residual / (len(log_rate) - 2)))


def read_law(optimizer: str) -> CurvatureLaw:
    """The shipped line of an optimizer.

    Raises:
        BadInput: one that was not measured on enough networks.
    """
    known = json.loads(CURVATURE.read_text(encoding="utf-8"))
    if optimizer not in known:
        raise BadInput(
            f"--lambda-max: what it says of {optimizer}'s best rate was never measured; expected one of "
            f"{', '.join(known)}; leave it out"
        )
    found = known[optimizer]
    return CurvatureLaw(**{**found, "ranges": {name: tuple(ends) for name, ends in found["ranges"].items()}})


def condition(
    at: TargetSurface, lambda_max: float, level: float = 0.9, law: CurvatureLaw | None = None
) -> Conditioned:
    """A surface whose draws are weighted by what lambda says of ln eta* at the target's batch.

    The line and the posterior count as independent. Pareto-smoothed importance weights
    (``posterior.importance``), then systematic resampling (Kitagawa 1996).

    Args:
        at: the surface of a target with a fixed batch.
        lambda_max: as of the module.
        level: of the intervals told.
        law: another line than the shipped one.

    Raises:
        BadInput: a lambda that is no number above 0, a free batch, an optimizer never measured, a target more
            than ``FAR`` times beyond the measured networks, a lambda more than ``OUTSIDE`` times beyond
            theirs.
    """
    if not 0 < lambda_max < math.inf:
        raise BadInput(f"--lambda-max {lambda_max:g}: expected a number above 0; measure it again")
    if at.target.batch_tokens is None:
        raise BadInput("--lambda-max: given without --batch-tokens; expected the batch it was measured at")
    law = law or read_law(at.target.optimizer)
    distances = {name: _decades(float(getattr(at.target, name)), law.ranges[name]) for name in FAR}
    _refuse_far(distances, law)
    _refuse_other(lambda_max, law)
    location, scale = law.predict(math.log(lambda_max))
    gap = (_rates(at) - location) / scale
    weights, k = smoothed(-0.5 * (law.dof + 1) * np.log1p(gap**2 / law.dof))
    surface = at_draws(at, resampled(weights))
    widths = [float(np.ptp(np.quantile(_rates(each), ends(level)))) for each in (at, surface)]
    told = {
        "lambda_max": float(lambda_max),
        **_alone(law, location, scale, level).to_json(),
        "narrowed_to": widths[1] / widths[0],
        "pareto_k": k,
    }
    return Conditioned(surface, told, _warnings(distances, lambda_max, law, k))


def resampled(weights: Floats) -> np.ndarray:
    """Which draws stand for weighted ones, as many as there are; int64 (draw,).

    >>> resampled(np.array([0.5, 0.5, 0.0, 0.0])).tolist()
    [0, 0, 1, 1]
    """
    count = len(weights)
    places = np.searchsorted(np.cumsum(weights), (np.arange(count) + 0.5) / count)
    return np.minimum(places, count - 1)


def _rates(at: TargetSurface) -> Floats:
    """ln of the best rate at the target's batch, (draw,)."""
    return log_lr_at_batch(at, math.log(at.target.batch_tokens or math.nan))


def _alone(law: CurvatureLaw, location: float, scale: float, level: float) -> Interval:
    """The best rate by the line alone."""
    from scipy.stats import t

    low, high = np.exp(location + scale * t.ppf(ends(level), law.dof))
    return Interval(math.exp(location), float(low), float(high))


def _decades(value: float, known: tuple[float, float]) -> float:
    """How far a value lies outside a range; 0 inside.

    >>> _decades(50.0, (1.0, 5.0))
    1.0
    """
    return max(0.0, math.log10(value / known[1]), math.log10(known[0] / value))


def _refuse_far(distances: dict[str, float], law: CurvatureLaw) -> None:
    for name, decades in distances.items():
        if decades > math.log10(FAR[name]):
            low, high = law.ranges[name]
            raise BadInput(
                f"--lambda-max: {name} lies {decades:.1f} decades beyond the networks that it was measured "
                f"on ({low:g} to {high:g}); expected at most {FAR[name]:g} times beyond, for what it says "
                "there is unknown; leave it out"
            )


def _refuse_other(lambda_max: float, law: CurvatureLaw) -> None:
    low, high = law.ranges["lambda_max"]
    if not low / OUTSIDE <= lambda_max <= high * OUTSIDE:
        raise BadInput(
            f"--lambda-max {lambda_max:g}: the measured networks have {low:.3g} to {high:.3g} "
            f"({law.measured}); expected at most {OUTSIDE:g} times beyond, for the line is steep; measure it "
            "so, or leave it out"
        )


def _warnings(distances: dict[str, float], lambda_max: float, law: CurvatureLaw, k: float) -> list[str]:
    low, high = law.ranges["lambda_max"]
    said = [
        f"{name} lies {decades:.1f} decades beyond the networks on which lambda_max was measured"
        for name, decades in distances.items()
        if decades > 0
    ]
    if not low <= lambda_max <= high:
        said.append(
            f"lambda_max = {lambda_max:g} lies outside the {low:.3g} to {high:.3g} of the measured networks"
        )
    if k > RELIABLE:
        said.append(
            f"the posterior and lambda_max disagree (Pareto k {k:.2f}, above {RELIABLE}): too few draws lie "
            "where both would have the learning rate; trust neither"
        )
    return said
