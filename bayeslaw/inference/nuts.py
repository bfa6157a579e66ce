"""NUTS chains in threads, with one metric and one step size from a common warm-up."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer.hmc import HMCState, hmc
from scipy.linalg import solve_triangular
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from bayeslaw.arrays import Floats
from bayeslaw.inference.checkpoint import Keep
from bayeslaw.inference.compilation import hoisted
from bayeslaw.inference.effort import FULL, Effort
from bayeslaw.inference.laplace import Whitening

DIMS_A_WARM_BLOCK = 150
"""Number of parameters per additional warm-up block, since a larger metric needs more draws."""

ACCEPT = 0.93
"""Target acceptance of the warm-up."""

SOFTENED, SETTLED = (0.2, 0.4), 0.5
"""Shares of the warm-up: after which stiff directions are sought, and from which on draws form the metric.
Draws on the way to where the posterior is would stretch it."""

WORTH = 0.5
"""Independent draws that one draw of a chain is worth to the metric."""

STIFF = 16
"""Number of directions that may be narrower than the Gaussian approximation has them."""

DIFFERENCE = 1e-4
"""Step of central differences, in whitened coordinates."""

QUIET = 15.0
"""Seconds of the warm-up between two messages."""

SMALLER = 0.7
RESTARTS = 6
"""Maximum number of times that draws with a divergence become warm-up, each time with the step size
multiplied by SMALLER. After that, divergences are reported."""

Energy = Callable[[jax.Array], jax.Array]
Slope = Callable[[Floats], Floats]


class Drawn(NamedTuple):
    """Draws of shape (chain, draw, dim), their number of divergent transitions, and mean leapfrog steps."""

    x: Floats
    divergences: int
    leapfrog_steps: float


class _Block(NamedTuple):
    x: Floats  # (chain, step, dim)
    divergences: int
    accepted: float
    leapfrog_steps: float


class Chains(NamedTuple):
    """Everything that the next block of draws depends on.

    The states are in whitened coordinates z, with x = centre + root @ z (Whitening), where the metric is the
    identity. A dense metric costs about five products of a matrix and a vector per leapfrog step, these
    coordinates two.

    ``base`` is the root towards which estimates are shrunk while draws are few, ``warm`` are the draws of
    each block of the warm-up, ``restarts`` how often a divergence made draws a part of it.
    """

    states: list[HMCState]
    root: Floats
    base: Floats
    step: float
    warm: tuple[Floats, ...] = ()
    restarts: int = 0
    parts: tuple[_Block, ...] = ()


class Sampler(NamedTuple):
    """NUTS for one energy: the first state of a chain, and a compiled block of its steps."""

    init: Callable[..., HMCState]
    block: Callable[..., Any]


Run = Callable[[Chains], tuple[list[HMCState], _Block]]
"""Chains -> their states after one block, and the block."""


def sampler(energy: Energy, dim: int, effort: Effort = FULL, shared: bool = True) -> Sampler:
    """NUTS for exp(-energy), compiled for vectors of (dim,).

    That takes seconds and needs no place to start from: it may be done while another thread seeks one.
    ``shared``: for all energies that differ in the numbers they close over (``compilation.hoisted``).
    """
    init, sample = hmc(potential_fn_gen=partial(_whitened, energy), algo="NUTS")
    init = partial(init, max_tree_depth=effort.tree_depth)
    with jax.enable_x64(True):  # per thread: the caller's may not reach this one
        origin, root = jnp.zeros(dim), jnp.eye(dim)
        state = _first_state(init, origin, origin, root, 0.3, jax.random.PRNGKey(0))

        def block(state: HMCState, centre: jax.Array, root: jax.Array) -> tuple[HMCState, Any]:
            def step(state: HMCState, _: None) -> tuple[HMCState, Any]:
                state = sample(state, (centre, root))
                return state, (state.z, state.diverging, state.accept_prob, state.num_steps)

            return jax.lax.scan(step, state, length=effort.block)

        explicit, arrays = hoisted(block, state, origin, root, shared=shared)
        lowered = jax.jit(explicit).lower(arrays, state, origin, root)
        compiled = lowered.compile(effort.compiler_options)
    return Sampler(init, partial(compiled, arrays))


def draw(
    sampler: Sampler,
    slope: Slope,
    w: Whitening,
    chains: int,
    draws: int,
    seed: int,
    enough: Callable[[Drawn], bool],
    say: Callable[[str], None],
    effort: Effort = FULL,
    saved: Mapping[str, np.ndarray] | None = None,
    keep: Keep = lambda pack: None,
) -> Drawn:
    """Draws of exp(-energy), ``draws`` per chain and more until ``enough`` or ``effort.max_draws``.

    ``sampler`` is of that energy and effort; ``slope`` is its gradient, compiled.

    All chains share the metric (inverse of the pooled covariance) and the step size, as in the cross-chain
    warm-up of Bales et al. (2019, arXiv:1905.11916, section 4). Nothing adapts after it.

    ``keep`` is called after each block with what packs the chains; from what it packed, as ``saved``, the
    same call goes on and returns the same draws.
    """
    at = _start(sampler.init, w, chains, seed)
    if saved:
        at = unpacked(saved, at.states[0])
    warm_blocks = effort.warm_blocks + len(w.mean) // DIMS_A_WARM_BLOCK
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        run = partial(_run, w.mean, sampler.block, threads)
        said = time.monotonic()
        while len(at.warm) < warm_blocks:
            at = _warmed(at, run, w.mean, warm_blocks)
            if len(at.warm) in [int(share * warm_blocks) for share in SOFTENED]:
                at = _softened(at, slope, w.mean)
            keep(partial(packed, at))
            if time.monotonic() - said > QUIET:
                said = time.monotonic()
                say(f"warm-up: {len(at.warm)} of {warm_blocks} blocks")
        while True:
            at = _sampled(at, run, say, effort)
            if len(at.parts) % -(-min(draws, effort.max_draws) // effort.block) == 0:
                drawn = _join(at.parts)
                if enough(drawn) or drawn.x.shape[1] >= effort.max_draws:
                    return drawn
            keep(partial(packed, at))


def _root(covariance: Floats) -> Floats:
    return np.asarray(np.linalg.cholesky(covariance), float)


def _whitened(energy: Energy, centre: jax.Array, root: jax.Array) -> Energy:
    return lambda z: energy(centre + root @ z)


def _start(init: Callable[..., HMCState], w: Whitening, chains: int, seed: int) -> Chains:
    rng = np.random.default_rng(seed)
    root, step, dim = _root(w.scale @ w.scale.T), 0.3, len(w.mean)
    states = [
        _first_state(
            init,
            jnp.asarray(np.linalg.solve(root, 0.5 * w.scale @ rng.standard_normal(dim))),
            jnp.asarray(w.mean),
            jnp.asarray(root),
            step,
            key,
        )
        for key in jax.random.split(jax.random.PRNGKey(seed), chains)
    ]
    return Chains(states, root, root, step)


def _first_state(
    init: Callable[..., HMCState],
    z: jax.Array,
    centre: jax.Array,
    root: jax.Array,
    step: float,
    key: jax.Array,
) -> HMCState:
    return init(
        z,
        0,
        step,
        jnp.ones(len(z)),
        adapt_step_size=False,
        adapt_mass_matrix=False,
        trajectory_length=None,
        model_args=(centre, root),
        rng_key=key,
    )


def _softened(at: Chains, slope: Slope, centre: Floats) -> Chains:
    """The chains in coordinates without the stiffest directions, by the curvature where the chains are.

    Where the posterior is narrower than its Gaussian approximation, a few directions set the step of all, and
    the draws of a warm-up are too few to find them among hundreds.
    """
    dim = len(centre)
    places = [centre + at.root @ np.asarray(state.z) for state in at.states]

    def product(direction: Floats) -> Floats:
        by = at.root @ (direction.ravel() * DIFFERENCE)
        ends = [slope(x + by) - slope(x - by) for x in places]
        return np.asarray(at.root.T @ np.mean(ends, axis=0) / (2.0 * DIFFERENCE))

    hessian = LinearOperator((dim, dim), product, dtype=float)
    try:
        values, directions = eigsh(hessian, k=min(STIFF, dim - 1), which="LA", tol=0.01, v0=np.ones(dim))
    except ArpackError:  # the draws will have to tell
        return at
    values, directions = values[values > 1.0], directions[:, values > 1.0]
    root = at.root + (at.root @ directions * (values**-0.5 - 1.0)) @ directions.T
    root = _root(root @ root.T)
    step = min(0.2, at.step * float(np.sqrt(values.max(initial=1.0))))
    return at._replace(states=_going_on(at.states, at.root, root, step), root=root, base=root, step=step)


def _warmed(at: Chains, run: Run, centre: Floats, blocks: int) -> Chains:
    """The chains after one more of so many blocks of warm-up."""
    number = len(at.warm)
    states, block = run(at)
    warm, root = (*at.warm, block.x), at.root
    settling = number >= blocks - 3
    step = at.step * (SMALLER if settling and block.divergences else _longer(block.accepted))
    if int(SETTLED * blocks) <= number < blocks - 2:
        base = Whitening(centre, at.base)
        root = _root(pooled_covariance(base, np.concatenate(warm[(number + 1) // 2 :], axis=1)))
    return Chains(_going_on(states, at.root, root, step), root, at.base, step, warm)


def _sampled(at: Chains, run: Run, say: Callable[[str], None], effort: Effort) -> Chains:
    """The chains after one more block of draws without divergences.

    After a divergence all draws so far count as warm-up: to draw only the block again would select among
    blocks, against the places that diverge.
    """
    while True:
        states, block = run(at)
        if not block.divergences or at.restarts >= RESTARTS:
            return at._replace(states=states, parts=(*at.parts, block))
        dropped = (len(at.parts) + 1) * effort.block
        say(f"{block.divergences} divergences: the {dropped} draws so far are warm-up, then smaller steps")
        step = at.step * SMALLER
        states = _going_on(states, at.root, at.root, step)
        at = at._replace(states=states, step=step, restarts=at.restarts + 1, parts=())


def packed(at: Chains) -> dict[str, np.ndarray]:
    """The chains as arrays, by name."""
    leaves = zip(*(jax.tree.leaves(state) for state in at.states), strict=True)
    arrays = {f"state {k}": np.stack([np.asarray(leaf) for leaf in each]) for k, each in enumerate(leaves)}
    arrays |= {f"warm {k}": x for k, x in enumerate(at.warm)}
    arrays |= {f"draws {k}": block.x for k, block in enumerate(at.parts)}
    told = [(block.divergences, block.accepted, block.leapfrog_steps) for block in at.parts]
    return arrays | {
        "root": at.root,
        "base": at.base,
        "step": np.array(at.step),
        "restarts": np.array(at.restarts),
        "blocks": np.reshape(np.array(told, float), (-1, 3)),
    }


def unpacked(arrays: Mapping[str, np.ndarray], like: HMCState) -> Chains:
    """The chains that ``packed`` packed; ``like`` is any state of such a chain."""
    of_like, form = jax.tree.flatten(like)
    leaves = [arrays[f"state {k}"] for k in range(len(of_like))]
    blocks = [
        _Block(arrays[f"draws {k}"], int(divergences), float(accepted), float(leapfrogs))
        for k, (divergences, accepted, leapfrogs) in enumerate(arrays["blocks"])
    ]
    return Chains(
        states=[
            jax.tree.unflatten(form, [jnp.asarray(each[chain]) for each in leaves])
            for chain in range(len(leaves[0]))
        ],
        root=arrays["root"],
        base=arrays["base"],
        step=float(arrays["step"]),
        warm=tuple(arrays[f"warm {k}"] for k in range(sum(name.startswith("warm ") for name in arrays))),
        restarts=int(arrays["restarts"]),
        parts=tuple(blocks),
    )


def pooled_covariance(w: Whitening, x: Floats) -> Floats:
    """Covariance of draws x of shape (chain, draw, dim), where it differs from the whitening's beyond chance.

    In whitened coordinates the eigenvalues of so few draws scatter about 1 even if nothing is wrong. Those
    outside the range of this scatter (Marchenko & Pastur 1967) are taken to where they come from, the others
    to 1. A direction found is off the true one by chance too; the precision along it is the mean of theirs,
    since what is taken for too wide makes all steps small (Donoho, Gavish & Johnstone 2018, Annals of
    Statistics 46, sections 2 and 3, Stein's loss). ``WORTH`` of the draws count, since neighbours agree.
    """
    z = np.linalg.solve(w.scale, (x - x.mean((0, 1))).reshape(-1, x.shape[2]).T)
    dim, count = z.shape
    values, vectors = np.linalg.eigh(z @ z.T / count)
    ratio = dim / (WORTH * count)
    beyond = (values > (1.0 + np.sqrt(ratio)) ** 2) | ((values < (1.0 - np.sqrt(ratio)) ** 2) & (ratio < 1.0))
    values, vectors = values[beyond], vectors[:, beyond]
    middle = values + 1.0 - ratio
    true = 0.5 * (middle + np.sign(values - 1.0) * np.sqrt(np.maximum(middle**2 - 4.0 * values, 0.0)))
    near = (1.0 - ratio / (true - 1.0) ** 2) / (1.0 + ratio / (true - 1.0))  # cos^2 between found and true
    found = 1.0 / (near / true + 1.0 - near)
    directions = w.scale @ vectors
    return np.asarray(w.scale @ w.scale.T + (directions * (found - 1.0)) @ directions.T)


def _longer(accepted: float) -> float:
    """Factor of the step size that should bring acceptance to ACCEPT: rejection grows with its square."""
    return float(np.clip(np.sqrt((1.0 - ACCEPT) / max(1.0 - accepted, 1e-3)), 0.4, 1.6))


def _going_on(states: list[HMCState], before: Floats, root: Floats, step: float) -> list[HMCState]:
    """The same chains at the same places, in the coordinates of another root and with another step size."""
    change = solve_triangular(before, root, lower=True)

    def moved(state: HMCState) -> HMCState:
        z = solve_triangular(change, np.asarray(state.z), lower=True)
        adapted = state.adapt_state._replace(step_size=jnp.asarray(step))
        slope = change.T @ np.asarray(state.z_grad)
        return state._replace(z=jnp.asarray(z), z_grad=jnp.asarray(slope), adapt_state=adapted)

    return [moved(state) for state in states]


def _run(
    centre: Floats, steps: Callable[..., Any], threads: ThreadPoolExecutor, at: Chains
) -> tuple[list[HMCState], _Block]:
    def advance(state: HMCState) -> Any:
        with jax.enable_x64(True):  # per thread: the caller's does not reach this one
            return jax.block_until_ready(steps(state, jnp.asarray(centre), jnp.asarray(at.root)))

    done = list(threads.map(advance, at.states))
    z, diverging, accepted, leapfrogs = (np.stack(field) for field in zip(*(f for _, f in done), strict=True))
    x = centre + z @ at.root.T
    block = _Block(x, int(diverging.sum()), float(accepted.mean()), float(leapfrogs.mean()))
    return [state for state, _ in done], block


def _join(parts: Sequence[_Block]) -> Drawn:
    return Drawn(
        np.concatenate([p.x for p in parts], axis=1),
        sum(p.divergences for p in parts),
        float(np.mean([p.leapfrog_steps for p in parts])),
    )
