"""Laws of the schedule: fitted to short runs and few decay shares, scored on longer runs and other schedules.

    python -m tests.studies.schedules run     # appends to results/schedules.jsonl, some two CPU minutes
    python -m tests.studies.schedules table   # prints its part of docs/benchmarks.md

Runs of Schaipp et al. (arXiv 2501.18965, MIT; see ../shared/data/README.md): 124M parameters, SlimPajama,
AdamW, 102,400 tokens a step, 300 steps of warm-up; decay shares .1 to .9, three peak learning rates, 15k
to 50k steps. Losses that stand in a curve are validation losses of a subset, lower than the final ones by
a constant (0.035, the median over runs; the last loss of a curve itself is missing in some). Where a trunk
is fitted, final losses are moved by it. The regret of a choice is that of the final validation loss.

Beside the laws of the package stand ``schedule_variants.VARIANTS``: published forms taken literally, and
those that ``../shared/research/theory.md`` C3 compares beyond them. ``CITED`` holds C3's own numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bayeslaw.arrays import Floats
from bayeslaw.schedules.features import Features, schedule_features
from bayeslaw.schedules.fitting import ScheduleFit, fit_schedule, predicted_losses
from bayeslaw.schedules.laws import LAWS
from bayeslaw.theory.schedule_bounds import learning_rate_shift, schedule_shape
from tests.studies.schedule_variants import CITED, OVER_PEAKS, VARIANTS
from tests.studies.tables import markdown, read_rows, run_or_print

DATA = Path(__file__).parents[3] / "shared" / "data"
RESULTS = Path(__file__).parent / "results" / "schedules.jsonl"
PEAKS = (5e-4, 1e-3, 2e-3)
SHORT, LONG = 25_000, 50_000
FEW = (0.1, 0.2)
TRUNK = 30
"""Losses used of a trunk."""

SAMPLED = ("power", "functional")
"""Laws drawn by NUTS too: the two that predict best over peaks."""

EVERY = LAWS | VARIANTS
BRANCHES = ("trunk of 50k", "trunk of 25k", "two branches", "finals")
"""Beginnings of the names of tasks with one peak learning rate."""


class Runs(NamedTuple):
    """Finished runs with their features: one row of ``table`` per row of ``features``."""

    table: pd.DataFrame
    features: Features

    def where(self, chosen: Any) -> Runs:
        mask = np.asarray(chosen)
        return Runs(self.table[mask], Features(*(each[mask] for each in self.features)))


class Task(NamedTuple):
    """What is fitted and what is predicted; ``choices`` is where a setting is chosen by predicted loss."""

    name: str
    fitted: Features
    losses: Floats
    ahead: Runs
    column: str
    choices: Runs | None


def load() -> Runs:
    """Runs of 124M parameters, linear, cosine and square-root decay, one per configuration."""
    table = pd.read_csv(DATA / "schaipp_haegele_runs.csv")
    table = table[(table["set"] == "main") & (table["dataset"] == "slimpajama")]
    table = table[table["params_nonembedding"].between(8e7, 9e7) & table["learning_rate"].isin(PEAKS)]
    table = table[table["decay_shape"].notna()].reset_index(drop=True)
    lower = (table["last_val_loss"] - table["final_val_loss"]).median()
    table = table.assign(subset_loss=table["final_val_loss"] + lower)
    return Runs(table, schedule_features(rates(row) for row in table.itertuples()))


def rates(row: Any) -> Floats:
    """Learning rates of a run, at each step."""
    steps, warmup = int(row.iterations), row.warmup_steps / row.iterations
    if row.schedule == "cos":
        final = 0.1 if row.cos_final_lr < 0 else row.cos_final_lr
        shape = schedule_shape(steps, "cosine", share=1 - warmup, final=final, warmup=warmup)
    else:
        decay = "root" if row.decay_shape == "sqrt" else "linear"
        shape = schedule_shape(steps, decay, share=row.decay_fraction, warmup=warmup)
    return row.learning_rate * shape


def linear_decays(runs: Runs) -> Runs:
    t = runs.table
    return runs.where((t["schedule"] == "wsd") & (t["decay_shape"] == "linear") & (t["decay_fraction"] > 0))


def tasks() -> Iterator[Task]:
    runs = load()
    decays = linear_decays(runs)
    short, long = (
        decays.where(decays.table["iterations"] <= SHORT),
        decays.where(decays.table["iterations"] > SHORT),
    )
    longest = decays.where(decays.table["iterations"] == LONG)
    losses = short.table["final_val_loss"].to_numpy()
    yield Task("longer runs", short.features, losses, long, "final_val_loss", longest)
    cosine = runs.where(runs.table["schedule"] == "cos")
    root = runs.where(
        (runs.table["schedule"] == "wsd")
        & (runs.table["decay_shape"] == "sqrt")
        & (runs.table["decay_fraction"] > 0)
    )
    yield Task("cosine decay", short.features, losses, cosine, "final_val_loss", None)
    yield Task("1 - sqrt decay", short.features, losses, root, "final_val_loss", None)
    for peak in PEAKS:
        for reach in (LONG, SHORT):
            yield branches(runs, decays, peak, reach)
        yield branches(runs, decays, peak, SHORT, at_its_end=True)
        own = decays.where(decays.table["learning_rate"] == peak)
        few, longest = own.where(own.table["iterations"] <= SHORT), own.where(own.table["iterations"] == LONG)
        losses = few.table["final_val_loss"].to_numpy()
        yield Task(f"finals, peak {peak:g}", few.features, losses, longest, "final_val_loss", longest)


def branches(runs: Runs, decays: Runs, peak: float, reach: int, at_its_end: bool = False) -> Task:
    """One constant-rate trunk of ``reach`` steps with decays of ``FEW`` shares; others are predicted.

    Branches end at every length up to ``reach`` for which there are runs, or at its end only.
    """
    own = decays.where(decays.table["learning_rate"] == peak)
    lengths = own.table["iterations"]
    near = (lengths == reach if at_its_end else lengths <= reach) & own.table["decay_fraction"].isin(FEW)
    fitted = own.where(near)
    longest = own.where(own.table["iterations"] == LONG)
    ahead = longest.where(~longest.table["decay_fraction"].isin(FEW) | (reach < LONG))
    schedules, losses = trunk(runs, peak, reach)
    features = schedule_features([*schedules, *(rates(row) for row in fitted.table.itertuples())])
    losses = np.concatenate([losses, fitted.table["subset_loss"]])
    what = "two branches" if at_its_end else "trunk"
    name = f"{what} of {reach // 1000}k steps, peak {peak:g}"
    return Task(name, features, losses, ahead, "subset_loss", longest)


def trunk(runs: Runs, peak: float, reach: int) -> tuple[list[Floats], Floats]:
    """Prefixes of the constant-rate run and the validation losses after them."""
    t = runs.table
    (row,) = t[(t["learning_rate"] == peak) & (t["wandb_prefix"] == "stable-124m")].itertuples()
    curves = pd.read_parquet(DATA / "schaipp_haegele_val_curves.parquet")
    curve = curves[(curves["run"] == row.run) & (curves["iter"].between(0.1 * reach, reach))]
    curve = curve.iloc[np.linspace(0, len(curve) - 1, TRUNK).round().astype(int)]
    shape = schedule_shape(LONG, share=0.0, warmup=row.warmup_steps / LONG)
    return [peak * shape[: int(step)] for step in curve["iter"]], curve["val_loss"].to_numpy()


def run() -> None:
    """Append what is not in the results."""
    done = {(row["task"], row.get("law"), row.get("method")) for row in read_rows(RESULTS)}
    asked = [(task, name, "least squares") for task in tasks() for name in laws_of(task)]
    asked += [(task, name, "nuts") for task in list(tasks())[:1] for name in SAMPLED]
    for task, name, method in asked:
        if (task.name, name, method) not in done:
            append([score(task, name, method)])
    found = [quadratic(), *shifts(), pooled()]
    append([row for row in found if (row["task"], row.get("law"), row.get("method")) not in done])


def append(rows: list[dict[str, Any]]) -> None:
    with RESULTS.open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    for row in rows:
        print(row, flush=True)


def laws_of(task: Task) -> list[str]:
    """Laws to fit to a task: variants to longer runs, and those that know no other peak to one peak too."""
    variants = [] if task.name.endswith("decay") else list(VARIANTS)
    if task.name != "longer runs":
        variants = [name for name in variants if name not in OVER_PEAKS]
    return [*LAWS, *variants]


def score(task: Task, name: str, method: str) -> dict[str, Any]:
    """One law fitted to one task, and its predictions against what was measured; per mille of the loss."""
    law = EVERY[name]
    fit = fitted(name, method, task)
    truth = task.ahead.table[task.column].to_numpy()
    off = law.loss(fit.params, task.ahead.features) / truth - 1
    draws = predicted_losses(fit, law, task.ahead.features)
    noise = fit.noise * np.random.default_rng(0).standard_normal(draws.shape)
    low, high = np.quantile(draws * (1 + noise), [0.05, 0.95], axis=0)
    residuals = law.loss(fit.params, task.fitted) / task.losses - 1
    row = {
        "task": task.name,
        "law": name,
        "method": method,
        "fitted": len(task.losses),
        "fit_rms": per_mille(residuals),
        "predicted": len(truth),
        "rms": per_mille(off),
        "bias": round(1e3 * float(off.mean()), 3),
        "coverage_90": round(float(np.mean((low <= truth) & (truth <= high))), 3),
        "params": {key: float(f"{value:.4g}") for key, value in fit.params.items()},
    }
    return row | ({"regret": regret(fit, task.choices), **chosen(fit, task.choices)} if task.choices else {})


def fitted(name: str, method: str, task: Task) -> ScheduleFit:
    if method == "nuts":
        from bayeslaw.inference.schedules import draw_schedule

        return draw_schedule(EVERY[name], task.fitted, task.losses)[0]
    return fit_schedule(EVERY[name], task.fitted, task.losses)


def pick(fit: ScheduleFit, choices: Runs) -> int:
    return int(np.argmin(EVERY[fit.law].loss(fit.params, choices.features)))


def quadratic() -> dict[str, Any]:
    """A quadratic of the loss in ln peak, decay share and ln steps, on the longer runs."""
    decays = linear_decays(load())
    long = decays.table["iterations"] > SHORT

    def columns(t: pd.DataFrame) -> Floats:
        x = np.stack(
            [np.log(t["learning_rate"] / 1e-3), t["decay_fraction"], np.log(t["iterations"] / SHORT)]
        )
        squares = [x[i] * x[j] for i in range(3) for j in range(i, 3)]
        return np.stack([np.ones(len(t)), *x, *squares], axis=1)

    near, ahead = decays.table[~long], decays.table[long]
    losses, truth = near["final_val_loss"].to_numpy(), ahead["final_val_loss"].to_numpy()
    found = np.linalg.lstsq(columns(near) / losses[:, None], np.ones(len(losses)), rcond=None)[0]
    off = columns(ahead) @ found / truth - 1
    longest = decays.table[decays.table["iterations"] == LONG]
    choice = longest["final_val_loss"].to_numpy()[int(np.argmin(columns(longest) @ found))]
    return {
        "task": "longer runs",
        "law": "quadratic surface",
        "method": "linear",
        "fitted": len(losses),
        "fit_rms": per_mille(columns(near) @ found / losses - 1),
        "rms": per_mille(off),
        "bias": round(1e3 * float(off.mean()), 3),
        "regret": round(1e3 * float(choice / longest["final_val_loss"].min() - 1), 3),
        "params": dict.fromkeys(map(str, range(len(found)))),
    }


def chosen(fit: ScheduleFit, choices: Runs) -> dict[str, float]:
    row = choices.table.iloc[pick(fit, choices)]
    return {"chosen_rate": float(row["learning_rate"]), "chosen_share": float(row["decay_fraction"])}


def regret(fit: ScheduleFit, choices: Runs) -> float:
    """Final loss of the choice over the best, per mille."""
    losses = choices.table["final_val_loss"].to_numpy()
    return round(1e3 * float(losses[pick(fit, choices)] / losses.min() - 1), 3)


def per_mille(residuals: Floats) -> float:
    return round(1e3 * float(np.sqrt(np.mean(residuals**2))), 3)


def pooled() -> dict[str, Any]:
    """What ``bayeslaw.schedules.pooled`` ships: the law ``power`` fitted to all decays of all lengths "
    "and peaks."""
    runs = load()
    own = runs.where((runs.table["decay_fraction"] > 0) | (runs.table["schedule"] == "cos"))
    fit = fit_schedule(LAWS["power"], own.features, own.table["final_val_loss"].to_numpy(), draws=4000)
    logs = np.log([fit.draws[name] for name in LAWS["power"].parameters])
    return {
        "task": "pooled",
        "fitted": len(own.table),
        "noise": round(fit.noise, 5),
        "log_mean": np.round(logs.mean(axis=1), 5).tolist(),
        "log_covariance": np.round(np.cov(logs), 7).tolist(),
    }


