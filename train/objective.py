"""What a run minimises."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

NO_TARGET = -100
"""What ``cross_entropy`` leaves out."""


def inputs_of(rows: Tensor) -> Tensor:
    """What a network reads of rows (sequence, value): tokens that are only read are negative in them
    (``data.tasks``)."""
    return torch.where(rows < 0, -1 - rows, rows)[:, :-1]


def targets_of(rows: Tensor, guesses: int) -> Tensor:
    """The last ``guesses`` values of each row, (sequence * guesses,); ``NO_TARGET`` where only read."""
    return torch.where(rows < 0, NO_TARGET, rows)[:, -guesses:].flatten()


def cross_entropy(logits: Tensor, rows: Tensor, label_smoothing: float, reduction: str = "mean") -> Tensor:
    """Cross-entropy of the last values of each row [nats/guess], in 32 bits.

    Args:
        logits: (sequence, guess, choice).
        rows: (sequence, value); its last values are what is guessed.
        label_smoothing: share of the probability that is spread over all choices.
        reduction: "mean" or "sum" over guesses.
    """
    truth = targets_of(rows, logits.shape[1])
    return F.cross_entropy(
        logits.flatten(0, 1).float(), truth, label_smoothing=label_smoothing, reduction=reduction
    )
