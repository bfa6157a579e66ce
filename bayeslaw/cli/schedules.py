"""The commands ``schedule fit`` and ``schedule advise``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from bayeslaw.cli.options import AsJson, Params, Tokens
from bayeslaw.cli.tables import print_json, print_table, say
from bayeslaw.errors import BadInput
from bayeslaw.text import parse_size, short, three_digits

schedule = typer.Typer(
    name="schedule",
    help="The loss as a function of the whole schedule.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
LEVEL = 0.9
WHAT_TO_RUN = (
    "one run at a constant rate, and from it four short branches that decay linearly to 0, over the last 0.1 "
    "and 0.2 of their steps, to end at 0.6 of its length and at its end"
)

Curves = Annotated[
    list[Path],
    typer.Argument(help="Loss curves: .csv, .parquet or .jsonl with step, learning_rate, loss (and run)."),
]


@schedule.command("fit")
def fit_(
    curves: Curves,
    law: Annotated[
        str, typer.Option(help="Law of the schedule: annealing, multi-power, functional, bound or power.")
    ] = "multi-power",
    nuts: Annotated[
        bool, typer.Option("--nuts", help="Draw the posterior by NUTS in place of a Gaussian about the fit.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fit a law of the schedule to loss curves.

    Example:

      bayeslaw schedule fit trunk.csv branches.csv --law multi-power

    Between rows the learning rate goes in a straight line; a row without a loss is a corner of the schedule.
    annealing is meant for one peak learning rate; functional and power hold over peaks.
    """
    fit, warnings = _fitted(curves, law, nuts)
    result = _summary(fit, warnings)
    print_json(result) if as_json else _print_fit(result)