def shifts() -> Iterator[dict[str, Any]]:
    """Best ln learning rate at each decay share, from a parabola through three peaks, and what X1/X2 says."""
    decays = linear_decays(load()).table
    for steps, rows in decays.groupby("iterations"):
        for share, each in rows.groupby("decay_fraction"):
            x, y = np.log(each["learning_rate"].to_numpy()), each["final_val_loss"].to_numpy()
            if len(x) != len(PEAKS):
                continue
            bend, slope, _ = np.polyfit(x - np.log(1e-3), y, 2)
            usual = schedule_shape(int(steps), share=0.9, warmup=300 / steps)
            other = schedule_shape(int(steps), share=float(share), warmup=300 / steps)
            yield {
                "task": "shift",
                "steps": int(steps),
                "share": float(share),
                "log_rate": round(float(-slope / (2 * bend) + np.log(1e-3)), 4),
                "theory": round(learning_rate_shift(usual, other), 4),
            }


def slope_of(rows: list[dict[str, Any]], name: str) -> float:
    """Change of ``name`` per nat of decay share, the steps apart; shares of .1 to .9."""
    x = np.log([row["share"] for row in rows])
    y = np.array([row[name] for row in rows])
    steps = np.array([row["steps"] for row in rows])
    inside = [steps == each for each in np.unique(steps)]
    x, y = (np.concatenate([v[m] - v[m].mean() for m in inside]) for v in (x, y))
    return float(x @ y / (x @ x))


