"""Published rules that carry the settings of a tuned run to another size, batch, length or optimizer.

A rule has no level of its own: it multiplies what was tuned. Laws with a level are in ``published``.

>>> tuned = Tuned(1e8, 2e9, 131_072, 4e-3)
>>> for name, rule in RULES.items():
...     print(f"{name:9s} {rule.carry(tuned, 1e9, 2e10, 524_288)['learning_rate']:.2e}")
sqrt      8.00e-03
linear    1.60e-02
malladi   8.00e-03
surge     2.40e-03
scion     2.60e-03
hyperp    4.15e-03
moonlight 4.00e-03
mup       1.86e-03
completep 1.86e-03
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from bayeslaw.errors import BadInput
from bayeslaw.law.published import SATURATION
from bayeslaw.target import Target
from bayeslaw.text import parse_size
from bayeslaw.theory.saturation import critical_batch

BETAS, EPSILON = (0.9, 0.95), 1e-8
"""Of the tuned run, for the rule of Malladi."""


class Tuned(NamedTuple):
    """A run whose settings are good.

    Attributes:
        params_nonembedding: N [count].
        tokens: D [count].
        batch_tokens: batch [tokens].
        learning_rate: peak.
    """

    params_nonembedding: float
    tokens: float
    batch_tokens: float
    learning_rate: float


class Ratios(NamedTuple):
    """Target over tuned run: of N, D and batch, and both batches over the tuned run's critical batch."""

    params: float
    tokens: float
    batch: float
    noise_before: float
    noise_after: float


@dataclass(frozen=True)
class Rule:
    """One published rule.

    Attributes:
        name: its key in ``RULES``.
        optimizer: that it is for.
        formula: target over tuned run, which has the index 0.
        source: paper.
        factors: of ``learning_rate`` and what else the rule multiplies, by name.
        settings: values of other hyperparameters of (ratios).
        note: where it holds, what is assumed, and which exponents are second hand.
    """

    name: str
    optimizer: str
    formula: str
    source: str
    factors: Callable[[Ratios], dict[str, float]]
    settings: Callable[[Ratios], dict[str, float]] | None = None
    note: str = ""

    def carry(
        self, tuned: Tuned, params_nonembedding: float, tokens: float, batch_tokens: float
    ) -> dict[str, float]:
        """Settings of the target: ``learning_rate``, ``batch_tokens`` and whatever else the rule changes.

        Factors of what the tuned run does not tell, such as ``output_factor``, come as factors.

        Raises:
            BadInput: a size that is not finite and positive, or a batch at which the rule breaks down.

        >>> RULES["sqrt"].carry(Tuned(1e8, 2e9, 1e5, 1e-3), 1e8, 2e9, 4e5)
        {'learning_rate': 0.002, 'batch_tokens': 400000.0}
        """
        ratios = _ratios(tuned, params_nonembedding, tokens, batch_tokens)
        factors = self.factors(ratios)
        rate = tuned.learning_rate * factors.pop("learning_rate")
        other = self.settings(ratios) if self.settings else {}
        for name, value in other.items():
            if not value > 0:
                raise BadInput(
                    f"rule {self.name}: {name} = {value:.3g} at {ratios.batch:.3g} times the tuned batch; "
                    f"expected > 0, but {self.formula} breaks down this far out; choose a smaller batch"
                )
        return {"learning_rate": rate, "batch_tokens": float(batch_tokens)} | factors | other


def parse_tuned(text: str) -> Tuned:
    """A tuned run from ``N,D,BATCH,RATE``; sizes as ``text.parse_size`` reads them.

    >>> parse_tuned("100M,2B,131072,4e-3").learning_rate
    0.004

    Raises:
        BadInput: for anything else.
    """
    values = [parse_size(part.strip()) for part in text.split(",")]
    if len(values) != len(Tuned._fields) or not all(value > 0 for value in values):
        raise BadInput(
            f"--tuned {text}: expected N,D,BATCH,RATE, four finite numbers above 0; "
            "give it as 100M,2B,131072,4e-3"
        )
    return Tuned(*values)


