"""Measurements on JAX models: ``landscape`` and ``next_step``, at any step of a training loop.

Hessian products are forward over reverse, compiled once per shape of a micro-batch. Optax is used as the
caller hands it in; nothing of it is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from bayeslaw.errors import BadInput
from bayeslaw.spectra import preconditioners, thresholds
from bayeslaw.spectra.landscape import (
    FORWARD,
    GRADIENT,
    GRAPH_PRODUCT,
    PRODUCT,
    Landscape,
    Map,
    Meter,
    NextStep,
    finite,
)

Batch = Any
"""A pytree of arrays whose first axis is the sequences."""

Loss = Callable[[Any, Batch], jax.Array]


def landscape(
    loss: Loss,
    model: Any,
    batch: Batch,
    micro_batch: int | None = None,
    total: Callable[[jax.Array], jax.Array] = lambda a: a,
) -> Landscape:
    """The mean loss of a batch about the model's weights, as they are now.

    Args:
        loss: of weights and a batch, averaged over its sequences, without dropout. Give the same function
            each time: what is compiled is kept by it.
        model: the weights, a pytree of floating point arrays.
        batch: this process's sequences.
        micro_batch: sequences of which graphs are held at once; bounds the memory. A product costs 3 gradient
            evaluations where the batch is larger, else 2.
        total: sum of an array over processes.

    Raises:
        BadInput: no weights, weights that are not finite, no sequences. Its measurements raise it for an
            operation that cannot be differentiated twice and a graph that does not fit the memory.
    """
    _check(model)
    weights, unravel = ravel_pytree(model)
    count = _length(batch)
    at_once = count if micro_batch is None else micro_batch
    if at_once < 1 and count:
        raise BadInput(f"landscape: micro_batch = {micro_batch}; expected at least 1 sequence; give more")
    everywhere = int(total(jnp.asarray(float(count))))
    if not everywhere:
        raise BadInput("landscape: the batch has no sequences; expected at least one; measure some")
    meter, opened = Meter(), list[Map]()
    pieces = [_part(batch, first, at_once) for first in range(0, count, max(at_once, 1))]
    zero = jnp.zeros_like(weights)

    def vector(values: np.ndarray) -> jax.Array:
        return jnp.asarray(np.asarray(values), weights.dtype)

    def summed(function: Callable[[Batch], jax.Array], start: jax.Array) -> jax.Array:
        with _complaints():
            for piece in pieces:
                start = start + function(piece) * (_length(piece) / everywhere)
            return total(start)

    def loss_at(move: jax.Array | None = None) -> float:
        meter.add(FORWARD)
        moved = unravel(weights if move is None else weights + move)
        return float(summed(lambda piece: _loss(loss, moved, piece), jnp.zeros((), weights.dtype)))

    def gradient() -> jax.Array:
        meter.add(GRADIENT)
        return summed(lambda piece: _gradient(loss, model, piece), zero)

    def gradients(sequences: int) -> Iterator[jax.Array]:
        meter.add(GRADIENT)
        for first in range(0, count - sequences + 1, sequences):
            yield _gradient(loss, model, _part(batch, first, sequences))

    @contextmanager
    def hessian() -> Iterator[Map]:
        if opened:
            yield opened[0]
            return
        with _complaints():
            kept = [_graph(loss, model, piece) for piece in pieces] if len(pieces) == 1 else []
        meter.add(GRADIENT * len(kept))

        def product(v: jax.Array) -> jax.Array:
            meter.add(GRAPH_PRODUCT if kept else PRODUCT)
            tangent = unravel(v)
            if kept:
                return total(ravel_pytree(_along(kept[0], tangent))[0] * (count / everywhere))
            return summed(lambda piece: _product(loss, model, piece, tangent), zero)

        opened.append(product)
        try:
            yield product
        finally:
            opened.clear()
            kept.clear()

    return Landscape(
        model, weights.size, everywhere, vector, loss_at, gradient, gradients, total, hessian, meter
    )


def next_step(
    here: Landscape,
    optimizer: Any,
    state: Any,
    learning_rate: float,
    kind: str | None = None,
    grad_clip: float = 0.0,
    gradient: jax.Array | None = None,
    **settings: Any,
) -> NextStep:
    """What an Optax optimizer would do next on the measured sequences.

    Its update is taken as it is: hand in one without weight decay, for decay is no part of the measurements.

    Args:
        here: of ``landscape``.
        optimizer: with ``update``, as ``optax.adamw(...)`` returns it.
        state: its state.
        learning_rate: that it will use.
        kind: "sgd", "adam", "adamw", "rmsprop" or "muon" for the optimizer of Optax of that name, whose P is
            then read off its state; None where P is not wanted.
        grad_clip: largest gradient norm, where the training loop clips outside of the optimizer; 0 for none.
        gradient: of the measured sequences where it is known, else computed.
        settings: what the optimizer was made with and P depends on, by Optax's names (``b1``, ``b2``,
            ``eps``, ``decay``, ``momentum``, ``beta``, ``consistent_rms``, ...), where it is not Optax's
            default.

    Raises:
        BadInput: an unknown kind, a state of another kind, a learning rate that is no number above 0, a
            gradient that is not finite.
    """
    if not 0 < learning_rate < np.inf:
        raise BadInput(
            f"next_step: learning_rate = {learning_rate}; expected a number above 0; give the peak rate"
        )
    if kind is not None and kind not in RULES:
        raise BadInput(f"next_step: kind = {kind!r}; expected None or one of {', '.join(RULES)}")
    gradient = here.gradient() if gradient is None else gradient
    length = finite(float(gradient @ gradient) ** 0.5, "gradient norm")
    gradient = gradient * min(1.0, grad_clip / length) if grad_clip and length else gradient
    _, unravel = ravel_pytree(here.weights)
    moved, _ = optimizer.update(unravel(gradient), state, here.weights)
    update = -ravel_pytree(moved)[0] / learning_rate
    if kind is None:
        return NextStep(gradient, update)
    scale, threshold = RULES[kind](jax.tree.leaves(unravel(gradient)), state, settings)
    return NextStep(gradient, update, partial(_each_scaled, unravel=unravel, scale=scale), threshold)


# ------------------------------------------------------------------------------------------ derivatives


@partial(jax.jit, static_argnums=0)
def _loss(loss: Loss, model: Any, piece: Batch) -> jax.Array:
    return loss(model, piece)


@partial(jax.jit, static_argnums=0)
def _gradient(loss: Loss, model: Any, piece: Batch) -> jax.Array:
    return ravel_pytree(jax.grad(loss)(model, piece))[0]


@partial(jax.jit, static_argnums=0)
def _graph(loss: Loss, model: Any, piece: Batch) -> Map:
    """The gradient's derivative as a linear map, all that does not depend on its argument computed."""
    return jax.linearize(lambda m: jax.grad(loss)(m, piece), model)[1]