def table() -> str:
    rows = read_rows(RESULTS)
    return "\n\n".join(
        [_over_peaks(rows), _shapes(rows), _trunks(rows), _beside_cited(rows), _one_rate(rows), _shift(rows)]
    )


def _beside_cited(rows: list[dict[str, Any]]) -> str:
    """Each law over peaks beside C3's numbers of it."""
    own = {row["law"]: row for row in rows if row["task"] == "longer runs" and row["method"] != "nuts"}
    body = []
    for cited in CITED:
        row = own[cited.law]
        both = zip((row["fit_rms"], row["rms"], row["regret"]), cited[2:5], strict=True)
        cells = [
            each
            for ours, theirs in both
            for each in (f"{ours:.2f}", "-" if theirs is None else f"{theirs:g}")
        ]
        body.append([cited.words, str(len(row["params"])), str(cited.parameters), *cells])
    header = ["C3's row", "parameters", "in C3", "fit rms, ‰", "in C3", "rms ahead, ‰", "in C3"]
    title = "The same task beside the numbers of theory.md C3"
    return markdown(title, [*header, "regret, ‰", "in C3"], body)


def _one_rate(rows: list[dict[str, Any]]) -> str:
    """Regret of the share chosen at 50k by laws fitted at one peak, over the peaks, beside C3's."""
    body = []
    for cited in CITED:
        if not any(row.get("law") == cited.law and row["task"].startswith("finals") for row in rows):
            continue
        cells = [cited.words]
        for task in BRANCHES:
            own = [r for r in rows if r.get("law") == cited.law and r["task"].startswith(task)]
            cells.append(" / ".join(f"{row['regret']:.1f}" for row in own))
        finals = [r for r in rows if r.get("law") == cited.law and r["task"].startswith("finals")]
        spans = [
            f"{min(x):.1f} to {max(x):.1f}" for x in ([r[k] for r in finals] for k in ("fit_rms", "bias"))
        ]
        body.append([*cells[:2], cited.trunk or "-", *cells[2:], *spans])
    header = [
        "C3's row",
        "trunk 50k",
        "in C3",
        "trunk 25k",
        "two branches of 25k",
        "finals",
        "finals: fit rms, ‰",
        "bias ahead, ‰",
    ]
    peaks = ", ".join(f"{peak:g}" for peak in PEAKS)
    title = f"One peak ({peaks}), a trunk with branches or twelve final losses: regret of the share at 50k, ‰"
    return markdown(title, header, body)


