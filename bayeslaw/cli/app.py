"""The command line: files, printing and exit codes. Every computation lives in another module.

Heavy packages are imported inside the commands, so that ``bayeslaw --help`` is instant.
Results go to stdout, messages to stderr. Bad input and misuse exit with code 2.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

from bayeslaw.cli.comparison import compare_
from bayeslaw.cli.conversion import convert_
from bayeslaw.cli.options import optional_size, size
from bayeslaw.cli.schedules import schedule
from bayeslaw.cli.tables import (
    all_written,
    print_bill,
    print_comparison,
    print_fit,
    print_import,
    print_json,
    print_law,
    print_loop,
    print_readings,
    print_replay,
    print_report,
    print_result,
    print_rule,
    replace_what_cannot_be_written,
    replay_progress,
    say,
)
from bayeslaw.errors import BadInput
from bayeslaw.target import NEVER_SEEN

app = typer.Typer(
    name="bayeslaw",
    help="Bayesian hierarchical scaling laws of optimizer hyperparameters.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Targets = Annotated[
    list[str],
    typer.Option(help="N,D,OPTIMIZER[,NAME=VALUE] of the large run, as in 7B,140B,adamw; repeated."),
]
Candidates = Annotated[
    Path | None, typer.Option(help="Table of candidate runs, one per row: .csv, .parquet or .jsonl.")
]
Space = Annotated[Path | None, typer.Option(help="Search space in TOML, in place of --candidates.")]
Tolerance = Annotated[
    float | None, typer.Option(help="Regret small enough to stop at, as a share of the loss, such as 0.001.")
]
OnDevice = Annotated[
    str | None,
    typer.Option("--device", help="Accelerator to count hours and energy on: h100, a100, ..."),
]
Throughput = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Measured FLOP/s of one device. By default 40% of the device's peak."),
]
PricePerHour = Annotated[float | None, typer.Option(help="Price of one device per hour, in any currency.")]
CostOfTarget = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Cost of the target run, in the unit of the budget.")
]


NO_POPULATION = "none"


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(version("bayeslaw"))
        raise typer.Exit


@app.callback()
def _commands(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Bayesian hierarchical scaling laws of optimizer hyperparameters."""


def main() -> None:
    """Run the command line: a BadInput becomes its message on stderr and exit code 2, never a traceback.

    An output that is full is one too; one whose reader is gone (``| head -1``) ends with 1, in silence.
    """
    replace_what_cannot_be_written()
    with all_written():
        try:
            app()
        except BadInput as error:
            say(f"error: {error}")
            sys.exit(2)


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Split repeated ``NAME=VALUE`` options."""
    pairs = dict(text.partition("=")[::2] for text in texts)
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            example = "soap=ours" if option == "--rename" else "learning_rate=lr"
            raise BadInput(f"{option} {text}: expected NAME=VALUE; give it as {option} {example}")
    return pairs


LISTED = {"adapter": "runs.layouts:layouts_help", "policy": "planning.policies:policies_help"}
"""Options whose help is written from a registry, and what writes it."""


def listed_help(option: str) -> str:
    """Help of an option of ``LISTED``."""
    module, _, function = LISTED[option].partition(":")
    text: str = getattr(import_module(f"bayeslaw.{module}"), function)()
    return text


class Listing(TyperCommand):
    """A command whose ``LISTED`` options are explained in full, from registries read when help is asked."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """As every command's help, with the registries."""
        for parameter in self.params:
            if isinstance(parameter, TyperOption) and parameter.name in LISTED:
                parameter.help = listed_help(parameter.name)
        super().format_help(ctx, formatter)


