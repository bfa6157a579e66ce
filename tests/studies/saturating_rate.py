"""Is eta_max of the saturating law the curvature limit, and B_c the noise scale? A minute, from books.csv.

    python -m tests.studies.saturating_rate run      # results/saturating_rate.jsonl
    python -m tests.studies.saturating_rate table    # prints its part of docs/benchmarks.md

The law of ``bayeslaw.theory.saturation``, ln eta* = ln eta_max - ln(1 + B_c / B), eta_max and B_c powers of N
and D, fitted to ln loss of one optimizer's runs near the best of their cell: a parabola in ln eta - ln eta*,
one in ln B about a multiple of B_c, a level for each cell. Weight decay and momentum vary, and are scatter
here. Beside it the curvature of ``early_curvature`` at step 20, and the noise scale of ``noise_scale``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from bayeslaw.arrays import Floats
from bayeslaw.assets import BOOKS
from bayeslaw.runs.cells import cell_of, finished_runs
from bayeslaw.runs.io import read_runs
from tests.studies import early_curvature, noise_scale
from tests.studies.tables import Row, markdown, read_rows, run_or_print

RESULTS = Path(__file__).parent / "results" / "saturating_rate.jsonl"
OPTIMIZERS = ("adamw", "muon")
WITHIN = 0.2
"""Of ln loss above a cell's best: the runs that are fitted."""
PIVOT = {"params": 3e4, "tokens": 1e6}
START = (-4.0, -0.5, 0.0, 6.5, 0.5, 0.0, -3.0, -4.0, 0.0)
"""ln eta_max, its exponents in N and D; ln B_c, its own; ln curvatures in ln eta and ln B; ln(B* / B_c)."""
RESAMPLES = 40


def near_best(optimizer: str) -> pd.DataFrame:
    """Finished runs within ``WITHIN`` of their cell's best: logarithms about the pivot, and the cell."""
    runs = finished_runs(read_runs(BOOKS))
    runs = runs[runs["optimizer"] == optimizer]
    logs = pd.DataFrame(
        {
            "n": np.log(runs["params_nonembedding"] / PIVOT["params"]),
            "d": np.log(runs["tokens"] / PIVOT["tokens"]),
            "rate": np.log(runs["learning_rate"]),
            "batch": np.log(runs["batch_tokens"]),
            "loss": np.log(runs["loss"]),
            "cell": cell_of(runs),
        }
    )
    return logs[logs["loss"] < logs.groupby("cell")["loss"].transform("min") + WITHIN].reset_index(drop=True)


def fitted(runs: pd.DataFrame) -> Floats:
    """Parameters of ``START`` by robust least squares; each cell's level is the best for them."""
    _, cell = np.unique(runs["cell"], return_inverse=True)
    count = np.bincount(cell)

    def residual(theta: Floats) -> Floats:
        largest, critical = limits(theta, runs["n"], runs["d"])
        best = largest - np.log1p(np.exp(critical - runs["batch"]))
        excess = np.exp(theta[6]) * (runs["rate"] - best) ** 2
        excess += np.exp(theta[7]) * (runs["batch"] - critical - theta[8]) ** 2
        off = (runs["loss"] - excess).to_numpy(float)
        return np.asarray(off - (np.bincount(cell, off) / count)[cell], float)

    return np.asarray(least_squares(residual, START, loss="soft_l1", f_scale=0.02).x, float)


def limits(theta: Floats, n: Floats, d: Floats) -> tuple[Floats, Floats]:
    """ln eta_max and ln B_c at ln N and ln D about the pivot."""
    return theta[0] + theta[1] * n + theta[2] * d, theta[3] + theta[4] * n + theta[5] * d


def run() -> None:
    """Write all result lines anew."""
    rows = []
    for optimizer in OPTIMIZERS:
        runs, rng = near_best(optimizer), np.random.default_rng(0)
        drawn = [fitted(runs)]
        drawn += [fitted(runs.sample(frac=1.0, replace=True, random_state=rng)) for _ in range(RESAMPLES)]
        curvature = [r for r in read_rows(early_curvature.RESULTS) if r["optimizer"] == optimizer]
        for known in curvature:
            n = np.log(known["params"] / PIVOT["params"])
            d = np.log(early_curvature.TOKENS_PER_PARAM * known["params"] / PIVOT["tokens"])
            found = np.exp([limits(theta, n, d) for theta in drawn])
            names = ("eta_max", "critical_batch")
            row = {"optimizer": optimizer, "params": known["params"], "runs": len(runs)}
            for name, values in zip(names, found.T, strict=True):
                row[name] = [float(values[0]), *map(float, np.quantile(values[1:], [0.05, 0.95]))]
            row |= {"critical_rate": known["critical_learning_rate"]}
            rows.append(row | {"limit": known["threshold"] / known["lambda_preconditioned"]})
    RESULTS.write_text("".join(json.dumps(_short(row)) + "\n" for row in rows))


def _short(row: Row) -> Row:
    def short(value):
        return float(f"{value:.4g}") if isinstance(value, float) else value

    return {k: [short(x) for x in v] if isinstance(v, list) else short(v) for k, v in row.items()}


def table(rows: list[Row]) -> str:
    """eta_max beside curvature, B_c beside the noise scale."""
    noise = [row for row in read_rows(noise_scale.RESULTS) if row["what"] == "noise"]
    body = []
    for row in rows:
        largest, critical = (
            "{:.3g} ({:.2g} to {:.2g})".format(*row[name]) for name in ("eta_max", "critical_batch")
        )
        here = [
            each for each in noise if (each["optimizer"], each["params"]) == (row["optimizer"], row["params"])
        ]
        scales = [
            np.mean([each["simple"] for each in here if each["moment"] == moment]) if here else np.nan
            for moment in ("step 20", "50%")
        ]
        shown = [f"{scale:,.0f}" if np.isfinite(scale) else "-" for scale in scales]
        curvature = [f"{row['critical_rate']:.2g}", f"{row['limit']:.2g}"]
        body.append([row["optimizer"], f"{row['params']:,}", largest, *curvature, critical, *shown])
    head = ["optimizer", "N", "eta_max (90%)", "critical rate, step 20", "threshold / lambda, step 20"]
    head += ["B_c, tokens (90%)", "noise scale, step 20", "noise scale, 50%"]
    return markdown("The saturating law of books.csv at D = 20 N, beside curvature and noise", head, body)


if __name__ == "__main__":
    run_or_print(__doc__, run, lambda: table(read_rows(RESULTS)))
