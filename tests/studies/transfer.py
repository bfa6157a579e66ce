"""From our small networks to larger ones, actually trained. Slow, outside CI, resumable.

    python -m tests.studies.transfer plan     # fits books.csv, writes out/transfer/1M/plan.csv
    python -m bayeslaw.lab.train.sweep --plan out/transfer/1M/plan.csv --out out/transfer/1M --workers 2
    python -m tests.studies.transfer collect  # results/transfer.jsonl: one line a run, predictions beside it
    python -m tests.studies.transfer table    # prints its part of docs/benchmarks.md, draws docs/transfer.png

With ``--params 332k``, and that in place of ``1M``, the same for a smaller target. Fitted are the runs of
smaller networks than the target. Trained are the settings that ``bayeslaw predict`` recommends, the same at
other learning rates, and what the baselines recommend, with the same weight decay and momentum, which they
know nothing of. Where the sweep has runs of the target's size, drawn at random, their best one stands beside.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslaw.advice.prediction import predict
from bayeslaw.errors import BadInput
from bayeslaw.evaluation import baselines
from bayeslaw.evaluation.advisors import PosteriorAdvisor
from bayeslaw.intervals import interval
from bayeslaw.lab.models.families import params_of, size_for
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.netcdf import read_posterior, write_posterior
from bayeslaw.runs.io import read_runs
from bayeslaw.target import Target
from tests.studies.fits import fit_core
from tests.studies.tables import markdown, read_rows

ROOT = Path(__file__).parents[2]
SWEEP = ROOT / "bayeslaw" / "assets" / "books.csv"
RESULTS = Path(__file__).parent / "results" / "transfer.jsonl"
OUT = ROOT / "out" / "transfer"
OPTIMIZERS = ("adamw", "muon")
SIZES = {"1M": 1e6, "332k": 332e3}
"""Parameters of the targets, as asked for; the shapes of the lab come near them."""
TOKENS_PER_PARAM = 20
SCAN = (0.5, 2.0)
AROUND = (1 / 16, 4.0)
"""The curve of predictions, in multiples of the recommended learning rate."""
METHODS = {
    "argmin + least squares": baselines.fit_argmin,
    "Huber": baselines.fit_huber,
}
SEQUENCE = 128
CONSTANT = {"study": "books", "corpus": "../shared/data/gutenberg", "warmup_share": 0.1}
"""As in train/plans/books.toml."""


def target_of(optimizer: str, params: float = SIZES["1M"]) -> Target:
    n = params_of(size_for(params))
    tokens = round(TOKENS_PER_PARAM * n / SEQUENCE) * SEQUENCE
    return Target(float(n), float(tokens), optimizer, CONSTANT["study"])


def smaller(size: str) -> pd.DataFrame:
    """The runs of the sweep with networks smaller than the target."""
    runs = read_runs(SWEEP)
    below = runs["params_nonembedding"] < params_of(size_for(SIZES[size]))
    return runs[below].reset_index(drop=True)


def plan(size: str) -> None:
    """Fit once, then write what is to be trained and what is expected of it."""
    out = OUT / size
    out.mkdir(parents=True, exist_ok=True)
    posterior, runs = fitted(size), smaller(size)
    rows, advice = [], {}
    for optimizer in OPTIMIZERS:
        target = target_of(optimizer, SIZES[size])
        advice[optimizer] = predict(posterior, target)
        for label, settings in trials(advice[optimizer].recommendation, runs, target):
            rows.append(row_of(label, settings, target))
    (out / "advice.json").write_text(
        json.dumps({name: told.to_json() for name, told in advice.items()}, indent=1)
    )
    table = pd.DataFrame(rows)
    telling = ("recommended", "argmin", "rate", "Huber")  # first comes first, in case time runs out
    order = table["run_id"].map(lambda name: next(i for i, word in enumerate(telling) if word in name))
    table.iloc[np.argsort(order, kind="stable")].to_csv(out / "plan.csv", index=False)
    print(table.to_string())
    told = out.relative_to(ROOT)
    print(f"next: python -m bayeslaw.lab.train.sweep --plan {told}/plan.csv --out {told} --workers 2")


def fitted(size: str) -> Posterior:
    path = OUT / size / "posterior.nc"
    if not path.exists():
        write_posterior(fit_core(smaller(size), sources=(SWEEP.name,)), path)
    return read_posterior(path)


def trials(
    advised: dict[str, float], runs: pd.DataFrame, target: Target
) -> list[tuple[str, dict[str, float]]]:
    """Label and settings of each run."""
    found = [("recommended", advised)]
    for factor in SCAN:
        found.append((f"rate x {factor:g}", advised | {"learning_rate": factor * advised["learning_rate"]}))
    for label, method in METHODS.items():
        try:
            found.append((f"baseline {label}", advised | method(runs, target.optimizer).recommend(target)))
        except BadInput as error:
            print(f"{target.optimizer}, {label}: {error}")
    return found


def row_of(label: str, settings: dict[str, float], target: Target) -> dict[str, Any]:
    batch = max(1, round(settings["batch_tokens"] / SEQUENCE)) * SEQUENCE
    name = f"{target.optimizer}-{label}".replace(" ", "-").replace("+", "and")
    return {
        "run_id": name,
        **CONSTANT,
        "optimizer": target.optimizer,
        "params_nonembedding": target.params_nonembedding,
        "tokens": int(target.tokens),
        **{k: float(f"{v:.6g}") for k, v in settings.items()},
        "batch_tokens": batch,
    }


def collect(size: str) -> None:
    """Measured losses of one size, and the posterior's predictions of them; other sizes stay as they are."""
    from bayeslaw.lab.train import record

    out = OUT / size
    advice = json.loads((out / "advice.json").read_text())
    posterior = fitted(size)
    n = params_of(size_for(SIZES[size]))
    planned = pd.read_csv(out / "plan.csv")["run_id"]
    found = {run: row for run in planned if (row := record.read(out / "runs" / run)) is not None}
    rows = [row for row in read_rows(RESULTS) if row["params_nonembedding"] != n]
    rows += [measured(run, row, posterior, advice) for run, row in (found | best_of_sweep(n)).items()]
    RESULTS.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(f"{len(found)} of {len(planned)} planned runs")


