"""What columns of doubtful meaning probably are, and why; used only where a person confirms.

The names are those of PyTorch trainers: transformers, torchtitan, Megatron-LM, litgpt, nanoGPT, llm-foundry.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from bayeslaw.runs.column_names import ambiguous, named
from bayeslaw.text import short

MOST_SEQUENCES = 16_384
"""A batch with more than this is one in tokens: published recipes stay below (4,096 sequences of 4,096)."""

CLOSE = 0.1
"""A count of parameters this far above that of the shape, as a share, is taken to count the same."""


@dataclass(frozen=True)
class Guess:
    """A role that a column probably holds.

    Attributes:
        role: what it would be.
        column: its name; one of the table, or one that ``values`` would add.
        reason: why, in words, with the values that speak for it.
        values: of the column, where the table does not have it.
    """

    role: str
    column: str
    reason: str
    values: pd.Series | None = None


def guesses(raw: pd.DataFrame, roles: Mapping[str, str], missing: set[str]) -> list[Guess]:
    """Guesses for what is missing, at most one for each role.

    Args:
        raw: the foreign table.
        roles: role to column, as far as they are known.
        missing: required columns of the run table that do not follow from ``roles``.
    """
    found: list[Guess] = []
    if "learning_rate" in missing:
        found += _rate(raw)
    if "loss" in missing:
        found += _objective(raw)
    if "batch_tokens" in missing:
        found += _batch(raw, roles)
    if "params_nonembedding" in missing:
        found += _params(raw, roles)
    if "tokens" in missing and not {"steps", "tokens_per_param"} & set(roles) and "last_step" in raw:
        found.append(Guess("steps", "last_step", "the last step logged; the planned number is nowhere"))
    return found


def _rate(raw: pd.DataFrame) -> Iterator[Guess]:
    if "metrics.max_lr" in raw:
        yield Guess(
            "learning_rate", "metrics.max_lr", "the largest rate logged; the peak, if it was logged there"
        )


def _objective(raw: pd.DataFrame) -> Iterator[Guess]:
    if "metrics.objective" in raw:
        yield Guess("loss", "metrics.objective", "the study's one objective, which it minimises")


def _batch(raw: pd.DataFrame, roles: Mapping[str, str]) -> Iterator[Guess]:
    known = set(roles)
    column = ambiguous("batch_tokens", raw.columns)
    if "batch_sequences" not in known and "device_batch" in known:
        yield from _counted_batch(raw, known)
    elif "batch_sequences" not in known and column:
        values = pd.to_numeric(raw[column], errors="coerce")
        span = f"{short(values.min())} to {short(values.max())}"
        if values.min() > MOST_SEQUENCES:
            yield Guess("batch_tokens", column, f"{span} are too many for sequences")
            return
        if values.max() <= MOST_SEQUENCES:
            yield Guess("batch_sequences", column, f"{span} are few for tokens; trainers count sequences")
    if "sequence_length" not in known and (name := named("max_position_embeddings", raw.columns)):
        yield Guess("sequence_length", name, "the longest sequence that the model takes")


def _counted_batch(raw: pd.DataFrame, known: set[str]) -> Iterator[Guess]:
    """One device, and one pass a step, where the numbers of devices and of passes are not recorded."""
    one = pd.Series(1.0, index=raw.index)
    if "accumulation" not in known:
        yield Guess("accumulation", "one pass a step", "no column says that gradients were accumulated", one)
    if "devices" not in known:
        yield Guess("devices", "one device", "no column says how many; if more, --set devices=NUMBER", one)


def _params(raw: pd.DataFrame, roles: Mapping[str, str]) -> Iterator[Guess]:
    shape = {role: pd.to_numeric(raw[roles[role]], errors="coerce") for role in SHAPE if role in roles}
    blocks = _block_params(raw, shape)
    table = shape["vocab_size"] * shape["width"] if {"vocab_size", "width"} <= set(shape) else None
    column = ambiguous("params_nonembedding", raw.columns)
    above = _above_blocks(raw[column], blocks) if column else False
    if "params_total" in roles or (column and (blocks is None or (above and table is not None))):
        if "params_total" not in roles and column:
            yield Guess(
                "params_total", column, "a module counts all its parameters, the embedding among them"
            )
        if table is not None and "params_embedding" not in roles and "tied_embeddings" not in roles:
            yield Guess(
                "params_embedding", "vocab_size x width", "as if the output head were tied to it", table
            )
    elif column and not above:
        words = f"at most {CLOSE:.0%} above the blocks by width and depth: no embedding is among them"
        yield Guess("params_nonembedding", column, words)
    elif blocks is not None:
        words = "counted from width and depth, as attention with a feed-forward network in each block"
        if column:
            words += f"; {column} is larger, as with the embedding"
        yield Guess("params_nonembedding", "blocks by shape", words, blocks)


SHAPE = ("width", "depth", "heads", "vocab_size")


def _above_blocks(counts: pd.Series, blocks: pd.Series | None) -> bool:
    """Whether a count of parameters is more than that of the blocks, as where embeddings are counted."""
    if blocks is None:
        return False
    return bool((pd.to_numeric(counts, errors="coerce") > (1 + CLOSE) * blocks).any())


def _block_params(raw: pd.DataFrame, shape: Mapping[str, pd.Series]) -> pd.Series | None:
    """Parameters of all blocks: attention, and a feed-forward network (gated: three matrices).

    12 depth width^2 where nothing else is recorded (arXiv 2001.08361, section 2.1).
    """
    if not {"width", "depth"} <= set(shape):
        return None
    width, depth = shape["width"], shape["depth"]
    hidden, heads, shared = (_column(raw, name) for name in ("intermediate_size", "num_attention_heads", KV))
    if hidden is None:
        return 12 * depth * width**2
    gated = (_texts(raw, "hidden_act").isin(["silu", "swiglu"])).astype(float)
    share = shared / heads if shared is not None and heads is not None else 1.0
    return depth * (2 * width**2 * (1 + share) + (2 + gated) * width * hidden)


KV = "num_key_value_heads"


def _column(raw: pd.DataFrame, name: str) -> pd.Series | None:
    column = named(name, raw.columns)
    return pd.to_numeric(raw[column], errors="coerce") if column else None


def _texts(raw: pd.DataFrame, name: str) -> pd.Series:
    column = named(name, raw.columns)
    return raw[column].astype("str") if column else pd.Series("", index=raw.index)
