"""The command ``predict``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bayeslaw.cli.options import (
    AsJson,
    OnDevice,
    Params,
    PosteriorFile,
    PricePerHour,
    Throughput,
    Tokens,
    of_file,
    of_schedule,
    optional_size,
    refuse_unknown_study,
    size,
)
from bayeslaw.cli.tables import (
    print_bill,
    print_comparison,
    print_json,
    print_law,
    print_result,
    print_rule,
    say,
)
from bayeslaw.errors import BadInput


def predict_(
    params: Params,
    tokens: Tokens,
    optimizer: Annotated[str, typer.Option(help="Name of the optimizer, such as adamw or muon.")] = "adamw",
    batch_tokens: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Fixed batch in tokens, such as 2M. Without it, the batch is part of the advice.",
        ),
    ] = None,
    posterior: PosteriorFile = None,
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
    lambda_max: Annotated[
        float | None,
        typer.Option(
            help="Largest eigenvalue of your network's preconditioned Hessian at step 20 of a run at this "
            "batch (docs/curvature.md), for networks like the measured ones."
        ),
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
        int | None,
        typer.Option(
            help="Tokens per sequence: the best batch depends on it, and --export counts in sequences, "
            "by default those that the advice assumes."
        ),
    ] = None,
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
    covariates = parse_covariates("--covariate", covariate or []) | of_schedule(schedule, decay_share)
    if sequence_length is not None and sequence_length < 1:
        raise BadInput(f"--sequence-length {sequence_length}: expected at least 1 [tokens]; correct it")
    sizes = size("--params", params), size("--tokens", tokens)
    batch = optional_size("--batch-tokens", batch_tokens)
    target = Target(*sizes, optimizer.strip().lower(), study, batch, covariates)
    if law and lambda_max is not None:
        raise BadInput("--lambda-max: given with --law; expected the posterior's advice; leave one out")
    if law:
        _laws(target, law, tuned, posterior, level, as_json)
        return
    if tuned:
        raise BadInput(
            f"--tuned {tuned}: given without --law; expected a rule that carries it; add --law all"
        )
    known, named = _asked(target, posterior, level)
    result = _prediction(known, named, posterior, level, sequence_length, lambda_max)
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
    from bayeslaw.advice.prediction import learning_rate_slopes

    rules = [rule_answer(rule, run, named) for rule in RULES.values()] if run else []
    known, ours = _asked(target, posterior, level)
    result = _prediction(known, ours, posterior, level)
    field = agreement(answers, named, result, learning_rate_slopes(known, ours))
    if as_json:
        told = {"inputs": _inputs(target), "posterior": result, "laws": answers, "agreement": field}
        print_json(told | ({"rules": rules} if run else {}))
    else:
        print_comparison(result, answers, field, rules)


def _asked(target: Any, path: Path | None, level: float) -> tuple[Any, Any]:
    """The posterior, and the target with the optimizer's name in it. Refuses a study that was not fitted."""
    from bayeslaw.assets import POSTERIOR
    from bayeslaw.intervals import check_level
    from bayeslaw.posterior.netcdf import read_posterior

    check_level(level)
    path = path or POSTERIOR
    posterior = read_posterior(path)
    refuse_unknown_study(target.study, posterior.studies, path)
    named = _by_its_name(target, posterior.optimizers)
    if named.optimizer != target.optimizer:
        say(f"note: optimizer {target.optimizer} read as {named.optimizer}")
    return posterior, named


def _prediction(
    posterior: Any,
    target: Any,
    path: Path | None,
    level: float,
    sequence_length: int | None = None,
    lambda_max: float | None = None,
) -> Any:
    """Answer of the posterior, with the name of its file.

    A posterior that does not know what sequences are worth does not ask for their length.
    """
    from dataclasses import replace

    from bayeslaw.advice.prediction import predict
    from bayeslaw.assets import POSTERIOR

    if sequence_length is not None and "sequence" in posterior.pivot:
        target = replace(target, covariates={**target.covariates, "sequence": float(sequence_length)})
    return of_file(predict(posterior, target, level, lambda_max=lambda_max), path or POSTERIOR)


def _by_its_name(target: Any, known: Sequence[str] = ()) -> Any:
    """The target with its optimizer's spelling settled; ``known`` names stay."""
    from dataclasses import replace

    from bayeslaw.runs.optimizer_names import canonical

    return replace(target, optimizer=canonical(target.optimizer, known))


def _inputs(target: Any) -> dict[str, Any]:
    from dataclasses import asdict

    inputs = asdict(target)
    return inputs if target.covariates else {k: v for k, v in inputs.items() if k != "covariates"}
