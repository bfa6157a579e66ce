"""What an update without a refit gets wrong, against NUTS on the same runs. Slow, outside CI, resumable.

    python -m tests.studies.updates run [--seeds 5]   # results/updates.jsonl; three fits a seed
    python -m tests.studies.updates table

ScaleBench, as in ``replay``: a fit of 24 runs drawn at random from N < 1e9, then the runs that ``design``
wants next for the cells of N > 1e9. Two updates are compared with a refit, one and eight runs later:

* pending (``conditioning.chosen``): the runs are known, their results are not; it says what will remain
  unknown;
* reweighted (``reweighting.reweight``): the results are known; it moves the advice too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from bayeslaw.advice.target_surface import surface_at
from bayeslaw.planning.batches import choose
from bayeslaw.planning.candidates import places
from bayeslaw.planning.conditioning import chosen, joint_draws
from bayeslaw.planning.policies import expected_regret
from bayeslaw.planning.reweighting import reweight
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.importance import RELIABLE
from tests.studies.fits import fit_core
from tests.studies.replay import study
from tests.studies.tables import markdown, read_rows, study_parser

RESULTS = Path(__file__).parent / "results" / "updates.jsonl"
FITTED, BATCH = 24, 8
SHARE = 0.003
"""Of the pool's cost, for the batch."""


def run(seeds: int) -> None:
    done = {row["seed"] for row in read_rows(RESULTS)}
    for seed in range(seeds):
        if seed not in done:
            for row in compared(seed):
                with RESULTS.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(row, flush=True)


def compared(seed: int) -> list[dict[str, Any]]:
    """One row an update: of the first run of the batch, and of all eight."""
    asked = study()
    order = np.random.default_rng(seed).permutation(len(asked.pool))
    old, rest = order[:FITTED], order[FITTED:]
    posterior = fit_core(asked.pool.iloc[old].reset_index(drop=True), seed)
    offered, cost = asked.pool.iloc[rest].reset_index(drop=True), asked.cost[rest]
    joint = joint_draws(posterior, asked.targets, offered, seed=seed)
    batch = choose(joint, cost, places(offered), SHARE * float(asked.cost.sum()), BATCH, seed=seed)
    rows = []
    for count in (1, BATCH):
        new = list(batch.rows[:count])
        pending = joint
        for row in new:
            pending = chosen(pending, row)
        weights, k = reweight(posterior, offered.iloc[new].reset_index(drop=True), seed)
        together = asked.pool.iloc[[*old, *rest[new]]].reset_index(drop=True)
        refitted = fit_core(together, seed)
        rows.append(
            {
                "seed": seed,
                "new": count,
                "pareto_k": k,
                "before": optima(posterior, asked.targets, None, seed),
                "reweighted": optima(posterior, asked.targets, weights, seed),
                "refitted": optima(refitted, asked.targets, None, seed),
                "pending_sd": np.sqrt(np.diagonal(pending.remaining, axis1=1, axis2=2).mean(axis=0)).tolist(),
                "regret": {
                    "before": sum(expected_regret(joint).values()),
                    "foretold": sum(expected_regret(pending).values()),
                    "refitted": sum(
                        expected_regret(
                            joint_draws(refitted, asked.targets, offered.head(1), seed=seed)
                        ).values()
                    ),
                },
            }
        )
    return rows


def optima(posterior: Posterior, targets: Any, weights: Any, seed: int) -> dict[str, list[float]]:
    """Means and standard deviations of (ln eta*, ln B*) of each target [nats]."""
    surfaces = [surface_at(posterior, target, seed) for target in targets]
    draws = np.column_stack([part for at in surfaces for part in (at.log_lr, at.log_batch)])
    mean = np.average(draws, axis=0, weights=weights)
    return {
        "mean": mean.tolist(),
        "sd": np.sqrt(np.average((draws - mean) ** 2, axis=0, weights=weights)).tolist(),
    }


def table(rows: list[dict[str, Any]]) -> str:
    body = []
    for count in (1, BATCH):
        mine = [row for row in rows if row["new"] == count]
        if not mine:
            continue
        sd = np.array([row["refitted"]["sd"] for row in mine])
        pending = np.array([row["pending_sd"] for row in mine]) / sd
        weighted = np.array([row["reweighted"]["sd"] for row in mine]) / sd
        means = {k: np.array([row[k]["mean"] for row in mine]) for k in ("before", "reweighted", "refitted")}
        left, moved = (
            np.sqrt(np.mean(((means[k] - means["refitted"]) / sd) ** 2)) for k in ("reweighted", "before")
        )
        reliable = sum(row["pareto_k"] <= RELIABLE for row in mine)
        foretold = [row["regret"]["foretold"] / row["regret"]["refitted"] for row in mine]
        body.append(
            [
                f"{count}",
                _band(pending.ravel()),
                _band(foretold),
                f"{reliable} of {len(mine)}",
                _band(weighted.ravel()),
                f"{left:.2f} of {moved:.2f}",
            ]
        )
    head = ["new runs", "SD, pending / refit", "regret foretold / refit", "weights reliable (k <= 0.7)"]
    head += ["SD, reweighted / refit", "means: error left, of the move, in SDs (rms)"]
    return markdown("Updates against a refit: medians (10 to 90%) over seeds and optima", head, body)


def _band(values: Any) -> str:
    low, middle, high = np.quantile(values, (0.1, 0.5, 0.9))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    parser = study_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    if given.what == "run":
        run(given.seeds)
    else:
        print(table(read_rows(RESULTS)))


if __name__ == "__main__":
    main()
