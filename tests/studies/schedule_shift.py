"""The two scalars of a schedule as the law's default shift, against a slope and factors that are fitted.

    python -m tests.studies.schedule_shift run     # results/schedule_shift.jsonl, some minutes
    python -m tests.studies.schedule_shift table   # prints its part of docs/benchmarks.md

Runs of Schaipp et al. (../shared/data): 85M parameters without embeddings, SlimPajama, AdamW, one batch,
linear decays over .1 to .9 of the steps at three to five peaks, and cosines to a tenth. Four structures of
the law, each with its default parts: ``schedule_slope`` (free slope in ln decay share, prior .3 +- .2, and a
factor by kind), ``schedule`` (the offset 1/2 ln(X1/X2), nothing fitted), ``schedule_free`` (the offset, with
slope and factor as deviations), and none. All are Gaussian approximations (``inference.approximation``).

A cell's measured ln eta* is the minimum of a parabola in ln eta through its best peak and both neighbours.
Regret is that parabola's at the advised rate. The development splits hold runs of at most 25k steps, the test
splits predict longer ones. The rule, fixed before the first run: the structure with the least rms of ln eta*
over the cells of all development splits becomes the part ``schedule``; within .02 nats the one with the
lower CRPS of losses.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from bayeslaw.advice.cells import cells_of
from bayeslaw.advice.target_surface import log_lr_at_batch, surface_at
from bayeslaw.evaluation.advisors import PosteriorAdvisor
from bayeslaw.evaluation.scores import coverage, crps
from bayeslaw.inference.approximation import approximate
from bayeslaw.intervals import ends
from bayeslaw.law.parameters import DEFAULT_PARTS
from bayeslaw.target import Target
from tests.studies.leave_one_out import SOURCES
from tests.studies.tables import Row, markdown, read_rows, run_or_print

RESULTS = Path(__file__).parent / "results" / "schedule_shift.jsonl"
STRUCTURES: dict[str, tuple[str, ...]] = {
    "schedule_slope": ("schedule_slope",),
    "schedule": ("schedule",),
    "schedule_free": ("schedule_free",),
    "none": (),
}
STEP = 102_400
"""Tokens per step of all these runs."""

NETWORK = 84_953_856
"""Parameters of the network whose peaks and decay shares were varied."""

WITHIN = np.log(1.5)
"""How far [nats] a parabola's minimum may lie outside the three peaks that it goes through."""

Chosen = Callable[[pd.DataFrame], pd.Series]


class Split(NamedTuple):
    """What is fitted and what is predicted: conditions on runs."""

    kind: str
    name: str
    fitted: Chosen
    predicted: Chosen


def linear(*shares: float) -> Chosen:
    """Linear decays; over these shares, or all."""
    return lambda runs: (runs["schedule"] == "wsd") & (runs["decay_share"].isin(shares) | (not shares))


def cosine(runs: pd.DataFrame) -> pd.Series:
    return runs["schedule"] == "cosine"


def at(low: float, high: float, chosen: Chosen) -> Chosen:
    """Of those chosen, runs of more than ``low`` and at most ``high`` thousand steps."""

    def both(runs: pd.DataFrame) -> pd.Series:
        steps = runs["tokens"] / STEP / 1e3
        return chosen(runs) & (steps > low + 0.1) & (steps < high + 0.1)

    return both


MOST = (0.1, 0.2, 0.4, 0.6, 0.8, 0.9)
SPLITS = [
    split
    for kind, low, high in (("development", 0, 25), ("test", 25, 50))
    for split in (
        Split(kind, "one share", at(low, high, linear(0.2)), at(low, high, linear(0.1, 0.4, 0.6, 0.8, 0.9))),
        Split(
            kind, "three shares", at(low, high, linear(0.1, 0.2, 0.9)), at(low, high, linear(0.4, 0.6, 0.8))
        ),
        Split(kind, "cosine", at(low, high, cosine), at(low, high, linear(*MOST))),
    )
] + [
    Split("development", "longer", at(0, 15, linear()), at(15, 25, linear(*MOST))),
    Split("test", "longer", at(0, 25, linear()), at(25, 50, linear(*MOST))),
]


@functools.cache
def runs() -> pd.DataFrame:
    """Linear decays and cosines to a tenth, of one network and corpus."""
    every = SOURCES["schaipp"]()
    kept = (every["study"] == "schaipp-slimpajama") & (every["params_nonembedding"] == NETWORK)
    kept &= every["status"] == "finished"
    ends_at_a_tenth = (every["schedule"] == "cosine") & (every["final_lr_ratio"].round(3) == 0.1)
    decays = (every["schedule"] == "wsd") & (every["extra_decay_shape"] == "linear")
    table = every[kept & (ends_at_a_tenth | decays)].reset_index(drop=True)
    return table.drop(columns="extra_decay_shape")


def run() -> None:
    """Score what is not in the results."""
    done = {(row["kind"], row["split"], row["structure"]) for row in read_rows(RESULTS)}
    for split in SPLITS:
        for name, parts in STRUCTURES.items():
            if (split.kind, split.name, name) in done:
                continue
            began = time.process_time()
            row = {"kind": split.kind, "split": split.name, "structure": name, **scored(split, parts)}
            row["cpu_seconds"] = round(time.process_time() - began, 1)
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(row, flush=True)


