"""How often is the stop rule wrong? Replays of ScaleBench in small steps. Slow, outside CI, resumable.

    python -m tests.studies.stopping run [--seeds 10] [--workers 2]   # results/stopping.jsonl
    python -m tests.studies.stopping table

As ``replay``, from nothing, with our policy and one fit a step. After each step the rule says stop or go on;
the regret after the next step, which costs two to three times as much in all, says who was right:

* stopped too early: the realised regret then fell by more than the noise of a run;
* went on in vain: it fell by less.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bayeslaw.rehearsal.many import read, run
from tests.studies.fits import fit_core
from tests.studies.replay import study, told
from tests.studies.tables import markdown, study_parser

RESULTS = Path(__file__).parent / "results" / "stopping.jsonl"
SHARES = (2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3)

Row = dict[str, Any]


def tables(rows: list[Row]) -> str:
    seeds = sorted({row["seed"] for row in rows})
    paths = [sorted((r for r in rows if r["seed"] == s), key=lambda r: r["budget"]) for s in seeds]
    return "\n\n".join((_verdicts(paths), _stops(paths), _updates(rows)))


def _verdicts(paths: list[list[Row]]) -> str:
    pairs = [(a, b) for path in paths for a, b in itertools.pairwise(path) if a["next"]]
    body = []
    for stop, wrong in ((True, "fell by more than the noise"), (False, "fell by less")):
        mine = [(a, b) for a, b in pairs if a["next"]["stop"] == stop]
        errors = sum((a["regret"] - b["regret"] > a["next"]["noise"]) == stop for a, b in mine)
        body.append(["stop" if stop else "go on", str(len(mine)), f"{errors} ({wrong})"])
    return markdown("The rule after each step", ["it said", "times", "wrong"], body)


def _stops(paths: list[list[Row]]) -> str:
    body = []
    for path in paths:
        at = next((row for row in path if row["next"] and row["next"]["stop"]), path[-1])
        least = min(row["regret"] for row in path)
        shown = (at["regret"], path[-1]["regret"], least, (at["next"] or {}).get("noise", np.nan))
        body.append([str(at["seed"]), str(at["runs"]), f"{at['spent']:.2e}", *(f"{x:.3%}" for x in shown)])
    head = ["seed", "runs", "FLOPs", "regret there", "regret at the last budget", "least of all", "noise"]
    return markdown("Where it stops first", head, body)


def _updates(rows: list[Row]) -> str:
    pairs = [(r["foretold"], r["announced"]) for r in rows if r["foretold"] is not None]
    ratio = np.log([refit / foretold for foretold, refit in pairs])
    low, middle, high = np.exp(np.quantile(ratio, (0.1, 0.5, 0.9)))
    return (
        f"Expected regret after a refit over the one foretold without it, {len(pairs)} steps: median "
        f"{middle:.2f}, 10 to 90% {low:.2f} to {high:.2f}."
    )


def main() -> None:
    parser = study_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    if given.what == "table":
        print(tables(read(RESULTS)))
        return
    whole = study()
    budgets = tuple(share * float(whole.cost.sum()) for share in SHARES)
    asked = replace(whole, budgets=budgets, refits=1)
    run(asked, ("regret",), range(given.seeds), RESULTS, fit_core, workers=given.workers, tell=told)


if __name__ == "__main__":
    main()
