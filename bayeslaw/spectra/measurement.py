"""All measurements at one step, as a row."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bayeslaw.spectra.lanczos import largest_eigenvalue
from bayeslaw.spectra.landscape import Cost, Landscape, NextStep
from bayeslaw.spectra.noise import noise_scale
from bayeslaw.spectra.rates import critical_learning_rate, directional_sharpness
from bayeslaw.spectra.trace import hutchinson


@dataclass(frozen=True)
class Curvature:
    """Curvature and noise at one step.

    Attributes:
        lambda_max: largest eigenvalue of the Hessian H.
        lambda_max_residual: its strict bound; see ``lanczos.Eigenvalue``.
        lambda_preconditioned: largest eigenvalue of P^-1/2 H P^-1/2; None where no P is known.
        lambda_preconditioned_residual: its strict bound.
        threshold: largest stable learning rate x lambda_preconditioned.
        directional_sharpness: curvature over slope along the next update.
        critical_learning_rate: at which the next update leaves the loss as it is.
        hessian_trace: of H.
        hessian_trace_error: its standard error.
        noise_scale: gradient noise scale [sequences]; infinite where the signal is lost in the noise.
        noise_scale_preconditioned: in the metric of P^-1 [sequences].
        cost: of all of it.
    """

    lambda_max: float
    lambda_max_residual: float
    lambda_preconditioned: float | None
    lambda_preconditioned_residual: float | None
    threshold: float | None
    directional_sharpness: float
    critical_learning_rate: float
    hessian_trace: float
    hessian_trace_error: float
    noise_scale: float
    noise_scale_preconditioned: float | None
    cost: Cost


def measure(
    here: Landscape,
    step: NextStep,
    learning_rate: float,
    vectors: int = 20,
    tolerance: float = 1e-2,
    probes: int = 4,
    seed: int = 0,
) -> Curvature:
    """Measure all that ``Curvature`` holds; one graph serves the Hessian's products.

    Args:
        here: where.
        step: of the optimizer.
        learning_rate: in use, or the peak: where the critical one is sought unless curvature says.
        vectors, tolerance: of ``largest_eigenvalue``.
        probes: of ``hutchinson``.
        seed: of all that is random.

    Raises:
        BadInput: as the measurements do; see ``Landscape``.
    """
    spent = here.meter.start()
    root = step.inverse_root
    with here.hessian():
        raw = largest_eigenvalue(here, None, vectors, tolerance, seed)
        own = None if root is None else largest_eigenvalue(here, root, vectors, tolerance, seed)
        trace = hutchinson(here, None, probes, seed)
        direction = directional_sharpness(here, step).value
    noise = noise_scale(here)
    first = 2 / direction if direction > 0 and math.isfinite(2 / direction) else learning_rate
    return Curvature(
        lambda_max=raw.value,
        lambda_max_residual=raw.residual,
        lambda_preconditioned=None if own is None else own.value,
        lambda_preconditioned_residual=None if own is None else own.residual,
        threshold=step.threshold,
        directional_sharpness=direction,
        critical_learning_rate=critical_learning_rate(here, step, first).value,
        hessian_trace=trace.value,
        hessian_trace_error=trace.standard_error,
        noise_scale=noise.value,
        noise_scale_preconditioned=None if root is None else noise_scale(here, root).value,
        cost=spent(),
    )
