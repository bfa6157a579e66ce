"""All measurements at one step, as a row."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from bayeslaw.spectra.lanczos import largest_eigenvalue
from bayeslaw.spectra.landscape import Cost, Landscape, NextStep
from bayeslaw.spectra.noise import noise_scale
from bayeslaw.spectra.rates import critical_learning_rate, directional_sharpness
from bayeslaw.spectra.trace import hutchinson


@dataclass(frozen=True)
class Curvature:
    """Curvature and noise at one step.

    Attributes:
        lambda_max: largest eigenvalue of the Hessian H. It and all else that takes the Hessian is None of
            ``measure_first_order``.
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

    lambda_max: float | None
    lambda_max_residual: float | None
    lambda_preconditioned: float | None
    lambda_preconditioned_residual: float | None
    threshold: float | None
    directional_sharpness: float | None
    critical_learning_rate: float
    hessian_trace: float | None
    hessian_trace_error: float | None
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
    first = 2 / direction if direction > 0 and math.isfinite(2 / direction) else learning_rate
    return replace(
        measure_first_order(here, step, first),
        lambda_max=raw.value,
        lambda_max_residual=raw.residual,
        lambda_preconditioned=None if own is None else own.value,
        lambda_preconditioned_residual=None if own is None else own.residual,
        directional_sharpness=direction,
        hessian_trace=trace.value,
        hessian_trace_error=trace.standard_error,
        cost=spent(),
    )


def measure_first_order(here: Landscape, step: NextStep, learning_rate: float) -> Curvature:
    """What takes no second derivative: the critical learning rate and the noise scales.

    For networks that ``measure`` refuses, such as those with a fused kernel.

    Args:
        here, step: as of ``measure``.
        learning_rate: where the critical one is sought.

    Raises:
        BadInput: as the measurements do.
    """
    spent = here.meter.start()
    root = step.inverse_root
    return Curvature(
        lambda_max=None,
        lambda_max_residual=None,
        lambda_preconditioned=None,
        lambda_preconditioned_residual=None,
        threshold=step.threshold,
        directional_sharpness=None,
        critical_learning_rate=critical_learning_rate(here, step, learning_rate).value,
        hessian_trace=None,
        hessian_trace_error=None,
        noise_scale=noise_scale(here).value,
        noise_scale_preconditioned=None if root is None else noise_scale(here, root).value,
        cost=spent(),
    )
