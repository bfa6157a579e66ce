"""Published laws of the batch, the critical batch and weight decay, as formulas for ``published.LAWS``.

Batches are in tokens whatever unit the paper uses. Some laws need the loss: ``chinchilla_loss`` stands in for
it, so a batch that follows from it is no more certain than the loss of another corpus.
"""

from __future__ import annotations

POWER_LINES_SEQUENCE = 2048
ZHANG_SEQUENCE = 512
MERRILL_PLATEAU = 4096 * 4096


def chinchilla_loss(n: float, d: float) -> float:
    """Loss [nats/token] 1.8172 + 482.01 N^-0.3478 + 2085.43 D^-0.3658 (Besiroglu, arXiv 2404.10102).

    Refit of Chinchilla's runs, on MassiveText and N with embeddings; constants second hand.

    >>> round(chinchilla_loss(7e10, 1.4e12), 2)
    1.97
    """
    return 1.8172 + 482.01 * n**-0.3478 + 2085.43 * d**-0.3658


def kaplan_critical_batch(n: float, d: float) -> float:
    """2e8 L^-4.76 [tokens] (Kaplan, arXiv 2001.08361 section 5: L^(1/0.21)), at ``chinchilla_loss``.

    >>> round(kaplan_critical_batch(1e9, 2e10) / 1e6, 1)
    2.4
    """
    return 2e8 * chinchilla_loss(n, d) ** (-1 / 0.21)


def minicpm_batch(n: float, d: float) -> float:
    """1.21e9 L^-6.24 [tokens] (MiniCPM, arXiv 2404.06395), at ``chinchilla_loss``; the paper's L is on C4.

    >>> round(minicpm_batch(1e9, 2e10) / 1e6, 1)
    3.7
    """
    return 1.21e9 * chinchilla_loss(n, d) ** -6.24


def power_lines_batch(n: float, d: float) -> float:
    """0.0306 D^0.383 sequences of 2,048, in tokens (Power Lines, arXiv 2505.13738).

    >>> round(power_lines_batch(1e9, 2e10) / 2048)  # sequences
    270
    """
    return 0.0306 * d**0.383 * POWER_LINES_SEQUENCE


def power_lines_critical_batch(n: float, d: float) -> float:
    """0.0471 D^0.462 sequences of 2,048, in tokens (Power Lines, arXiv 2505.13738).

    >>> round(power_lines_critical_batch(1e9, 2e10) / 2048)  # sequences
    2705
    """
    return 0.0471 * d**0.462 * POWER_LINES_SEQUENCE


def power_lines_timescale(n: float, d: float) -> float:
    """Best tau = B / (lr lambda D) = 1.084 (D/N)^-0.527, a share of the run (Power Lines, arXiv 2505.13738).

    >>> round(1 / power_lines_timescale(1e9, 2e10), 1)  # lr lambda times steps
    4.5
    """
    return 1.084 * (d / n) ** -0.527


def power_lines_weight_decay(n: float, d: float, batch_tokens: float, learning_rate: float) -> float:
    """Weight decay B / (lr D tau) that keeps the best timescale (Power Lines, arXiv 2505.13738).

    >>> round(power_lines_weight_decay(1e9, 2e10, 5e5, 1e-3), 3)
    0.112
    """
    return batch_tokens / (learning_rate * d * power_lines_timescale(n, d))


def zhang_critical_batch(n: float, d: float) -> float:
    """22.91 (D/1e6)^0.47 sequences of 512, in tokens (Zhang, arXiv 2410.21676).

    Along D = 20 N this is the paper's 93.20 (N/1e6)^0.47 sequences. With D fixed it hardly depends on N.

    >>> round(zhang_critical_batch(1e9, 2e10) / 512), round(93.20 * 1e3**0.47)  # sequences
    (2407, 2396)
    """
    return 22.91 * (d / 1e6) ** 0.47 * ZHANG_SEQUENCE


def merrill_critical_batch(n: float, d: float) -> float:
    """Plateau of 4,096 documents of 4,096 tokens, whatever N and D (Merrill, arXiv 2505.23971).

    >>> merrill_critical_batch(1e9, 2e10)
    16777216.0
    """
    return float(MERRILL_PLATEAU)
