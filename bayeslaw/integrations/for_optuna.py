"""A sampler for Optuna that searches where a posterior expects the best settings of a target."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler
from optuna.search_space import intersection_search_space
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from bayeslaw.errors import BadInput
from bayeslaw.integrations.search import Move, Trial, nearest, search_at, suggested, within
from bayeslaw.posterior.draws import Posterior
from bayeslaw.target import Target


class PosteriorSampler(BaseSampler):
    """Suggest ``learning_rate``, ``batch_tokens``, ``weight_decay`` and ``momentum`` for one target.

    ``optuna.create_study(sampler=PosteriorSampler(target))``; the objective suggests parameters of these
    names, those of them that the posterior knows, and returns the loss in nats per token. Trial 0 is the
    advice; later ones are drawn from the posterior, weighted by the trials that ended
    (``integrations.search``). A trial that returned infinity diverged; one that failed, as Optuna counts NaN,
    crashed or diverged; a pruned one tells nothing. Parameters of other names are sampled at random.
    """

    def __init__(
        self, target: Target, posterior: Posterior | str | Path | None = None, seed: int = 0
    ) -> None:
        """Read the posterior.

        Args:
            target: the run to tune; with ``batch_tokens`` unless the objective suggests it.
            posterior: a fit or its file; by default the shipped one.
            seed: of the draws. A trial's suggestion depends on it, on the trial's number, and on what ended.

        Raises:
            BadInput: no posterior.
        """
        self._at = search_at(target, posterior)
        self._seed = seed
        self._others = RandomSampler(seed=seed)

    def reseed_rng(self) -> None:
        """Reseed what samples parameters of other names."""
        self._others.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Parameters of the posterior's names that every ended trial had.

        Raises:
            BadInput: a study that is not to minimise one loss, or trials whose batch nobody told.
        """
        if study.directions != [StudyDirection.MINIMIZE]:
            raise BadInput(
                f"study {study.study_name}: has the directions "
                f"{', '.join(each.name.lower() for each in study.directions)}; "
                "expected one loss to minimise; create it with direction='minimize'"
            )
        shared = intersection_search_space(study.get_trials(deepcopy=False))
        if shared and "batch_tokens" not in shared and self._at.target.batch_tokens is None:
            raise BadInput(
                f"study {study.study_name}: neither its trials nor the target have batch_tokens; expected "
                "one of them, since the best learning rate depends on the batch; give it to the target"
            )
        return {name: found for name, found in shared.items() if self._move(name, found)}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Settings that belong together: the learning rate suits the batch."""
        moves = {name: move for name, found in search_space.items() if (move := self._move(name, found))}
        return suggested(self._at, _ended(study), moves, trial.number, self._seed) if moves else {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A setting whose range no ended trial told, to suit the trial's batch if known; others at random."""
        move = self._move(param_name, param_distribution)
        if move is None:
            return self._others.sample_independent(study, trial, param_name, param_distribution)
        moves = {param_name: move}
        batch = trial.params.get("batch_tokens")
        if batch is not None and self._at.target.batch_tokens is None:
            moves["batch_tokens"] = within(batch, batch)
        return suggested(self._at, _ended(study), moves, trial.number, self._seed)[param_name]

    def _move(self, name: str, distribution: BaseDistribution) -> Move | None:
        """Into a distribution of a setting that the posterior knows; None for any other."""
        if name not in self._at.optima:
            return None
        if isinstance(distribution, CategoricalDistribution):
            return nearest(distribution.choices)
        if isinstance(distribution, FloatDistribution | IntDistribution):
            whole = isinstance(distribution, IntDistribution)
            step = None if distribution.log else distribution.step
            return within(distribution.low, distribution.high, step, whole)
        return None


def _ended(study: Study) -> list[Trial]:
    """Trials that finished, diverged or failed."""
    states = (TrialState.COMPLETE, TrialState.FAIL)
    found = study.get_trials(deepcopy=False, states=states)
    return [Trial(trial.params, _loss(trial)) for trial in found if trial.params]


def _loss(trial: FrozenTrial) -> float | None:
    if trial.state is TrialState.FAIL:
        return None
    return math.inf if trial.value is None else float(trial.value)