@jax.jit
def _along(graph: Map, tangent: Any) -> Any:
    return graph(tangent)


@partial(jax.jit, static_argnums=0)
def _product(loss: Loss, model: Any, piece: Batch, tangent: Any) -> jax.Array:
    return ravel_pytree(jax.jvp(lambda m: jax.grad(loss)(m, piece), (model,), (tangent,))[1])[0]


@contextmanager
def _complaints() -> Iterator[None]:
    """Say in one clear error that memory is short, or that an operation has no second derivative."""
    try:
        yield
    except (TypeError, NotImplementedError, ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "RESOURCE_EXHAUSTED" in str(error):
            raise BadInput(
                f"gradient: the graph does not fit the memory ({first}); expected room for one micro-batch; "
                "set micro_batch lower"
            ) from error
        if not any(word in str(error) for word in ("forward-mode", "ifferentiation rule", "JVP")):
            raise
        raise BadInput(
            f"second derivative: an operation cannot be differentiated twice ({first}); expected plain JAX "
            "operations; replace the fused kernel or custom_vjp, or take critical_learning_rate, which needs "
            "forward passes only"
        ) from error


def _check(model: Any) -> None:
    leaves = jax.tree_util.tree_leaves_with_path(model)
    if not leaves:
        raise BadInput(
            "landscape: the model has no parameters; expected at least one; give the pytree that is trained"
        )
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path)
        if not jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating):
            raise BadInput(
                f"landscape: weights {name} are no floating point array; leave them out of the model"
            )
        if not bool(jnp.isfinite(leaf).all()):
            raise BadInput(
                f"landscape: weights {name} are not finite; expected numbers; measure before the run diverges"
            )


def _length(batch: Batch) -> int:
    lengths = {len(a) for a in jax.tree.leaves(batch)}
    if len(lengths) != 1:
        raise BadInput(
            f"landscape: arrays of {sorted(lengths)} sequences; expected one number for all of a batch"
        )
    return lengths.pop()


def _part(batch: Batch, first: int, count: int) -> Batch:
    return jax.tree.map(lambda a: a[first : first + count], batch)


# ------------------------------------------------------------------------------------------ optimizers

Scale = Callable[[list[jax.Array]], list[jax.Array]]
"""P^-1/2 of every array of weights, in the order of the pytree's leaves."""


def _each_scaled(v: jax.Array, unravel: Callable[[jax.Array], Any], scale: Scale) -> jax.Array:
    return jnp.concatenate([part.ravel() for part in scale(jax.tree.leaves(unravel(v)))])


