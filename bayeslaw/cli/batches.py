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
    optional_size,
    refuse_unknown_study,
    size,
)
from bayeslaw.cli.tables import print_json, print_result


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
    is the one that `bayeslaw predict` advises for a whole run with it, hence follows the fitted ridge.
    `bayeslaw-train --batch-schedule plan.json` trains by the plan; D stays the same.
    """
    from bayeslaw.advice.batches import advise_batches
    from bayeslaw.assets import POSTERIOR
    from bayeslaw.files import check_writable, write_atomically
    from bayeslaw.posterior.netcdf import read_posterior
    from bayeslaw.runs.optimizer_names import canonical
    from bayeslaw.target import Target

    if output:
        check_writable(output)
    sizes = size("--params", params), size("--tokens", tokens)
    bounds = size("--min-batch", min_batch), optional_size("--max-batch", max_batch) or math.inf
    path = posterior or POSTERIOR
    known = read_posterior(path)
    refuse_unknown_study(study, known.studies, path)
    target = Target(*sizes, canonical(optimizer.strip().lower(), known.optimizers), study)
    result = advise_batches(known, target, seesaw, bounds, until)
    if output:
        with write_atomically(output) as temporary:
            temporary.write_text(json.dumps(result.to_json(), indent=1) + "\n", encoding="utf-8")
    print_json(result) if as_json else print_result(result)