def best_of_sweep(n: float) -> dict[str, dict[str, Any]]:
    """The best run of the sweep at the target's own size, which no fit and no baseline here has seen."""
    runs = read_runs(SWEEP)
    at = runs[(runs["params_nonembedding"] == n) & runs["optimizer"].isin(OPTIMIZERS)]
    return {
        f"{optimizer}-best-of-{len(rows)}-random-runs": rows.loc[rows["loss"].idxmin()].to_dict()
        for optimizer, rows in at.groupby("optimizer")
    }


def measured(run: str, found: dict[str, Any], posterior: Posterior, advice: dict[str, Any]) -> dict[str, Any]:
    """What a run did, and what the posterior said of it; of the recommended one, the curve about it."""
    kept = ("optimizer", "params_nonembedding", "tokens", "learning_rate", "batch_tokens", "weight_decay")
    kept = (*kept, "momentum", "status", "loss", "flops", "cpu_seconds")
    frame = pd.DataFrame([{**found, "loss": 1.0, "status": "finished"}])
    line = {"run": run, **{name: found[name] for name in kept}}
    line |= {"predicted": predicted(posterior, frame)[0]}
    if "recommended" in run:
        rates = [float(found["learning_rate"] * factor) for factor in np.geomspace(*AROUND, 25)]
        curve = predicted(posterior, frame.loc[[0] * len(rates)].assign(learning_rate=rates))
        line |= {
            "curve": [{"learning_rate": rate, **each} for rate, each in zip(rates, curve, strict=True)],
            "regret": advice[found["optimizer"]]["regret"],
        }
    return line


def predicted(posterior: Posterior, settings: pd.DataFrame) -> list[dict[str, float]]:
    """Median and 90% interval of the loss of each row."""
    draws = PosteriorAdvisor(posterior).loss_draws(settings.reset_index(drop=True))
    return [interval(each, 0.9).to_json() for each in draws.T]


def by_size() -> dict[float, list[dict[str, Any]]]:
    """Rows of each number of parameters, the largest first."""
    rows = read_rows(RESULTS)
    sizes = sorted({row["params_nonembedding"] for row in rows}, reverse=True)
    return {n: [row for row in rows if row["params_nonembedding"] == n] for n in sizes}


def scale(n: float) -> str:
    return f"N = {n:,.0f}, D = {TOKENS_PER_PARAM} N"


def table() -> str:
    return "\n\n".join(table_of(n, rows) for n, rows in by_size().items())


