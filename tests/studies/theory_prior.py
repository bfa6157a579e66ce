"""Convergence bounds as a prior and as a rival, on held-out cells of every sweep that varies learning rates.

    python -m tests.studies.theory_prior run [--only TABLE]   # appends to results/theory_prior.jsonl
    python -m tests.studies.theory_prior table                # prints its part of docs/theory.md

Five methods learn from the same runs: the free law (the core, with the literature's priors), the same with
the prior of theory (``fit --prior theory``), the rival law (the structure ``lmo`` of ``compare``), the rival
fitted to best runs (``evaluate --method lmo``), and the best runs' regression (``--method argmin``). The
first three are Laplace approximations (``inference.approximation``). The held-out cells are larger in N, or
in D, than any fitted. A cell's best run stands for its best settings, so that sparse sweeps can be scored
too: an error of the learning rate is ln of the advised over the best run's rate, at the best run's batch, and
is never 0 on a grid. Regret is of cells whose runs surround a smoothed minimum. Resumable.

The other tables of ../shared/data tell nothing of a best learning rate: one or two rates a network (gadre,
gemstones, olmo), repeats of one setting (modded_nanogpt), no N and D (stepback, opda).
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslaw.assets import BOOKS
from bayeslaw.errors import BadInput
from bayeslaw.evaluation.advisors import PosteriorAdvisor
from bayeslaw.evaluation.baselines import fit_argmin
from bayeslaw.evaluation.heldout import evaluate
from bayeslaw.evaluation.lmo import fit_lmo
from bayeslaw.evaluation.scores import Advisor
from bayeslaw.inference.approximation import approximate
from bayeslaw.intervals import interval
from bayeslaw.law.ties import TIES, path_exponent
from bayeslaw.runs.cells import finished_runs, group_cells
from bayeslaw.runs.io import read_runs
from bayeslaw.target import Target
from tests.studies.heldout import table as read_table
from tests.studies.population import schaipp
from tests.studies.tables import markdown, percent, read_rows, study_parser

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results" / "theory_prior.jsonl"
LEVEL = 0.9
RATES = 3
"""Learning rates that a cell must have tried, or its best run says nothing."""


@dataclass(frozen=True)
class Split:
    """Runs to learn from and cells to predict.

    Attributes:
        runs: the sweep.
        words: what is held out.
        held_out: which runs are.
    """

    runs: Callable[[], pd.DataFrame]
    words: str
    held_out: Callable[[pd.DataFrame], pd.Series]


def larger(column: str, than: float) -> Callable[[pd.DataFrame], pd.Series]:
    """Runs whose N or D is larger."""
    return lambda runs: runs[column] > than


def longest(runs: pd.DataFrame) -> pd.Series:
    """Runs with the most tokens of each network."""
    return runs["tokens"] > 0.6 * runs.groupby("params_nonembedding")["tokens"].transform("max")


books, marin = (functools.cache(load) for load in (lambda: read_runs(BOOKS), lambda: read_table("marin")))
steplaw, scalebench = (
    functools.cache(functools.partial(read_table, name)) for name in ("steplaw", "scalebench")
)
SPLITS = {
    "schaipp, D": Split(schaipp, "D > 3B", larger("tokens", 3e9)),
    "steplaw, N": Split(steplaw, "N > 500M", larger("params_nonembedding", 5e8)),
    "scalebench, N": Split(scalebench, "N > 1B", larger("params_nonembedding", 1e9)),
    "scalebench, D": Split(scalebench, "D > 30B", larger("tokens", 3e10)),
    "marin, N": Split(marin, "N > 500M", larger("params_nonembedding", 5e8)),
    "marin, D": Split(marin, "the largest D of each N", longest),
    "books, N": Split(books, "N > 20k", larger("params_nonembedding", 2e4)),
    "books, D": Split(books, "the largest D of each N", longest),
}
POSTERIORS: dict[str, tuple[str, ...]] = {"free law": (), "prior of theory": ("theory",), "lmo": ("lmo",)}
BASELINES = {"lmo, best runs": fit_lmo, "argmin": fit_argmin}
METHODS = (*POSTERIORS, *BASELINES)


def run(only: str) -> None:
    """Append what is not there."""
    done = {(row["split"], row["method"]) for row in read_rows(RESULTS)}
    for split in SPLITS:
        for method in METHODS:
            if split.startswith(only) and (split, method) not in done:
                began = time.process_time()
                row = {"split": split, "method": method, **scored(SPLITS[split], method)}
                row["cpu_seconds"] = time.process_time() - began
                with RESULTS.open("a") as file:
                    file.write(json.dumps(rounded(row)) + "\n")
                print(rounded(row), flush=True)


def rounded(value: Any) -> Any:
    """Numbers to four digits, for a result line; anything else as it is."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def scored(split: Split, method: str) -> dict[str, Any]:
    """What a method scores on a split: of each cell and optimizer, and of the losses."""
    runs = split.runs()
    held = split.held_out(runs)
    train, test = (runs[which].reset_index(drop=True) for which in (~held, held))
    if method in POSTERIORS:
        posterior = approximate(train, POSTERIORS[method])
        row = scores_of(PosteriorAdvisor(posterior), test)
        scores = [posterior.common[tie.score] for tie in TIES.values() if tie.score in posterior.common]
        return row | {"q": [interval(path_exponent(score), LEVEL).to_json() for score in scores]}
    parts = list(_by_optimizer(method, train, test))
    if not parts:
        return {"cells": [], "regrets": [], "q": []}
    return {name: [item for part in parts for item in part[name]] for name in ("cells", "regrets", "q")}


