"""Markdown tables of the table of trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.studies.tables import markdown, percent
from tests.studies.validation.comparison import Comparison, compare
from tests.studies.validation.methods import METHODS, OURS, PLACES, RANDOM
from tests.studies.validation.scores import (
    by_task,
    co2e_kg,
    gaps,
    kwh,
    mean_curve,
    reached,
    relative_compute,
    trials_saved,
)
from tests.studies.validation.trials import PUBLISHED

Row = dict[str, Any]
TOLERANCES = (0.02, 0.01, 0.002)


def tables(rows: Sequence[Row]) -> str:
    """All the tables that the rows allow."""
    tried = [row for row in rows if row["method"] != PUBLISHED]
    parts = [_tasks(tried), _places(tried)]
    for kind in dict.fromkeys(row["kind"] for row in tried):
        mine = [row for row in tried if row["kind"] == kind]
        parts += [_methods(mine, kind), _to_reach(mine, kind)]
        parts += [
            _compared(mine, [m for m in _known(mine) if not METHODS[m].ablation and m != OURS],
                      f"{kind}: gap of “{OURS}” less gap of the other; below 0, ours is better"),
            _compared(mine, [m for m in _known(mine) if METHODS[m].ablation],
                      f"{kind}: what each part is worth; below 0, the part helps"),
        ]  # fmt: skip
    parts += [_published(rows), _broken(tried)]
    return "\n\n".join(part for part in parts if part)


def _known(rows: Sequence[Row]) -> list[str]:
    """Methods of the rows, in the order of the table of methods."""
    here = {row["method"] for row in rows}
    return [name for name in METHODS if name in here]


def _marked(name: str, rows: Sequence[Row]) -> str:
    """The method with ‡ where any of its rows is in-sample, † where its priors cite the sweep."""
    studies = {row["known_study"] for row in rows if row["method"] == name}
    if any(METHODS[name].in_sample(study) for study in studies):
        return f"{name} ‡"
    return f"{name} †" if any(METHODS[name].cited(study) for study in studies) else name


def _marks(rows: Sequence[Row]) -> str:
    """What the marks of these rows mean, and where they hold."""
    words = {
        "‡ fitted to runs of this sweep, so in-sample": lambda m, study: m.in_sample(study),
        "† its priors cite this sweep, so not independent of it": lambda m, study: m.cited(study),
    }
    said = []
    for text, holds in words.items():
        where = {row["family"] for row in rows if holds(METHODS[row["method"]], row["known_study"])}
        said += [f"{text}: {', '.join(sorted(where))}."] if where else []
    return "  \n".join(said)


def _broken(rows: Sequence[Row]) -> str:
    """Methods that broke, with the first error of each."""
    first: dict[tuple[str, str], str] = {}
    for row in rows:
        if row.get("error"):
            first.setdefault((row["family"], row["method"]), row["error"].replace("|", "/"))
    body = [[family, method, error] for (family, method), error in first.items()]
    return markdown("methods that broke, and have no advice there", ["family", "method", "first error"], body)


def _tasks(rows: Sequence[Row]) -> str:
    body = []
    for family in dict.fromkeys(row["family"] for row in rows):
        mine = [row for row in rows if row["family"] == family]
        cost = sorted({row["target_flops"] for row in mine})
        budget = [row["search_flops"] for row in mine if row["method"] == OURS]
        noise = {row["task"]: row["noise"] for row in mine}
        body.append(
            [
                family,
                mine[0]["kind"],
                str(len(noise)),
                f"{cost[0]:.2g} to {cost[-1]:.2g}" if len(cost) > 1 else f"{cost[0]:.2g}",
                f"{np.mean(budget):.2g}" if budget else "-",
                percent(float(np.median(list(noise.values())))),
            ]
        )
    head = ["family", "kind", "tasks", "FLOPs of a target run", "FLOPs of 24 small runs"]
    return markdown("The tasks", [*head, "scatter of a run about the surface, median"], body)


def _places(rows: Sequence[Row]) -> str:
    """What each method is told."""
    known = _known(rows)
    body = []
    for place, words in PLACES.items():
        mine = [name for name in known if METHODS[name].place == place and not METHODS[name].ablation]
        if mine:
            body.append([words, "; ".join(mine)])
    return markdown("What each method sees", ["runs", "methods"], body)


def _methods(rows: Sequence[Row], kind: str) -> str:
    curves = {task: mean_curve(found) for task, found in by_task(rows, RANDOM).items()}
    body = [_method(rows, name, curves) for name in _known(rows) if not METHODS[name].ablation]
    head = ["method", "tasks with advice", "mean gap", "median", "worst", "FLOPs, % of 20 target runs"]
    head += ["advised run fails", "trials saved", "kWh", "kg CO2e", "seeds"]
    table = markdown(f"{kind}: loss gap and cost", head, body)
    return f"{table}\n\n{marks}" if (marks := _marks(rows)) else table


def _method(rows: Sequence[Row], name: str, curves: dict[Any, list[float]]) -> list[str]:
    found = by_task(rows, name)
    known = {task: gaps(each) for task, each in found.items() if gaps(each)}
    every = [row for each in found.values() for row in each]
    energy = np.mean([kwh(row["total_flops"]) for row in every])
    count = f"{len(known)} of {len(found)}"
    seeds = str(len({row["seed"] for row in every}))
    if not known:
        return [_marked(name, rows), count, *["-"] * 8, seeds]
    saved = [
        np.mean([trials_saved(r, curves[t]) for r in found[t] if r["gap"] is not None])
        for t in known
        if t in curves
    ]
    flat = np.concatenate([np.array(each) for each in known.values()])
    return [
        _marked(name, rows),
        count,
        percent(float(np.mean([np.mean(each) for each in known.values()]))),
        percent(float(np.median(flat))),
        percent(float(flat.max())),
        percent(float(np.mean([relative_compute(row) for row in every])), 1),
        percent(float(np.mean([row["chance_failed"] for row in every if row["gap"] is not None])), 0),
        f"{np.mean(saved):.1f}" if saved else "-",
        f"{energy:.3g}",
        f"{co2e_kg(float(np.mean([row['total_flops'] for row in every]))):.3g}",
        seeds,
    ]


def _to_reach(rows: Sequence[Row], kind: str) -> str:
    """Median FLOPs and steps to a gap, in target runs, and how often it is reached at all."""
    body = []
    for name in _known(rows):
        mine = [row for row in rows if row["method"] == name and row["gap"] is not None]
        if METHODS[name].ablation or not mine:
            continue
        cells = [_reaching(mine, tolerance) for tolerance in TOLERANCES]
        body.append([_marked(name, rows), *cells])
    head = ["method", *(f"to the best loss + {tolerance:.1%}" for tolerance in TOLERANCES)]
    title = (
        f"{kind}: target runs' worth of FLOPs / thousands of optimizer steps, medians (share that gets there)"
    )
    return markdown(title, head, body)


def _reaching(rows: Sequence[Row], tolerance: float) -> str:
    ends = np.array([reached(row, tolerance) for row in rows])
    share = float(np.isfinite(ends[:, 0]).mean())
    cost = np.median(ends[:, 0] / [row["target_flops"] for row in rows])
    if not np.isfinite(cost):
        return f"- ({share:.0%})"
    return f"{cost:.2f} / {np.median(ends[:, 1]) / 1e3:.0f}k ({share:.0%})"


def _compared(rows: Sequence[Row], others: Sequence[str], title: str) -> str:
    def line(each: Comparison) -> list[str]:
        width = f"{100 * each.lower:+.3f} to {100 * each.upper:+.3f}"
        return [
            _marked(each.other, rows),
            str(each.tasks),
            f"{100 * each.mean:+.3f}",
            width,
            _p(each.p),
            _p(each.holm),
        ]

    head = ["other", "tasks", "mean difference, % of the loss", "95% bootstrap", "p, paired t", "Holm"]
    return markdown(title, head, [line(each) for each in compare(rows, OURS, others)])


def _p(value: float) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{value:.3f}" if value >= 0.001 else f"{value:.0e}"


def _published(rows: Sequence[Row]) -> str:
    """What random trials of fine-tuning get, exactly, by task."""
    body = []
    for row in rows:
        if row["method"] == PUBLISHED:
            gap = [percent(loss / row["loss_optimum"] - 1, 2) for loss in (row["loss"], *row["quantiles"])]
            accuracy = percent(1 - row["loss"], 2)
            failed = percent(row["failed_runs"] / row["runs"], 0)
            body.append([row["family"], row["task"], str(row["runs"]), failed, accuracy, *gap])
    head = ["family", "task", "published runs", "failed", "accuracy, mean", "observed gap, mean"]
    title = "fine-tuning: the best of 20 random runs, drawn from the published ones without replacement"
    return markdown(title, [*head, "5%", "50%", "95%"], body)
