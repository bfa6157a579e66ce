"""The command ``loop``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayeslaw.cli.options import (
    AsJson,
    Candidates,
    CostOfTarget,
    Space,
    Targets,
    Tolerance,
    named_study,
    offered,
    optional_size,
    size,
)
from bayeslaw.cli.tables import print_json, print_loop, say
from bayeslaw.errors import BadInput


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
    chosen and why, what came back, and the advice after each round; report.html is the report of the latest
    fit.
    """
    from bayeslaw.loop.rounds import run
    from bayeslaw.loop.task import STUDY, TABLE, Task
    from bayeslaw.rehearsal import one
    from bayeslaw.reporting.page import write_report
    from bayeslaw.target import parse_target

    if collect is not None and table is not None:
        raise BadInput("loop: --collect and --table are both given; expected one of them; drop the other")
    choices, unit = offered("loop", candidates, space)
    study = named_study("loop", choices, study) or study or STUDY
    task = Task(
        folder=output,
        targets=tuple(parse_target(text, study) for text in target),
        candidates=choices.assign(study=study),
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
    result = run(task, one.exact, say, write_report)
    print_json(result) if as_json else print_loop(result)
