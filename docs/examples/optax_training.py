"""A JAX loop with an advised Optax schedule and a row of the run table; seconds on a CPU, no network.

python docs/examples/optax_training.py [FOLDER]
"""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bayeslaw.integrations import RunRecorder, optax_schedule, recommended

VOCABULARY, WIDTH, LENGTH, SEQUENCES, STEPS, WARMUP = 64, 32, 32, 16, 40, 4
BATCH_TOKENS = SEQUENCES * LENGTH


def initial(rng: np.random.Generator) -> dict[str, jax.Array]:
    """An embedding, tied to the head, and a layer: enough of a language model."""
    shapes = {"embedding": (VOCABULARY, WIDTH), "up": (WIDTH, 4 * WIDTH), "down": (4 * WIDTH, WIDTH)}
    scale = WIDTH**-0.5
    return {name: jnp.asarray(rng.normal(0, scale, shape), jnp.float32) for name, shape in shapes.items()}


@jax.jit
def mean_loss(weights: dict[str, jax.Array], tokens: np.ndarray) -> jax.Array:
    """Cross-entropy of each next token [nats]."""
    features = weights["embedding"][tokens[:, :-1]]
    features = features + jax.nn.gelu(features @ weights["up"]) @ weights["down"]
    logits = features @ weights["embedding"].T
    return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()


def sequences(rng: np.random.Generator, count: int) -> np.ndarray:
    """Arithmetic progressions: what follows can be learnt."""
    start, step = rng.integers(VOCABULARY, size=(count, 1)), rng.integers(1, 4, size=(count, 1))
    return (start + step * np.arange(LENGTH + 1)) % VOCABULARY


def main(folder: str) -> None:
    """Train once; the record goes to the folder."""
    rng = np.random.default_rng(0)
    weights = initial(rng)
    params, tokens = weights["up"].size + weights["down"].size, STEPS * BATCH_TOKENS
    advice = recommended(params, tokens, "adamw", batch_tokens=BATCH_TOKENS)
    b1, decay = advice.momentum or 0.9, advice.weight_decay or 0.0
    schedule = optax_schedule(advice, STEPS, warmup_steps=WARMUP)
    optimizer = optax.adamw(schedule, b1=b1, b2=0.95, weight_decay=decay)
    state = optimizer.init(weights)

    @jax.jit
    def train_step(weights: Any, state: Any, batch: np.ndarray) -> tuple[Any, Any, jax.Array]:
        loss, gradients = jax.value_and_grad(mean_loss)(weights, batch)
        updates, state = optimizer.update(gradients, state, weights)
        return optax.apply_updates(weights, updates), state, loss

    with RunRecorder(
        folder,
        study="toy",
        optimizer="adamw",
        params_nonembedding=params,
        params_embedding=weights["embedding"].size,
        tokens=tokens,
        batch_tokens=BATCH_TOKENS,
        sequence_length=LENGTH,
        learning_rate=advice.learning_rate,
        momentum=b1,
        beta2=0.95,
        weight_decay=decay,
        schedule="cosine",
        warmup_tokens=WARMUP * BATCH_TOKENS,
        final_lr_ratio=0.1,
        seed=0,
        main_process=jax.process_index() == 0,
    ) as recorder:
        for step in range(1, STEPS + 1):
            weights, state, loss = train_step(weights, state, sequences(rng, SEQUENCES))
            if recorder.loss(step, loss):
                break
        else:
            recorder.finish(mean_loss(weights, sequences(rng, 256)))
    print(f"{recorder.path}: {recorder.row['status']}, loss {recorder.row.get('loss')}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "out/toy")
