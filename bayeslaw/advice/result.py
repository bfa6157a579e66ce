"""What ``predict`` answers: the advice, its intervals and doubts, for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from bayeslaw.intervals import Interval
from bayeslaw.law.terms import words_of
from bayeslaw.results import Result, Section
from bayeslaw.target import NEVER_SEEN, Target
from bayeslaw.text import percent, setting, short


class Regret(NamedTuple):
    """Excess loss of following the advice, as fractions of the loss.

    Attributes:
        expected: mean over draws.
        upper: quantile at the level of the prediction.
        batch_cost: what a fixed batch costs on top, mean over draws; 0 where the batch is free.
    """

    expected: float
    upper: float
    batch_cost: float


@dataclass(frozen=True, repr=False, eq=False)
class Prediction(Result):
    """Advice for one target.

    Attributes:
        target: the run advised on.
        recommendation: the settings to use, by hyperparameter; those that were not fitted are absent.
        optimum: where the best settings lie, by hyperparameter.
        loss_nats_per_token: loss of one run with the recommended settings, its noise included.
        regret: excess loss of following the advice.
        extrapolation: how far the target lies outside the fitted cells, by covariate [decades].
        level: probability that each interval holds.
        posterior: provenance and diagnostics of the fit.
        warnings: one sentence each.
        assumes: conventions of the advice: ``schedule``, ``params``, what ``learning_rate`` multiplies, and
            covariates that runs may lack.
        curvature: where the answer is conditioned on ``lambda_max``: what that alone says of the best rate
            (``median``, ``lower``, ``upper``), the width of the rate's interval over its width without it,
            in logarithms (``narrowed_to``), and the ``pareto_k`` of the weights.
    """

    target: Target
    recommendation: Mapping[str, float]
    optimum: Mapping[str, Interval]
    loss_nats_per_token: Interval
    regret: Regret
    extrapolation: Mapping[str, float]
    level: float
    posterior: Mapping[str, Any]
    warnings: tuple[str, ...]
    assumes: Mapping[str, str | float]
    curvature: Mapping[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """The keys of ``bayeslaw predict --json``."""
        return {
            "inputs": _inputs(self.target),
            "recommendation": dict(self.recommendation),
            "optimum": {name: best.to_json() for name, best in self.optimum.items()},
            "loss_nats_per_token": self.loss_nats_per_token.to_json(),
            "regret": self.regret._asdict(),
            "extrapolation": dict(self.extrapolation),
            "level": self.level,
            "posterior": dict(self.posterior),
            "warnings": list(self.warnings),
            "assumes": dict(self.assumes),
            **({"curvature": dict(self.curvature)} if self.curvature else {}),
        }

    def sections(self) -> list[Section]:
        """One row per hyperparameter, then what to expect and warnings."""
        target, level = self.target, f"{100 * self.level:g}%"
        n, d = short(target.params_nonembedding), short(target.tokens)
        rows = [
            [words_of(name), self._used(name), f"{setting(name, best.lower)} to {setting(name, best.upper)}"]
            for name in self.recommendation
            for best in [self.optimum[name]]
        ]
        return [
            Section(
                f"{target.optimizer}, N = {n}, D = {d} tokens, {target.study or NEVER_SEEN}",
                ("", "use", f"optimum, {level} interval"),
                rows,
                [*self._expectations(level), *(f"warning: {text}" for text in self.warnings)],
            )
        ]

    def _used(self, name: str) -> str:
        fixed = name == "batch_tokens" and self.target.batch_tokens is not None
        return setting(name, self.recommendation[name]) + (" (fixed)" if fixed else "")

    def _expectations(self, level: str) -> list[str]:
        loss, origin = self.loss_nats_per_token, self.posterior
        n, d = (self.extrapolation[name] for name in ("params_decades", "tokens_decades"))
        rows = origin.get("rows")
        told = [str(origin["path"])] if "path" in origin else []
        told += [f"{rows} runs"] if isinstance(rows, int) else []
        told += [str(origin[name])[:10] for name in ("method", "created") if name in origin]
        expected, most = percent(self.regret.expected), percent(self.regret.upper)
        fixed = self.target.batch_tokens is not None
        dear = f"; the fixed batch itself costs {percent(self.regret.batch_cost)}" if fixed else ""
        return [
            f"loss           {loss.median:.3f} nats/token, {loss.lower:.3f} to {loss.upper:.3f}",
            f"regret         {expected} of the loss expected, below {most} with probability {level}{dear}",
            f"extrapolation  {n:.1f} decades in N, {d:.1f} in D",
            f"assumes        schedule {self.assumes['schedule']}; N {self.assumes['params']}; learning rate "
            f"{self.assumes['learning_rate']}",
            *self._curvature(),
            f"posterior      {', '.join(told)}",
        ]

    def _curvature(self) -> list[str]:
        if self.curvature is None:
            return []
        found = self.curvature
        rate = {name: setting("learning_rate", found[name]) for name in ("median", "lower", "upper")}
        return [
            f"curvature      lambda_max {short(found['lambda_max'])} alone says {rate['median']}, "
            f"{rate['lower']} to {rate['upper']}; the rate's interval is {found['narrowed_to']:.2f} times as "
            f"wide with it, in logarithms (Pareto k {found['pareto_k']:.2f})"
        ]


def _inputs(target: Target) -> dict[str, Any]:
    batch = target.batch_tokens
    return {
        "params_nonembedding": float(target.params_nonembedding),
        "tokens": float(target.tokens),
        "optimizer": target.optimizer,
        "study": target.study,
        "batch_tokens": None if batch is None else float(batch),
        **({"covariates": dict(target.covariates)} if target.covariates else {}),
    }