def scored(split: Split, parts: Sequence[str]) -> Row:
    """What a structure scores on the held-out cells of a split."""
    train, test = (runs()[chosen(runs())].reset_index(drop=True) for chosen in split[2:])
    posterior = approximate(train, (*DEFAULT_PARTS, *parts))
    advisor = PosteriorAdvisor(posterior)
    losses, observed = advisor.loss_draws(test), test["loss"].to_numpy(float)
    cells = list(judged(advisor, test))
    return {
        "fitted": len(train),
        "predicted": len(test),
        "crps": round(float(crps(losses, observed)), 5),
        "coverage_50": round(coverage(losses, observed, 0.5), 3),
        "coverage_90": round(coverage(losses, observed, 0.9), 3),
        "cells": cells,
        "slopes": {
            name: [round(float(f(posterior.common[name])), 3) for f in (np.mean, np.std)]
            for name in ("alpha_share", "alpha_deviation", "offset_scalars")
            if name in posterior.common
        },
    }


def judged(advisor: PosteriorAdvisor, test: pd.DataFrame) -> Iterator[Row]:
    """Each held-out cell with a measured optimum: what was predicted of its ln eta*, and what that costs."""
    for where, cell in cells_of(test, advisor.posterior):
        rows = test.iloc[where]
        for (share, tokens), own in rows.groupby(["decay_share", "tokens"]):
            parabola = through_best(own)
            if parabola is None:
                continue
            log_rate, bend, least = parabola
            draws = log_lr_at_batch(surface_at(advisor.posterior, Target.of_cell(cell)), np.log(STEP))
            off = float(np.median(draws)) - log_rate
            low, high = np.quantile(draws, ends(0.9))
            yield {
                "steps": round(float(tokens) / STEP),
                "share": round(float(share), 3),
                "log_rate": round(log_rate, 3),
                "off": round(off, 3),
                "inside_90": bool(low <= log_rate <= high),
                "regret": round(1e3 * bend * off**2 / least, 3),
            }


def through_best(rows: pd.DataFrame) -> tuple[float, float, float] | None:
    """ln rate at the minimum of a parabola through the best peak and its neighbours, half its bend, its loss.

    None for fewer than three peaks, or a minimum beyond them by more than ``WITHIN``.
    """
    by_peak = rows.groupby("learning_rate")["loss"].mean()
    if len(by_peak) < 3:
        return None
    middle = int(np.clip(np.argmin(by_peak), 1, len(by_peak) - 2))
    near = by_peak.iloc[middle - 1 : middle + 2]
    x = np.log(near.index.to_numpy())
    bend, slope, level = np.polyfit(x - x[1], near.to_numpy(), 2)
    at = x[1] - slope / (2 * bend)
    if bend <= 0 or not x[0] - WITHIN < at < x[2] + WITHIN:
        return None
    return float(at), float(bend), float(level - slope**2 / (4 * bend))


def table() -> str:
    rows = read_rows(RESULTS)
    kinds = list(dict.fromkeys(split.kind for split in SPLITS))
    return "\n\n".join([_summary(rows, kinds), *(_by_split(rows, kind) for kind in kinds)])


def rms(cells: Sequence[Row], name: str) -> float:
    return float(np.sqrt(np.mean([cell[name] ** 2 for cell in cells])))


def _scores(own: Sequence[Row]) -> list[str]:
    """Over some splits: cells, rms and bias of ln eta*, its coverage, regret, and scores of the losses."""
    cells = [cell for row in own for cell in row["cells"]]
    counts = [row["predicted"] for row in own]
    means = {
        name: float(np.average([row[name] for row in own], weights=counts))
        for name in ("crps", "coverage_50", "coverage_90")
    }
    return [
        str(len(cells)),
        f"{rms(cells, 'off'):.3f} ({np.mean([cell['off'] for cell in cells]):+.2f})",
        f"{np.mean([cell['inside_90'] for cell in cells]):.0%}",
        f"{np.mean([cell['regret'] for cell in cells]):.2f}, {max(cell['regret'] for cell in cells):.1f}",
        f"{1e3 * means['crps']:.2f}",
        f"{means['coverage_50']:.0%}, {means['coverage_90']:.0%}",
    ]


HEADER = [
    "cells", "ln η*: rms (bias)", "in 90%", "regret, ‰: mean, largest", "CRPS of losses, 1e-3 nats",
    "losses in 50%, 90%",
]  # fmt: skip


def _summary(rows: Sequence[Row], kinds: Sequence[str]) -> str:
    body = []
    for kind in kinds:
        for name in STRUCTURES:
            own = [row for row in rows if (row["kind"], row["structure"]) == (kind, name)]
            body.append([kind, name, *_scores(own)])
    return markdown("The schedule's shift in the law: all splits", ["splits", "structure", *HEADER], body)


def _by_split(rows: Sequence[Row], kind: str) -> str:
    body = []
    for split in (each.name for each in SPLITS if each.kind == kind):
        for name in STRUCTURES:
            own = [r for r in rows if (r["kind"], r["split"], r["structure"]) == (kind, split, name)]
            body.append([split, name, *_scores(own)])
    return markdown(f"The {kind} splits", ["fitted", "structure", *HEADER], body)


if __name__ == "__main__":
    run_or_print(__doc__, run, table)
