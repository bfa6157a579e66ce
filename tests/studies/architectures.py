"""Does a law of decoder-only transformers advise other architectures better than the usual default?

    python -m train.sweep --plan train/plans/images.toml --out out/images --workers 1
    python -m train.collect out/images -o tests/studies/architectures.csv
    python -m tests.studies.architectures run        # results/architectures.jsonl; resumable
    python -m tests.studies.architectures table

A vision transformer and an MLP-Mixer on images of digits, and an MLP-Mixer on text, three sizes each. A
newcomer has 0, 8 or 24 runs of the two smaller sizes, drawn at random, and fits them with the literature's
priors, with the population of the shipped posterior (decoders of 60M parameters and more), or with that of
books.csv (decoders of 9k to 332k). Judged at the largest size by a fit to all runs of the architecture, whose
draws give the intervals; and by training the largest network once with each advice (of the first draw of own
runs). All fits are Laplace approximations of the law's core. ``bayeslaw fit --population
shipped`` refuses runs so far from its own (``posterior.population.refuse_far``); here it is tried.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from bayeslaw.advice.decision import decide
from bayeslaw.advice.prediction import outcome_of
from bayeslaw.advice.target_surface import TargetSurface, surface_at
from bayeslaw.evaluation.advisors import PosteriorAdvisor
from bayeslaw.evaluation.scores import r2
from bayeslaw.inference.approximation import approximate as approximate_law
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.prior import prior_posterior
from bayeslaw.runs.cells import finished_runs
from bayeslaw.runs.io import read_runs
from bayeslaw.target import Target
from bayeslaw.text import short
from tests.studies.leave_one_out import LEVEL, SETTINGS, best_settings, shipped
from tests.studies.population import books
from tests.studies.tables import Row, markdown, percent, read_rows, run_or_print

approximate = functools.partial(approximate_law, parts=(), draws=1000)
RUNS = Path(__file__).with_suffix(".csv")
PLAN = Path(__file__).parents[2] / "train" / "plans" / "images.toml"
OUT = Path("out/images-advised")
RESULTS = Path(__file__).parent / "results" / "architectures.jsonl"
NAMES = {
    "vit-digits-patches": "vision transformer, digits",
    "mixer-digits-patches": "MLP-Mixer, digits",
    "mixer-books-tokens": "MLP-Mixer, text",
}
PRIORS = ("none", "shipped", "books")
COUNTS = (0, 8, 24)
SEEDS = range(2)
DEFAULT_RATE, DEFAULT_SEQUENCES = 1e-3, 32
"""The usual default: AdamW's rate in torch, and 32 sequences or images a step."""
WAYS = {
    "default": "usual default",
    "best run": "best own run, as it is",
    "none": "law, literature's priors",
    "shipped": "law, population shipped",
    "books": "law, population of books.csv",
}


# ------------------------------------------------------------------------------------------ one newcomer


@functools.cache
def runs_of(study: str) -> pd.DataFrame:
    """All runs of one architecture."""
    runs = read_runs(RUNS)
    return runs[runs["study"] == study].reset_index(drop=True)