@app.command("import", cls=Listing)
def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="Table of runs (CSV, Parquet, JSON lines), or what a tracker or trainer left: a folder, an "
            "SQLite store, the address of an MLflow server."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Run table to write: .parquet, .csv or .jsonl.")
    ],
    study: Annotated[str | None, typer.Option(help="Name of the set-up that these runs share.")] = None,
    adapter: Annotated[
        str | None, typer.Option(help="A known layout of published runs, or of a tracker or trainer.")
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", help="ROLE=COLUMN: the column that holds a role. May be repeated."),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="COLUMN=VALUE: one value for all runs. May be repeated.")
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(help="OLD=NEW, repeated: another name for an optimizer, as in soap=ours."),
    ] = None,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Take the guesses that the error without it lists.")
    ] = False,
    diverged_ratio: Annotated[
        float,
        typer.Option(
            help="A run counts as diverged if its loss exceeds this multiple of its cell's smallest loss."
        ),
    ] = 1.4,
    as_json: AsJson = False,
) -> None:
    """Convert runs from any tool, where it left them, into a checked run table.

    Examples:

      bayeslaw import mlflow.db -o runs.parquet

      bayeslaw import sweep.csv -o runs.parquet --study ours --map loss=final_loss
      --map batch_sequences=bs --set sequence_length=2048 --set optimizer=adamw

    Roles that carry a unit: batch_tokens or batch_sequences (needs sequence_length); tokens,
    tokens_per_param or steps; params_nonembedding or params_total (needs params_embedding);
    warmup_tokens or warmup_steps; final_lr_ratio or final_learning_rate; loss (nats), loss_bits
    or perplexity.
    """
    from bayeslaw.runs.importing import imported
    from bayeslaw.runs.io import check_output, write_runs

    check_output(output)
    place = Path(source)
    if place.exists() and output.exists() and place.samefile(output):
        raise BadInput(f"{source}: is the source and the output; expected another output; name one with -o")
    table, notes, readings = imported(
        source,
        study=study,
        adapter=adapter,
        mapping=_pairs("--map", map_ or []),
        constants=_pairs("--set", set_ or []),
        diverged_ratio=diverged_ratio,
        rename=_pairs("--rename", rename or []),
        confirm=confirm,
    )
    write_runs(table, output)
    if not as_json:
        print_readings(readings)
    for note in notes:
        say(f"note: {note}")
    if as_json:
        columns = [each._asdict() for each in readings]
        print_json(_import_summary(table, output, notes) | {"columns": columns})
    else:
        print_import(table, output)


def _import_summary(table: Any, output: Path, notes: Sequence[str]) -> dict[str, Any]:
    """Summary for ``import --json``: where the runs went, how many there are, and of which kind."""
    from bayeslaw.target import CELL

    return {
        "output": output,
        "runs": len(table),
        "status": table["status"].value_counts().to_dict(),
        "studies": sorted(table["study"].unique()),
        "optimizers": sorted(table["optimizer"].unique()),
        "cells": int(table.groupby(list(CELL)).ngroups),
        "notes": list(notes),
    }


