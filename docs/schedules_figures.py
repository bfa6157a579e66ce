"""Draw the figure of schedules.md: ``python -m docs.schedules_figures``.

Nothing is random: the file changes only where the laws, the pooled fit or the study's results do.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bayeslaw.files import write_atomically
from bayeslaw.plots.schedules import plot_costs, plot_shifts
from bayeslaw.schedules.advice import SHARES, option_costs
from bayeslaw.schedules.pooled import pooled_fit
from bayeslaw.theory.schedule_bounds import learning_rate_shift, schedule_shape
from tests.studies.schedules import RESULTS
from tests.studies.tables import read_rows

FOLDER = Path(__file__).parent
STEPS, WARMUP = 50_000, 0.01


def main() -> None:
    """Write the figure."""
    path = FOLDER / "schedules.png"
    with write_atomically(path) as temporary:
        draw().savefig(temporary, format="png", dpi=90, pil_kwargs={"optimize": True})
    print(path)


def draw():
    """Costs of a decay share by the pooled fit; its shift of the best learning rate, beside runs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    plot_costs(
        np.array(SHARES),
        {
            "linear to 0": option_costs(pooled_fit(), STEPS, None, "linear"),
            "1 - sqrt to 0": option_costs(pooled_fit(), STEPS, None, "root"),
            "linear to 10%": option_costs(pooled_fit(), STEPS, None, "linear", final=0.1),
        },
        left,
    )
    usual = schedule_shape(STEPS, share=0.9, warmup=WARMUP)
    shapes = [schedule_shape(STEPS, share=share, warmup=WARMUP) for share in SHARES]
    theory = {"1/2 ln(X1/X2)": np.array([learning_rate_shift(usual, shape) for shape in shapes])}
    plot_shifts(np.array(SHARES), theory, measured(), right)
    return figure


def measured() -> dict[str, tuple[list[float], list[float]]]:
    """Changes against a share of 0.9, by the steps of the runs."""
    rows = [row for row in read_rows(RESULTS) if row["task"] == "shift"]
    found = {}
    for steps in sorted({row["steps"] for row in rows}):
        own = sorted((row for row in rows if row["steps"] == steps), key=lambda row: row["share"])
        usual = next(row["log_rate"] for row in own if row["share"] == 0.9)
        changes = [row["log_rate"] - usual for row in own]
        found[f"runs of {steps // 1000}k steps"] = [row["share"] for row in own], changes
    return found


if __name__ == "__main__":
    main()
