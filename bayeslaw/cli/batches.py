"""The command ``schedule batch``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated

import typer

from bayeslaw.cli.options import (
    AsJson,
    Params,
    PosteriorFile,
    Tokens,
    of_schedule,
    optional_size,
    refuse_unknown_study,
    size,
)
from bayeslaw.cli.tables import print_json, print_result
from bayeslaw.errors import BadInput


def batch_(
    params: Params,
    tokens: Tokens,
    optimizer: Annotated[str, typer.Option(help="Name of the optimizer, such as adamw or muon.")] = "adamw",
    posterior: PosteriorFile = None,
    study: Annotated[
        str | None, typer.Option(help="Fitted study of the run. Without it the set-up is unseen.")
    ] = None,
    seesaw: Annotated[
        bool,
        typer.Option(
            "--seesaw",
            help="Seesaw: double the best fixed batch where a cosine that ends at a tenth of its peak would "
            "have halved the learning rate.",
        ),
    ] = False,
    min_batch: Annotated[str, typer.Option(metavar="SIZE", help="Least batch in tokens.")] = "1",
    max_batch: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Largest batch in tokens. By default none.")
    ] = None,
    until: Annotated[
        float, typer.Option(help="Share of the tokens after which the running optimum does not switch.")
    ] = 0.8,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="Schedule that the learning rates are for: wsd (the default), cosine, linear or constant."
        ),
    ] = None,
    decay_share: Annotated[
        float | None,
        typer.Option(help="Share of the run in which the rate falls. With wsd what comes after --until."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Plan to write, for bayeslaw-train: a JSON file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Plan a batch that grows over a run, and the learning rate at each switch.

    Example:

      bayeslaw schedule batch --params 1e9 --tokens 2e10 --optimizer adamw -o plan.json

    The batch follows its running optimum: e^p B*(x) after x tokens, if the best batch of a whole run grows as
    D^p. It is rounded down to powers of 2 and switches three times at most. The learning rate at each batch
    is the one that `bayeslaw predict` advises for a whole run with it, hence follows the fitted ridge. Rates
    of a posterior that knows one schedule only are converted to the plan's by 1/2 ln(X1/X2) of both shapes.
    `bayeslaw-train --batch-schedule plan.json` trains by the plan; D stays the same.
    """
    from bayeslaw.advice.batches import advise_batches
    from bayeslaw.assets import POSTERIOR
    from bayeslaw.files import check_writable, write_atomically
    from bayeslaw.posterior.netcdf import read_posterior
    from bayeslaw.runs.optimizer_names import canonical
    from bayeslaw.target import Target

    if seesaw and (schedule or decay_share is not None):
        raise BadInput(
            "schedule batch: --seesaw takes the place of a cosine's decay; expected no --schedule and no "
            "--decay-share; leave them out"
        )
    asked = of_schedule(schedule, decay_share)
    if output:
        check_writable(output)
    sizes = size("--params", params), size("--tokens", tokens)
    bounds = size("--min-batch", min_batch), optional_size("--max-batch", max_batch) or math.inf
    path = posterior or POSTERIOR
    known = read_posterior(path)
    refuse_unknown_study(study, known.studies, path)
    target = Target(*sizes, canonical(optimizer.strip().lower(), known.optimizers), study)
    kind = str(asked.get("schedule") or "wsd")
    result = advise_batches(known, target, seesaw, bounds, until, schedule=kind, decay_share=decay_share)
    if output:
        with write_atomically(output) as temporary:
            temporary.write_text(json.dumps(result.to_json(), indent=1) + "\n", encoding="utf-8")
    print_json(result) if as_json else print_result(result)