def rule_answer(rule: Rule, tuned: Tuned, target: Target) -> dict[str, Any]:
    """What a rule makes of a tuned run at a target, JSON-ready: ``rule``, ``recommendation`` and "
    "``warnings``.

    The batch stays the tuned one where the target fixes none. The recommendation is empty where the rule
    breaks down, and a warning says so.
    """
    warnings: list[str] = []
    if target.optimizer != rule.optimizer:
        warnings.append(f"{rule.name} rule: made for {rule.optimizer}, not {target.optimizer}")
    batch = target.batch_tokens or tuned.batch_tokens
    try:
        recommendation = rule.carry(tuned, target.params_nonembedding, target.tokens, batch)
    except BadInput as error:
        recommendation, warnings = {}, [*warnings, str(error)]
    kept = ("name", "optimizer", "formula", "source", "note")
    return {
        "rule": {name: getattr(rule, name) for name in kept},
        "tuned": tuned._asdict(),
        "recommendation": recommendation,
        "warnings": warnings,
    }


def shape_factors(width: float, depth: float, *, residual_power: float | None = None) -> dict[str, float]:
    """Factors of muP, or with ``residual_power`` of CompleteP, from a base shape to another, for Adam(W).

    ``learning_rate`` and ``weight_decay_factor`` are of the hidden matrices; embeddings keep the base's.
    CompleteP with alpha = ``residual_power``: hidden learning rate m_w^-1 m_L^(alpha-1), residual branches
    m_L^-alpha, weight decay m_w, epsilon m_w^-1 m_L^-alpha. Sources: microsoft/mup; EleutherAI/nanoGPT-mup,
    branch completep (arXiv 2505.01618).

    Args:
        width: m_w, width over base width.
        depth: m_L, blocks over base blocks.
        residual_power: alpha; None for muP, which has no rule for depth.

    >>> shape_factors(4.0, 2.0)
    {'learning_rate': 0.25, 'output_factor': 0.25, 'initial_sd_factor': 0.5}
    >>> shape_factors(4.0, 2.0, residual_power=1.0)["residual_factor"]
    0.5
    """
    common = {"learning_rate": 1 / width, "output_factor": 1 / width, "initial_sd_factor": width**-0.5}
    if residual_power is None:
        return common
    return common | {
        "learning_rate": depth ** (residual_power - 1) / width,
        "residual_factor": depth**-residual_power,
        "weight_decay_factor": width,
        "epsilon_factor": depth**-residual_power / width,
    }


def _ratios(tuned: Tuned, n: float, d: float, batch: float) -> Ratios:
    sizes = {**tuned._asdict(), "target N": n, "target D": d, "target batch": batch}
    for name, value in sizes.items():
        if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
            raise BadInput(f"rule: {name} = {value!r}; expected a finite number above 0; give it as 7e9")
    noise = float(critical_batch(tuned.params_nonembedding, tuned.tokens, SATURATION))
    return Ratios(
        n / tuned.params_nonembedding,
        d / tuned.tokens,
        batch / tuned.batch_tokens,
        tuned.batch_tokens / noise,
        batch / noise,
    )


def _surge(r: Ratios) -> dict[str, float]:
    def height(x: float) -> float:
        return 2 / (math.sqrt(1 / x) + math.sqrt(x))

    return {"learning_rate": height(r.noise_after) / height(r.noise_before)}


