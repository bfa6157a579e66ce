"""Published recipes beside the shipped posterior: ``python -m tests.studies.recipes run``, then ``table``.

``recipes.csv`` has what models were trained with, each number's source, and whether it was read there or is
from memory; sequence lengths all are. N excludes embeddings, in round numbers. Nobody claims that these
settings were optimal: most were chosen from a few runs or from the recipe before, and the loss that they cost
is the posterior's opinion (``results/recipes.jsonl``). Muon's rate in Moonlight is scaled to AdamW's steps,
so AdamW judges it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslaw.advice.decision import decide
from bayeslaw.advice.prediction import extrapolation, outcome_of
from bayeslaw.advice.target_surface import log_lr_at_batch, surface_at
from bayeslaw.assets import POSTERIOR
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.netcdf import read_posterior
from bayeslaw.target import Target
from bayeslaw.text import short
from tests.studies.tables import markdown, percent, read_rows, run_or_print

RECIPES = Path(__file__).parent / "recipes.csv"
RESULTS = Path(__file__).parent / "results" / "recipes.jsonl"
LEVEL = 0.9


def run() -> None:
    """Judge all recipes anew, in seconds."""
    posterior = read_posterior(POSTERIOR)
    rows = [judged(posterior, recipe) for recipe in pd.read_csv(RECIPES).to_dict("records")]
    RESULTS.write_text("".join(json.dumps(row) + "\n" for row in rows))


def judged(posterior: Posterior, recipe: dict[str, Any]) -> dict[str, Any]:
    """The interval of the best rate at a recipe's batch, and what the recipe's rate costs there."""
    target = Target(
        float(recipe["params_nonembedding"]),
        float(recipe["tokens"]),
        "adamw",
        None,
        float(recipe["batch_tokens"]),
        {"sequence": float(recipe["sequence_length"])},
    )
    surface = surface_at(posterior, target, independent=True)
    draws = log_lr_at_batch(surface, np.log(recipe["batch_tokens"]))
    low, middle, high = np.exp(np.quantile(draws, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2]))
    best = decide(surface)
    cost = [
        float(outcome_of(surface, settings).regret.mean())
        for settings in (best | {"learning_rate": recipe["learning_rate"]}, best)
    ]
    return recipe | {
        "lower": float(low),
        "median": float(middle),
        "upper": float(high),
        "advised": best["learning_rate"],
        "regret": cost[0],
        "regret_of_advice": cost[1],
        "decades": extrapolation(posterior, target),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a recipe, then how many rates lie inside."""
    if not rows:
        return "Not run yet: python -m tests.studies.recipes run."
    body = [
        [
            row["model"],
            f"{short(row['params_nonembedding'])}, {short(row['tokens'])}",
            short(row["batch_tokens"]),
            f"{row['learning_rate']:.2g}",
            f"{row['lower']:.2g} to {row['upper']:.2g}",
            _side(row),
            f"{percent(row['regret'], 1)} ({percent(row['regret_of_advice'], 1)})",
            f"{row['source']}{'' if row['checked'] == 'read' else ' (from memory)'}",
        ]
        for row in rows
    ]
    head = ["model", "N, D", "batch", "rate used", f"best at that batch, {LEVEL:.0%} interval", "it lies"]
    head += ["expected cost (of the advice)", "source"]
    inside = sum(_side(row) == "inside" for row in rows)
    width = np.median([row["upper"] / row["lower"] for row in rows])
    beyond = sum(max(row["decades"].values()) > 1 for row in rows)
    note = (
        f"{inside} of {len(rows)} rates lie inside intervals that are {width:.0f} times wide (median); "
        f"{beyond} recipes lie more than a decade beyond the fitted runs in N or D."
    )
    return (
        markdown("Published recipes and the shipped posterior, set-up never seen", head, body) + f"\n\n{note}"
    )


def _side(row: dict[str, Any]) -> str:
    if row["learning_rate"] < row["lower"]:
        return "below"
    return "above" if row["learning_rate"] > row["upper"] else "inside"


if __name__ == "__main__":
    run_or_print(__doc__, run, lambda: table(read_rows(RESULTS)))
