"""How much the other settings matter at the advised learning rate and batch: one moved at a time, at 83k.

    python -m train.sweep --plan train/plans/sensitivity.toml --out out/sensitivity --workers 1
    python -m train.collect out/sensitivity -o tests/studies/results/sensitivity.csv
    python -m tests.studies.sensitivity    # prints its part of docs/validation.md

A run is compared with the run of the same seed where nothing is moved: the seed's luck cancels in part.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from bayeslaw.runs.io import read_runs
from tests.studies.tables import markdown

RUNS = Path(__file__).parent / "results" / "sensitivity.csv"
SETTINGS = {
    "learning_rate": "learning rate",
    "momentum": "beta1, or momentum",
    "beta2": "beta2",
    "epsilon": "epsilon",
    "warmup": "warm-up, share of D",
    "grad_clip": "clipping (0: none)",
    "weight_decay": "weight decay",
}
"""Column that was moved -> its name in the table."""


def load() -> pd.DataFrame:
    """The runs, the warm-up as a share of D; a run that is not finished has no loss."""
    runs = read_runs(RUNS)
    return runs.assign(
        warmup=(runs["warmup_tokens"] / runs["tokens"]).round(2),
        loss=runs["loss"].where(runs["status"] == "finished"),
    )


def advised(runs: pd.DataFrame) -> pd.Series:
    """The setting of each column that most runs of one optimizer have."""
    return runs[[*SETTINGS]].mode().iloc[0]


def moved(runs: pd.DataFrame) -> Iterator[tuple[str, float, np.ndarray]]:
    """Each value of each setting beside the advice, for the runs of one optimizer.

    Yields:
        The column, its value, and 1000 ln(loss / loss of the advice) by seed; NaN where the run diverged.
    """
    usual = advised(runs)
    differs = runs[[*SETTINGS]].ne(usual)
    still = runs[~differs.any(axis=1)].set_index("seed")["loss"]
    for column in SETTINGS:
        alone = runs[differs[column] & (differs.sum(axis=1) == 1)]
        for value, mine in alone.groupby(column):
            mine = mine[mine["seed"].isin(still.index)].sort_values("seed")
            gain = 1000 * np.log(mine["loss"].to_numpy(float) / still[mine["seed"]].to_numpy(float))
            yield column, float(value), gain


def scatter(runs: pd.DataFrame) -> tuple[float, int]:
    """Standard deviation of 1000 ln loss between the seeds of one optimizer's advice, and their number."""
    still = runs[~runs[[*SETTINGS]].ne(advised(runs)).any(axis=1)]
    return float(1000 * np.log(still["loss"]).std()), len(still)


def table() -> str:
    """A table for each optimizer."""
    parts = []
    for optimizer, runs in load().groupby("optimizer"):
        usual, (sd, seeds) = advised(runs), scatter(runs)
        body = [
            [
                SETTINGS[column],
                f"{usual[column]:.3g}",
                f"{value:.3g}",
                ", ".join("diverged" if np.isnan(g) else f"{g:+.1f}" for g in gain),
            ]
            for column, value, gain in moved(runs)
        ]
        head = ["setting", "advised or usual", "moved to", "loss: ‰ by seed"]
        title = (
            f"{optimizer}, batch {runs['batch_tokens'].iloc[0]:.0f} tokens: "
            f"one setting moved ({seeds} seeds of the advice scatter by {sd:.1f}‰)"
        )
        parts.append(markdown(title, head, body))
    return "\n\n".join(parts)


if __name__ == "__main__":
    print(table())
