"""Recommendations for training code: numbers, and keyword arguments of optimizers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bayeslaw.advice.prediction import predict
from bayeslaw.assets import POSTERIOR
from bayeslaw.errors import BadInput
from bayeslaw.intervals import Interval
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.netcdf import read_posterior
from bayeslaw.target import NEVER_SEEN, Target
from bayeslaw.text import short

USUAL_BETA1 = 0.9
"""Default momentum if none was fitted, since an optimizer takes both betas or none."""


class AdviceWarning(UserWarning):
    """Warning on advice, such as a target far beyond the fitted runs."""


@dataclass(frozen=True)
class Advice:
    """Settings for one run, and the expected cost of following them.

    Attributes:
        params_nonembedding, tokens, optimizer, study: the target.
        learning_rate: peak learning rate.
        batch_tokens: tokens (not sequences) per step.
        weight_decay: decoupled weight decay: a step multiplies a weight by 1 - learning rate x weight decay,
            as in AdamW. None if it was not fitted.
        momentum: momentum of SGD or Muon, or Adam's beta1; None likewise.
        optimum: hyperparameter -> 90% interval of the best setting.
        regret_expected, regret_upper: excess loss of following the advice, as a fraction of the loss (0.001
            is 0.1%): its mean, and its bound with probability 90%.
        warnings: one sentence each.
        assumes: what the advice holds for, such as ``schedule``; as of `bayeslaw.Prediction`.
    """

    params_nonembedding: float
    tokens: float
    optimizer: str
    study: str | None
    learning_rate: float
    batch_tokens: float
    weight_decay: float | None
    momentum: float | None
    optimum: Mapping[str, Interval]
    regret_expected: float
    regret_upper: float
    warnings: tuple[str, ...]
    assumes: Mapping[str, str | float]

    @property
    def steps(self) -> int:
        """Optimizer steps until all tokens are seen."""
        return math.ceil(self.tokens / self.batch_tokens)


def recommended(
    params_nonembedding: float,
    tokens: float,
    optimizer: str = "adamw",
    *,
    batch_tokens: float | None = None,
    study: str | None = None,
    posterior: Posterior | str | Path | None = None,
    lambda_max: float | None = None,
    covariates: Mapping[str, float | str] | None = None,
) -> Advice:
    """Recommend settings for a run, as ``bayeslaw predict`` does, with warnings as one ``AdviceWarning``.

    Args:
        params_nonembedding: N, parameters without embeddings and output head [count].
        tokens: D, training tokens, repeats included [count].
        optimizer: its name, such as adamw or muon.
        batch_tokens: fixed batch [tokens]; the learning rate then suits it.
        study: fitted study of the run; None means an unseen set-up, with wider intervals.
        posterior: a fit or its file; by default the shipped one.
        lambda_max: curvature of your network early in warm-up, with ``batch_tokens``; as of ``predict``.
        covariates: what else is known of the run, as of ``--covariate``: ``{"schedule": "wsd"}``.

    Raises:
        BadInput: a number out of range, a file that is not a posterior, or a study that was not fitted; a
            network too unlike those whose curvature was measured.
    """
    target = Target(params_nonembedding, tokens, optimizer.lower(), study, batch_tokens, covariates or {})
    fit = posterior if isinstance(posterior, Posterior) else read_posterior(posterior or POSTERIOR)
    if study is not None and study not in fit.studies:
        raise BadInput(
            f"study = {study!r}: not in the posterior; expected one of {', '.join(fit.studies)}; "
            f"leave it out for {NEVER_SEEN}"
        )
    answer = predict(fit, target, lambda_max=lambda_max)
    settings = answer.recommendation
    if doubts := answer.warnings:
        size = f"N = {short(params_nonembedding)}, D = {short(tokens)}, {target.optimizer}"
        warnings.warn(f"advice for {size}: {'; '.join(doubts)}", AdviceWarning, stacklevel=2)
    return Advice(
        params_nonembedding=params_nonembedding,
        tokens=tokens,
        optimizer=target.optimizer,
        study=study,
        learning_rate=settings["learning_rate"],
        batch_tokens=settings["batch_tokens"],
        weight_decay=settings.get("weight_decay"),
        momentum=settings.get("momentum"),
        optimum=answer.optimum,
        regret_expected=answer.regret.expected,
        regret_upper=answer.regret.upper,
        warnings=doubts,
        assumes=answer.assumes,
    )


def optimizer_settings(advice: Advice) -> dict[str, Any]:
    """Keyword arguments for the advised optimizer; settings that were not fitted keep its defaults.

    adamw, sgd, rmsprop, muon and adafactor are those of ``torch.optim``; lion and lamb of
    ``pytorch_optimizer``. Weight decay is decoupled in all but two. SGD adds it to the gradient, where
    momentum m multiplies it by 1 / (1 - m) over the steps that follow, so it gets (1 - m) times as much.
    RMSprop divides it by the size of the gradients, which no factor undoes: it is left out, with an
    ``AdviceWarning``. The second beta, or RMSprop's alpha, is the usual one of language models. A learning
    rate of Muon depends on ``adjust_lr_fn``, or its like, in the fitted runs.

    Raises:
        BadInput: an optimizer that is none of these.
    """
    if advice.optimizer not in SETTINGS:
        raise BadInput(
            f"optimizer_settings: optimizer = {advice.optimizer!r}; expected one of {', '.join(SETTINGS)}; "
            "take the numbers from the advice itself"
        )
    settings = {"lr": advice.learning_rate, **SETTINGS[advice.optimizer](advice)}
    return {name: value for name, value in settings.items() if value is not None}


def _sgd(advice: Advice) -> dict[str, Any]:
    """torch.optim.SGD: v = m v + gradient + decay w; w = w - lr v."""
    if advice.weight_decay is None:
        return {"momentum": advice.momentum}
    kept = 1 - (advice.momentum or 0.0)
    return {"momentum": advice.momentum, "weight_decay": advice.weight_decay * kept}


def _rmsprop(advice: Advice) -> dict[str, Any]:
    if advice.weight_decay:
        warnings.warn(
            f"torch.optim.RMSprop has no decoupled weight decay: {advice.weight_decay:.3g} is left out; "
            "multiply the weights by 1 - lr * weight_decay before each step",
            AdviceWarning,
            stacklevel=3,
        )
    return {"momentum": advice.momentum, "alpha": 0.95}


def _betas(second: float) -> Callable[[Advice], dict[str, Any]]:
    def settings(advice: Advice) -> dict[str, Any]:
        first = USUAL_BETA1 if advice.momentum is None else advice.momentum
        return {"betas": (first, second), "weight_decay": advice.weight_decay}

    return settings


SETTINGS: dict[str, Callable[[Advice], dict[str, Any]]] = {
    "adamw": _betas(0.95),
    "sgd": _sgd,
    "rmsprop": _rmsprop,
    "muon": lambda advice: {"momentum": advice.momentum, "weight_decay": advice.weight_decay},
    "lion": _betas(0.99),
    "adafactor": lambda advice: {"weight_decay": advice.weight_decay},
    "lamb": _betas(0.95),
}
"""Optimizer -> its settings besides the learning rate; None for settings that were not fitted."""
