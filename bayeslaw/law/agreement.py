"""Answers of published laws to the question that a posterior is asked."""

from __future__ import annotations

from typing import Any

from bayeslaw.errors import BadInput
from bayeslaw.law.published import LAWS, Law
from bayeslaw.target import Target

ALL = "all"


def laws_named(name: str) -> list[Law]:
    """Look up one law by its name, or all of them for ``all``.

    Raises:
        BadInput: an unknown name.

    >>> [law.name for law in laws_named("step")]
    ['step']
    """
    if name != ALL and name not in LAWS:
        raise BadInput(f"law = {name!r}; expected one of {', '.join(LAWS)} or {ALL}; name one of these")
    return list(LAWS.values()) if name == ALL else [LAWS[name]]


def law_answer(law: Law, target: Target) -> dict[str, Any]:
    """Advice of a law, JSON-ready: ``law``, ``recommendation`` and ``warnings``.

    The recommendation is empty where the formula breaks down, and a warning says so.

    >>> law_answer(LAWS["kaplan"], Target(7e10, 1.4e12))["recommendation"]
    {}
    """
    n, d, batch = target.params_nonembedding, target.tokens, target.batch_tokens
    warnings = law.warnings(n, d, batch)
    if target.optimizer != law.optimizer:
        warnings.append(f"{law.name} law: fitted to {law.optimizer}, not {target.optimizer}")
    try:
        recommendation = law.recommend(n, d, batch)
    except BadInput as error:
        recommendation, warnings = {}, [*warnings, str(error)]
    fitted = {"params": law.params_range, "tokens": law.tokens_range, "flops": law.flops_range}
    described = {
        "name": law.name,
        "optimizer": law.optimizer,
        "formula": law.formula,
        "units": law.units,
        "source": law.source,
        "note": law.note,
        "fitted_range": {name: list(span) for name, span in fitted.items() if span},
    }
    return {"law": described, "recommendation": recommendation, "warnings": warnings}