def _sgd(gradients: list[jax.Array], state: Any, given: dict[str, Any]) -> tuple[Scale, float]:
    beta = given.get("momentum") or 0.0
    return lambda parts: parts, thresholds.nesterov(beta) if given.get("nesterov") else thresholds.heavy_ball(
        beta
    )


def _adam(gradients: list[jax.Array], state: Any, given: dict[str, Any]) -> tuple[Scale, float]:
    beta1, beta2, epsilon = given.get("b1", 0.9), given.get("b2", 0.999), given.get("eps", 1e-8)
    kept = _state(state, "ScaleByAdamState")
    steps = int(kept.count) + 1
    roots = [
        preconditioners.adam(beta2 * v + (1 - beta2) * g**2, steps, beta1, beta2, epsilon)
        for v, g in zip(_leaves(kept.nu), gradients)
    ]
    return lambda parts: [r * p for r, p in zip(roots, parts)], thresholds.moving_average(beta1)


def _rmsprop(gradients: list[jax.Array], state: Any, given: dict[str, Any]) -> tuple[Scale, float]:
    decay, epsilon = given.get("decay", 0.9), given.get("eps", 1e-8)
    moments = [
        decay * v + (1 - decay) * g**2
        for v, g in zip(_leaves(_state(state, "ScaleByRmsState").nu), gradients)
    ]
    inside = given.get("eps_in_sqrt", True)
    roots = [preconditioners.rmsprop(v + epsilon * inside, epsilon * (not inside)) for v in moments]
    return lambda parts: [r * p for r, p in zip(roots, parts)], thresholds.heavy_ball(
        given.get("momentum") or 0.0
    )


def _muon(gradients: list[jax.Array], state: Any, given: dict[str, Any]) -> tuple[Scale, float]:
    """Muon for matrices, and Adam for the rest, each known by the other's mask."""
    beta, kept = given.get("beta", 0.95), _state(state, "MuonState")
    other = {
        "b1": given.get("adam_b1", 0.9),
        "b2": given.get("adam_b2", 0.999),
        "eps": given.get("eps", 1e-8),
    }
    adam = _state(state, "ScaleByAdamState")
    roots: list[Map] = []
    for momentum, second, g in zip(_leaves(kept.mu), _leaves(adam.nu), gradients):
        if _masked(momentum):
            moment = other["b2"] * second + (1 - other["b2"]) * g**2
            root = preconditioners.adam(moment, int(adam.count) + 1, **_named(other))
            roots.append(partial(jnp.multiply, root))
            continue
        ahead = beta * momentum + (1 - beta) * g
        if given.get("nesterov", True):
            ahead = beta * ahead + (1 - beta) * g
        matrix = preconditioners.muon(
            np.asarray(ahead, np.float64),
            tuple(float(c) for c in kept.ns_coeffs),  # type: ignore[arg-type]
            given.get("ns_steps", 5),
            given.get("eps", 1e-8),
        )
        rows, columns = g.shape
        rms = given.get("consistent_rms")
        scale = max(1.0, columns / rows) ** 0.5 if rms is None else rms * max(rows, columns) ** 0.5
        root = jnp.asarray(matrix * scale**0.5, g.dtype)
        roots.append(partial(jnp.matmul, root) if rows <= columns else partial(_times, root))
    own = thresholds.moving_average_nesterov if given.get("nesterov", True) else thresholds.moving_average
    threshold = min(own(beta), own(other["b1"]))  # Optax hands its nesterov on to Adam
    return lambda parts: [root(p) for root, p in zip(roots, parts)], threshold


RULES = {"sgd": _sgd, "adam": _adam, "adamw": _adam, "rmsprop": _rmsprop, "muon": _muon}


def _times(right: jax.Array, left: jax.Array) -> jax.Array:
    return left @ right


def _named(given: dict[str, float]) -> dict[str, float]:
    return {"beta1": given["b1"], "beta2": given["b2"], "epsilon": given["eps"]}


def _masked(leaf: Any) -> bool:
    return type(leaf).__name__ == "MaskedNode"


def _leaves(tree: Any) -> list[Any]:
    return jax.tree.leaves(tree, is_leaf=_masked)


def _state(state: Any, name: str) -> Any:
    """The one part of a nested state of that type's name."""
    found = list(_states(state, name))
    if len(found) != 1:
        raise BadInput(
            f"next_step: {len(found)} parts {name} in the optimizer's state; expected one; name its kind, "
            "or None"
        )
    return found[0]


def _states(state: Any, name: str) -> Iterator[Any]:
    if type(state).__name__ == name:
        yield state
    elif isinstance(state, tuple):
        for part in state:
            yield from _states(part, name)
    elif isinstance(state, dict):
        for part in state.values():
            yield from _states(part, name)
