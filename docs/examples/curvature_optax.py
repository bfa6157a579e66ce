"""A JAX run whose learning rate knows the network's curvature; seconds on a CPU, no network.

python docs/examples/curvature_optax.py
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bayeslaw.errors import BadInput
from bayeslaw.integrations import Advice, advised_schedule, optax_schedule, recommended
from bayeslaw.spectra import largest_eigenvalue
from bayeslaw.spectra.for_jax import landscape, next_step

VOCABULARY, WIDTH, LENGTH, BATCH, TOKENS = 64, 32, 32, 512, 40_000
PROBE_RATE, PROBE_STEPS = 3e-3, 20

Weights = dict[str, jax.Array]


def initial(rng: np.random.Generator) -> Weights:
    """An embedding, tied to the head, and a layer: enough of a language model."""
    shapes = {"embedding": (VOCABULARY, WIDTH), "up": (WIDTH, 4 * WIDTH), "down": (4 * WIDTH, WIDTH)}
    return {
        name: jnp.asarray(rng.normal(0, WIDTH**-0.5, shape), jnp.float32) for name, shape in shapes.items()
    }


def mean_loss(weights: Weights, tokens: jax.Array) -> jax.Array:
    """Cross-entropy of each next token [nats]."""
    features = weights["embedding"][tokens[:, :-1]]
    features = features + jax.nn.gelu(features @ weights["up"]) @ weights["down"]
    logits = features @ weights["embedding"].T
    return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()


def sequences(rng: np.random.Generator, count: int) -> jax.Array:
    """Arithmetic progressions: what follows can be learnt."""
    start, step = rng.integers(VOCABULARY, size=(count, 1)), rng.integers(1, 4, size=(count, 1))
    return jnp.asarray((start + step * np.arange(LENGTH + 1)) % VOCABULARY)


def train(
    weights: Weights, optimizer: Any, steps: int, rng: np.random.Generator
) -> tuple[Weights, Any, float]:
    """Train so many steps; the weights, the optimizer's state and the last loss."""

    @jax.jit
    def train_step(weights: Weights, state: Any, batch: jax.Array) -> tuple[Weights, Any, jax.Array]:
        loss, gradients = jax.value_and_grad(mean_loss)(weights, batch)
        updates, state = optimizer.update(gradients, state, weights)
        return optax.apply_updates(weights, updates), state, loss

    state, loss = optimizer.init(weights), jnp.nan
    for _ in range(steps):
        weights, state, loss = train_step(weights, state, sequences(rng, BATCH // LENGTH))
    return weights, state, float(loss)


def curvature(rng: np.random.Generator) -> float:
    """Largest eigenvalue of the preconditioned Hessian of a new network after the first steps of a run."""
    rate = optax.warmup_cosine_decay_schedule(0.0, PROBE_RATE, TOKENS // BATCH // 3, TOKENS // BATCH)
    optimizer = optax.adam(rate, b2=0.95)
    weights, state, _ = train(initial(rng), optimizer, PROBE_STEPS, rng)
    here = landscape(mean_loss, weights, sequences(rng, 8))
    step = next_step(here, optimizer, state, float(rate(PROBE_STEPS)), "adam", b2=0.95)
    return largest_eigenvalue(here, step.inverse_root).value


def advised(params: int, found: float) -> Advice:
    """Advice that knows the curvature, or does not where the network is unlike those that were measured."""
    try:
        return recommended(params, TOKENS, "adamw", batch_tokens=BATCH, lambda_max=found)
    except BadInput as error:
        print(f"without the curvature: {error}")
        return recommended(params, TOKENS, "adamw", batch_tokens=BATCH)


def main() -> None:
    """Measure, ask, train."""
    rng = np.random.default_rng(0)
    weights, found = initial(rng), curvature(rng)
    params = weights["up"].size + weights["down"].size
    advice = advised(params, found)
    schedule = optax_schedule(advice, **advised_schedule(advice))
    b1, decay = advice.momentum or 0.9, advice.weight_decay or 0.0
    optimizer = optax.adamw(schedule, b1=b1, b2=0.95, weight_decay=decay)
    *_, loss = train(weights, optimizer, advice.steps, rng)
    print(f"lambda_max {found:.3g}, learning rate {advice.learning_rate:.3g}, last loss {loss:.3f}")


if __name__ == "__main__":
    main()
