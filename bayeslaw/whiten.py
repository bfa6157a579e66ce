"""A Gaussian stand-in for the posterior: its mode and the information there. NUTS walks in its coordinates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax.flatten_util import ravel_pytree
from numpyro.infer.util import log_density
from scipy.optimize import minimize

from bayeslaw.model import SPREADS, study_priors, surface_model
from bayeslaw.sweep import Floats, Sweep

BLOCK = 64
"""Directions differentiated at once."""

ROUNDS = 6
"""At most so often is the mode sought anew in better coordinates."""


class Density(NamedTuple):
    """The posterior of one sweep over a flat vector of ``dim`` coordinates.

    ``energy`` is minus the log density; ``unravel`` turns the vector into named sites; ``start`` and
    ``sd`` are the prior's mean and scale; ``scales`` marks the logarithms of spreads of groups and cells.
    """

    energy: Callable[[jax.Array], jax.Array]
    unravel: Callable[[jax.Array], dict[str, jax.Array]]
    start: Floats
    sd: Floats
    scales: np.ndarray


class Whitening(NamedTuple):
    """x = mean + scale @ z, with z about standard normal; scale has shape (dim, dim)."""

    mean: Floats
    scale: Floats


def density(sweep: Sweep) -> Density:
    """The flat log density of a sweep and its prior's centre."""
    sites = _prior_sites(sweep)
    start, unravel = ravel_pytree({name: jnp.asarray(d.mean) for name, d in sites.items()})
    sd, _ = ravel_pytree({name: jnp.sqrt(jnp.asarray(d.variance)) for name, d in sites.items()})
    scales, _ = ravel_pytree({name: _is_scale(sweep, name, jnp.asarray(d.mean)) for name, d in sites.items()})

    def energy(x: jax.Array) -> jax.Array:
        return -log_density(surface_model, (sweep,), {}, unravel(x))[0]

    return Density(energy, unravel, np.asarray(start), np.asarray(sd), np.asarray(scales) > 0)


def whitening(sweep: Sweep, target: Density) -> Whitening:
    """Mode of the posterior with the spreads held at their prior medians, and the information there.

    Holding them keeps the mode out of the funnel's neck. The information is the expected (Fisher)
    information of the losses plus the curvature of prior and outcomes: unlike the observed Hessian of
    a Student-t likelihood it is positive, so it whitens even where the mode is flat or not yet reached.
    """
    value_and_grad = jax.jit(jax.value_and_grad(target.energy))
    information = _information(sweep, target)
    x = np.array(target.start)
    scale = np.diag(np.where(target.scales, 0.0, target.sd))
    for round_ in range(ROUNDS):
        base, steps = x, scale

        def energy(z: Floats, base: Floats = base, steps: Floats = steps) -> tuple[float, Floats]:
            value, gradient = value_and_grad(jnp.asarray(base + steps @ z))
            return float(value), steps.T @ np.asarray(gradient)

        options = {"maxiter": 80 if round_ == 0 else 250, "ftol": 1e-9, "gtol": 1e-2, "maxcor": 30}
        found = minimize(energy, np.zeros(len(x)), jac=True, method="L-BFGS-B", options=options)
        x = base + steps @ found.x
        scale = _inverse_root(information(x), ~target.scales)
        if round_ and found.nit < 40:
            break
    scale[target.scales, target.scales] = target.sd[target.scales]
    return Whitening(x, scale)


def _inverse_root(information: Floats, free: np.ndarray) -> Floats:
    """S with S S' the inverse of the information on the ``free`` coordinates, 0 elsewhere."""
    index = np.flatnonzero(free)
    values, vectors = np.linalg.eigh(information[np.ix_(index, index)])
    root = np.zeros_like(information)
    root[np.ix_(index, index)] = vectors / np.sqrt(np.maximum(values, 1e-2))
    return root


def _information(sweep: Sweep, target: Density) -> Callable[[Floats], Floats]:
    def without_losses(x: jax.Array) -> jax.Array:
        return -log_density(surface_model, (sweep, False), {}, target.unravel(x))[0]

    def moments(x: jax.Array) -> jax.Array:
        model = numpyro.handlers.substitute(surface_model, target.unravel(x))
        return numpyro.handlers.trace(model).get_trace(sweep, False)["moments"]["value"]

    curvature = _columns(jax.grad(without_losses), len(target.start))
    slopes = _columns(moments, len(target.start))
    finished = sweep.finished.astype(float)

    def information(x: Floats) -> Floats:
        _, log_scale, dof = np.asarray(moments(jnp.asarray(x)))
        slope = slopes(x)  # (dim, 3, run): of mean, ln scale and degrees of freedom
        about_mean = finished * (dof + 1) / (dof + 3) * np.exp(-2 * log_scale)  # Lange et al. (1989)
        about_scale = finished * 2 * dof / (dof + 3)
        mean, scale = slope[:, 0], slope[:, 1]
        return (mean * about_mean) @ mean.T + (scale * about_scale) @ scale.T + curvature(x)

    return information


def _columns(function: Callable[[jax.Array], jax.Array], dim: int) -> Callable[[Floats], Floats]:
    """Directional derivatives of ``function`` along every coordinate, stacked first."""
    pushed = jax.jit(lambda x, rows: jax.vmap(lambda v: jax.jvp(function, (x,), (v,))[1])(rows))
    padded = np.vstack([np.eye(dim), np.zeros(((-dim) % BLOCK, dim))])

    def columns(x: Floats) -> Floats:
        parts = [pushed(jnp.asarray(x), padded[i : i + BLOCK]) for i in range(0, len(padded), BLOCK)]
        return np.concatenate([np.asarray(part) for part in parts])[:dim]

    return columns


def _prior_sites(sweep: Sweep) -> dict[str, Any]:
    centre = numpyro.handlers.substitute(numpyro.handlers.seed(surface_model, 0), substitute_fn=_prior_mean)
    trace = numpyro.handlers.trace(centre).get_trace(sweep)
    return {k: site["fn"] for k, site in trace.items() if site["type"] == "sample" and not site["is_observed"]}


def _prior_mean(site: dict[str, Any]) -> jax.Array | None:
    free = site["type"] == "sample" and not site["is_observed"]
    return jnp.asarray(site["fn"].mean) if free else None


def _is_scale(sweep: Sweep, name: str, mean: jax.Array) -> jax.Array:
    if name in SPREADS:
        return jnp.ones_like(mean)
    if name == "study_values":
        taus = np.array([key.startswith("log_tau") for key in study_priors(sweep)], float)
        return jnp.asarray(taus[:, None] * np.ones(mean.shape))
    return jnp.zeros_like(mean)


