"""Active design replayed on ScaleBench: six policies, one model, from nothing. Slow, outside CI, resumable.

    python -m tests.studies.replay run [--policy NAME ...] [--seeds 10] [--workers 2]
    python -m tests.studies.replay table [--plot curves.png]

Pool: the runs with N < 1e9; target: the cells with N > 1e9; cost 6 N D; budgets of 0.1, 0.3, 1, 5 and 10% of
the pool's cost. ``run`` appends to results/replay.jsonl what is not there. Real runs come from
../shared/data, which is never committed; see its README for their origin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bayeslaw.files import write_atomically
from bayeslaw.plots import replay_figure, save_figure
from bayeslaw.rehearsal.many import append, area, areas, cost_to, curves, read, run
from bayeslaw.rehearsal.task import Study, study_of
from bayeslaw.runs.cells import group_cells
from bayeslaw.runs.importing import import_runs
from bayeslaw.target import Target
from tests.studies.fits import fit_core
from tests.studies.tables import markdown, percent, study_parser

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data" / "scalebench_lr_bsz_train.parquet"
RESULTS = Path(__file__).parent / "results" / "replay.jsonl"
OURS = "regret"
POLICIES = (OURS, "random", "cheapest", "inverse-cost", "d-optimal", "v-optimal")
SHARES = ("0.1%", "0.3%", "1%", "5%", "10%")
EARLY = "0.3%"
"""The share whose R2 is compared."""

LARGE = 1e9
REGRET = 0.001
"""The regret whose cost is compared."""

Row = dict[str, Any]


def study() -> Study:
    """ScaleBench, divided at ``LARGE``."""
    runs = import_runs(DATA, adapter="scalebench")[0]
    large = [key for key, _ in group_cells(runs[runs["params_nonembedding"] > LARGE])]
    targets = [Target(key.params_nonembedding, key.tokens, key.optimizer, key.study) for key in large]
    # without the cost that a sweep may have recorded: the protocol counts 6 N D
    return study_of(
        runs.drop(columns="flops", errors="ignore"), targets, SHARES, below=LARGE, place=DATA.name
    )


def tables(rows: Sequence[Row]) -> str:
    """All the tables that the results allow, one under the other."""
    mine = list(rows)
    parts = [_over_budget(mine), _whole(mine), _calibration(mine)]
    return "\n\n".join(part for part in parts if part)


def _over_budget(rows: list[Row]) -> str:
    body = []
    for policy, entries in curves(rows).items():
        for entry in entries:
            here = [r for r in rows if (r["policy"], r["budget"]) == (policy, entry["budget"])]
            r2 = [r["r2"] for r in here if r["r2"] is not None]
            body.append(
                [
                    policy,
                    f"{entry['budget']:.2e}",
                    str(entry["seeds"]),
                    f"{entry['runs']:.0f}",
                    _band(entry["regret"], 100, 3),
                    f"{np.median(r2):.3f}, worst {min(r2):.3f}" if r2 else "-",
                    _band(entry["width"], 1, 2),
                    f"{100 * np.mean([r['coverage'] for r in here]):.0f}%",
                ]
            )
    head = ["policy", "FLOPs", "seeds", "runs", "regret, % of the loss", "R2", "width, nats", "coverage"]
    return markdown("ScaleBench, N < 1e9 to N > 1e9: medians over seeds (10 to 90%)", head, body)


def _whole(rows: list[Row]) -> str:
    regret, width = areas(rows, "regret"), areas(rows, "width")
    budgets = sorted({row["budget"] for row in rows})
    body = []
    for policy in regret:
        mine = [row for row in rows if row["policy"] == policy]
        needed = cost_to(mine, REGRET)
        r2 = [r["r2"] for r in mine if r["budget"] == budgets[SHARES.index(EARLY)] and r["r2"] is not None]
        body.append(
            [
                policy,
                _band(regret[policy], 100, 3),
                _band(width[policy], 1, 2),
                percent(float(np.mean([row["coverage"] for row in mine])), 0),
                f"{np.median(r2):.3f} ({min(r2):.3f})" if r2 else "-",
                "not reached" if needed is None else f"{needed:.2e}",
                "-" if policy == OURS else _beaten(rows, policy),
            ]
        )
    head = ["policy", "regret, % of the loss (geometric mean)", "width, nats (mean)", "losses covered"]
    head += [f"R2 at {EARLY} (worst)", f"FLOPs to {REGRET:.1%} in nine of ten seeds"]
    head += ["seeds in which ours does better: regret, width"]
    return markdown("All budgets, means over ln FLOPs: medians over seeds (10 to 90%)", head, body)


def _beaten(rows: list[Row], policy: str) -> str:
    """In how many seeds the area under our curve is the smaller one, of regret and of width."""
    seeds = sorted({row["seed"] for row in rows if row["policy"] == policy})
    counts = []
    for name in ("regret", "width"):
        pairs = [
            [
                area([r for r in rows if (r["policy"], r["seed"]) == (each, seed)], name, name == "regret")
                for each in (OURS, policy)
            ]
            for seed in seeds
        ]
        counts.append(sum(ours < theirs for ours, theirs in pairs if None not in (ours, theirs)))
    return f"{counts[0]}, {counts[1]} of {len(seeds)}"


def _calibration(rows: list[Row]) -> str:
    body = []
    for policy, entries in curves(rows).items():
        mine = [r for r in rows if r["policy"] == policy]
        pairs = [(r["regret"], r["announced"]) for r in mine if r["regret"] is not None]
        realised, announced = np.mean(pairs, axis=0)
        within = [e["within"] for e in entries if e["within"] is not None]
        cover = [r["coverage"] for r in mine]
        body.append(
            [
                policy,
                percent(float(realised)),
                percent(float(announced)),
                percent(float(np.mean(within)), 0),
                percent(float(np.mean(cover)), 0),
                f"{sum(r['converged'] for r in mine)} of {len(mine)}",
            ]
        )
    head = ["policy", "regret, mean", "announced, mean", "cells within the 90% bound", "losses covered"]
    return markdown("Is the announced regret honest? All budgets", [*head, "fits converged"], body)


def _band(band: dict[str, float] | None, factor: float, digits: int) -> str:
    if band is None:
        return "-"
    middle, low, high = (f"{factor * band[end]:.{digits}f}" for end in ("median", "lower", "upper"))
    return f"{middle} ({low} to {high})"


def shorten(path: Path) -> None:
    """Without the run_ids that whole replays bought: megabytes, which only an interrupted replay asks for."""
    rows = read(path)
    ended = {(row["policy"], row["seed"]) for row in whole(rows)}
    with write_atomically(path) as temporary:
        for row in rows:
            append(temporary, row | {"bought": []} if (row["policy"], row["seed"]) in ended else row)


def whole(rows: Sequence[Row]) -> list[Row]:
    """Rows of the replays that reached the last budget, by policy."""
    budgets = Counter((row["policy"], row["seed"]) for row in rows)
    ended = [row for row in rows if budgets[row["policy"], row["seed"]] == len(SHARES)]
    return sorted(ended, key=lambda row: POLICIES.index(row["policy"]))


def told(row: Row) -> None:
    scores = f"regret {row['regret']:.4%}, R2 {row['r2']:.3f}, coverage {row['coverage']:.0%}"
    counts = f"{row['runs']} runs, {row['fits']} fits, {row['seconds']:.0f} s"
    print(f"{row['policy']} seed {row['seed']} {row['budget']:.2e}: {scores}; {counts}", flush=True)


def main() -> None:
    parser = study_parser(__doc__)
    parser.add_argument("--policy", action="append", choices=POLICIES, help="repeated; by default all")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--plot", type=Path, help="with table: also a figure")
    given = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    if given.what == "run":
        policies = given.policy or POLICIES
        run(study(), policies, range(given.seeds), RESULTS, fit_core, workers=given.workers, tell=told)
        shorten(RESULTS)
        return
    rows = whole(read(RESULTS))
    print(tables(rows))
    if given.plot:
        save_figure(replay_figure(curves(rows)), given.plot)


if __name__ == "__main__":
    main()