def _by_optimizer(method: str, train: pd.DataFrame, test: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Scores of a regression, which knows one optimizer at a time; none where its cells determine no law."""
    for optimizer, own in test.groupby("optimizer"):
        try:
            advisor = BASELINES[method](train, str(optimizer))
        except BadInput:
            continue
        path = advisor.report.get("path")
        yield scores_of(advisor, own.reset_index(drop=True)) | {"q": [{"median": path["q"]}] if path else []}


def scores_of(advisor: Advisor, test: pd.DataFrame) -> dict[str, Any]:
    """Errors of the best learning rate of each cell, regrets of those that have a minimum, and losses."""
    result = evaluate(advisor, test, LEVEL)
    losses = {name: getattr(result.losses, name) for name in ("crps", "coverage")} if result.losses else {}
    regrets = [cell.advice.regret for cell in result.cells if cell.advice]
    cells = [each for key, rows in group_cells(test) if (each := _error(advisor, key, finished_runs(rows)))]
    return {"cells": cells, "regrets": regrets, **losses}


def _error(advisor: Advisor, key: Any, rows: pd.DataFrame) -> dict[str, Any] | None:
    """ln of the advised over the best run's learning rate, and whether the interval holds the best run's."""
    if rows["learning_rate"].nunique() < RATES:
        return None
    best = rows.loc[rows["loss"].idxmin()]
    target = Target.of_cell(key, float(best["batch_tokens"]))
    draws = advisor.optimum_draws(target)
    rate = float(best["learning_rate"])
    told = interval(draws["learning_rate"], LEVEL) if draws else None
    return {
        "optimizer": key.optimizer,
        "params": key.params_nonembedding,
        "tokens": key.tokens,
        "error": float(np.log(advisor.recommend(target)["learning_rate"] / rate)),
        "inside": bool(told.lower <= rate <= told.upper) if told else None,
    }


# ---------------------------------------------------------------------------------------------- its table


def table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a split and method, and who is best how often."""
    body = []
    for name, split in SPLITS.items():
        for method in METHODS:
            for row in rows:
                if (row["split"], row["method"]) == (name, method) and row["cells"]:
                    body.append([name.partition(",")[0], split.words, method, *_line(row)])
    head = ["sweep", "held out", "method", "cells", "rms error of ln best rate", "best rates in 90%"]
    head += ["mean regret (cells)", "CRPS of losses, nats", "q"]
    title = "Held-out cells: convergence bounds as a prior and as a law, beside the free law"
    return markdown(title, head, body) + "\n\n" + _verdict(rows)


def _line(row: dict[str, Any]) -> list[str]:
    inside = [cell["inside"] for cell in row["cells"] if cell["inside"] is not None]
    regrets = row["regrets"]
    return [
        str(len(row["cells"])),
        f"{_rms(row):.2f}",
        f"{sum(inside)} of {len(inside)}" if inside else "-",
        f"{percent(float(np.mean(regrets)))} ({len(regrets)})" if regrets else "-",
        f"{row['crps']:.4f}" if "crps" in row else "-",
        _path(row["q"]),
    ]


def _rms(row: dict[str, Any]) -> float:
    return float(np.sqrt(np.mean(np.square([cell["error"] for cell in row["cells"]]))))


def _path(q: Sequence[dict[str, float]]) -> str:
    """q with its interval, or its range over optimizers."""
    if not q:
        return "-"
    if "lower" in q[0]:
        return f"{q[0]['median']:.2f} ({q[0]['lower']:.2f} to {q[0]['upper']:.2f})"
    values = [each["median"] for each in q]
    ends = f"{min(values):.2f} to {max(values):.2f}"
    return ends if len(values) > 1 else f"{values[0]:.2f}"


def _verdict(rows: Sequence[dict[str, Any]]) -> str:
    """Against the free law: in how many splits a method errs less, and predicts losses better."""
    found = {(row["split"], row["method"]): row for row in rows if row["cells"]}
    told = []
    for method in ("prior of theory", "lmo"):
        pairs = [(found[s, "free law"], found[s, method]) for s in SPLITS if (s, method) in found]
        rates = sum(_rms(own) < _rms(free) for free, own in pairs)
        losses = sum(own["crps"] < free["crps"] for free, own in pairs)
        ratio = np.median([_rms(own) / _rms(free) for free, own in pairs])
        told.append(
            f"`{method}` has the smaller error in {rates} of {len(pairs)} splits (median "
            f"ratio {ratio:.2f}) and the smaller CRPS in {losses}"
        )
    return f"Against the free law, {'; '.join(told)}."


def main() -> None:
    """The command line."""
    parser = study_parser(__doc__)
    parser.add_argument("--only", default="", help="splits whose name starts so, such as marin")
    given = parser.parse_args()
    if given.what == "run":
        run(given.only)
    else:
        print(table(read_rows(RESULTS)))


if __name__ == "__main__":
    main()
