"""Notes on a run table: what looks wrong without being an error, in plain words."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

CONFIGURATION = (
    *("study", "optimizer", "params_nonembedding", "width", "depth", "tokens", "batch_tokens"),
    *("learning_rate", "schedule", "warmup_tokens", "final_lr_ratio", "momentum", "beta2", "weight_decay"),
    *("dropout", "epsilon", "grad_clip", "seed"),
)
CONVENTIONS = ("loss_kind", "schedule", "sequence_length", "parametrization")


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
        _learning_rates,
        _warmup,
        _losses,
        _embeddings_in_params,
    )
    return [note for check in checks for note in check(table)]


def _outcomes(table: pd.DataFrame) -> Iterable[str]:
    counts = table["status"].value_counts()
    bad = [f"{counts[name]} {name}" for name in ("diverged", "crashed", "stopped") if name in counts]
    if bad:
        yield f"of {len(table)} runs, {', '.join(bad)}"
    if "finished" not in counts:
        yield "no run finished: there is nothing to fit a loss to"
    silent = _known(table, "loss").isna() & (table["status"] != "finished")
    if silent.any():
        yield f"runs without a loss: {_which(table, silent)}"


def _repeats(table: pd.DataFrame) -> Iterable[str]:
    """Find configurations under several run_ids: copies, or seeds that were not recorded."""
    names = [name for name in CONFIGURATION if name in table]
    others = [name for name in table if str(name).startswith(("extra_", "config."))]
    repeated = table[names].join(table[others].astype(str)).duplicated(keep=False)
    if repeated.any():
        yield (
            f"runs that repeat a configuration: {_which(table, repeated)}; "
            "record the seed if they are seeds, drop the copies if they are not"
        )


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
                f"study {study}: batch_tokens below one sequence: {_which(runs, short)}; "
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
                f"study {study}: less than half a token a parameter: {_which(runs, few)}; "
                "are params and tokens in the same unit?"
            )


def _learning_rates(table: pd.DataFrame) -> Iterable[str]:
    high = table["learning_rate"] > 1
    if high.any():
        cause = "are they -log10 of it?" if _integers(table.loc[high, "learning_rate"]) else "is it the peak?"
        yield f"learning rates above 1: {_which(table, high)}; {cause}"


def _warmup(table: pd.DataFrame) -> Iterable[str]:
    unfinished = _known(table, "warmup_tokens") >= table["tokens"]
    if unfinished.any():
        yield (
            f"warm-up not shorter than the run: {_which(table, unfinished)}; "
            "the peak learning rate is never reached"
        )


def _losses(table: pd.DataFrame) -> Iterable[str]:
    """Find finished runs above 15 nats per token: even a vocabulary of a million starts at 13.8."""
    huge = (_known(table, "loss") > 15) & (table["status"] == "finished")
    if huge.any():
        yield (
            f"finished runs with a loss above 15: {_which(table, huge)}; "
            "is it a perplexity, or in bits? expected nats a token"
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
                f"{_which(runs, counted)}; were the embeddings counted?"
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
                f"{_which(runs, wide)}; embeddings counted, or experts?"
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


def _which(table: pd.DataFrame, rows: pd.Series) -> str:
    """Number of rows, and the first three run ids."""
    ids = table.loc[rows, "run_id"]
    return f"{len(ids)} ({', '.join(ids.head(3))}{', ...' if len(ids) > 3 else ''})"
