"""Sequences that a run reads, in order: pure functions of an index, so that a resumed run continues exactly.

Sequences of T tokens lie end to end in the corpus: sequence i is tokens i T to (i + 1) T, and one more as the
last target. Examples of a task (``data.tasks``) are sequences already, (example, T + 1).
"""

from __future__ import annotations

import numpy as np

from bayeslaw.errors import BadInput

CHOICE = 0  # of sequences: one for all runs, so that subsets of different D are nested
SHUFFLE = 1  # of those chosen, by the seed of the run
CROP = 2  # of each image of a run, by its seed


def sequence_order(
    available: int, tokens: int, sequence_length: int, seed: int, epochs: int = 1
) -> np.ndarray:
    """Order the sequences of training.

    They are the first D / T / epochs of one fixed permutation of the corpus, which does not depend on the
    seed: a run with fewer tokens reads a subset of a run with more. The seed shuffles the chosen sequences,
    anew in each epoch.

    Args:
        available: tokens in the training corpus (``len(corpus.train)``).
        tokens: D, tokens to train on, repeats included; rounded down to whole sequences.
        sequence_length: T, tokens.
        seed: 0 or above.
        epochs: how often each sequence is read; the last epoch lacks some where they do not divide D / T.

    Returns:
        Indices of sequences, int64 (tokens // sequence_length,), each ``epochs`` times or once less.

    Raises:
        BadInput: D below one sequence or beyond the corpus, T below 1, or a negative seed.

    >>> sequence_order(available=81, tokens=50, sequence_length=10, seed=0).tolist()
    [7, 3, 0, 6, 5]
    >>> sequence_order(available=81, tokens=30, sequence_length=10, seed=0).tolist()
    [5, 6, 3]
    >>> sequence_order(available=81, tokens=60, sequence_length=10, seed=0, epochs=2).tolist()
    [5, 6, 3, 3, 5, 6]
    """
    total, read = _sequences(available, sequence_length), tokens // sequence_length
    wanted = -(-read // epochs)
    if wanted < 1:
        raise BadInput(
            f"tokens {tokens:,}: less than one sequence of {sequence_length:,}; train on more tokens"
        )
    if wanted > total:
        raise BadInput(
            f"tokens {tokens:,}{f' in {epochs} epochs' if epochs > 1 else ''}: the corpus has "
            f"{total * sequence_length:,} for training, in sequences of {sequence_length:,}; train on fewer "
            "tokens or in more epochs, or choose a larger corpus or a smaller vocabulary"
        )
    if seed < 0:
        raise BadInput(f"seed {seed}: expected 0 or above")
    chosen = generator(CHOICE).permutation(total)[:wanted].astype(np.int64)
    shuffle = generator(SHUFFLE, seed)
    return np.concatenate([shuffle.permutation(chosen) for _ in range(epochs)])[:read]


def available(train: np.ndarray, sequence_length: int) -> int:
    """Tokens to train on, as ``sequence_order`` counts them."""
    return len(train) if train.ndim == 1 else len(train) * sequence_length + 1


def batch(train: np.ndarray, order: np.ndarray, first: int, count: int, sequence_length: int) -> np.ndarray:
    """Read sequences ``first`` to ``first + count`` of an order, each with the token that follows it.

    Args:
        train: tokens (n,), uint16, or sequences (n, T + 1).
        order: result of `sequence_order`.
        first: position in the order, from 0.
        count: number of sequences.
        sequence_length: T, tokens.

    Returns:
        Tokens, int64 (count, T + 1): inputs are ``[:, :-1]``, targets ``[:, 1:]``.

    Raises:
        BadInput: the order ends earlier.
    """
    if not 0 <= first <= first + count <= len(order):
        raise BadInput(
            f"sequences {first:,} to {first + count:,}: the order has {len(order):,}; read within it"
        )
    return _read(train, order[first : first + count], sequence_length)


def validation_batches(validation: np.ndarray, sequence_length: int, count_sequences: int) -> np.ndarray:
    """Read the validation sequences, the same in every run: evenly spread over the validation tokens.

    Args:
        validation: tokens (n,), uint16, or sequences (n, T + 1).
        sequence_length: T, tokens.
        count_sequences: number of sequences, or all if there are fewer.

    Returns:
        Tokens, int64 (min(count_sequences, whole sequences), T + 1).

    Raises:
        BadInput: no sequence exists or is requested.
    """
    total = _sequences(available(validation, sequence_length), sequence_length)
    if total < 1:
        raise BadInput(
            f"validation: {len(validation):,} tokens, less than {sequence_length:,} and one more; "
            "choose a larger corpus or shorter sequences"
        )
    if count_sequences < 1:
        raise BadInput(f"validation sequences {count_sequences}: expected 1 or more")
    count = min(count_sequences, total)
    return _read(validation, np.arange(count, dtype=np.int64) * total // count, sequence_length)


def _sequences(tokens: int, sequence_length: int) -> int:
    """Number of whole sequences in a row of tokens; the last target needs one more token."""
    if sequence_length < 1:
        raise BadInput(f"sequence_length {sequence_length}: expected 1 or more tokens")
    return max(tokens - 1, 0) // sequence_length


def _read(tokens: np.ndarray, sequences: np.ndarray, sequence_length: int) -> np.ndarray:
    if tokens.ndim == 2:
        return np.asarray(tokens[sequences], dtype=np.int64)
    places = sequences[:, None] * sequence_length + np.arange(sequence_length + 1)
    return np.asarray(tokens[places], dtype=np.int64)


def generator(*key: int) -> np.random.RandomState:
    """NumPy's legacy generator: the only one whose permutations no later version changes (NEP 19)."""
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(key)))
