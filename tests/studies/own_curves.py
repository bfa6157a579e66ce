"""Laws of the schedule fitted to the loss curves of our own short runs, as theory.md C3 fits public ones.

Fitted: the curves of constant and wsd runs of 65k and 131k tokens. Predicted: curves of longer runs, of other
decay shares and of other shapes, all of 9k parameters. A point of a curve is the mean training loss of ten
steps; it stands for the network in their middle. Points are used from a tenth of a run on: where warm-up
ends.

A point is noisy, so truth and law are compared by means over the same points of each tenth of a run; the last
tenth is the final loss. Which decay share is best is judged by the validation loss at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from bayeslaw.arrays import Floats
from bayeslaw.law.scalars import WSD_DECAY
from bayeslaw.schedules.advice import advise
from bayeslaw.schedules.curves import FROM
from bayeslaw.schedules.features import schedule_features
from bayeslaw.schedules.fitting import ScheduleFit, fit_schedule, predicted_losses
from bayeslaw.schedules.laws import LAWS
from bayeslaw.schedules.pooled import pooled_fit
from tests.studies.own_runs import CURVES, HOT, own
from tests.studies.schedules import Runs, per_mille
from tests.studies.tables import Row, markdown

SHORT = 131_072
SHAPES = ("cosine", "linear")
TOGETHER, ALONE = "all peaks together", "each peak alone"
NOISY_DRAWS = 10_000
BRANCHES, RECIPE = (0.1, 0.2), "multi-power"
"""Decay shares of the branches that ``schedule advise`` asks for, and the law that it fits to one peak."""


class Task(NamedTuple):
    """Points to fit, and points of other runs to predict."""

    fitted: Runs
    ahead: Runs


def load() -> Runs:
    """One row per point of a curve: settings of its run, steps done, tenth of the run, and loss."""
    runs = own()
    runs = runs[(runs["learning_rate"] < HOT) & (runs["status"] == "finished")]
    points = pd.read_parquet(CURVES)
    before = points.groupby("run_id")["step"].shift(fill_value=0)
    points["done"] = points["step"] - (points["step"] - before) // 2
    names = ["run_id", "seed", "schedule", "share", "peak", "whole", "rates"]
    settings = runs.rename(columns={"learning_rate": "peak", "tokens": "whole"})[names]
    table = points.merge(settings, on="run_id")
    steps = table["rates"].map(len)
    table["tenth"] = np.ceil(10 * table["step"] / steps).astype(int)
    table = table[table["done"] >= FROM * steps].reset_index(drop=True)
    schedules = [rates[:done] for rates, done in zip(table["rates"], table["done"], strict=True)]
    return Runs(table, schedule_features(schedules))


def tasks(points: Runs) -> dict[str, Task]:
    """What is predicted from the short constant and wsd runs, by name."""
    t = points.table
    usual = (t["schedule"] == "constant") | ((t["schedule"] == "wsd") & (t["share"] == WSD_DECAY))
    first, short = t["seed"] == 0, t["whole"] <= SHORT
    shares, shapes = (t["schedule"] == "wsd") & (t["share"] != WSD_DECAY), t["schedule"].isin(SHAPES)
    fitted = points.where(usual & short & first)
    ahead = {
        "two and four times as long": usual & ~short,
        "other decay shares, as long": shares & short,
        "other decay shares, longer": shares & ~short,
        "other shapes, as long": shapes & short,
        "other shapes, longer": shapes & ~short,
    }
    return {name: Task(fitted, points.where(chosen & first)) for name, chosen in ahead.items()}


def of_peak(runs: Runs, peak: float) -> Runs:
    return runs.where(runs.table["peak"] == peak)


Fits = dict[str, list[tuple[float | None, ScheduleFit]]]
"""Fits to all peaks together and to each alone, each with its peak, None for all."""


def fits_of(law: str, fitted: Runs) -> Fits:
    """The law fitted to all peaks together, and to each alone, with the peak."""
    peaks = sorted(fitted.table["peak"].unique())
    alone = [(peak, _fit(law, of_peak(fitted, peak))) for peak in peaks]
    return {TOGETHER: [(None, _fit(law, fitted))], ALONE: alone}


def _fit(law: str, runs: Runs) -> ScheduleFit:
    return fit_schedule(LAWS[law], runs.features, runs.table["loss"].to_numpy(float))


def recipe_fits(points: Runs) -> dict[float, ScheduleFit]:
    """What docs/schedules.md says to run, by peak, fitted as ``schedule advise --curve`` fits it: a constant
    run of 131k tokens, and three of the four branches; that over 0.1 of half its length was not run.
    """
    t = points.table
    trunk = (t["schedule"] == "constant") & (t["whole"] == SHORT)
    branch = (t["schedule"] == "wsd") & t["share"].isin(BRANCHES) & (t["whole"] <= SHORT)
    own = points.where((trunk | branch) & (t["seed"] == 0))
    peaks = own.table.loc[own.table["share"] == BRANCHES[0], "peak"].unique()
    return {peak: _fit(RECIPE, of_peak(own, peak)) for peak in peaks}


class Tenths(NamedTuple):
    """Means over tenths of runs: measured, predicted, ends of 90% intervals, and whether it is the last one;
    shape (tenth of a run,) each."""

    truth: Floats
    predicted: Floats
    low: Floats
    high: Floats
    last: np.ndarray


def tenths(fit: ScheduleFit, ahead: Runs) -> Tenths:
    """Measured and predicted means; intervals hold the law's draws and independent noise of each point."""
    law, groups = LAWS[fit.law], ahead.table.groupby(["run_id", "tenth"], sort=True)
    member = groups.ngroup().to_numpy() == np.arange(groups.ngroups)[:, None]
    mean = member / member.sum(axis=1, keepdims=True)
    draws = predicted_losses(fit, law, ahead.features)
    noise = fit.noise * np.random.default_rng(0).standard_normal(draws.shape)
    low, high = np.quantile((draws * (1 + noise)) @ mean.T, [0.05, 0.95], axis=0)
    last = np.array([tenth == 10 for _, tenth in groups.groups])
    return Tenths(
        mean @ ahead.table["loss"].to_numpy(float),
        mean @ law.loss(fit.params, ahead.features),
        low,
        high,
        last,
    )


