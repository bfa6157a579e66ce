"""Gaussian approximation of the posterior: its mode and information, the start and first metric of NUTS."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax.flatten_util import ravel_pytree
from numpyro.infer.util import log_density
from scipy.optimize import minimize

from bayeslaw.arrays import Floats
from bayeslaw.inference.compilation import FEW, hoisted
from bayeslaw.inference.effort import FULL, Effort
from bayeslaw.inference.model import surface_model
from bayeslaw.law.observations import Observations
from bayeslaw.law.parameters import SPREADS
from bayeslaw.law.structure import Structure, structure_of

HELD = ("log_tau", "log_noise", "log_dof", "log_off")
"""Prefixes of the names of a study's scales."""

LAST = 2
"""Further steps of EM, whose scatter grows with the fitted excess, as the posterior's does."""

EM_DRAWS = 16
"""Draws of the Gaussian over which EM averages the energy."""

NOISE_FIRST = 2.0
"""The search for the mode starts with ln noise this much above its prior mean. With little noise the energy
is rough, and the end of the search depends on rounding errors."""

DIFFERENCE = 1e-4
"""Step of central differences [standard deviations of the prior]."""

ROUNDS = 6
"""Maximum number of searches for the mode, each in better coordinates than the last."""

Sloped = Callable[[Any, float, float], tuple[tuple[jax.Array, jax.Array], jax.Array]]
"""Maps a vector, ``losses`` and ``fitted`` to ((energy, moments), gradient); see ``Density``."""


class Density(NamedTuple):
    """Posterior of one sweep over a flat vector, (dim,).

    Attributes:
        energy: minus the log density.
        sloped: maps a vector and the two numbers of ``model.surface_model`` to ((energy, moments of the
            losses), gradient). It is compiled once, which takes seconds.
        unravel: turns the vector into named sites.
        start: mean of the prior, (dim,).
        sd: standard deviation of the prior, (dim,).
        scales: whether a coordinate is a noise, a tail, or a spread of groups or cells, (dim,).
        noise: whether a coordinate is a noise, (dim,).
    """

    energy: Callable[[jax.Array], jax.Array]
    sloped: Sloped
    unravel: Callable[[jax.Array], dict[str, jax.Array]]
    start: Floats
    sd: Floats
    scales: np.ndarray
    noise: np.ndarray

    def slope(self, x: Floats) -> Floats:
        """Gradient of the energy, (dim,)."""
        return _value_and_grad(self, x, 1.0)[1]


class Whitening(NamedTuple):
    """Coordinates z, about standard normal, with x = mean + scale @ z; mean (dim,), scale (dim, dim)."""

    mean: Floats
    scale: Floats


def density(observed: Observations, effort: Effort = FULL) -> Density:
    """Build the posterior density of runs over a flat vector, with the centre of its prior."""
    mean, variance = _prior_moments(observed)
    start, unravel = ravel_pytree(mean)
    sd, _ = ravel_pytree({name: jnp.sqrt(value) for name, value in variance.items()})
    known = structure_of(observed)
    scales, _ = ravel_pytree({name: _is_scale(known, name, value) for name, value in mean.items()})
    none = jax.tree.map(jnp.zeros_like, mean)
    row = list(known.study).index("log_noise")
    noise, _ = ravel_pytree(none | {"study_values": none["study_values"].at[row].set(1.0)})

    def energy(x: jax.Array, losses: float, fitted: float) -> tuple[jax.Array, jax.Array]:
        log_joint, trace = log_density(surface_model, (observed, losses, fitted), {}, unravel(x))
        return -log_joint, trace["moments"]["value"]

    few = len(observed.cell) <= FEW
    explicit, arrays = hoisted(energy, start, 1.0, 1.0, shared=few)
    slope = jax.value_and_grad(explicit, argnums=1, has_aux=True)
    level = {"xla_backend_optimization_level": 0} if few else {}
    sloped = partial(jax.jit(slope, compiler_options=effort.compiler_options | level), arrays)
    inner = partial(jax.jit(slope), arrays)
    marks = (np.asarray(mark) > 0 for mark in (scales, noise))
    return Density(_posterior_of(sloped, inner), sloped, unravel, np.asarray(start), np.asarray(sd), *marks)