def small(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs that a newcomer may buy."""
    return runs[runs["params_nonembedding"] < runs["params_nonembedding"].max()].reset_index(drop=True)


def target_of(runs: pd.DataFrame) -> Target:
    """The largest cell."""
    largest = runs.loc[runs["params_nonembedding"].idxmax()]
    n, d = float(largest["params_nonembedding"]), float(largest["tokens"])
    return Target(n, d, "adamw", str(largest["study"]))


@functools.cache
def judge_of(study: str) -> Posterior:
    """A fit to all runs of the architecture."""
    return approximate(runs_of(study))


@functools.cache
def population(prior: str) -> Posterior | None:
    """The posterior whose population is the prior."""
    if prior == "none":
        return None
    return shipped() if prior == "shipped" else approximate(books())


def believed(prior: str, own: pd.DataFrame, seed: int) -> Posterior:
    """What a newcomer believes with its own runs, if any."""
    others = population(prior)
    if len(finished_runs(own)):
        return approximate(own, seed=seed, population=others)
    return others or prior_posterior()


def judged(truth: TargetSurface, settings: dict[str, float]) -> Row:
    """Excess loss of settings at the largest size, over the judge's draws, and beside the usual default."""
    regret = outcome_of(truth, _whole(truth, settings)).regret
    usual = outcome_of(truth, _whole(truth, default(truth.target.study))).regret
    low, high = np.quantile(regret, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {
        "settings": {name: settings[name] for name in SETTINGS},
        "regret": float(regret.mean()),
        "interval": [float(low), float(high)],
        "gain": float((usual - regret).mean()),
        "better": float((regret < usual).mean()),
    }


def _whole(truth: TargetSurface, settings: dict[str, float]) -> dict[str, float]:
    """The judge's own choice of what is not advised."""
    return decide(truth) | {name: settings[name] for name in SETTINGS}


def default(study: str | None) -> dict[str, float]:
    """The usual default, in tokens or patches."""
    length = float(runs_of(str(study))["sequence_length"].iloc[0])
    return {"learning_rate": DEFAULT_RATE, "batch_tokens": DEFAULT_SEQUENCES * length}


def rows_of(study: str, count: int, seed: int) -> Iterator[Row]:
    """Every way to settings with so many own runs."""
    runs = runs_of(study)
    target, pool = target_of(runs), small(runs)
    truth = surface_at(judge_of(study), target)
    own = pool.sample(min(count, len(pool)), random_state=seed).reset_index(drop=True)
    place = {"study": study, "runs": count, "seed": seed}
    if count:
        best = finished_runs(own).sort_values("loss").iloc[0]
        yield place | {"way": "best run"} | judged(truth, {name: float(best[name]) for name in SETTINGS})
    else:
        yield place | {"way": "default"} | judged(truth, default(study))
    for prior in PRIORS:
        posterior = believed(prior, own, seed)
        at = surface_at(posterior, target)
        row = place | {"way": prior} | judged(truth, decide(at))
        middle = float(np.median(best_settings(truth)["learning_rate"]))
        low, high = np.quantile(best_settings(at)["learning_rate"], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        yield row | {"inside": bool(low <= middle <= high), "factor": float(np.exp(high - low))}


def about(study: str) -> Row:
    """How well the judge describes the runs, and what it holds for the best settings."""
    runs = runs_of(study)
    target, finished = target_of(runs), finished_runs(runs)
    largest = finished[finished["params_nonembedding"] == target.params_nonembedding]
    predicted = np.median(np.log(PosteriorAdvisor(judge_of(study)).loss_draws(largest)), axis=0)
    best = best_settings(surface_at(judge_of(study), target))
    ends = {name: [float(q) for q in np.exp(np.quantile(v, [0.05, 0.5, 0.95]))] for name, v in best.items()}
    return {
        "study": study,
        "way": "judge",
        "all": len(runs),
        "params": sorted(float(n) for n in runs["params_nonembedding"].unique()),
        "r2": r2(predicted, np.log(largest["loss"].to_numpy(float))),
        "best": ends,
        "lowest": float(largest["loss"].min()),
    }


def trained(study: str, settings: Row) -> float | None:
    """Loss of the largest network with these settings; None where it diverged."""
    from bayeslaw.lab.train import plan, run

    specs = [spec for spec in plan.read(PLAN) if spec.study == study]
    largest = max(specs, key=lambda spec: spec.tokens)
    length = largest.sequence_length
    batch = min(max(1, round(settings["batch_tokens"] / length)) * length, largest.tokens)
    spec = replace(
        largest, run_id="advised", learning_rate=settings["learning_rate"], batch_tokens=batch, seed=1
    )
    loss = run.execute(spec, OUT / f"{study}-{batch}-{spec.learning_rate:.6g}")["loss"]
    return None if loss is None else float(loss)


def train_advised() -> None:
    """Train with every advice of the first draw that has no loss yet, the fewest steps first."""
    rows = read_rows(RESULTS)
    done = {(row["study"], row["runs"], row["way"]) for row in rows if "trained" in row}
    advised = [row for row in rows if row.get("seed") == 0 and "settings" in row]
    for row in sorted(advised, key=lambda row: -row["settings"]["batch_tokens"]):
        key = {name: row[name] for name in ("study", "runs", "way")}
        if tuple(key.values()) not in done:
            _append([key | {"trained": trained(row["study"], row["settings"])}])


def run() -> None:
    """Append what is not there."""
    done = {(row["study"], row.get("runs"), row.get("seed")) for row in read_rows(RESULTS)}
    here = [study for study in NAMES if len(runs_of(study))]
    for study in here:
        if (study, None, None) not in done:
            _append([about(study)])
    for seed in SEEDS:
        for study in here:
            for count in COUNTS if seed == 0 else COUNTS[1:]:
                if (study, count, seed) not in done:
                    _append(list(rows_of(study, count, seed)))
        train_advised()


def _append(rows: Sequence[Row]) -> None:
    with RESULTS.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    print(f"{rows[0]['study']}: {len(rows)} lines", flush=True)


# ------------------------------------------------------------------------------------------ tables


def table(rows: Sequence[Row]) -> str:
    """One line an architecture, count and way, then the verdict."""
    body = []
    for study, name in NAMES.items():
        for count in COUNTS:
            for way, words in WAYS.items():
                mine = [r for r in rows if (r["study"], r.get("runs"), r["way"]) == (study, count, way)]
                advised = [row for row in mine if "settings" in row]
                if advised:
                    losses = [row["trained"] for row in mine if "trained" in row]
                    body.append([name, str(count), words, *_line(advised), _trained(losses)])
    head = ["architecture", "own runs", "settings by", "learning rate, batch", "regret (90%)"]
    head += ["better than the default with probability", "best rate inside", "width", "loss when trained"]
    title = "The largest network of each architecture, advised from runs of smaller ones"
    return "\n\n".join([_judges(rows), markdown(title, head, body), _verdict(rows)])


def _trained(losses: Sequence[float | None]) -> str:
    if not losses:
        return "-"
    return "diverged" if losses[0] is None else f"{losses[0]:.3f}"


def _line(rows: Sequence[Row]) -> list[str]:
    low, high = (np.mean([row["interval"][end] for row in rows]) for end in (0, 1))
    given = [(row["settings"]["learning_rate"], row["settings"]["batch_tokens"]) for row in rows]
    settings = [f"{rate:.2g}, {short(round(batch))}" for rate, batch in given]
    law = "factor" in rows[0]
    return [
        "; ".join(settings),
        f"{percent(float(np.mean([row['regret'] for row in rows])), 1)} "
        f"({percent(float(low), 1)} to {percent(float(high), 1)})",
        f"{np.mean([row['better'] for row in rows]):.2f}" if rows[0]["way"] != "default" else "-",
        f"{sum(row['inside'] for row in rows)} of {len(rows)}" if law else "-",
        f"{np.median([row['factor'] for row in rows]):.2g} times" if law else "-",
    ]


def _judges(rows: Sequence[Row]) -> str:
    body = []
    for row in rows:
        if row["way"] == "judge":
            rate, batch = (row["best"][name] for name in SETTINGS)
            body.append(
                [
                    NAMES[row["study"]],
                    str(row["all"]),
                    ", ".join(f"{n:,.0f}" for n in row["params"]),
                    f"{rate[1]:.2g} ({rate[0]:.2g} to {rate[2]:.2g})",
                    f"{batch[1]:.3g} ({batch[0]:.3g} to {batch[2]:.3g})",
                    f"{row['lowest']:.3f}",
                    f"{row['r2']:.2f}",
                ]
            )
    head = ["architecture", "runs", "N", "best rate (90%)", "best batch, patches or tokens (90%)"]
    head += ["lowest loss, nats", "R2 of its losses"]
    return markdown("The judge of each architecture: a fit to all its runs, at its largest size", head, body)


def _verdict(rows: Sequence[Row]) -> str:
    """How often each way beats the default, over architectures and draws of own runs."""
    said = []
    for count in COUNTS:
        for way in ("best run", *PRIORS):
            mine = [row for row in rows if (row.get("runs"), row["way"]) == (count, way) and "gain" in row]
            if mine:
                wins = sum(row["gain"] > 0 for row in mine)
                said.append(f"{WAYS[way]}, {count} runs: {wins} of {len(mine)}")
    return f"Expected loss below that of the usual default: {'; '.join(said)}." if said else ""


if __name__ == "__main__":
    run_or_print(__doc__, run, lambda: table(read_rows(RESULTS)))