@schedule.command("advise")
def advise_(
    params: Params,
    tokens: Tokens,
    optimizer: Annotated[str, typer.Option(help="Name of the optimizer, such as adamw or muon.")] = "adamw",
    batch_tokens: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Batch in tokens. By default that of `bayeslaw predict`."),
    ] = None,
    curve: Annotated[
        list[Path] | None,
        typer.Option(
            help="Loss curves of one constant-rate run and four short branches that decay; repeated."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Advise on decay share, shape and final learning rate, with intervals and expected cost.

    Example:

      bayeslaw schedule advise --params 1e9 --tokens 2e10 --optimizer adamw --curve trunk.csv

    Without --curve, from public runs of one size (124M, AdamW), each schedule at its best peak. With it, from
    a law fitted to your curves: one constant-rate run, and four short branches of it that decay linearly to 0
    over the last 0.1 and 0.2 of their steps, to end at 0.6 of its length and at its end: 1.48 times its
    tokens. All costs then hold the peak of your curves. Warm-up is a rule of practice: no law gives a reason
    for it.
    """
    from bayeslaw.schedules.advice import advise
    from bayeslaw.schedules.pooled import pooled_fit

    n, d = _size("--params", params), _size("--tokens", tokens)
    batch = _batch(n, d, optimizer, batch_tokens)
    fit, warnings = _own_fit(curve) if curve else (pooled_fit(), _pooled_warnings(optimizer))
    one_peak = curve and fit.peaks[0] == fit.peaks[1]
    found = advise(fit, int(d / batch), fit.peaks[1] if one_peak else None, LEVEL)
    inputs = {"params_nonembedding": n, "tokens": d, "optimizer": optimizer, "batch_tokens": batch}
    summary = _summary(fit, [])
    told = {"curves": [str(path) for path in curve] if curve else None, "law": summary}
    result = {"inputs": inputs | {"steps": int(d / batch)}, "level": LEVEL, **found, "evidence": told}
    result["warnings"] = [*warnings, *found["warnings"]]
    print_json(result) if as_json else _print_advice(result)


def _fitted(paths: list[Path], law: str, nuts: bool) -> tuple[Any, list[str]]:
    from bayeslaw.schedules.curves import curve_features, read_curves
    from bayeslaw.schedules.fitting import fit_schedule
    from bayeslaw.schedules.laws import law_named

    chosen = law_named(law)
    features, losses = curve_features(read_curves(paths))
    peaks = sorted(set(features.peak.tolist()))
    warnings = []
    if len(peaks) > 1 and not chosen.any_peak:
        warnings.append(
            f"{len(peaks)} peak learning rates, {peaks[0]:.3g} to {peaks[-1]:.3g}: the {law} law is for one; "
            "choose --law functional or power"
        )
    if not features.drop.any():
        warnings.append(f"no curve decays: what a decay gains is the prior's; add {WHAT_TO_RUN}")
    if not nuts:
        return fit_schedule(chosen, features, losses), warnings
    if not chosen.shapes:
        raise BadInput(f"--nuts: the {law} law has no shape parameter to draw; leave --nuts out")
    from bayeslaw.inference.schedules import draw_schedule

    say(f"drawing the posterior of the {law} law")
    fit, more = draw_schedule(chosen, features, losses)
    return fit, [*warnings, *more]


def _own_fit(paths: list[Path]) -> tuple[Any, list[str]]:
    """A law fitted to the user's curves: of one peak or over peaks."""
    from bayeslaw.schedules.curves import curve_features, read_curves

    features, _ = curve_features(read_curves(paths))
    if not features.drop.any():
        raise BadInput(
            f"{', '.join(str(path) for path in paths)}: no curve decays; expected decays to learn from; run "
            f"{WHAT_TO_RUN}, and give their curves too"
        )
    one_peak = features.peak.min() == features.peak.max()
    return _fitted(paths, "multi-power" if one_peak else "power", nuts=False)


def _pooled_warnings(optimizer: str) -> list[str]:
    said = [
        "no curve given: the advice rests on public runs of 124M parameters with AdamW (arXiv 2501.18965)"
    ]
    return said + ([] if optimizer == "adamw" else [f"no run of {optimizer} is among them"])


def _size(option: str, text: str) -> float:
    number = parse_size(text)
    if not number > 0:
        raise BadInput(f"{option} {text}: expected a finite number above 0; give it as 7e9, 7B, 500M or 2k")
    return number


def _batch(n: float, d: float, optimizer: str, given: str | None) -> float:
    from bayeslaw.target import Target

    if given is not None:
        batch = _size("--batch-tokens", given)
        Target(n, d, optimizer, batch_tokens=batch)
        return batch
    from bayeslaw.advice.prediction import predict
    from bayeslaw.assets import POSTERIOR
    from bayeslaw.posterior.netcdf import read_posterior

    advised: float = predict(read_posterior(POSTERIOR), Target(n, d, optimizer))["recommendation"][
        "batch_tokens"
    ]
    return advised


def _summary(fit: Any, warnings: list[str]) -> dict[str, Any]:
    import numpy as np

    from bayeslaw.schedules.laws import LAWS

    tails = (1 - LEVEL) / 2, (1 + LEVEL) / 2
    params = {}
    for name, value in fit.params.items():
        lower, upper = np.quantile(fit.draws[name], tails)
        params[name] = {"value": value, "lower": float(lower), "upper": float(upper)}
    return {
        "name": fit.law,
        "formula": LAWS[fit.law].formula,
        "source": LAWS[fit.law].source,
        "method": fit.method,
        "losses": fit.losses,
        "steps": fit.steps,
        "peaks": list(fit.peaks),
        "noise_per_mille": 1e3 * fit.noise,
        "params": params,
        "level": LEVEL,
        "warnings": warnings,
    }


def _print_fit(result: Mapping[str, Any]) -> None:
    rows = [
        [name.replace("_", " "), *(three_digits(told[key]) for key in ("value", "lower", "upper"))]
        for name, told in result["params"].items()
    ]
    title = f"{result['name']} law, fitted to {result['losses']} losses by {result['method']}"
    print_table(["parameter", "best", "5%", "95%"], rows, title=title)
    print(f"formula  {result['formula']}")
    print(f"source   {result['source']}")
    print(
        f"misfit   {result['noise_per_mille']:.2g} per mille of the loss; longest "
        f"{short(result['steps'])} steps"
    )
    for text in result["warnings"]:
        print(f"warning: {text}")


def _print_advice(result: Mapping[str, Any]) -> None:
    inputs, use, share = result["inputs"], result["use"], result["decay_share"]
    sizes = f"N = {short(inputs['params_nonembedding'])}, D = {short(inputs['tokens'])} tokens"
    steps = f"{short(inputs['steps'])} steps of {short(inputs['batch_tokens'])} tokens"
    title = f"{inputs['optimizer']}, {sizes}: {steps}"
    rows = [
        ["decay", f"{use['decay']} over the last {use['decay_share']:.0%} of the steps"],
        ["best share of a linear decay", f"{share['lower']:.0%} to {share['upper']:.0%} (90% interval)"],
        ["final rate", f"{use['final_ratio']:.0%} of the peak"],
        ["warm-up", f"{use['warmup_steps']} steps"],
    ]
    print_table(["", "use"], rows, title=title)
    costs = [
        [
            f"{each['decay']} over {each['share']:.0%}, to {each['final']:.0%}",
            f"{each['expected_per_mille']:.1f}",
            f"{each['lower']:.1f} to {each['upper']:.1f}",
        ]
        for each in result["costs"]
    ]
    held = result["held_peak"]
    at_peak = f"at peak {three_digits(held)}" if held else "at its best peak"
    print_table(["schedule", f"costs {at_peak}, per mille of the loss", "90% interval"], costs)
    factors = ", ".join(f"{name} x {factor:.2f}" for name, factor in result["peak_factors"].items())
    law = result["evidence"]["law"]
    where = ", ".join(result["evidence"]["curves"] or []) or "public runs"
    print(f"peak      best learning rate of another schedule, times: {factors}")
    if held:
        print(
            f"held      all costs are at the peak of your curves, {three_digits(held)}: a longer decay has a "
            "higher best peak, and costs less there"
        )
    print(f"warm-up   {result['warmup_from']}")
    print(
        f"evidence  {law['name']} law, {law['losses']} losses of {where}, misfit "
        f"{law['noise_per_mille']:.2g} per mille"
    )
    for text in result["warnings"]:
        print(f"warning: {text}")
