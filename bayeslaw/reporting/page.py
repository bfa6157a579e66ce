"""The report: one HTML file that needs no network: summary, figures, diagnostics and a live calculator."""

from __future__ import annotations

import json
import math
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from bayeslaw.advice.prediction import example_target, predict
from bayeslaw.advice.result import Prediction
from bayeslaw.files import static_text, write_atomically
from bayeslaw.posterior.draws import Posterior
from bayeslaw.reporting import sections as parts
from bayeslaw.reporting.page_data import page_data
from bayeslaw.target import Target

if TYPE_CHECKING:
    import pandas as pd

SCRIPTS = ("draws", "surface", "target_surface", "predict", "words", "chart", "page")
LEVEL = 0.9
SHIPPED = "the posterior shipped with bayeslaw"


def write_report(
    posterior: Posterior,
    path: Path,
    place: str | None = None,
    runs: pd.DataFrame | None = None,
    target: Target | None = None,
) -> dict[str, Any]:
    """Write the report, whole or not at all.

    Args:
        posterior: the fit.
        path: path of the page, .html.
        place: name of the posterior's file for readers; None for the shipped one.
        runs: run table that it was fitted to; adds warnings on those runs, and figures of them.
        target: the run that the page begins with; by default `bayeslaw.advice.prediction.example_target`.

    Returns:
        ``bytes``, and ``example``: the advice at that target.

    Raises:
        BadInput: the file cannot be written.
    """
    example = predict(posterior, target or example_target(posterior), LEVEL)
    text = report_html(posterior, example, place, runs)
    with write_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return {"bytes": path.stat().st_size, "example": example}


def report_html(
    posterior: Posterior, example: Prediction, place: str | None, runs: pd.DataFrame | None = None
) -> str:
    """Build the page; arguments as in ``write_report``, with the advice at the target."""
    from bayeslaw.reporting.figures import figures

    name = place or SHIPPED
    return Template(static_text("reporting", "page.html")).substitute(
        title=f"bayeslaw report: {escape(Path(name).name)}",
        meta=escape(_origin(posterior, name)),
        style=static_text("reporting", "shared.css") + static_text("reporting", "page.css"),
        summary=parts.summary(posterior, example),
        answer=parts.answer(example),
        figures=figures(posterior, example.target, runs),
        exponents=parts.exponents(posterior),
        diagnostics=parts.diagnostics(posterior, _doubts(posterior, runs)),
        provenance=parts.provenance(posterior, name),
        data=_json(page_data(posterior) | _controls(posterior, example) | {"place": place}),
        script="\n".join(static_text("reporting", f"{name}.js") for name in SCRIPTS),
    )


def _controls(posterior: Posterior, example: Prediction) -> dict[str, Any]:
    """Initial values of the fields, and ends of the sliders in decades."""
    target, batch = example.target, example.recommendation["batch_tokens"]
    n, d = target.params_nonembedding, target.tokens
    fitted = [(cell.params_nonembedding, cell.tokens) for cell in posterior.cells]
    ends = {
        name: [math.floor(math.log10(min(values))), math.ceil(math.log10(max(*values, start))) + 1]
        for name, values, start in zip(("params", "tokens"), zip(*fitted, strict=True), (n, d), strict=True)
    }
    middle = round(math.log10(batch))
    return {
        "example": {
            "params": n,
            "tokens": d,
            "batch": batch,
            "optimizer": target.optimizer,
            "study": target.study,
            "level": example.level,
        },
        "sliders": ends | {"batch": [middle - 3, middle + 3]},
    }


def _doubts(posterior: Posterior, runs: pd.DataFrame | None) -> list[str]:
    if runs is None:
        return []
    from bayeslaw.diagnosis.fitted_runs import fitted_notes
    from bayeslaw.diagnosis.identifiability import fit_doubts

    return fitted_notes(posterior, runs) + fit_doubts(runs)


def _origin(posterior: Posterior, place: str) -> str:
    origin = posterior.provenance
    told = [f"fitted {str(origin['created'])[:10]}"] if "created" in origin else []
    return ", ".join([place, *told])


def _json(data: dict[str, Any]) -> str:
    """Escape JSON for a script element, so that nothing looks like a tag."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
