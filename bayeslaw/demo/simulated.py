"""From sixty simulated runs to advice for a large one, beside the truth.

    python -m bayeslaw.demo.simulated

Writes a posterior, a table and a figure under out/example.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bayeslaw.advice.prediction import predict
from bayeslaw.advice.result import Prediction
from bayeslaw.assets import EXAMPLE_SWEEP
from bayeslaw.cli.tables import print_fit, print_table, say
from bayeslaw.demo.books import run_in_folder
from bayeslaw.diagnosis.summary import fit_summary
from bayeslaw.law.published import LAWS
from bayeslaw.law.simulation import true_optimum, true_regret
from bayeslaw.law.terms import words_of
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.netcdf import read_posterior, write_posterior
from bayeslaw.runs.io import read_runs
from bayeslaw.target import Target
from bayeslaw.text import setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TARGET = Target(1e9, 20e9, "adamw", "example")
TOKENS_PER_PARAM = TARGET.tokens / TARGET.params_nonembedding
LAW = LAWS["step"]
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"


def main() -> None:
    """Fit, recommend, compare and draw; print the paths last."""
    run_in_folder("example", __doc__, _run)


def _run(folder: Path, fitted: Path | None) -> None:
    posterior = read_posterior(fitted) if fitted else _fit(folder / "posterior.nc")
    result = predict(posterior, TARGET)
    print_comparison(result)
    picture = folder / "recommendation.png"
    draw(posterior, picture)
    for path in (fitted or folder / "posterior.nc", picture):
        print(path)


def _fit(path: Path) -> Posterior:
    from bayeslaw.inference.fitting import fit

    runs = read_runs(EXAMPLE_SWEEP)
    say(f"{EXAMPLE_SWEEP.name}: simulated runs of 20M to 300M parameters; the fit takes a minute or two")
    posterior = fit(runs, seed=0, sources=(EXAMPLE_SWEEP.name,), say=say)
    write_posterior(posterior, path)
    print_fit({"output": path} | fit_summary(posterior, runs))
    return posterior


def print_comparison(result: Prediction) -> None:
    """Print the advice with intervals, the simulated truth and a published law's answer, and the cost of
    each.

    Args:
        result: advice at ``TARGET``.
    """
    truth = true_optimum(TARGET)
    law = LAW.recommend(TARGET.params_nonembedding, TARGET.tokens)
    advice = result.recommendation
    rows = []
    for name in ("learning_rate", "batch_tokens"):
        best = result.optimum[name]
        span = f"{setting(name, best.lower)} to {setting(name, best.upper)}"
        shown = [setting(name, values[name]) for values in (advice, truth, law)]
        rows.append([words_of(name), shown[0], span, *shown[1:]])
    loss = result.loss_nats_per_token
    span = f"{loss.lower:.3f} to {loss.upper:.3f}"
    rows.append(["loss, nats/token", f"{loss.median:.3f}", span, f"{truth['loss']:.3f}", "-"])
    costs = [f"{100 * true_regret(TARGET, settings):.2f}%" for settings in (advice, law)]
    expected = f"expected {100 * result.regret.expected:.2f}%"
    rows.append(["loss given away, in truth", costs[0], expected, "0%", costs[1]])
    header = ["", "use", "90% interval", "simulated truth", "Step Law"]
    print_table(header, rows, title="Advice for N = 1B, D = 20B tokens, from runs of at most 300M parameters")
    print("The truth is simulated. Step Law (arXiv 2503.04715) was fitted to other, real runs:")
    print("it shows what a law from elsewhere would say here, and is no contest.")
    for text in result.warnings:
        print(f"warning: {text}")


def draw(posterior: Posterior, path: Path) -> None:
    """Draw two panels: the cost of each learning rate at the target, and the best learning rate against N."""
    from matplotlib.figure import Figure

    from bayeslaw.plots import plot_recommendation, save_figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    plot_recommendation(posterior, TARGET, left)
    batch = predict(posterior, TARGET)["recommendation"]["batch_tokens"]
    truth = true_optimum(replace(TARGET, batch_tokens=batch))["learning_rate"]
    left.axvline(truth, color="black", ls="--", lw=1.2, label="simulated truth")
    left.legend(loc="upper center", ncols=2, fontsize="small", framealpha=0.9, edgecolor="none")
    left.set_title("N = 1B, D = 20B tokens")
    _optimum_against_size(posterior, right)
    save_figure(figure, path)


def _optimum_against_size(posterior: Posterior, ax: Axes) -> None:
    """Draw the best learning rate along D = 20 N: interval, truth, Step Law, and the range of the runs."""
    sizes = np.geomspace(2e7, 1e10, 13)
    targets = [replace(TARGET, params_nonembedding=n, tokens=n * TOKENS_PER_PARAM) for n in sizes]
    found = [predict(posterior, target)["optimum"]["learning_rate"] for target in targets]
    low, middle, high = ([each[key] for each in found] for key in ("lower", "median", "upper"))
    ax.axvspan(
        sizes[0],
        max(cell.params_nonembedding for cell in posterior.cells),
        color=GREY,
        alpha=0.15,
        lw=0,
        label="runs",
    )
    ax.fill_between(sizes, low, high, color=BLUE, alpha=0.2, lw=0, label="90% interval")
    ax.plot(sizes, middle, color=BLUE, lw=1.5, label="median")
    ax.plot(
        sizes, [true_optimum(t)["learning_rate"] for t in targets], "k--", lw=1.2, label="simulated truth"
    )
    published = [LAW.recommend(t.params_nonembedding, t.tokens)["learning_rate"] for t in targets]
    ax.plot(sizes, published, color=ORANGE, ls=":", lw=1.5, label="Step Law, other data")
    ax.set(xscale="log", yscale="log", xlim=(sizes[0], sizes[-1]))
    ax.set_xlabel("N, non-embedding parameters, at 20 tokens each")
    ax.set_ylabel("best peak learning rate")
    ax.set_title("60 simulated runs, extrapolated")
    ax.legend(loc="lower left", fontsize="small", framealpha=0.9, edgecolor="none")


if __name__ == "__main__":
    main()