def _over_peaks(rows: list[dict[str, Any]]) -> str:
    body = [
        [
            *(
                row["law"],
                str(len(row["params"])),
                row["method"],
                f"{row['fit_rms']:.2f}",
                f"{row['rms']:.1f}",
            ),
            *(f"{row['bias']:+.1f}", f"{row['coverage_90']:.0%}", f"{row['regret']:.2f}"),
            f"{row['chosen_rate']:g}, {row['chosen_share']:g}",
        ]
        for row in rows
        if row["task"] == "longer runs" and row["law"] in LAWS
    ]
    header = ["law", "parameters", "fit by", "fit rms, ‰", "rms ahead, ‰", "bias, ‰", "in 90%", "regret, ‰"]
    title = "Fitted to final losses of 15k and 25k steps at three peak rates, scored at 35k and 50k"
    return markdown(title, [*header, "chosen peak, share"], body)


def _shapes(rows: list[dict[str, Any]]) -> str:
    body = []
    for law in LAWS:
        found = {
            row["task"]: row for row in rows if row.get("law") == law and row["method"] == "least squares"
        }
        each = [found[name] for name in ("cosine decay", "1 - sqrt decay")]
        body.append([law, *(f"{row['rms']:.1f} ({row['bias']:+.1f})" for row in each)])
    header = ["law", "cosine: rms (bias), ‰", "1 - sqrt: rms (bias), ‰"]
    return markdown("The same fits, to linear decays only, on other shapes", header, body)


