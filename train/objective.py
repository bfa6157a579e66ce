"""What a run minimises."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(logits: Tensor, rows: Tensor, label_smoothing: float, reduction: str = "mean") -> Tensor:
    """Cross-entropy of the last values of each row [nats/guess], in 32 bits.

    Args:
        logits: (sequence, guess, choice).
        rows: (sequence, value); its last values are what is guessed.
        label_smoothing: share of the probability that is spread over all choices.
        reduction: "mean" or "sum" over guesses.
    """
    truth = rows[:, -logits.shape[1] :].flatten()
    return F.cross_entropy(
        logits.flatten(0, 1).float(), truth, label_smoothing=label_smoothing, reduction=reduction
    )