def scored(law: str, every: Fits, found: Mapping[str, Task]) -> Iterator[Row]:
    """Errors per mille of tenths and of last tenths, and coverage, of each task."""
    for how, fits in every.items():
        for name, task in found.items():
            parts = [
                tenths(fit, each)
                for peak, fit in fits
                for each in [task.ahead if peak is None else of_peak(task.ahead, peak)]
                if len(each.table)
            ]
            t = Tenths(*(np.concatenate(values) for values in zip(*parts, strict=True)))
            off, inside = t.predicted / t.truth - 1, (t.low <= t.truth) & (t.truth <= t.high)
            yield {
                "what": "curves",
                "task": name,
                "law": law,
                "fitted": how,
                "points": len(task.fitted.table),
                "runs": task.ahead.table["run_id"].nunique(),
                "fit_noise": round(1e3 * float(np.mean([fit.noise for _, fit in fits])), 3),
                "rms": per_mille(off),
                "bias": round(1e3 * float(off.mean()), 3),
                "final_rms": per_mille(off[t.last]),
                "final_bias": round(1e3 * float(off[t.last].mean()), 3),
                "coverage_90": round(float(inside.mean()), 3),
                "final_coverage_90": round(float(inside[t.last].mean()), 3),
            }


def noise(points: Runs) -> Row:
    """Noise of a point about its neighbours, and of repeats with another seed, per mille."""
    found = _point_noise(points.table) | _repeat_noise(points.table)
    return {"what": "noise"} | {key: round(float(value), 3) for key, value in found.items()}


def _point_noise(t: pd.DataFrame) -> dict[str, float]:
    """``point``: standard deviation of second differences, over sqrt(6), in the later half of constant rates.
    ``shared``: their median correlation between runs of one seed at the same step: these read the same
    sequences."""
    late = t[(t["schedule"] == "constant") & (t["seed"] == 0) & (t["tenth"] > 5) & (t["step"] % 10 == 0)]
    bends = late.groupby("run_id")["loss"].transform(lambda x: x.diff().diff() / x.mean())
    wide = late.assign(bend=bends).pivot(index="step", columns="run_id", values="bend")
    pairs = wide.corr(min_periods=8).to_numpy()[np.triu_indices(wide.shape[1], 1)]
    return {"point": 1e3 * float(wide.stack().std()) / np.sqrt(6), "shared": float(np.nanmedian(pairs))}