def _malladi(r: Ratios) -> dict[str, float]:
    return {
        "momentum": 1 - r.batch * (1 - BETAS[0]),
        "beta2": 1 - r.batch * (1 - BETAS[1]),
        "epsilon": EPSILON / math.sqrt(r.batch),
    }


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule(
            name="sqrt",
            optimizer="adamw",
            formula="lr/lr0 = (B/B0)^0.5",
            source="Krizhevsky 2014, arXiv 1404.5997; for Adam: Malladi et al. 2022, arXiv 2205.10287",
            factors=lambda r: {"learning_rate": math.sqrt(r.batch)},
            note="Below the critical batch only.",
        ),
        Rule(
            name="linear",
            optimizer="sgd",
            formula="lr/lr0 = B/B0",
            source="Goyal et al. 2017, arXiv 1706.02677",
            factors=lambda r: {"learning_rate": r.batch},
            note="Far below the critical batch only.",
        ),
        Rule(
            name="malladi",
            optimizer="adamw",
            formula="k = B/B0: lr/lr0 = sqrt(k), 1 - beta = k (1 - beta0), epsilon = epsilon0 / sqrt(k)",
            source="Malladi et al. 2022, arXiv 2205.10287",
            factors=lambda r: {"learning_rate": math.sqrt(r.batch)},
            settings=_malladi,
            note="Where noise dominates; the tuned run is taken to have betas 0.9 and 0.95, epsilon 1e-8. "
            "Second hand.",
        ),
        Rule(
            name="surge",
            optimizer="adamw",
            formula="lr proportional to 2 / (sqrt(Bn/B) + sqrt(B/Bn))",
            source="Li et al. 2024, Surge phenomenon, arXiv 2405.14578",
            factors=_surge,
            note="Bn is taken to be the critical batch of the law `saturating` at the tuned run. Second "
            "hand.",
        ),
        Rule(
            name="scion",
            optimizer="scion",
            formula="lr/lr0 = (B/B0)^0.62 (D/D0)^-0.56",
            source="Filatov et al. 2025, norm transfer, arXiv 2510.03871",
            factors=lambda r: {"learning_rate": r.batch**0.62 * r.tokens**-0.56},
            note="Up to 1.3B parameters and 138B tokens; the best batch goes as D^0.45, so lr as D^-0.28 "
            "with it. "
            "Exponents second hand.",
        ),
        Rule(
            name="hyperp",
            optimizer="muonh",
            formula="lr/lr0 = (B/B0)^0.558 (D/D0)^-0.32",
            source="HyperP 2026, arXiv 2603.28743",
            factors=lambda r: {"learning_rate": r.batch**0.558 * r.tokens**-0.32},
            note="Muon on the Frobenius sphere, which has no exponent in width. Exponents second hand.",
        ),
        Rule(
            name="moonlight",
            optimizer="muon",
            formula="lr = lr0 of AdamW, weight decay too",
            source="Liu et al. 2025, Muon is scalable (Moonlight), arXiv 2502.16982",
            factors=lambda r: {"learning_rate": 1.0},
            note="From AdamW to Muon at one size, if Muon's update is scaled by 0.2 sqrt(max(rows, "
            "columns)), "
            "which has AdamW's root mean square. 399M to 1.5B. Second hand.",
        ),
        Rule(
            name="mup",
            optimizer="adamw",
            formula="hidden lr/lr0 = w0/w, output times w0/w, initial sd times (w0/w)^0.5",
            source="Yang et al. 2022, Tensor Programs V; microsoft/mup",
            factors=lambda r: shape_factors(r.params ** (1 / 3), r.params ** (1 / 3)),
            note="Width and depth are taken to grow alike, as N^(1/3); `rules.shape_factors` has any "
            "shape. muP has "
            "no rule for depth, batch or length.",
        ),
        Rule(
            name="completep",
            optimizer="adamw",
            formula="hidden lr/lr0 = w0/w, weight decay w/w0, epsilon (w0/w)(L0/L), residual L0/L, output "
            "w0/w",
            source="Dey et al. 2025, CompleteP, arXiv 2505.01618; EleutherAI/nanoGPT-mup",
            factors=lambda r: shape_factors(r.params ** (1 / 3), r.params ** (1 / 3), residual_power=1.0),
            note="alpha = 1. Width and depth are taken to grow alike, as N^(1/3); `rules.shape_factors` "
            "has any "
            "shape. No rule for batch or length.",
        ),
    )
}
