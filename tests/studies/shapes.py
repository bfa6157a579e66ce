"""Does width over depth, or curvature, in the law predict other networks? Half an hour, from shapes.csv.

    python -m tests.studies.shapes run      # results/shapes.jsonl
    python -m tests.studies.shapes table    # prints its part of docs/benchmarks.md

Gaussian approximations, fitted to the networks that a split leaves, of all optimizers, and scored on
AdamW's others. The splits are those of ``tests.studies.curvature``. Nothing here chose the parts ``shape``
and ``curvature``: their priors are those of theory. Where the law has the part ``curvature``, a network's own
curvature at step 20 is known, a held-out one's too. Cells that nobody measured are left out for all laws.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import norm

from bayeslaw.advice.target_surface import log_lr_at_batch, surface_at
from bayeslaw.comparison.folds import Fold
from bayeslaw.comparison.structures import loss_scores, structure_named
from bayeslaw.errors import BadInput
from bayeslaw.evaluation.smoothing import smooth_cell
from bayeslaw.inference.approximation import approximate
from bayeslaw.law.parameters import DEFAULT_PARTS
from bayeslaw.law.places import measured_at
from bayeslaw.posterior.draws import Posterior
from bayeslaw.runs.cells import group_cells
from bayeslaw.runs.curvature import of_cells
from bayeslaw.runs.io import read_runs
from bayeslaw.target import Target
from tests.studies.curvature import LARGER, RATIOS, SWEEP, rms
from tests.studies.tables import Row, markdown, percent, read_rows, run_or_print

RESULTS = Path(__file__).parent / "results" / "shapes.jsonl"
DEFAULT = "+".join(DEFAULT_PARTS)
STRUCTURES = {
    "core": "core",
    "core and shape": "shape",
    "core and curvature": "curvature",
    "default": DEFAULT,
    "default and shape": f"{DEFAULT}+shape",
    "default and curvature": f"{DEFAULT}+curvature",
}

WIDTH_90 = 2 * norm.ppf(0.95)
"""Standard deviations of a Gaussian's 90% interval."""
FIRST_TOKENS = (131_072, 524_288)
HOT = (0.12, 0.3, 0.6, 1.0, 2.0, 12.0, 40.0)
"""Rates of the plan's part that is far too high; no other run has one of them."""
SLOPES = ("alpha_aspect", "alpha_sharpness")
"""Of ln eta*, in what a part adds."""


def first_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """The 326 runs of the plan's first parts: Gaussian approximations of all 602 fail."""
    adamw, tokens = runs["optimizer"] == "adamw", runs["tokens"].isin(FIRST_TOKENS)
    shapes = (adamw & (runs["width"] <= 48)) | runs["width"].isin((16, 32))
    return runs[tokens & shapes & ~runs["learning_rate"].isin(HOT) & (runs["seed"] == 0)].reset_index(
        drop=True
    )


def table_of_runs() -> pd.DataFrame:
    """Measured cells of ``first_runs``, with the column that the law knows the normalisation by."""
    runs = first_runs(read_runs(SWEEP))
    measured = np.isfinite(of_cells(runs, "lambda_preconditioned"))
    return runs.assign(normalization=runs["norm"])[measured].reset_index(drop=True)


def splits(runs: pd.DataFrame) -> Iterator[Fold]:
    """Runs to fit, and AdamW's runs of other networks to score."""
    ratio, adamw = runs["width"] / runs["depth"], runs["optimizer"] == "adamw"
    usual = runs["study"] == "shapes"
    outside = (ratio < 0.99 * RATIOS[0]) | (ratio > 1.01 * RATIOS[1])
    for name, out in {"larger": runs["params_nonembedding"] > LARGER, "other shapes": outside}.items():
        fitted = runs[usual & ~out].reset_index(drop=True)
        yield Fold(name, fitted, runs[usual & out & adamw].reset_index(drop=True))


