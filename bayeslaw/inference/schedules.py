"""A posterior of a law of the schedule, by NUTS over its shape parameters and the noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bayeslaw.arrays import Floats
from bayeslaw.inference.effort import double_precision
from bayeslaw.schedules.amplitudes import solve_amplitudes
from bayeslaw.schedules.features import Features
from bayeslaw.schedules.fitting import (
    ScheduleFit,
    check_losses,
    fit_schedule,
    shape_covariance,
    with_amplitudes,
)
from bayeslaw.schedules.laws import ScheduleLaw

SHAPE_SD = 1.0
"""Prior standard deviation of ln shape parameter, about the middle of the values that fits start from."""

NOISE = 3e-3
"""Scale of the half-normal prior of the relative noise."""

CHAINS, WARM, DRAWS, DEPTH = 2, 250, 250, 6
RHAT_MAX = 1.05


def draw_schedule(
    law: ScheduleLaw, features: Features, losses: ArrayLike, seed: int = 0
) -> tuple[ScheduleFit, list[str]]:
    """Posterior draws of a law's parameters, and warnings.

    Model: loss = law (1 + noise), ln shape parameters normal, noise half-normal, amplitudes as in
    ``schedules.amplitudes``, where they are integrated out.

    Args:
        law: of ``schedules.laws.LAWS``.
        features: of the schedules up to each loss.
        losses: [nats/token], shape (loss,).
        seed: of the chains.

    Raises:
        BadInput: as ``schedules.fitting.fit_schedule``.
    """
    import jax
    from numpyro.diagnostics import gelman_rubin
    from numpyro.infer import MCMC, NUTS, init_to_value

    observed = check_losses(law, features, losses)
    start = fit_schedule(law, features, losses, seed)
    best = np.array([start.params[shape.name] for shape in law.shapes])
    scale = np.linalg.cholesky(shape_covariance(law, best, features, observed, start.noise))
    whitening = np.log(best), scale
    with double_precision():
        first = {"z": np.zeros(len(best)), "noise": np.array(start.noise)}
        kernel = NUTS(_model, init_strategy=init_to_value(values=first), max_tree_depth=DEPTH)
        chains = MCMC(
            kernel, num_warmup=WARM, num_samples=DRAWS, num_chains=CHAINS, chain_method="sequential",
            progress_bar=False,
        )  # fmt: skip
        chains.run(jax.random.PRNGKey(seed), law, features, observed, whitening)
        found = {name: np.asarray(values) for name, values in chains.get_samples(group_by_chain=True).items()}
    logs = (whitening[0] + found["z"] @ scale.T).reshape(-1, len(best))
    rng, noise = np.random.default_rng(seed), found["noise"].ravel()
    draws = with_amplitudes(law, logs, features, observed, noise, rng)
    rhat = max(float(np.max(gelman_rubin(values))) for values in found.values())
    warnings = [] if rhat < RHAT_MAX else [f"R-hat of {rhat:.2f}: the chains disagree; give more losses"]
    told = {"draws": draws, "noise": float(np.median(noise)), "method": "nuts"}
    return ScheduleFit(**(vars(start) | told)), warnings


def _model(law: ScheduleLaw, features: Features, observed: Floats, whitening: tuple[Floats, Floats]) -> Any:
    """Sampled in coordinates z in which the linearised fit is round: ln shape = centre + scale z."""
    import jax.numpy as jnp
    import numpyro
    from numpyro import distributions as dist

    centre, scale = whitening
    means = [float(np.mean(np.log(shape.start))) for shape in law.shapes]
    z = numpyro.sample("z", dist.ImproperUniform(dist.constraints.real_vector, (), (len(centre),)))
    noise = numpyro.sample("noise", dist.HalfNormal(NOISE))
    logs = centre + scale @ z
    numpyro.factor("prior", dist.Normal(jnp.array(means), SHAPE_SD).log_prob(logs).sum())
    shapes: Any = dict(zip((shape.name for shape in law.shapes), jnp.exp(logs), strict=True))
    found = solve_amplitudes(law, shapes, features, observed, noise, jnp)
    numpyro.factor("losses", found.log_density)
