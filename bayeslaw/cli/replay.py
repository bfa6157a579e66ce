"""The command ``replay``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayeslaw.cli.options import AsJson, check_plot, optional_size
from bayeslaw.cli.tables import print_json, print_replay, replay_progress


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

    check_plot(plot)
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