@app.command("fit")
def fit_(
    runs: Annotated[list[Path], typer.Argument(help="Run tables to fit: .parquet, .csv or .jsonl.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Posterior to write, such as posterior.nc.")],
    seed: Annotated[int, typer.Option(help="Random seed. The same seed and runs give the same draws.")] = 0,
    chains: Annotated[int, typer.Option(help="Number of NUTS chains, at least 2: R-hat compares them.")] = 4,
    draws: Annotated[
        int, typer.Option(help="Draws per chain and block. Blocks are added until the chains agree.")
    ] = 200,
    parts: Annotated[
        str,
        typer.Option(
            help="Parts of the law beyond its core, joined by commas, or core for none of them. "
            "`bayeslaw compare` tells what each is worth."
        ),
    ] = "drift,second,smooth",
    effort: Annotated[
        str | None,
        typer.Option(
            help="full, the default, or quick: runs every step within a minute, with intervals not to be "
            "believed. BAYESLAW_EFFORT=quick does the same to every fit of a loop, replay or notebook."
        ),
    ] = None,
    population: Annotated[
        str,
        typer.Option(
            help="Prior: what other studies say, from the posterior at PATH or the shipped one, or none for "
            "the literature's."
        ),
    ] = NO_POPULATION,
    as_json: AsJson = False,
) -> None:
    """Fit the loss surface to run tables; any number of studies and optimizers are pooled.

    Example:

      bayeslaw fit runs.parquet theirs.csv -o posterior.nc

    Diverged runs are used too: they show which learning rates are too high. Runs that were stopped
    early are left out. gamma and delta are the exponents by which the best learning rate falls with N
    and D at the best batch; epsilon is the exponent by which the best batch grows with D.

    A fit that was stopped or killed goes on when the same command is given again: its draws are kept
    beside the output, every minute and at a signal.

    With --population shipped a sweep of few runs starts from what the shipped posterior's studies have in
    common. Where the runs disagree with it, they win, and a warning names the parameters.
    """
    from bayeslaw.files import check_writable
    from bayeslaw.runs.io import read_runs

    check_writable(output)
    table = read_runs(*runs)

    from bayeslaw.comparison.structures import structure_named
    from bayeslaw.diagnosis.summary import fit_summary
    from bayeslaw.inference.checkpoint import unfinished
    from bayeslaw.inference.fitting import fit
    from bayeslaw.posterior.netcdf import read_posterior, write_posterior

    sources = tuple(str(path) for path in runs)
    chosen = structure_named("+".join(part.strip() for part in parts.split(",")))
    path = population_path(population)
    with unfinished(output) as checkpoint:
        posterior = fit(
            table,
            seed=seed,
            chains=chains,
            draws=draws,
            sources=sources,
            say=say,
            parts=chosen,
            effort=effort,
            checkpoint=checkpoint,
            population=read_posterior(path) if path else None,
        )
        if path:
            posterior.provenance["population"]["path"] = str(path)
        write_posterior(posterior, output)
    summary = {"output": output} | fit_summary(posterior, table)
    print_json(summary) if as_json else print_fit(summary)


def population_path(text: str) -> Path | None:
    """The posterior that ``--population`` names; None for none."""
    from bayeslaw.assets import POSTERIOR

    return None if text == NO_POPULATION else POSTERIOR if text == "shipped" else Path(text)