def _trunks(rows: list[dict[str, Any]]) -> str:
    body = []
    for law in LAWS:
        cells = [law]
        for reach in (LONG, SHORT):
            own = [
                row for row in rows if row.get("law") == law and f"trunk of {reach // 1000}k" in row["task"]
            ]
            cells += [
                " / ".join(f"{row['regret']:.1f}" for row in own),
                " / ".join(f"{row['rms']:.1f}" for row in own),
            ]
        body.append(cells)
    header = ["law", "50k: regret, ‰", "rms, ‰", "25k: regret, ‰", "rms, ‰"]
    title = "A constant-rate trunk, branches that decay over 0.1 and 0.2 of the steps: share chosen at 50k"
    return markdown(f"{title} (peaks {', '.join(f'{peak:g}' for peak in PEAKS)})", header, body)


def _shift(rows: list[dict[str, Any]]) -> str:
    own = [row for row in rows if row["task"] == "shift"]
    body = []
    for share in sorted({row["share"] for row in own}):
        each = [row for row in own if row["share"] == share]
        usual = {row["steps"]: row["log_rate"] for row in own if row["share"] == 0.9}
        moved = [row["log_rate"] - usual[row["steps"]] for row in each]
        said = float(np.mean([row["theory"] for row in each]))
        body.append([f"{share:g}", f"{min(moved):+.2f} to {max(moved):+.2f}", f"{said:+.2f}"])
    slopes = [slope_of(own, name) for name in ("log_rate", "theory")]
    body.append(["a nat of share", *(f"{slope:+.2f}" for slope in slopes)])
    title = "Best ln learning rate against that of a decay share of 0.9, over four lengths"
    return markdown(title, ["decay share", "measured", "1/2 ln(X1/X2)"], body)


if __name__ == "__main__":
    run_or_print(__doc__, run, table)