def _repeat_noise(t: pd.DataFrame) -> dict[str, float]:
    """``seed``: standard deviation between seeds of one decay share. ``paired``: what is left of it when the
    mean over the shares of a seed is taken off. Both of the last tenth and of the validation loss."""
    runs = own().set_index("run_id")
    again = runs[runs["seed"] > 0].iloc[0]
    same = ["schedule", "tokens", "learning_rate"]
    repeats = runs[(runs[same] == again[same]).all(axis=1)]
    ended = t[t["tenth"] == 10].groupby("run_id")["loss"].mean()
    repeats = repeats.assign(last_tenth=ended.reindex(repeats.index))
    found = {"repeats": len(repeats), "tokens": again["tokens"], "peak": again["learning_rate"]}
    for column, name in (("last_tenth", "training"), ("loss", "validation")):
        logs = np.log(repeats.pivot(index="seed", columns="share", values=column).to_numpy(float))
        seeds, shares = logs.shape
        between = logs - logs.mean(axis=0)
        left = between - between.mean(axis=1, keepdims=True)
        found["seeds"] = seeds
        found[f"seed_{name}"] = 1e3 * float(np.sqrt((between**2).sum() / (shares * (seeds - 1))))
        found[f"paired_{name}"] = 1e3 * float(np.sqrt((left**2).sum() / ((shares - 1) * (seeds - 1))))
    return found


def best_shares(
    fits: Mapping[str, Fits], recipe: Mapping[float, ScheduleFit], paired: float
) -> Iterator[Row]:
    """Losses by decay share at each length and peak; where the least lies; what laws and ``advise`` choose.

    Args:
        fits: by law.
        recipe: of ``recipe_fits``.
        paired: standard deviation of a loss against others of its seed, per mille.
    """
    alone = dict(fits[RECIPE][ALONE])
    for (tokens, peak), rows in _by_share():
        shares, losses = rows["share"].to_numpy(float), rows["loss"].to_numpy(float)
        noise = np.random.default_rng(0).standard_normal((NOISY_DRAWS, len(losses)))
        best = shares[np.argmin(losses * (1 + 1e-3 * paired * noise), axis=1)]
        features, steps = schedule_features(rows["rates"]), len(rows["rates"].iloc[0])
        yield {
            "what": "shares",
            "tokens": int(tokens),
            "peak": float(peak),
            "shares": shares.tolist(),
            "excess": np.round(1e3 * (losses / losses.min() - 1), 2).tolist(),
            "best": float(shares[np.argmin(losses)]),
            "interval": np.quantile(best, [0.05, 0.95], method="inverted_cdf").tolist(),
            "chosen": {
                f"{law}, {how}": float(shares[np.argmin(LAWS[law].loss(fit.params, features))])
                for law, every in fits.items()
                for how, pairs in every.items()
                for at, fit in pairs
                if at in (None, peak)
            },
            "advise": {
                "without curves": _advised(pooled_fit(), steps, None),
                "with the curves of this peak": _advised(alone[peak], steps, float(peak)),
                "with the trunk and branches that it asks for": _advised(recipe[peak], steps, float(peak)),
            },
        }


def _by_share() -> Iterator[tuple[tuple[float, float], pd.DataFrame]]:
    """Tokens and peak, and runs that differ in the share of a linear decay only, where it was varied."""
    runs = own()
    linear = runs[runs["schedule"].isin(["constant", "wsd", "linear"]) & (runs["seed"] == 0)]
    cool = linear[linear["learning_rate"] < HOT].sort_values("share")
    for key, rows in cool.groupby(["tokens", "learning_rate"]):
        if len(rows) > 3:
            yield key, rows


def _advised(fit: ScheduleFit, steps: int, peak: float | None) -> Row:
    """Best share of a linear decay to 0 by ``advise``, with its interval."""
    found = advise(fit, steps, peak)
    return {"decay": found["use"]["decay"], "share": found["use"]["decay_share"], **found["decay_share"]}


def run() -> list[Row]:
    """All result lines."""
    points = load()
    floor, found = noise(points), tasks(points)
    fitted = next(iter(found.values())).fitted
    fits = {law: fits_of(law, fitted) for law in LAWS}
    rows = [row for law in LAWS for row in scored(law, fits[law], found)]
    return [floor, *rows, *best_shares(fits, recipe_fits(points), floor["paired_validation"])]