@app.command("predict")
def predict_(
    params: Annotated[
        str, typer.Option(metavar="SIZE", help="Number of non-embedding parameters N, such as 7B or 7e9.")
    ],
    tokens: Annotated[
        str, typer.Option(metavar="SIZE", help="Number of training tokens D, such as 1.4T or 1.4e12.")
    ],
    optimizer: Annotated[str, typer.Option(help="Name of the optimizer, such as adamw or muon.")] = "adamw",
    batch_tokens: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Fixed batch in tokens, such as 2M. Without it, the batch is part of the advice.",
        ),
    ] = None,
    posterior: Annotated[
        Path | None, typer.Option(help="Posterior written by `bayeslaw fit`. By default the shipped one.")
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(
            help="Fitted study of the run. Without it the set-up is unseen, and intervals are wider."
        ),
    ] = None,
    level: Annotated[float, typer.Option(help="Credible level of the intervals.")] = 0.9,
    law: Annotated[
        str | None,
        typer.Option(
            help="Published law to ask instead (step, deepseek, bjorck, ...), or all of them; with --tuned a "
            "rule too (sqrt, surge, mup, ...)."
        ),
    ] = None,
    tuned: Annotated[
        str | None,
        typer.Option(
            help="N,D,BATCH,RATE of a tuned run, as in 100M,2B,131072,4e-3, for the rules of --law."
        ),
    ] = None,
    covariate: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of a further covariate of the law; repeated.")
    ] = None,
    export: Annotated[
        str | None,
        typer.Option(
            metavar="FRAMEWORK",
            help="Print the settings for a trainer: transformers, torchtitan, megatron, axolotl, nanochat, "
            "optax or yaml.",
        ),
    ] = None,
    sequence_length: Annotated[
        int, typer.Option(help="Tokens per sequence of --export: trainers count batches in sequences.")
    ] = 4096,
    device: OnDevice = None,
    throughput: Throughput = None,
    price_per_hour: PricePerHour = None,
    schedule: Annotated[
        str | None, typer.Option(help="Schedule of the learning rate: cosine, linear, wsd, constant, ...")
    ] = None,
    decay_share: Annotated[
        float | None, typer.Option(help="Share of the run in which the rate falls, 0 to 1, such as 0.2.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Recommend learning rate, batch and any other fitted hyperparameter, with intervals.

    Example:

      bayeslaw predict --params 7e9 --tokens 1.4e12 --optimizer adamw

    The recommendation minimises the expected loss, so it lies on the safe side of the likeliest
    optimum. Regret is the excess loss of following it, as a share of the loss.
    """
    from bayeslaw.hardware import check_request, training_flops
    from bayeslaw.hardware import cost as bill_of
    from bayeslaw.integrations.exports import export as exported
    from bayeslaw.target import Target, parse_covariates

    reached = optional_size("--throughput", throughput)
    check_request(device, reached, price_per_hour)
    if export and law:
        raise BadInput("predict: --export writes the posterior's advice; expected no --law; leave one out")
    covariates = parse_covariates("--covariate", covariate or []) | _of_schedule(schedule, decay_share)
    sizes = size("--params", params), size("--tokens", tokens)
    batch = optional_size("--batch-tokens", batch_tokens)
    target = Target(*sizes, optimizer.strip().lower(), study, batch, covariates)
    if law:
        _laws(target, law, tuned, posterior, level, as_json)
        return
    if tuned:
        raise BadInput(
            f"--tuned {tuned}: given without --law; expected a rule that carries it; add --law all"
        )
    result = _prediction(target, posterior, level)
    bill = bill_of(training_flops(target.params_nonembedding, target.tokens), device, reached, price_per_hour)
    text = {"export": exported(result, export, sequence_length)} if export else {}
    if as_json:
        print_json({**result, "bill": bill, **text})
    elif export:
        print(text["export"])
    else:
        print_result(result)
        print_bill(bill)


def _laws(
    target: Any, law: str, tuned: str | None, posterior: Path | None, level: float, as_json: bool
) -> None:
    """Answer of one published law or rule, or of all beside the posterior's."""
    from bayeslaw.law.agreement import ALL, agreement, law_answer, laws_named
    from bayeslaw.law.rules import RULES, parse_tuned, rule_answer

    named = _by_its_name(target)
    run = parse_tuned(tuned) if tuned else None
    if run and law in RULES:
        answer = rule_answer(RULES[law], run, named)
        print_json({"inputs": _inputs(named)} | answer) if as_json else print_rule(answer, named)
        return
    answers = [law_answer(each, named) for each in laws_named(law)]
    if law != ALL:
        print_json({"inputs": _inputs(named)} | answers[0]) if as_json else print_law(answers[0], named)
        return
    rules = [rule_answer(rule, run, named) for rule in RULES.values()] if run else []
    result = _prediction(target, posterior, level)
    field = agreement(answers, named, result)
    if as_json:
        told = {"inputs": _inputs(target), "posterior": result, "laws": answers, "agreement": field}
        print_json(told | ({"rules": rules} if run else {}))
    else:
        print_comparison(result, answers, field, rules)


def _of_schedule(schedule: str | None, decay_share: float | None) -> dict[str, float | str]:
    """The schedule as the law's covariates have it."""
    if decay_share is not None and not 0 <= decay_share <= 1:
        raise BadInput(
            f"--decay-share {decay_share:g}: expected a share from 0 to 1; give 0.2 for the last fifth"
        )
    given = {"schedule": schedule and schedule.strip().lower(), "share": decay_share}
    return {name: value for name, value in given.items() if value is not None}


def _prediction(target: Any, path: Path | None, level: float) -> Any:
    """Answer of the posterior, with the name of its file. Refuses a study that was not fitted."""
    from bayeslaw.advice.prediction import predict
    from bayeslaw.assets import POSTERIOR
    from bayeslaw.intervals import check_level
    from bayeslaw.posterior.netcdf import read_posterior

    check_level(level)
    path = path or POSTERIOR
    posterior = read_posterior(path)
    _refuse_unknown(target.study, posterior.studies, path)
    named = _by_its_name(target, posterior.optimizers)
    if named.optimizer != target.optimizer:
        say(f"note: optimizer {target.optimizer} read as {named.optimizer}")
    return _of_file(predict(posterior, named, level), path)


def _of_file(result: Any, path: Path) -> Any:
    """The result of a posterior that was read from ``path``."""
    from dataclasses import replace

    return replace(result, posterior={"path": str(path)} | result.posterior)


def _by_its_name(target: Any, known: Sequence[str] = ()) -> Any:
    """The target with its optimizer's spelling settled; ``known`` names stay."""
    from dataclasses import replace

    from bayeslaw.runs.optimizer_names import canonical

    return replace(target, optimizer=canonical(target.optimizer, known))


def _inputs(target: Any) -> dict[str, Any]:
    from dataclasses import asdict

    inputs = asdict(target)
    return inputs if target.covariates else {k: v for k, v in inputs.items() if k != "covariates"}


@app.command("evaluate")
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
    _check_plot(plot)
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


def _check_plot(path: Path | None) -> None:
    """Refuse a figure's place before the work."""
    if path:
        from bayeslaw.plots import check_figure

        check_figure(path)


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


@app.command("diagnose")
def diagnose_(
    posterior: Annotated[Path, typer.Argument(help="Posterior written by `bayeslaw fit`.")],
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Run tables that it was fitted to. Without them fewer checks are made."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="Target run as N,D,OPTIMIZER, such as 7e9,1.4e11,adamw. By default about ten times "
            "the largest fitted N at 20 tokens per parameter, with the optimizer of most fitted cells."
        ),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(
            help="Study of the target run. By default the posterior's only study or the default target's."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Judge whether a posterior can be trusted, where it cannot, and what to do about it.

    Example:

      bayeslaw diagnose posterior.nc runs.parquet

    Checks convergence, how well each cell is fitted, which runs the advice depends on, and how much of it
    comes from the prior. The exit code is 0 whatever the verdict.
    """
    from bayeslaw.posterior.netcdf import read_posterior
    from bayeslaw.target import parse_target

    fit = read_posterior(posterior)
    _refuse_unknown(study, fit.studies, posterior)
    study = study or (fit.studies[0] if len(fit.studies) == 1 else None)
    asked = parse_target(target, study) if target else None

    from bayeslaw.advice.prediction import example_target
    from bayeslaw.diagnosis.diagnosis import diagnose
    from bayeslaw.runs.io import read_runs

    table = read_runs(*runs) if runs else None
    result = _of_file(diagnose(fit, asked or example_target(fit, study), table), posterior)
    print_json(result) if as_json else print_result(result)


def _refuse_unknown(study: str | None, known: Sequence[str], path: Path) -> None:
    if study is not None and study not in known:
        raise BadInput(
            f"--study {study}: not in {path}; expected one of {', '.join(known)}; "
            f"leave it out for {NEVER_SEEN}"
        )


@app.command("design", cls=Listing)
def design_(
    target: Targets,
    budget: Annotated[
        str, typer.Option(metavar="SIZE", help="Budget of the batch, in the unit of the cost: FLOP, s or J.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Plan to write, a .csv that bayeslaw-sweep runs.")
    ],
    candidates: Candidates = None,
    space: Space = None,
    posterior: Annotated[
        Path | None, typer.Option(help="Posterior written by `bayeslaw fit`. By default the shipped one.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Maximum number of runs in the batch.")] = 8,
    study: Annotated[
        str | None,
        typer.Option(help="Study of the runs. By default the candidates' study, else an unseen one."),
    ] = None,
    policy: Annotated[
        str,
        typer.Option(
            help="How to choose runs: regret, or for comparison another policy of docs/model.md#design."
        ),
    ] = "regret",
    tolerance: Tolerance = None,
    cost_of_target: CostOfTarget = None,
    device: OnDevice = None,
    throughput: Throughput = None,
    price_per_hour: PricePerHour = None,
    plot: Annotated[
        Path | None, typer.Option(help="Figure of the candidates to write, .png or .pdf.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Choose the next runs: those that most lower the expected regret at the target per unit cost.

    Example:

      bayeslaw design --posterior posterior.nc --study ours --target 7e9,1.4e11,adamw
      --space space.toml --budget 1e19 -o plan.csv

    The cost is the column cost, flops, wall_seconds or energy_joules of the candidates, else 6 N D.
    The result also says whether the runs are worth their cost. Read about the format of --space
    with python -m pydoc bayeslaw.planning.candidates.
    """
    from bayeslaw.assets import POSTERIOR
    from bayeslaw.files import check_writable, write_atomically
    from bayeslaw.hardware import check_request as check_bill
    from bayeslaw.hardware import cost as bill_of
    from bayeslaw.hardware import training_flops
    from bayeslaw.planning.batches import check_request, design, plan_table
    from bayeslaw.posterior.netcdf import read_posterior
    from bayeslaw.runs.formulas import escaped
    from bayeslaw.target import parse_target

    if output.suffix != ".csv":
        raise BadInput(f"{output}: unknown suffix {output.suffix!r}; expected a plan in .csv; rename it")
    check_writable(output)
    _check_plot(plot)
    reached = optional_size("--throughput", throughput)
    check_bill(device, reached, price_per_hour)
    most, target_cost = size("--budget", budget), optional_size("--cost-of-target", cost_of_target)
    check_request(most, batch, policy, tolerance, target_cost)
    table, unit = _offered("design", candidates, space)
    path = posterior or POSTERIOR
    fit = read_posterior(path)
    study = _study_of(table, study, fit.studies, path)
    table = table.assign(study=study) if study is not None else table
    targets = [parse_target(text, study) for text in target]
    found = design(fit, targets, table, most, batch, policy, tolerance, target_cost, unit=unit)
    flops = sum(training_flops(run["params_nonembedding"], run["tokens"]) for run in found["runs"])
    bill = bill_of(flops, device, reached, price_per_hour)
    with write_atomically(output) as temporary:
        escaped(plan_table(table, found)).to_csv(temporary, index=False)
    if plot:
        from matplotlib.figure import Figure

        from bayeslaw.plots import plot_candidates, save_figure

        figure = Figure(figsize=(6.4, 4), layout="constrained")
        plot_candidates(table, found.alone, found.rows, unit, figure.subplots())
        save_figure(figure, plot)
    found = _of_file(found, path)
    if as_json:
        print_json({"output": output} | found.to_json() | {"bill": bill})
    else:
        print(f"plan written to {output}, ", end="")
        print_result(found)
        print_bill(bill)


def _offered(command: str, candidates: Path | None, space: Path | None) -> tuple[Any, str]:
    """Candidates and the unit of their cost, read from the file that is given."""
    from bayeslaw.planning.candidates import read_candidates, read_space

    if (candidates is None) == (space is None):
        raise BadInput(f"{command}: expected either --candidates FILE or --space FILE; give one of them")
    return read_candidates(candidates) if candidates is not None else read_space(space or Path())


def _study_of(table: Any, study: str | None, known: Sequence[str], path: Path) -> str | None:
    """Study of candidates and target: --study, or the one that the candidates name."""
    named = _named_study("design", table, study)
    if named is None:
        _refuse_unknown(study, known, path)
    return named or study


def _named_study(command: str, candidates: Any, study: str | None) -> str | None:
    """The one study that the candidates name, if any. Refuses candidates of another study than --study."""
    named = sorted(set(candidates["study"])) if "study" in candidates else []
    if len(named) > 1 or (named and study is not None and named != [study]):
        raise BadInput(
            f"{command}: the candidates name the study {', '.join(named)}"
            + (f", --study {study}" if study else "")
            + "; expected one set-up for all runs; keep one"
        )
    return named[0] if named else None


@app.command("replay")
def replay_(
    pool: Annotated[list[Path], typer.Argument(help="Run tables of a finished sweep, to select runs from.")],
    target: Annotated[
        list[str],
        typer.Option(
            help="N,D,OPTIMIZER of a cell in the tables whose runs judge the advice. May be repeated."
        ),
    ],
    budget: Annotated[
        list[str],
        typer.Option(
            help="Budget in the unit of the cost, or as a share of the pool such as 1%. May be repeated."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Result lines to write, in JSON. An existing file is resumed."),
    ],
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="Policy of `bayeslaw design` to replay. May be repeated. By default regret and random."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of replays per policy.")] = 10,
    batch: Annotated[int, typer.Option(help="Number of runs chosen together.")] = 8,
    refits: Annotated[int, typer.Option(help="Refits per budget step.")] = 2,
    start: Annotated[int, typer.Option(help="Number of runs drawn at random before the first choice.")] = 0,
    below: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Only runs with fewer parameters than this can be selected. By default the targets' number.",
        ),
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Study of the targets. By default that of the tables.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Number of worker processes.")] = 2,
    plot: Annotated[Path | None, typer.Option(help="Figure of the curves to write, .png or .pdf.")] = None,
    as_json: AsJson = False,
) -> None:
    """Replay active design on a finished sweep, to compare what policies learn for the same cost.

    Example:

      bayeslaw replay runs.parquet --target 1073741824,2e10,adamw --budget 0.3% --budget 1%
      --policy regret --policy random -o replay.jsonl

    Starts without runs, selects runs within the budget, refits, and scores the advice at each budget. Stop
    it at any time, and run it again to resume.
    """
    from bayeslaw.rehearsal import many, one
    from bayeslaw.rehearsal.task import study_of
    from bayeslaw.runs.io import read_runs
    from bayeslaw.target import parse_target

    _check_plot(plot)
    policies = list(dict.fromkeys(policy or ["regret", "random"]))
    place = " and ".join(str(path) for path in pool)
    targets = [parse_target(text, study) for text in target]
    limit = optional_size("--below", below)
    asked = study_of(read_runs(*pool), targets, budget, batch, refits, start, limit, place)
    with replay_progress(len(policies) * seeds * len(budget)) as tell:
        rows = many.run(asked, policies, range(seeds), output, one.exact, workers, tell)
    found = many.curves(rows)
    if plot:
        from bayeslaw.plots import replay_figure, save_figure

        save_figure(replay_figure(found, asked.unit), plot)
    if not as_json:
        print_replay(found, output, asked.unit)
        return
    areas = {name: many.areas(rows, name) for name in ("regret", "width")}
    inputs = {"targets": target, "budgets": asked.budgets, "cost_unit": asked.unit, "batch": batch}
    inputs |= {"refits": refits, "start": start, "pool": len(asked.pool), "judges": len(asked.judges)}
    print_json({"output": output, "inputs": inputs, "curves": found, "areas": areas})


@app.command("loop")
def loop_(
    target: Targets,
    runner: Annotated[str, typer.Option(help="Command that makes the runs of {plan} in folder {out}.")],
    budget: Annotated[
        str,
        typer.Option(
            metavar="SIZE", help="Budget of all rounds together, in the unit of the cost: FLOP, s or J."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the loop. An existing loop is resumed.")
    ],
    candidates: Candidates = None,
    space: Space = None,
    collect: Annotated[
        str | None, typer.Option(help="Command that writes the run table {table} from folder {out}.")
    ] = None,
    table: Annotated[
        str | None, typer.Option(help="Run table that the runner leaves. By default {out}/runs.parquet.")
    ] = None,
    runs: Annotated[
        list[Path] | None, typer.Option(help="Run table to start with, of any study. May be repeated.")
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Study of the new runs. By default the candidates' study.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Maximum number of runs per round.")] = 8,
    round_budget: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Maximum cost per round; it must pay for at least one run."),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Maximum number of rounds.")] = 20,
    policy: Annotated[
        str, typer.Option(help="Policy that chooses the runs, as in `bayeslaw design`.")
    ] = "regret",
    tolerance: Tolerance = None,
    cost_of_target: CostOfTarget = None,
    seed: Annotated[int, typer.Option(help="Random seed of fits and draws.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Repeat fitting, choosing runs and making them until more runs are not worth their cost.

    Example:

      bayeslaw loop --target 1e6,2e7,adamw --space space.toml --budget 1e14 --out out/loop
      --runner "python -m train.sweep --plan {plan} --out {out}"
      --collect "python -m train.collect {out} -o {table}"

    Stop it at any time, and run it again to resume: each step leaves a file. journal.md records what was
    chosen and why, what came back, and the advice after each round.
    """
    from bayeslaw.loop.rounds import run
    from bayeslaw.loop.task import STUDY, TABLE, Task
    from bayeslaw.rehearsal import one
    from bayeslaw.target import parse_target

    if collect is not None and table is not None:
        raise BadInput("loop: --collect and --table are both given; expected one of them; drop the other")
    offered, unit = _offered("loop", candidates, space)
    study = _named_study("loop", offered, study) or study or STUDY
    task = Task(
        folder=output,
        targets=tuple(parse_target(text, study) for text in target),
        candidates=offered.assign(study=study),
        runner=runner,
        budget=size("--budget", budget),
        collect=collect,
        table=table or TABLE,
        runs=tuple(runs or ()),
        batch=batch,
        round_budget=optional_size("--round-budget", round_budget),
        rounds=rounds,
        policy=policy,
        tolerance=tolerance,
        target_cost=optional_size("--cost-of-target", cost_of_target),
        unit=unit,
        seed=seed,
    )
    result = run(task, one.exact, say)
    print_json(result) if as_json else print_loop(result)


@app.command("report")
def report_(
    posterior: Annotated[
        Path | None, typer.Option(help="Posterior written by `bayeslaw fit`. By default the shipped one.")
    ] = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option(help="Run table that the posterior was fitted to, for more figures. May be repeated."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Page to write, .html.")] = Path(
        "report.html"
    ),
    as_json: AsJson = False,
) -> None:
    """Write one HTML file with summary, figures, diagnostics, data and a live calculator.

    Example:

      bayeslaw report --posterior posterior.nc --runs runs.parquet -o report.html

    It needs no network, server or installation. The calculator gives the answers of `bayeslaw predict`
    for any run.
    """
    if output.suffix.lower() not in (".html", ".htm"):
        raise BadInput(f"{output}: unknown suffix {output.suffix!r}; expected a page in .html; rename it")
    from bayeslaw.assets import POSTERIOR
    from bayeslaw.files import check_writable
    from bayeslaw.posterior.netcdf import read_posterior

    check_writable(output)
    path = posterior or POSTERIOR
    fit = read_posterior(path)
    table = None
    if runs:
        from bayeslaw.diagnosis.fitted_runs import fitted_notes
        from bayeslaw.runs.io import read_runs

        table = read_runs(*runs)
        for note in fitted_notes(fit, table):
            say(f"note: {note}")

    from bayeslaw.reporting.page import write_report

    written = write_report(fit, output, str(path) if posterior else None, table)
    result = {"output": output} | written | {"posterior": {"path": str(path)} | fit.provenance}
    print_json(result) if as_json else print_report(result)


@app.command("watch")
def watch_(
    folder: Annotated[Path, typer.Argument(help="Folder of a sweep or a loop, running or done.")],
    posterior: Annotated[
        Path | None, typer.Option(help="Fit whose curves are drawn. By default the loop's latest.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; by default this machine alone.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for one that is free.")] = 8765,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the progress once, and serve nothing.")
    ] = False,
) -> None:
    """Serve a page that shows a sweep or loop while it runs; it only reads the folder.

    Example:

      bayeslaw watch out/first

    Progress and time left, runs by status, loss against learning rate in each cell with the current fit,
    the optimum round by round, the journal, and a run's curve on a click. Stop it with Ctrl-C.
    """
    from contextlib import suppress
    from dataclasses import asdict

    from bayeslaw.watching.server import serve
    from bayeslaw.watching.state import read_state

    if as_json:
        print_json({"folder": folder} | asdict(read_state(folder).progress))
        return
    with serve(folder, host, port, posterior) as server, suppress(KeyboardInterrupt):
        say(f"http://{host}:{server.server_address[1]}")
        server.serve_forever()


if __name__ == "__main__":
    main()


app.command("compare")(compare_)
app.command("convert")(convert_)
app.add_typer(schedule)
