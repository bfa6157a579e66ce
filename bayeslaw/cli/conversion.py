"""The command ``convert``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

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
from bayeslaw.cli.tables import print_json, print_table
from bayeslaw.errors import BadInput


def convert_(
    from_: Annotated[str, typer.Option("--from", help="Optimizer of the settings that you have.")],
    to: Annotated[str, typer.Option("--to", help="Optimizer that you want settings for; may be the same.")],
    params: Params,
    tokens: Tokens,
    batch_tokens: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Batch of the settings that you have, in tokens.")
    ] = None,
    to_batch_tokens: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Batch wanted. By default that of --batch-tokens.")
    ] = None,
    covariate: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE of the settings that you have, as in schedule=cosine; repeated."),
    ] = None,
    to_covariate: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE wanted, as in schedule=wsd. By default those of --covariate."),
    ] = None,
    posterior: PosteriorFile = None,
    study: Annotated[str | None, typer.Option(help="Fitted study of the run.")] = None,
    level: Annotated[float, typer.Option(help="Credible level of the intervals.")] = 0.9,
    as_json: AsJson = False,
) -> None:
    """What to multiply settings by for another optimizer, batch or schedule.

    Example:

      bayeslaw convert --from adamw --to muon --params 1e9 --tokens 2e10

    Multiply a learning rate that is good for the first run by the ratio. What the posterior does not know
    of your set-up moves both runs alike, so ratios are surer than the settings themselves.
    """
    from bayeslaw.advice.conversion import convert
    from bayeslaw.assets import POSTERIOR
    from bayeslaw.posterior.netcdf import read_posterior
    from bayeslaw.runs.optimizer_names import canonical
    from bayeslaw.target import Target, parse_covariates

    path = posterior or POSTERIOR
    known = read_posterior(path)
    refuse_unknown_study(study, known.studies, path)
    sizes = size("--params", params), size("--tokens", tokens)
    before = optional_size("--batch-tokens", batch_tokens)
    after = before if to_batch_tokens is None else size("--to-batch-tokens", to_batch_tokens)
    if (before is None) != (after is None):
        raise BadInput("convert: --to-batch-tokens without --batch-tokens; expected both; add the other")
    has = parse_covariates("--covariate", covariate or [])
    wants = has | parse_covariates("--to-covariate", to_covariate or [])
    have, wanted = (
        Target(*sizes, canonical(name, known.optimizers), study, batch, others)
        for name, batch, others in ((from_, before, has), (to, after, wants))
    )
    result = convert(known, have, wanted, level)
    result |= {"posterior": {"path": str(path)} | known.provenance}
    print_json(result) if as_json else _print(result)


def _print(result: Mapping[str, Any]) -> None:
    """One row per setting, then what a unit of either rate means."""
    rows = [
        [name.replace("_", " "), f"{x['median']:.3g}", f"{x['lower']:.3g} to {x['upper']:.3g}"]
        for name, x in result["ratio"].items()
    ]
    names = result["from"]["optimizer"], result["to"]["optimizer"]
    header = ["multiply", "by", f"{100 * result['level']:g}% interval"]
    print_table(header, rows, title=f"{names[0]} to {names[1]}")
    for run in dict.fromkeys(names):
        convention = next(
            side["convention"] for side in (result["from"], result["to"]) if side["optimizer"] == run
        )
        print(f"{run}: {convention or 'convention of its rate unknown'}")
    for text in result["warnings"]:
        print(f"warning: {text}")
