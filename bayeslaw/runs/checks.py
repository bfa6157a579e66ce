"""Notes on a run table: what looks wrong without being an error, in plain words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from bayeslaw.errors import BadInput
from bayeslaw.runs.column_names import reported
from bayeslaw.target import CELL

CONFIGURATION = (
    *("study", "optimizer", "params_nonembedding", "width", "depth", "tokens", "batch_tokens"),
    *("learning_rate", "schedule", "warmup_tokens", "final_lr_ratio", "decay_share", "momentum", "beta2"),
    *("weight_decay", "dropout", "epsilon", "grad_clip", "seed"),
    *("params_embedding", "heads", "parametrization", "normalization", "sequence_length", "tokenizer"),
)
OUTCOMES = (
    *("run_id", "loss", "loss_kind", "status", "flops", "wall_seconds", "energy_joules", "device"),
    *("lambda_max", "hessian_trace", "commit", "created"),
)
CONVENTIONS = ("loss_kind", "schedule", "sequence_length", "parametrization", "tokenizer")


def notes(table: pd.DataFrame) -> list[str]:
    """Notes on a valid run table; an empty list if nothing looks wrong.

    Args:
        table: as `bayeslaw.runs.schema.validate` returns it.

    Returns:
        One sentence per note, naming the rows or the study and the likely cause.
    """
    checks: tuple[Callable[[pd.DataFrame], Iterable[str]], ...] = (
        _outcomes,
        _repeats,
        _mixed_conventions,
        _batch_in_sequences,
        _tokens_per_parameter,
        _scaled_params,
        _learning_rates,
        _last_rates,
        _warmup,
        _losses,
        _scaled_losses,
        _mostly_diverged,
        _embeddings_in_params,
        _one_embedding,
    )
    return [note for check in checks for note in check(table)]


def refuse_uninformative(table: pd.DataFrame) -> None:
    """Refuse runs from whose losses nothing can be learnt.

    Args:
        table: a valid run table.

    Raises:
        BadInput: when three or more runs finished, all with one and the same loss.
    """
    losses = _known(table, "loss")[table["status"] == "finished"].dropna()
    if len(losses) >= 3 and losses.nunique() == 1:
        raise BadInput(
            f"run table: all {len(losses)} finished runs have a loss of {losses.iloc[0]:g}; expected losses "
            "that differ with the settings; import the column that holds each run's own final loss"
        )


def _outcomes(table: pd.DataFrame) -> Iterable[str]:
    counts = table["status"].value_counts()
    bad = [f"{counts[name]} {name}" for name in ("diverged", "crashed", "stopped") if name in counts]
    if bad:
        yield f"of {len(table)} runs, {', '.join(bad)}"
    if "finished" not in counts:
        yield "no run finished: there is nothing to fit a loss to"
    silent = _known(table, "loss").isna() & (table["status"] != "finished")
    if silent.any():
        yield f"runs without a loss: {which(table, silent)}"


def _repeats(table: pd.DataFrame) -> Iterable[str]:
    """Same configuration under several run_ids: seeds, copies, or a setting in a column that is not used."""
    names = [name for name in CONFIGURATION if name in table]
    others = [name for name in table if str(name).startswith("extra_")]
    settings = table[names].join(table[others].astype(str))
    repeated = settings.duplicated(keep=False)
    if not repeated.any():
        return
    group = settings[repeated].groupby(list(settings), dropna=False).ngroup()
    known = {*names, *others, *OUTCOMES}
    unused = [
        name
        for name in map(str, table)
        if name not in known and not name.endswith("_as_given") and not reported(name)
    ]
    apart = [name for name in unused if _sets_apart(table.loc[repeated, name], group)]
    if apart:
        yield (
            f"runs that repeat a configuration: {which(table, repeated)}; they differ in "
            f"{', '.join(map(str, apart[:8]))}{', ...' if len(apart) > 8 else ''}: a setting that moves the "
            f"loss counts as noise until it is named, as with --map extra_{_word(apart[0])}={apart[0]}"
        )
    else:
        yield (
            f"runs that repeat a configuration: {which(table, repeated)}; "
            "record the seed if they are seeds, drop the copies if they are not"
        )


def _sets_apart(values: pd.Series, group: pd.Series) -> bool:
    """Whether a column differs within groups, and is no measurement or name, which differs in every row."""
    texts = values.astype("str")
    return bool(texts.groupby(group).nunique().gt(1).any() and (len(texts) == 2 or texts.duplicated().any()))


def _word(name: str) -> str:
    """A column's name as one of the run table: lower case, words joined by underscores."""
    return re.sub(r"[^a-z0-9]+", "_", str(name).lower()).strip("_")