def rate_scores(posterior: Posterior, fold: Fold) -> Row:
    """How far the best rates of the held-out networks lie from those foretold, at their batch.

    The density is of a Gaussian with the median and the 90% interval foretold.
    """
    errors, inside, widths, regret, densities = [], [], [], [], []
    for key, rows in group_cells(fold.held_out):
        cell = smooth_cell(key, rows)
        if not cell.scorable:
            continue
        aspect = float(rows["width"].iloc[0] / rows["depth"].iloc[0])
        others = {"aspect": aspect, "normalization": str(rows["normalization"].iloc[0]), **measured_at(rows)}
        target = Target(
            key.params_nonembedding, key.tokens, key.optimizer, key.study, cell.batch_tokens, others
        )
        draws = log_lr_at_batch(surface_at(posterior, target), np.log(cell.batch_tokens))
        low, middle, high = np.quantile(draws, [0.05, 0.5, 0.95])
        truth = np.log(cell.learning_rate)
        errors.append(middle - truth)
        inside.append(bool(low <= truth <= high))
        widths.append(high - low)
        densities.append(norm.logpdf(truth, middle, (high - low) / WIDTH_90))
        regret.append(cell.regret(np.exp(middle), cell.batch_tokens)[0])
    return {
        "networks": len(errors),
        "rms": rms(np.array(errors)),
        "bias": float(np.mean(errors)),
        "inside": int(np.sum(inside)),
        "width": float(np.median(widths)),
        "density": float(np.mean(densities)),
        "regret": float(np.mean(regret)),
    }


def scores(posterior: Posterior, fold: Fold) -> Row:
    """Of rates and of losses; none of losses where far tails of the approximation overflow."""
    row = {}
    for slope in (posterior.common[name] for name in SLOPES if name in posterior.common):
        row |= {"slope": float(slope.mean()), "slope_sd": float(slope.std())}
    row |= rate_scores(posterior, fold)
    try:
        row |= loss_scores(posterior, fold)
    except BadInput:
        return row
    del row["crps"]  # a mean, which a few draws of an approximation's far tails decide
    return row


def run() -> None:
    """Fit and score what is not there; remove the results where shapes.csv has changed."""
    done = {(row["split"], row["law"]) for row in read_rows(RESULTS)}
    for fold in splits(table_of_runs()):
        for name, text in STRUCTURES.items():
            if (fold.name, name) in done:
                continue
            row = {"split": fold.name, "law": name, "fitted": len(fold.fitted)}
            row |= scores(approximate(fold.fitted, structure_named(text)), fold)
            with RESULTS.open("a") as file:
                shown = {k: round(v, 5) if isinstance(v, float) else v for k, v in row.items()}
                file.write(json.dumps(shown) + "\n")


def table(rows: Sequence[Row]) -> str:
    """A row per split and law."""
    body = [
        [
            f"{row['split']} ({row['networks']} networks)",
            row["law"],
            f"{row['slope']:+.2f} ± {row['slope_sd']:.2f}" if "slope" in row else "-",
            f"{row['rms']:.2f} ({row['bias']:+.2f})",
            f"{row['inside']} of {row['networks']}",
            f"{row['width']:.2f}",
            f"{row['density']:+.2f}",
            percent(row["regret"], 2),
            f"{row['r2_within_cells']:.2f}" if "r2_within_cells" in row else "-",
            f"{row['coverage_90']:.0%}" if "coverage_90" in row else "-",
        ]
        for row in rows
    ]
    head = [
        "held out",
        "law",
        "slope in ln width/depth or ln lambda",
        "ln eta*: rms (bias), nats",
        "inside 90%",
        "their width, nats",
        "ln density a network",
        "regret",
        "R2 within cells",
        "losses in 90%",
    ]
    return markdown("AdamW's other networks, predicted from the rest of the sweep", head, body)


if __name__ == "__main__":
    run_or_print(__doc__, run, lambda: table(read_rows(RESULTS)))
