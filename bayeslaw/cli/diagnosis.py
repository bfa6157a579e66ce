"""Print a diagnosis: the verdict, short tables, actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bayeslaw.cli.tables import print_table
from bayeslaw.diagnosis.findings import QUANTITIES, shift_of
from bayeslaw.diagnosis.prior_sensitivity import MEASURED, SENSITIVE
from bayeslaw.posterior.convergence import ESS_MIN, RHAT_MAX
from bayeslaw.posterior.importance import RELIABLE
from bayeslaw.target import NEVER_SEEN
from bayeslaw.text import short, three_digits

SHOWN = 6
"""Maximum number of rows of a table of cells."""

CELL = ("study", "optimizer", "N", "tokens")


def print_diagnosis(result: Mapping[str, Any]) -> None:
    """Print the verdict, then each part, then numbered actions."""
    verdict, target = result["verdict"], result["prior"]["target"]
    reasons = "; ".join(verdict["reasons"])
    n, d = short(target["params_nonembedding"]), short(target["tokens"])
    print(f"{result['posterior']['path']}: {verdict['level']}" + (f": {reasons}" if reasons else ""))
    study = target["study"] or NEVER_SEEN
    print(f"for {target['optimizer']}, N = {n}, D = {d}, {study} (--target and --study ask about another)\n")
    _print_convergence(result["convergence"])
    if result["cells"] is None:
        path = result["posterior"]["path"]
        print(f"fit by cell, influence: left out; they need the runs: `bayeslaw diagnose {path} RUNS`\n")
    else:
        _print_cells(result["cells"])
        _print_influence(result["influence"])
    _print_prior(result["prior"]["quantities"])
    for number, text in enumerate(result["actions"], start=1):
        print(f"{number}. {text}")


def _print_convergence(told: Mapping[str, Any]) -> None:
    wanted = (
        ("rhat_max", "R-hat, largest", "{:.3f}", f"at most {told.get('rhat_limit', RHAT_MAX):.3g}"),
        ("ess_bulk_min", "ESS in bulk, least", "{:.0f}", f"at least {ESS_MIN:.0f}"),
        ("ess_tail_min", "ESS in the tails, least", "{:.0f}", f"at least {ESS_MIN:.0f}"),
        ("divergences", "divergent transitions", "{:d}", "0"),
    )
    rows = [[words, form.format(told[name]), limit] for name, words, form, limit in wanted if name in told]
    title = "convergence: " + ("reached" if told.get("converged") else "NOT reached")
    print_table(["", "found", "wanted"], rows, title=title)


def _print_cells(told: Mapping[str, Any]) -> None:
    off = sum(cell["off"] for cell in told["cells"])
    worst = sorted(told["cells"], key=lambda cell: (not cell["off"], _inside(cell)))[:SHOWN]
    rows = [
        [
            *_labels(cell),
            cell["finished"],
            f"{cell['residual_percent']:+.2f}",
            f"{cell['inside_50']:.0%}",
            f"{cell['inside_90']:.0%}",
            f"{cell['worst_run']['residual_percent']:+.2f}",
            "off" if cell["off"] else "",
        ]
        for cell in worst
        if cell["finished"]
    ]
    title = (
        f"fit by cell: {off} of {len(told['cells'])} off; each run predicted from the others, "
        f"{told['inside_50']:.0%} inside 50% intervals, {told['inside_90']:.0%} inside 90%"
    )
    header = [*CELL, "runs", "mean residual, %", "in 50%", "in 90%", "worst run, %", ""]
    print_table(header, rows, title=title)
    if not told["as_fitted"]:
        print("note: this table is not, row by row, the one that was fitted: read these two parts with care")
    if told["not_fitted"]:
        print(f"note: {told['not_fitted']} runs lie in cells that were not fitted: left out")


def _inside(cell: Mapping[str, Any]) -> float:
    return 1.0 if cell["inside_90"] is None else float(cell["inside_90"])


def _print_influence(told: Mapping[str, Any]) -> None:
    unknown = sum(not cell["reliable"] for cell in told["cells"])
    known = sorted((cell for cell in told["cells"] if cell["reliable"]), key=shift_of)[::-1]
    rows = [
        [
            *_labels(cell),
            cell["runs"],
            f"{cell['learning_rate_shift_sd']:+.2f} (x {cell['learning_rate_factor']:.2f})",
            f"{cell['batch_tokens_shift_sd']:+.2f} (x {cell['batch_tokens_factor']:.2f})",
            f"{cell['pareto_k']:.2f}",
        ]
        for cell in known[:SHOWN]
    ]
    title = (
        "influence: how far the optimum at the target moves without a cell, in posterior sd; "
        f"not known for {unknown} of {len(told['cells'])} (k above {RELIABLE})"
    )
    print_table([*CELL, "runs", "learning rate", "batch", "Pareto k"], rows, title=title)


def _print_prior(quantities: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        [
            QUANTITIES.get(part["quantity"], part["quantity"]).removeprefix("the "),
            three_digits(part["prior_sd"]),
            three_digits(part["posterior_sd"]),
            f"{max(part['contraction'], 0.0):.0%}",
            f"{part['sensitivity']:.3f} ({part['most_sensitive_to']})",
            _said(part),
        ]
        for part in quantities
    ]
    title = (
        f"the prior's part: measured (at least {MEASURED:.0%} wanted) and sensitivity to the prior "
        f"(at most {SENSITIVE} wanted)"
    )
    print_table(["", "prior sd", "posterior sd", "measured", "sensitivity (to)", ""], rows, title=title)


def _said(part: Mapping[str, Any]) -> str:
    if part["prior_decides"]:
        return "the prior decides"
    return "the prior pulls" if part["prior_pulls"] else ""


def _labels(cell: Mapping[str, Any]) -> list[str]:
    sizes = [short(cell[name]) for name in ("params_nonembedding", "tokens")]
    return [cell["study"], cell["optimizer"], *sizes]