def table_of(n: float, rows: list[dict[str, Any]]) -> str:
    """Predicted against measured, best loss first within an optimizer."""
    body = []
    best = {
        o: min((r["loss"] for r in rows if r["optimizer"] == o and r["loss"]), default=np.nan)
        for o in OPTIMIZERS
    }
    for r in sorted(rows, key=lambda r: (r["optimizer"], r["loss"] or np.inf)):
        p = r["predicted"]
        excess = f"{100 * (r['loss'] / best[r['optimizer']] - 1):.2f}%" if r["loss"] else "-"
        loss = f"{r['loss']:.4f}" if r["loss"] else r["status"]
        span = f"{p['median']:.3f} ({p['lower']:.3f} to {p['upper']:.3f})"
        label = r["run"].removeprefix(r["optimizer"] + "-").replace("-", " ")
        settings = [f"{r['learning_rate']:.3g}", f"{r['batch_tokens']:,.0f}"]
        body.append([r["optimizer"], label, *settings, loss, excess, span])
    head = ["optimizer", "settings of", "peak learning rate", "batch, tokens"]
    head += ["loss, nats/token", "over the best", "predicted, 90% interval"]
    return markdown(f"Trained at {scale(n)}", head, body)


def draw() -> None:
    """Loss against learning rate: measured points; what the posterior said about them, with its intervals."""
    from matplotlib.figure import Figure

    from bayeslaw.plots import save_figure
    from bayeslaw.plots.axes import round_ticks

    sizes = by_size()
    figure = Figure(figsize=(10, 0.6 + 3.8 * len(sizes)), layout="constrained")
    axes = figure.subplots(len(sizes), len(OPTIMIZERS), squeeze=False)
    for line, (n, rows) in zip(axes, sizes.items(), strict=True):
        for ax, optimizer in zip(line, OPTIMIZERS, strict=True):
            draw_one(ax, [r for r in rows if r["optimizer"] == optimizer])
            ax.set(xscale="log", xlabel="peak learning rate", ylabel="validation loss, nats/token")
            ax.set_title(f"{optimizer}, {scale(n)}")
            round_ticks(ax.xaxis)
    labelled = [ax.get_legend_handles_labels() for ax in axes.flat]
    named = {
        label: handle for handles, labels in labelled for handle, label in zip(handles, labels, strict=True)
    }
    figure.legend(named.values(), named, loc="outside lower center", ncols=4, fontsize="small")
    save_figure(figure, ROOT / "docs" / "transfer.png")


def draw_one(ax: Any, rows: list[dict[str, Any]]) -> None:
    """Curve at the recommended batch, the runs on it, and the baselines, at batches of their own."""
    from bayeslaw.plots import BLUE, ORANGE

    for r in rows:
        if "curve" in r:
            at, low, middle, high = (
                [point[k] for point in r["curve"]] for k in ("learning_rate", "lower", "median", "upper")
            )
            ax.fill_between(at, low, high, color=BLUE, alpha=0.2, lw=0, label="predicted, 90% interval")
            ax.plot(at, middle, color=BLUE, lw=1.2, label="predicted, median")
            ax.axvline(r["learning_rate"], color="black", ls="--", lw=1, label="recommended")
    own = [r for r in rows if r["loss"] and not {"baseline", "random"} & set(r["run"].split("-"))]
    ax.plot([r["learning_rate"] for r in own], [r["loss"] for r in own], "ko", label="measured")
    others = [r for r in rows if r["loss"] and "baseline" in r["run"]]
    drawn = [r for r in rows if "random" in r["run"]]
    ax.plot(
        [r["learning_rate"] for r in drawn],
        [r["loss"] for r in drawn],
        "k^",
        mfc="white",
        label="best at random",
    )
    for marker, fill, r in zip("sD", (ORANGE, "white"), others, strict=False):
        p, rate = r["predicted"], r["learning_rate"]
        around = [[p["median"] - p["lower"]], [p["upper"] - p["median"]]]
        name = r["run"].partition("baseline-")[2].replace("-", " ")
        ax.errorbar(rate, p["median"], around, color=ORANGE, label=f"predicted, {name}", fmt="_")
        ax.plot(rate, r["loss"], marker, color=ORANGE, mfc=fill, zorder=3, ls="", label=f"measured, {name}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["plan", "collect", "table"])
    parser.add_argument("--params", choices=SIZES, default="1M", help="the target's size; 1M by default")
    given = parser.parse_args()
    if given.what == "table":
        print(table())
        draw()
    else:
        {"plan": plan, "collect": collect}[given.what](given.params)


if __name__ == "__main__":
    main()