def table(rows: Sequence[Row]) -> str:
    """Errors by law and task, the noise floor, and decay shares."""
    (floor,) = (row for row in rows if row["what"] == "noise")
    shares = [row for row in rows if row["what"] == "shares"]
    return "\n\n".join(
        [
            _curves([r for r in rows if r["what"] == "curves"]),
            _noise(floor),
            _shares(shares),
            _choices(shares),
        ]
    )


def _curves(rows: Sequence[Row]) -> str:
    found = {(row["law"], row["fitted"], row["task"]): row for row in rows}
    counts = {row["task"]: row["runs"] for row in rows}
    body = []
    for law in LAWS:
        for how in (TOGETHER, ALONE):
            own = [found[law, how, task] for task in counts]
            body.append([law, how, f"{own[0]['fit_noise']:.1f}", *map(_told, own)])
    title = (
        f"Fitted to the curves of constant and wsd runs of up to {_thousands(SHORT)} tokens "
        f"({rows[0]['points']} points): rms error of tenths of a run, of last tenths (bias) [‰]; of both "
        "inside the 90% intervals"
    )
    tasks_ahead = [f"{task} ({count} runs)" for task, count in counts.items()]
    return markdown(title, ["law", "fitted to", "misfit, ‰", *tasks_ahead], body)


def _told(row: Row) -> str:
    inside = f"{row['coverage_90']:.0%}, {row['final_coverage_90']:.0%}"
    return f"{row['rms']:.1f}, {row['final_rms']:.1f} ({row['final_bias']:+.1f}); {inside}"


def _noise(row: Row) -> str:
    return (
        f"Noise: a point, the mean of ten steps, {row['point']:.1f}‰ about its neighbours (correlation "
        f"between runs at the same step {row['shared']:.2f}). Between {row['seeds']:.0f} seeds "
        f"({row['repeats']:.0f} runs, {_thousands(row['tokens'])} tokens, peak {row['peak']:g}): the last "
        f"tenth {row['seed_training']:.1f}‰, the validation loss {row['seed_validation']:.1f}‰; against the "
        f"mean of the seed's decay shares {row['paired_training']:.1f}‰ and {row['paired_validation']:.1f}‰."
    )


def _shares(rows: Sequence[Row]) -> str:
    body = [
        [_thousands(row["tokens"]), f"{row['peak']:g}", *(f"{x:.1f}" for x in row["excess"]), _measured(row)]
        for row in rows
    ]
    title = "Validation loss over the least of its row [‰], by decay share (0: constant, 1: linear)"
    shares = [f"{share:g}" for share in rows[0]["shares"]]
    return markdown(title, ["tokens", "peak", *shares, "best (90% interval by the noise of shares)"], body)


def _choices(rows: Sequence[Row]) -> str:
    """The share that each law and ``advise`` choose, and the mean of what it costs."""
    head = [f"{_thousands(row['tokens'])}, {row['peak']:g}" for row in rows]
    body = [["measured", *map(_measured, rows), "0.0"]]
    for name in rows[0]["chosen"]:
        chosen = [row["chosen"][name] for row in rows]
        body.append([name, *(f"{share:g}" for share in chosen), _mean_cost(rows, chosen)])
    for name in rows[0]["advise"]:
        told = [row["advise"][name] for row in rows]
        shown = [f"{x['decay']} {x['share']:.2g} ({x['lower']:.2g} to {x['upper']:.2g})" for x in told]
        body.append([f"schedule advise {name}", *shown, _mean_cost(rows, [x["share"] for x in told])])
    title = (
        "Decay share of the least validation loss; that of each law among the measured ones; that of advise, "
        "with its interval, and its cost straight between the measured ones"
    )
    return markdown(title, ["by", *head, "mean cost, ‰"], body)


def _mean_cost(rows: Sequence[Row], chosen: Sequence[float]) -> str:
    """Straight between the measured shares."""
    costs = [np.interp(x, row["shares"], row["excess"]) for row, x in zip(rows, chosen, strict=True)]
    return f"{np.mean(costs):.1f}"


def _measured(row: Row) -> str:
    low, high = row["interval"]
    return f"{row['best']:g} ({low:g} to {high:g})"


def _thousands(tokens: float) -> str:
    return f"{tokens / 1e3:.0f}k"
