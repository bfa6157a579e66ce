"""The command ``evaluate``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from bayeslaw.cli.options import AsJson, check_plot
from bayeslaw.cli.tables import print_json, print_result, say
from bayeslaw.errors import BadInput


def evaluate_(
    runs: Annotated[
        list[Path], typer.Argument(help="Run tables of held-out runs: .parquet, .csv or .jsonl.")
    ],
    posterior: Annotated[
        Path | None, typer.Option(help="Posterior to score. By default the shipped one.")
    ] = None,
    law: Annotated[str | None, typer.Option(help="Published law to score: step, deepseek, ...")] = None,
    method: Annotated[
        str | None, typer.Option(help="Baseline to fit to --train and score: argmin, huber or near-optimal.")
    ] = None,
    train: Annotated[
        list[Path] | None, typer.Option(help="Run table that --method is fitted to. May be repeated.")
    ] = None,
    level: Annotated[float, typer.Option(help="Credible level of the intervals.")] = 0.9,
    plot: Annotated[
        Path | None, typer.Option(help="Figure of reliability and regret to write, .png or .pdf.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score advice on held-out runs: predicted losses, and the cost of following it.

    Example:

      bayeslaw evaluate held_out.parquet --posterior posterior.nc --plot scores.png

    Regret is the loss at the advised settings minus the cell's smoothed minimum, as a share of that minimum.
    """
    from bayeslaw.evaluation.heldout import evaluate
    from bayeslaw.intervals import check_level
    from bayeslaw.runs.io import read_runs

    check_level(level)
    check_plot(plot)
    table = read_runs(*runs)
    advisor = _advisor(posterior, law, method, train or [], table)
    result = evaluate(advisor, table, level)
    if plot:
        _plot_evaluation(result, plot)
    print_json(result) if as_json else print_result(result)


def _advisor(
    posterior: Path | None, law: str | None, method: str | None, train: list[Path], table: Any
) -> Any:
    """Advisor to score: a posterior, a published law, or a baseline fitted to ``train``."""
    if sum(choice is not None for choice in (posterior, law, method)) > 1:
        raise BadInput("evaluate: --posterior, --law and --method exclude each other; give one of them")
    if (method is None) != (not train):
        raise BadInput("evaluate: --method and --train go together; expected both or neither; add the other")
    if law is not None:
        from bayeslaw.evaluation.heldout import law_advisor

        return law_advisor(law)
    if method is not None:
        return _baseline(method, train)
    from bayeslaw.assets import POSTERIOR
    from bayeslaw.evaluation.advisors import PosteriorAdvisor, fitted_cells
    from bayeslaw.posterior.netcdf import read_posterior

    path = posterior or POSTERIOR
    fit = read_posterior(path)
    known = fitted_cells(fit, table)
    if known:
        say(f"note: {known} of these cells were fitted: scores there are held out only if the runs were")
    return PosteriorAdvisor(fit, label=path.stem)


def _baseline(method: str, train: list[Path]) -> Any:
    from bayeslaw.evaluation.baselines import fit_argmin, fit_huber, fit_near_optimal
    from bayeslaw.runs.io import read_runs

    fits: dict[str, Callable[[Any], Any]] = {
        "argmin": fit_argmin,
        "huber": fit_huber,
        "near-optimal": fit_near_optimal,
    }
    if method not in fits:
        raise BadInput(f"--method {method}: unknown; expected one of {', '.join(fits)}; name one of these")
    return fits[method](read_runs(*train))


def _plot_evaluation(result: Any, path: Path) -> None:
    """Write a figure of reliability and regret side by side, whichever exist."""
    from matplotlib.figure import Figure

    from bayeslaw.plots import plot_regret, plot_reliability, save_figure

    drawn = [plot_reliability] if "coverage_by_level" in result.runs else []
    drawn += [plot_regret] if result.summary.cells_scored else []
    if not drawn:
        raise BadInput("--plot: neither losses nor regret were scored; expected one; score other runs")
    figure = Figure(figsize=(5 * len(drawn), 4), layout="constrained")
    axes = figure.subplots(1, len(drawn), squeeze=False)
    for draw, ax in zip(drawn, axes[0], strict=True):
        draw(result, ax)
    save_figure(figure, path)
