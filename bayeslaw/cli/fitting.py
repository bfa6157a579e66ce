"""The command ``fit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bayeslaw.cli.options import AsJson
from bayeslaw.cli.tables import print_fit, print_json, say
from bayeslaw.errors import BadInput

NO_POPULATION = "none"
PRIORS: dict[str, tuple[str, ...]] = {"literature": (), "theory": ("theory",)}
"""Prior of the exponents of the optima -> parts of the law that it stands for."""


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
    ] = "drift,second,smooth,sequence,multiples",
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
    prior: Annotated[
        str,
        typer.Option(
            help="Prior of the exponents of the optima: literature, or theory, which ties them by one latent "
            "exponent of convergence bounds and predicts worse (docs/theory.md)."
        ),
    ] = "literature",
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
    if prior not in PRIORS:
        raise BadInput(f"--prior {prior}: unknown; expected one of {', '.join(PRIORS)}; name one of these")
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
            parts=(*chosen, *PRIORS[prior]),
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
