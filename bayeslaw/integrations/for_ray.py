"""A search algorithm for Ray Tune that searches where a posterior expects the best settings of a target."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ray.tune.search import Searcher
from ray.tune.search.sample import Categorical, Domain, Float, Integer, Quantized
from ray.tune.utils.util import flatten_dict, unflatten_dict

from bayeslaw.errors import BadInput
from bayeslaw.files import write_atomically
from bayeslaw.integrations.search import Move, Trial, nearest, search_at, suggested, within
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.pooling import keyed_rng
from bayeslaw.target import Target


class PosteriorSearch(Searcher):
    """Suggest ``learning_rate``, ``batch_tokens``, ``weight_decay`` and ``momentum`` for one target.

    ``tune.TuneConfig(search_alg=PosteriorSearch(target), metric="loss", mode="min")``; ``param_space`` has
    domains of these names, those of them that the posterior knows, and the trainable reports the loss in nats
    per token. The first suggestion is the advice; later ones are drawn from the posterior, weighted by the
    trials that ended (``integrations.search``). A trial that reported a loss that is not finite diverged; one
    that raised an error crashed or diverged. Domains of other names are sampled at random. Give Tune no
    scheduler that stops trials early: their loss would pass for a final one.
    """

    def __init__(
        self,
        target: Target,
        posterior: Posterior | str | Path | None = None,
        metric: str | None = None,
        mode: str | None = None,
        seed: int = 0,
    ) -> None:
        """Read the posterior.

        Args:
            target: the run to tune; with ``batch_tokens`` unless ``param_space`` has it.
            posterior: a fit or its file; by default the shipped one.
            metric: name of the reported loss; by default that of ``TuneConfig``.
            mode: ``min``; by default that of ``TuneConfig``.
            seed: of the draws.

        Raises:
            BadInput: no posterior, or a mode other than ``min``.
        """
        super().__init__(metric=metric, mode=mode)
        _check_mode(mode)
        self._at = search_at(target, posterior)
        self._seed = seed
        self._space: dict[str, Domain] = {}
        self._asked: dict[str, dict[str, float]] = {}
        self._ended: list[Trial] = []
        self._count = 0

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        """Take metric and search space from Tune; called by it.

        Raises:
            BadInput: a mode other than ``min``, a grid, or a batch that nobody tells or that two tell.
        """
        _check_mode(mode)
        self._metric, self._mode = metric or self._metric, mode or self._mode
        flat = flatten_dict(dict(config), prevent_delimiter=True)
        if any(name.endswith("grid_search") for name in flat):
            raise BadInput("param_space: has a grid_search; expected domains to search; use tune.choice")
        self._space = {name: found for name, found in flat.items() if isinstance(found, Domain)}
        told = "batch_tokens" in self._space, self._at.target.batch_tokens is not None
        if all(told) or not any(told):
            raise BadInput(
                f"param_space and target: {'both' if all(told) else 'neither'} have batch_tokens; expected "
                "one of them, since the best learning rate depends on the batch; give it to one"
            )
        return True

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """Settings of the next trial; called by Tune.

        Raises:
            BadInput: before Tune or ``set_search_properties`` told the search space.
        """
        if not self._space:
            raise BadInput(
                "PosteriorSearch: no search space yet; expected domains in param_space of the Tuner; add them"
            )
        moves = {name: move for name, domain in self._space.items() if (move := self._move(name, domain))}
        settings = suggested(self._at, self._ended, moves, self._count, self._seed)
        rng = np.random.RandomState(keyed_rng(self._seed, "others", self._count).integers(2**31))
        others = {
            name: domain.sample(random_state=rng)
            for name, domain in self._space.items()
            if name not in settings
        }
        self._asked[trial_id] = {name: float(value) for name, value in settings.items()}
        self._count += 1
        return dict(unflatten_dict(settings | others))

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Note how a trial ended; called by Tune."""
        settings = self._asked.pop(trial_id, None)
        if settings is None:
            return
        if error:
            self._ended.append(Trial(settings, None))
        elif result and (loss := result.get(str(self._metric))) is not None:
            self._ended.append(Trial(settings, float(loss)))

    def save(self, checkpoint_path: str) -> None:
        """Write what was asked and how it ended, in JSON; called by Tune."""
        ended = [[dict(trial.settings), trial.loss] for trial in self._ended]
        state = {"count": self._count, "asked": self._asked, "ended": ended}
        with write_atomically(Path(checkpoint_path)) as temporary:
            temporary.write_text(json.dumps(state), encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        """Read what ``save`` wrote; called by Tune."""
        state = json.loads(Path(checkpoint_path).read_text(encoding="utf-8"))
        self._count, self._asked = state["count"], state["asked"]
        self._ended = [Trial(settings, loss) for settings, loss in state["ended"]]

    def _move(self, name: str, domain: Domain) -> Move | None:
        """Into a domain of a setting that the posterior knows; None for any other."""
        if name not in self._at.optima:
            return None
        if isinstance(domain, Categorical):
            return nearest(domain.categories)
        if isinstance(domain, Float | Integer):
            sampler, whole = domain.get_sampler(), isinstance(domain, Integer)
            step = sampler.q if isinstance(sampler, Quantized) else None
            return within(domain.lower, domain.upper - (whole and step is None), step, whole)
        return None


def _check_mode(mode: str | None) -> None:
    if mode not in (None, "min"):
        raise BadInput(f"mode = {mode!r}; expected 'min', since the loss is minimised; set mode='min'")
