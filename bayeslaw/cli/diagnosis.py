"""The command ``diagnose``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayeslaw.cli.options import AsJson, of_file, refuse_unknown_study
from bayeslaw.cli.tables import print_json, print_result


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
    refuse_unknown_study(study, fit.studies, posterior)
    study = study or (fit.studies[0] if len(fit.studies) == 1 else None)
    asked = parse_target(target, study) if target else None

    from bayeslaw.advice.prediction import example_target
    from bayeslaw.diagnosis.diagnosis import diagnose
    from bayeslaw.runs.io import read_runs

    table = read_runs(*runs) if runs else None
    result = of_file(diagnose(fit, asked or example_target(fit, study), table), posterior)
    print_json(result) if as_json else print_result(result)