def _mixed_conventions(table: pd.DataFrame) -> Iterable[str]:
    """Find conventions that should not differ within a study and optimizer."""
    for (study, optimizer), runs in table.groupby(["study", "optimizer"]):
        for name in CONVENTIONS:
            values = sorted(_known(runs, name).dropna().unique())
            if len(values) > 1:
                shown = ", ".join(f"{value:g}" if isinstance(value, float) else value for value in values)
                yield (
                    f"study {study}, {optimizer}: mixed {name} ({shown}); "
                    "their losses may not compare, consider one study each"
                )


def _batch_in_sequences(table: pd.DataFrame) -> Iterable[str]:
    """Find batches below one sequence and runs of more than five million steps."""
    for study, runs in table.groupby("study"):
        batch = runs["batch_tokens"]
        short = batch < _known(runs, "sequence_length")
        steps = runs["tokens"] / batch
        if short.any():
            yield (
                f"study {study}: batch_tokens below one sequence: {which(runs, short)}; "
                "is the batch in sequences?"
            )
        elif batch.max() <= 8192 and steps.median() > 5e6:
            yield (
                f"study {study}: batch_tokens up to {batch.max():g} mean {steps.median():.3g} steps a run: "
                "is the batch in sequences?"
            )


def _tokens_per_parameter(table: pd.DataFrame) -> Iterable[str]:
    for study, runs in table.groupby("study"):
        tokens, params = runs["tokens"], runs["params_nonembedding"]
        if tokens.max() <= 1e4:
            yield f"study {study}: tokens of at most {tokens.max():g}: are they tokens per parameter?"
        elif (tokens < params / 2).any():
            few = tokens < params / 2
            yield (
                f"study {study}: less than half a token a parameter: {which(runs, few)}; "
                "are params and tokens in the same unit?"
            )


def _scaled_params(table: pd.DataFrame) -> Iterable[str]:
    """Public runs see at most some thousands of tokens a parameter; N in millions makes that billions."""
    for study, runs in table.groupby("study"):
        ratio = (runs["tokens"] / runs["params_nonembedding"]).median()
        if ratio > 1e5:
            largest = runs["params_nonembedding"].max()
            unit = "millions" if largest < 1e6 else "another unit"
            yield (
                f"study {study}: params_nonembedding up to {largest:.3g} mean {ratio:.3g} tokens a "
                f"parameter: is N in {unit}?"
            )


def _learning_rates(table: pd.DataFrame) -> Iterable[str]:
    high = table["learning_rate"] > 1
    if high.any():
        cause = "are they -log10 of it?" if _integers(table.loc[high, "learning_rate"]) else "is it the peak?"
        yield f"learning rates above 1: {which(table, high)}; {cause}"


def _last_rates(table: pd.DataFrame) -> Iterable[str]:
    """Signs of a learning rate that is the last of its schedule, not the peak."""
    falling = _known(table, "schedule").notna() & (_known(table, "schedule") != "constant")
    last = falling & (_known(table, "final_lr_ratio") >= 1)
    low = table["learning_rate"] < 1e-7
    for rows, sign in ((last, "not above the final one of a falling schedule"), (low, "below 1e-7")):
        if rows.any():
            yield f"learning rates {sign}: {which(table, rows)}; are they the last, not the peak?"


def _warmup(table: pd.DataFrame) -> Iterable[str]:
    unfinished = _known(table, "warmup_tokens") >= table["tokens"]
    if unfinished.any():
        yield (
            f"warm-up not shorter than the run: {which(table, unfinished)}; "
            "the peak learning rate is never reached"
        )


def _losses(table: pd.DataFrame) -> Iterable[str]:
    """Find finished runs above 15 nats per token: even a vocabulary of a million starts at 13.8."""
    huge = (_known(table, "loss") > 15) & (table["status"] == "finished")
    if huge.any():
        yield (
            f"finished runs with a loss above 15: {which(table, huge)}; "
            "is it a perplexity, or in bits? expected nats a token"
        )


def _scaled_losses(table: pd.DataFrame) -> Iterable[str]:
    """No language is as predictable as 0.05 nats a token; and two runs seldom end at one loss."""
    for study, runs in table[table["status"] == "finished"].groupby("study"):
        losses = _known(runs, "loss").dropna()
        if len(losses) and losses.median() < 0.05:
            yield (
                f"study {study}: losses around {losses.median():.3g}: are they scaled? expected nats a token"
            )
        if len(losses) >= 3 and losses.nunique() == 1:
            yield f"study {study}: all {len(losses)} losses are {losses.iloc[0]:g}: is it the right column?"


