"""Roles that follow from others: units of the run table from the units that trainers write."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Conversion:
    """A role that follows from others.

    Attributes:
        role: what follows.
        needs: the roles that it follows from, in the order of the arguments of ``formula``.
        formula: columns of numbers -> column of numbers.
        words: the formula, for a person.
    """

    role: str
    needs: tuple[str, ...]
    formula: Callable[..., pd.Series]
    words: str


def _ln(values: pd.Series) -> pd.Series:
    return pd.Series(np.log(values.where(values > 0)), index=values.index)


CONVERSIONS = (
    Conversion(
        "params_embedding",
        ("vocab_size", "width", "tied_embeddings"),
        lambda vocab, width, tied: vocab * width * (2 - tied),
        "vocab_size width, twice where the output head is not tied",
    ),
    Conversion(
        "params_nonembedding",
        ("params_total", "params_embedding"),
        lambda all_, embedding: all_ - embedding,
        "params_total less params_embedding",
    ),
    Conversion(
        "batch_sequences",
        ("device_batch", "accumulation", "devices"),
        lambda batch, times, devices: batch * times * devices,
        "device_batch times accumulation times devices",
    ),
    Conversion(
        "batch_tokens",
        ("batch_sequences", "sequence_length"),
        lambda batch, length: batch * length,
        "batch_sequences times sequence_length",
    ),
    Conversion("steps", ("epochs", "epoch_steps"), lambda n, steps: n * steps, "epochs times epoch_steps"),
    Conversion(
        "tokens", ("steps", "batch_tokens"), lambda steps, batch: steps * batch, "steps times batch_tokens"
    ),
    Conversion(
        "tokens",
        ("tokens_per_param", "params_nonembedding"),
        lambda ratio, params: ratio * params,
        "tokens_per_param times params_nonembedding",
    ),
    Conversion(
        "tokens",
        ("sequences", "sequence_length"),
        lambda sequences, length: sequences * length,
        "sequences times sequence_length",
    ),
    Conversion(
        "tokens", ("epochs", "epoch_tokens"), lambda n, tokens: n * tokens, "epochs times epoch_tokens"
    ),
    Conversion(
        "tokens",
        ("epochs", "epoch_sequences", "sequence_length"),
        lambda n, sequences, length: n * sequences * length,
        "epochs times epoch_sequences times sequence_length",
    ),
    Conversion(
        "batch_tokens", ("tokens", "steps"), lambda tokens, steps: tokens / steps, "tokens over steps"
    ),
    Conversion(
        "warmup_tokens",
        ("warmup_steps", "batch_tokens"),
        lambda steps, batch: steps * batch,
        "warmup_steps times batch_tokens",
    ),
    Conversion(
        "warmup_tokens",
        ("warmup_share", "tokens"),
        lambda share, tokens: share * tokens,
        "warmup_share times tokens",
    ),
    Conversion(
        "final_lr_ratio",
        ("final_learning_rate", "learning_rate"),
        lambda last, peak: last / peak,
        "final_learning_rate over learning_rate",
    ),
    Conversion("loss", ("loss_bits",), lambda bits: bits * math.log(2), "loss_bits times ln 2"),
    Conversion("loss", ("perplexity",), _ln, "ln of perplexity"),
)
"""In the order they are tried; a role that is given, or follows from an earlier row, stays."""


def follow(given: Mapping[str, pd.Series]) -> dict[str, tuple[pd.Series, Conversion]]:
    """Roles that follow from the given ones, directly or through others, each with its conversion.

    >>> one = pd.Series([1.0])
    >>> found = follow({"steps": 100 * one, "batch_sequences": 8 * one, "sequence_length": 64 * one})
    >>> {role: float(values[0]) for role, (values, _) in found.items()}
    {'batch_tokens': 512.0, 'tokens': 51200.0}
    """
    known = dict(given)
    found = {}
    for row in CONVERSIONS:
        if row.role not in known and all(role in known for role in row.needs):
            known[row.role] = row.formula(*(known[role] for role in row.needs))
            found[row.role] = known[row.role], row
    return found


USED = frozenset(role for row in CONVERSIONS for role in (row.role, *row.needs))
"""Roles that are numbers because a conversion needs or gives them."""
