"""Answers of published laws to the question that a posterior is asked, and whether they agree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from bayeslaw.errors import BadInput
from bayeslaw.law.published import LAWS, Law, slopes
from bayeslaw.law.rules import RULES, Ratios
from bayeslaw.target import Target

ALL = "all"
ADVISED = ("learning_rate", "batch_tokens", "critical_batch_tokens", "weight_decay")
"""What laws speak of."""

ALIKE = 2.0
"""Largest over smallest advice of laws that are said to agree."""

OPTIMIZERS = {"adam": "adamw"}
"""Optimizers whose laws count as those of another."""


def laws_named(name: str) -> list[Law]:
    """Look up one law by its name, or all of them for ``all``.

    Raises:
        BadInput: an unknown name.

    >>> [law.name for law in laws_named("step")]
    ['step']
    """
    if name != ALL and name not in LAWS:
        raise BadInput(
            f"law = {name!r}; expected one of {', '.join(LAWS)} or {ALL}"
            f"{', or with --tuned one of ' + ', '.join(RULES) if name in RULES else ''}; name one of these"
        )
    return list(LAWS.values()) if name == ALL else [LAWS[name]]


def law_answer(law: Law, target: Target) -> dict[str, Any]:
    """Advice of a law, JSON-ready: ``law``, ``recommendation`` and ``warnings``.

    The recommendation is empty where the formula breaks down, and a warning says so.

    >>> law_answer(LAWS["kaplan"], Target(7e10, 1.4e12))["recommendation"]
    {}
    """
    n, d, batch = target.params_nonembedding, target.tokens, target.batch_tokens
    warnings = law.warnings(n, d, batch)
    if _alike(target.optimizer) != _alike(law.optimizer):
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
        "published": law.published,
        "fitted_range": {name: list(span) for name, span in fitted.items() if span},
    }
    return {"law": described, "recommendation": recommendation, "warnings": warnings}


def agreement(
    answers: Sequence[Mapping[str, Any]],
    target: Target,
    ours: Mapping[str, Any] | None = None,
    own_slopes: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Where published laws agree, where not, and where ours stands, JSON-ready.

    Args:
        answers: of ``law_answer`` at the target. Laws that are not published do not count.
        target: N, D and the batch, which is no advice where it is fixed.
        ours: answer of ``advice.prediction.predict``, with ``recommendation`` and ``optimum``.
        own_slopes: of ``advice.prediction.learning_rate_slopes``.

    Returns:
        Under ``advice``, by what is advised (``ADVISED``), where a law speaks of it: ``laws``, ``lower``,
        ``median``, ``upper``, ``factor`` (upper over lower), ``agree`` (factor at most ``ALIKE``; None for
        one law) and, where we advise on it, ``ours``, ``ours_over_median`` and ``inside_interval`` (names of
        laws in our interval). Under ``slopes``, by ``params`` and ``tokens``, the smallest and largest
        exponent of the learning rate, the number of laws that raise and lower it, ``ours``, and those of
        ``rules`` at one batch, by name, where a rule has one.
    """
    published = [answer for answer in answers if answer["law"]["published"]]
    wanted = [name for name in ADVISED if not (name == "batch_tokens" and target.batch_tokens)]
    found = {name: _of_one(name, published, ours or {}) for name in wanted}
    return {
        "advice": {name: entry for name, entry in found.items() if entry},
        "slopes": _slopes([answer["law"]["name"] for answer in published], target, own_slopes or {}),
    }


def _alike(optimizer: str) -> str:
    return OPTIMIZERS.get(optimizer, optimizer)


def _of_one(
    name: str, answers: Sequence[Mapping[str, Any]], ours: Mapping[str, Any]
) -> dict[str, Any] | None:
    said = {a["law"]["name"]: a["recommendation"][name] for a in answers if name in a["recommendation"]}
    if not said:
        return None
    values = list(said.values())
    middle, factor = median(values), max(values) / min(values)
    entry: dict[str, Any] = {
        "laws": list(said),
        "lower": min(values),
        "median": middle,
        "upper": max(values),
        "factor": factor,
        "agree": factor <= ALIKE if len(values) > 1 else None,
    }
    if name in ours.get("recommendation", {}):
        best, own = ours["optimum"][name], ours["recommendation"][name]
        inside = [law for law, value in said.items() if best["lower"] <= value <= best["upper"]]
        entry |= {"ours": own, "ours_over_median": own / middle, "inside_interval": inside}
    return entry


def _slopes(names: Sequence[str], target: Target, ours: Mapping[str, float]) -> dict[str, Any]:
    place = target.params_nonembedding, target.tokens
    both = []
    for law in (LAWS[name] for name in names if LAWS[name].learning_rate):
        try:
            both.append(slopes(law, "learning_rate", place))
        except BadInput:  # breaks down out there
            continue
    found: dict[str, dict[str, Any]] = {}
    for place_of, size in enumerate(("params", "tokens")):
        values = [each[place_of] for each in both]
        if values:
            raised, lowered = sum(value > 0 for value in values), sum(value < 0 for value in values)
            found[size] = {"lower": min(values), "upper": max(values), "raise": raised, "reduce": lowered}
            found[size] |= {"ours": ours[size]} if size in ours else {}
            found[size] |= {"rules": rules} if (rules := _rule_slopes(size)) else {}
    return found


def _rule_slopes(size: str) -> dict[str, float]:
    """Exponents of the learning rate by rules that have one, at one batch."""
    same = Ratios(1.0, 1.0, 1.0, 1.0, 1.0)
    larger = same._replace(**{size: math.e})
    found = {name: math.log(rule.factors(larger)["learning_rate"]) for name, rule in RULES.items()}
    return {name: round(value, 9) for name, value in found.items() if value}