def _mostly_diverged(table: pd.DataFrame) -> Iterable[str]:
    """Cells in which most runs count as diverged: a sweep of high rates, or one loss too small."""
    judged = table[table["status"].isin(["finished", "diverged"])]
    for _, runs in judged.groupby(list(CELL)):
        share = (runs["status"] == "diverged").mean()
        if len(runs) >= 4 and 0.5 < share < 1:
            best = runs.loc[runs["loss"].idxmin(), "run_id"]
            yield f"{share:.0%} of {len(runs)} runs of a cell count as diverged: is the loss of {best} right?"


def _one_embedding(table: pd.DataFrame) -> Iterable[str]:
    """Embeddings are a vocabulary times the width: a constant over widths is a placeholder."""
    for study, runs in table.groupby("study"):
        embedding, width = _known(runs, "params_embedding").dropna(), _known(runs, "width")
        if embedding.nunique() != 1 or embedding.iloc[0] == 0:
            continue
        sizes = runs.loc[embedding.index, "params_nonembedding"]
        widths = width[embedding.index].dropna().nunique()
        if widths > 1 or (not widths and sizes.max() > 4 * sizes.min()):
            several = f"{widths} widths" if widths else f"N from {sizes.min():.3g} to {sizes.max():.3g}"
            yield (
                f"study {study}: one params_embedding of {embedding.iloc[0]:.10g} for {several}: "
                "it grows with the width, and so does what was subtracted from the total"
            )


def _embeddings_in_params(table: pd.DataFrame) -> Iterable[str]:
    """Compare N with 12 depth width^2, a plain transformer's blocks, where width and depth are known."""
    shapes = table.assign(
        blocks=12 * _known(table, "depth") * _known(table, "width") ** 2,
        embedding=_known(table, "params_embedding"),
    )
    for study, runs in shapes.dropna(subset=["blocks"]).groupby("study"):
        params = runs["params_nonembedding"]
        close = (params / (runs["blocks"] + runs["embedding"]) - 1).abs() < 0.02
        counted = close & (runs["embedding"] > 0.05 * runs["blocks"])
        if counted.any():
            yield (
                f"study {study}: params_nonembedding equals 12 depth width^2 plus params_embedding: "
                f"{which(runs, counted)}; were the embeddings counted?"
            )
        elif _grows_like_embeddings(runs):
            yield (
                f"study {study}: params_nonembedding grows with width as if embeddings were counted "
                "(a multiple of depth width^2 plus a vocabulary times width): subtract them"
            )
        elif (params > 6 * runs["blocks"]).any():
            wide = params > 6 * runs["blocks"]
            yield (
                f"study {study}: params_nonembedding above six times 12 depth width^2: "
                f"{which(runs, wide)}; embeddings counted, or experts?"
            )


def _grows_like_embeddings(runs: pd.DataFrame) -> bool:
    """Whether N = c depth width^2 + v width fits four or more shapes to 0.5%, and v = 0 does not to 5%."""
    shapes = runs.groupby(["width", "depth"])["params_nonembedding"].median().reset_index()
    params = shapes["params_nonembedding"].to_numpy()
    terms = np.stack([shapes["depth"] * shapes["width"] ** 2, shapes["width"]], axis=1) / params[:, None]
    if len(shapes) < 4 or np.linalg.matrix_rank(terms) < 2:
        return False
    (scale, vocabulary), *_ = np.linalg.lstsq(terms, np.ones(len(shapes)), rcond=None)
    misfit = np.abs(terms @ [scale, vocabulary] - 1).max()
    without = np.abs(terms[:, 0] / terms[:, 0].mean() - 1).max()
    return bool(4 < scale < 60 and 200 < vocabulary < 1e6 and misfit < 0.005 and without > 0.05)


def _known(table: pd.DataFrame, name: str) -> pd.Series:
    """Column of a table, or missing values if it has none."""
    return table[name] if name in table else pd.Series(np.nan, index=table.index)


def _integers(values: pd.Series) -> bool:
    return bool((values % 1 == 0).all())


def which(table: pd.DataFrame, rows: pd.Series) -> str:
    """How many rows, and the first three run ids."""
    ids = table.loc[rows, "run_id"]
    return f"{len(ids)} ({', '.join(ids.head(3))}{', ...' if len(ids) > 3 else ''})"