def _posterior_of(sloped: Sloped, inner: Sloped) -> Callable[[jax.Array], jax.Array]:
    """Build the energy whose gradient is the one already compiled.

    Args:
        sloped: compiled with options; serves vectors of numbers.
        inner: the same without options; serves inside another compilation, since JAX takes options once.
    """

    def value_and_grad(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        slope = inner if isinstance(x, jax.core.Tracer) else sloped
        (value, _), gradient = slope(x, 1.0, 1.0)
        return value, gradient

    energy = jax.custom_vjp(lambda x: value_and_grad(x)[0])
    energy.defvjp(value_and_grad, lambda gradient, cotangent: (cotangent * gradient,))
    return energy


def whitening(
    observed: Observations, target: Density, seed: int = 0, em_steps: int = FULL.em_steps
) -> Whitening:
    """Find the mode of the posterior given its scales, the scales by EM, and the information at the mode.

    Two traps are avoided. A mode may have a distant optimum, whose excess raises the scatter; here the
    scatter grows with the observed excess instead of the fitted one. At the joint mode noise and spreads
    shrink as effects absorb the data; here effects are integrated out approximately, by Monte Carlo EM (Wei &
    Tanner 1990). Each of ``em_steps`` steps finds the mode given the scales, takes a Gaussian about it, and
    chooses the scales that best explain draws of that Gaussian. The first mode has more noise
    (``NOISE_FIRST``). The last ``LAST`` steps choose them with the fitted excess, as the posterior has it,
    whose noise is less: far from it chains begin in steps too small to get there.

    The information is the expected (Fisher) information of the losses plus the curvature of prior and
    outcomes. It is positive, unlike the observed Hessian of a Student-t likelihood, so it whitens even where
    the mode is flat.
    """
    information = _information(observed, target)
    improve = _scales_step(target, np.random.default_rng(seed))
    x, scale = target.start + NOISE_FIRST * target.noise, np.diag(np.where(target.scales, 0.0, target.sd))
    x, scale, _ = _mode(target, information, x, scale)
    x = x - NOISE_FIRST * target.noise
    for fitted in (*[0.0] * em_steps, *[1.0] * LAST):
        x, scale, _ = _mode(target, information, x, scale)
        x = improve(x, scale, fitted)
    x, scale, _ = _mode(target, information, x, scale)
    held = np.flatnonzero(target.scales)
    scale[held, held] = 1.0 / np.sqrt(np.maximum(_curvatures(target, x, held), target.sd[held] ** -2))
    return Whitening(x, scale)


def _curvatures(target: Density, x: Floats, held: np.ndarray) -> Floats:
    """Second derivatives of the energy along some coordinates, by central differences."""

    def along(i: int) -> float:
        step = np.zeros_like(x)
        step[i] = DIFFERENCE * target.sd[i]
        above, below = (_value_and_grad(target, x + sign * step, 1.0)[1][i] for sign in (1, -1))
        return float((above - below) / (2.0 * step[i]))

    return np.array([along(i) for i in held])


def _value_and_grad(target: Density, x: Floats, fitted: float) -> tuple[float, Floats]:
    (value, _), gradient = target.sloped(x, 1.0, fitted)
    return float(value), np.asarray(gradient)


def _scales_step(target: Density, rng: np.random.Generator) -> Callable[[Floats, Floats, float], Floats]:
    """Build the step of EM that minimises, over the scales, the mean energy of draws of x + scale z."""
    held = np.flatnonzero(target.scales)

    def improve(x: Floats, scale: Floats, fitted: float) -> Floats:
        draws = x + rng.standard_normal((EM_DRAWS, len(x))) @ scale.T

        def averaged(scales: Floats) -> tuple[float, Floats]:
            draws[:, held] = scales
            found = [_value_and_grad(target, draw, fitted) for draw in draws]
            values, gradients = (np.mean(np.stack(part), axis=0) for part in zip(*found, strict=True))
            return float(values), gradients[held]

        better = np.array(x)
        better[held] = minimize(averaged, x[held], jac=True, method="L-BFGS-B", options={"maxiter": 30}).x
        return better

    return improve


def _mode(
    target: Density, information: Callable[[Floats], Floats], x: Floats, scale: Floats
) -> tuple[Floats, Floats, Floats]:
    """Find the mode given the scales; returns it, its whitening coordinates and the information there."""
    for _ in range(ROUNDS):
        base, steps = x, scale

        def energy(z: Floats, base: Floats = base, steps: Floats = steps) -> tuple[float, Floats]:
            value, gradient = _value_and_grad(target, base + steps @ z, 0.0)
            return value, steps.T @ gradient

        options = {"maxiter": 80, "ftol": 1e-9, "gtol": 1e-2, "maxcor": 30}
        found = minimize(energy, np.zeros(len(x)), jac=True, method="L-BFGS-B", options=options)
        x = base + steps @ found.x
        known = information(x)
        scale = _inverse_root(known, ~target.scales)
        if found.nit < 40:
            break
    return x, scale, known


def _inverse_root(information: Floats, free: np.ndarray) -> Floats:
    """Root S with S S' = inverse of the information on the ``free`` coordinates; 0 on the others."""
    index = np.flatnonzero(free)
    values, vectors = np.linalg.eigh(information[np.ix_(index, index)])
    root = np.zeros_like(information)
    root[np.ix_(index, index)] = vectors / np.sqrt(np.maximum(values, 1e-2))
    return root


def _information(observed: Observations, target: Density) -> Callable[[Floats], Floats]:
    """Build the map from a point to the information there, (dim, dim), by central differences."""
    finished = observed.finished.astype(float)

    def at(x: Floats) -> tuple[Floats, Floats]:
        """Gradient of the energy of prior and outcomes, (dim,), and the moments of the losses, (3, run)."""
        with jax.enable_x64(True):  # per thread: the caller's does not reach others
            (_, moments), gradient = target.sloped(x, 0.0, 0.0)
        return np.asarray(gradient), np.asarray(moments)

    def along(x: Floats, step: Floats) -> tuple[Floats, Floats]:
        (gradient, moments), (gradient_below, moments_below) = at(x + step), at(x - step)
        width = 2.0 * np.abs(step).max()
        return (gradient - gradient_below) / width, (moments - moments_below) / width

    def information(x: Floats) -> Floats:
        _, log_scale, dof = at(x)[1]
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            slopes = list(threads.map(partial(along, x), DIFFERENCE * np.diag(target.sd)))
        curvature = np.stack([gradient for gradient, _ in slopes])
        mean, scale = (np.stack([moments[k] for _, moments in slopes]) for k in (0, 1))  # (dim, run) each
        about_mean = finished * (dof + 1) / (dof + 3) * np.exp(-2 * log_scale)  # Lange et al. (1989)
        about_scale = finished * 2 * dof / (dof + 3)
        known = (mean * about_mean) @ mean.T + (scale * about_scale) @ scale.T
        return np.asarray(known + 0.5 * (curvature + curvature.T))

    return information


def _prior_moments(observed: Observations) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Mean and variance of every latent site, the sites before it being at their means."""

    def moments() -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        centred = numpyro.handlers.substitute(
            numpyro.handlers.seed(surface_model, 0), substitute_fn=_prior_mean
        )
        trace = numpyro.handlers.trace(centred).get_trace(observed)
        latent = {name: site["fn"] for name, site in trace.items() if _is_latent(site)}
        return {k: jnp.asarray(d.mean) for k, d in latent.items()}, {
            k: jnp.asarray(d.variance) for k, d in latent.items()
        }

    return jax.jit(moments, compiler_options=FULL.compiler_options)()


def _is_latent(site: dict[str, Any]) -> bool:
    return site["type"] == "sample" and not site["is_observed"]


def _prior_mean(site: dict[str, Any]) -> jax.Array | None:
    return jnp.asarray(site["fn"].mean) if _is_latent(site) else None


def _is_scale(known: Structure, name: str, mean: jax.Array) -> jax.Array:
    if name.removeprefix("log_") in SPREADS or name.startswith("log_spread_"):
        return jnp.ones_like(mean)
    if name == "study_values":
        held = np.array([key.startswith(HELD) for key in known.study], float)
        return jnp.asarray(held[:, None] * np.ones(mean.shape))
    return jnp.zeros_like(mean)
