"""The command ``design``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bayeslaw.cli.options import (
    AsJson,
    Candidates,
    CostOfTarget,
    OnDevice,
    PosteriorFile,
    PricePerHour,
    Space,
    Targets,
    Throughput,
    Tolerance,
    check_plot,
    named_study,
    of_file,
    offered,
    optional_size,
    refuse_unknown_study,
    size,
)
from bayeslaw.cli.tables import print_bill, print_json, print_result
from bayeslaw.errors import BadInput


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
    posterior: PosteriorFile = None,
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
    check_plot(plot)
    reached = optional_size("--throughput", throughput)
    check_bill(device, reached, price_per_hour)
    most, target_cost = size("--budget", budget), optional_size("--cost-of-target", cost_of_target)
    check_request(most, batch, policy, tolerance, target_cost)
    table, unit = offered("design", candidates, space)
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
    found = of_file(found, path)
    if as_json:
        print_json({"output": output} | found.to_json() | {"bill": bill})
    else:
        print(f"plan written to {output}, ", end="")
        print_result(found)
        print_bill(bill)


def _study_of(table: Any, study: str | None, known: Sequence[str], path: Path) -> str | None:
    """Study of candidates and target: --study, or the one that the candidates name."""
    named = named_study("design", table, study)
    if named is None:
        refuse_unknown_study(study, known, path)
    return named or study
