"""Tune a run with Optuna from the shipped posterior; a formula stands in place of the training run."""

from __future__ import annotations

import math

import optuna

from bayeslaw.integrations.for_optuna import PosteriorSampler
from bayeslaw.target import Target

target = Target(params_nonembedding=400e6, tokens=8e9, optimizer="adamw")


def train(learning_rate: float, batch_tokens: int) -> float:
    """Validation loss [nats per token]."""
    return 2.8 + 0.02 * math.log(learning_rate / 3e-3) ** 2 + 0.01 * math.log(batch_tokens / 5e5) ** 2


def objective(trial: optuna.Trial) -> float:
    """One run of the target."""
    batch = trial.suggest_categorical("batch_tokens", [131_072, 262_144, 524_288, 1_048_576])
    return train(trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True), batch)


study = optuna.create_study(sampler=PosteriorSampler(target))
study.optimize(objective, n_trials=8)
print(study.best_params, study.best_value)
