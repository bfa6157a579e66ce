"""The command ``evaluate``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
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
        str | None,
        typer.Option(
            help="Rival to fit to --train and score: argmin, huber, near-optimal, lmo (convergence bounds), "
            "sharpness, stability, min-stability, max-stability (of curvature that both tables have), or llm "
            "(a language model)."
        ),
    ] = None,
    train: Annotated[
        list[Path] | None, typer.Option(help="Run table that --method is fitted to. May be repeated.")
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(help="OpenAI-style server that --method llm asks, such as http://localhost:8000/v1."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Name of the language model at --endpoint.")] = None,
    questions: Annotated[int, typer.Option(help="Answers that the model has for each held-out cell.")] = 4,
    record: Annotated[
        Path,
        typer.Option(help="File of its questions and answers, JSON lines; what it has is not asked again."),
    ] = Path("llm.jsonl"),
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

    A language model (--method llm) is told the best runs of --train, may look at more of them, and gives
    settings for each held-out cell. If its server wants a key, put it into the environment variable
    BAYESLAW_LLM_KEY.
    """
    from bayeslaw.evaluation.heldout import evaluate
    from bayeslaw.intervals import check_level
    from bayeslaw.runs.io import read_runs

    check_level(level)
    check_plot(plot)
    _check_choice(posterior, law, method, train)
    _check_server(method, endpoint, model)
    table = read_runs(*runs)
    if endpoint and model:
        advisor = _language_model(endpoint, model, questions, record, read_runs(*train or []), table)
    elif method is not None:
        advisor = _baseline(method, train or [])
    else:
        advisor = _fitted(posterior, law, table)
    result = evaluate(advisor, table, level)
    if plot:
        _plot_evaluation(result, plot)
    print_json(result) if as_json else print_result(result)


def _check_choice(
    posterior: Path | None, law: str | None, method: str | None, train: list[Path] | None
) -> None:
    """Refuse two advisors, and a method without runs to fit."""
    if sum(choice is not None for choice in (posterior, law, method)) > 1:
        raise BadInput("evaluate: --posterior, --law and --method exclude each other; give one of them")
    if (method is None) != (not train):
        raise BadInput("evaluate: --method and --train go together; expected both or neither; add the other")


def _check_server(method: str | None, endpoint: str | None, model: str | None) -> None:
    """Refuse a language model without its server, and a server that nobody asks."""
    if method == "llm" and not (endpoint and model):
        raise BadInput(
            "evaluate: --method llm asks a server; expected --endpoint URL and --model NAME, as in "
            "--endpoint http://localhost:8000/v1 --model qwen3; add them"
        )
    if method != "llm" and (endpoint or model):
        raise BadInput("evaluate: --endpoint and --model are of --method llm; add it, or leave them out")


def _language_model(endpoint: str, model: str, questions: int, record: Path, sweep: Any, table: Any) -> Any:
    """Advice of a language model for the cells of ``table``, from the runs of ``sweep``."""
    from bayeslaw.evaluation.chat import asker, recorded
    from bayeslaw.evaluation.heldout import judged_targets
    from bayeslaw.evaluation.language_model import ask_settings

    ask = recorded(asker(endpoint, model), model, record)
    return ask_settings(ask, model, sweep, judged_targets(table), questions, say)


def _fitted(posterior: Path | None, law: str | None, table: Any) -> Any:
    """A published law, or a posterior, the shipped one by default."""
    if law is not None:
        from bayeslaw.evaluation.heldout import law_advisor

        return law_advisor(law)
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
    from bayeslaw.evaluation.curvature import METHODS, fit_curvature
    from bayeslaw.evaluation.lmo import fit_lmo
    from bayeslaw.runs.io import read_runs

    fits: dict[str, Callable[[Any], Any]] = {
        "argmin": fit_argmin,
        "huber": fit_huber,
        "near-optimal": fit_near_optimal,
        "lmo": fit_lmo,
        **{name: partial(fit_curvature, method=name) for name in METHODS},
    }
    if method not in fits:
        known = ", ".join((*fits, "llm"))
        raise BadInput(f"--method {method}: unknown; expected one of {known}; name one of these")
    return fits[method](read_runs(*train))


def _plot_evaluation(result: Any, path: Path) -> None:
    """Write a figure of reliability and regret side by side, whichever exist."""
    from matplotlib.figure import Figure

    from bayeslaw.plots import plot_regret, plot_reliability, save_figure

    drawn = [plot_reliability] if result.losses else []
    drawn += [plot_regret] if result.summary.cells_scored else []
    if not drawn:
        raise BadInput("--plot: neither losses nor regret were scored; expected one; score other runs")
    figure = Figure(figsize=(5 * len(drawn), 4), layout="constrained")
    axes = figure.subplots(1, len(drawn), squeeze=False)
    for draw, ax in zip(drawn, axes[0], strict=True):
        draw(result, ax)
    save_figure(figure, path)
