"""How the best learning rate falls with tokens at a fixed batch: ``python -m tests.studies.fixed_batch run``.

Along D at a fixed batch the ridge counts: the best batch grows, so the same batch lies ever further below it.
Schaipp et al. (2025) and Bjorck et al. (2024) measured this slope; the shipped posterior has it for its
studies and for a set-up never seen (``results/fixed_batch.jsonl``, in seconds).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bayeslaw.advice.target_surface import log_lr_at_batch, surface_at
from bayeslaw.assets import POSTERIOR
from bayeslaw.intervals import interval
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.netcdf import read_posterior
from bayeslaw.target import NEVER_SEEN, Target
from bayeslaw.text import short
from tests.studies.tables import markdown, read_rows, run_or_print

RESULTS = Path(__file__).parent / "results" / "fixed_batch.jsonl"
LEVEL = 0.9
AROUND = 2.0
"""The slope is taken from D over this to D times this."""

PLACES = (
    ("schaipp-slimpajama", 85e6, 3e9, 102_400),
    ("steplaw", 214e6, 10e9, 131_072),
    ("steplaw", 214e6, 10e9, 524_288),
    ("marin", 300e6, 10e9, 524_288),
    (None, 214e6, 10e9, 131_072),
    (None, 214e6, 10e9, 524_288),
)


def run() -> None:
    """Measure all slopes anew."""
    posterior = read_posterior(POSTERIOR)
    rows = [slope(posterior, *place) for place in PLACES]
    RESULTS.write_text("".join(json.dumps(row) + "\n" for row in rows))


def slope(posterior: Posterior, study: str | None, n: float, d: float, batch: float) -> dict[str, Any]:
    """d ln eta* / d ln D of AdamW at a fixed batch."""
    rates = [
        log_lr_at_batch(
            surface_at(posterior, Target(n, tokens, "adamw", study, batch), independent=True), np.log(batch)
        )
        for tokens in (d / AROUND, d * AROUND)
    ]
    draws = (rates[1] - rates[0]) / (2.0 * np.log(AROUND))
    place = {"study": study, "params": n, "tokens": d, "batch_tokens": batch}
    return place | interval(draws, LEVEL).to_json()


def table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a place."""
    body = [
        [
            row["study"] or NEVER_SEEN,
            f"{short(row['params'])}, {short(row['tokens'])}",
            short(row["batch_tokens"]),
            f"{row['median']:+.2f} ({row['lower']:+.2f} to {row['upper']:+.2f})",
        ]
        for row in rows
    ]
    head = ["study", "N, D", "batch", f"slope, {LEVEL:.0%} interval"]
    return markdown("Slope of ln of AdamW's best learning rate in ln D at a fixed batch", head, body)


if __name__ == "__main__":
    run_or_print(__doc__, run, lambda: table(read_rows(RESULTS)))
