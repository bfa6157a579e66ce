"""Searches through one interface, ask and tell: ``yield`` asks for a run, and is told its outcome.

Each search is a generator ``search(worlds, trials, seed)``. Where it searches one world, that is the first.
Existing implementations with the defaults of their documentation; nothing is tuned here. All search in the
box that the published sweep tried, uniformly in logarithms, and are told a failed run's loss.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np

from tests.studies.validation.worlds import Outcome, Setting, World

Search = Generator[Setting, Outcome, None]
History = list[tuple[Setting, Outcome]]


def setting_at(world: World, place: Sequence[float]) -> Setting:
    """The setting at a place of the unit cube of a world's box."""
    return Setting(world, *world.box.at(place))


def run_search(search: Search, told: Callable[[Setting, int], Outcome]) -> History:
    """Ask, answer and tell until the search ends; ``told`` gets the setting and the run's number."""
    history: History = []
    with contextlib.suppress(StopIteration):
        setting = next(search)
        while True:
            outcome = told(setting, len(history))
            history.append((setting, outcome))
            setting = search.send(outcome)
    return history


def at_random(worlds: Sequence[World], trials: int, seed: int) -> Search:
    """Uniform in ln learning rate and ln batch, the worlds in turn in a random order."""
    rng = np.random.default_rng([seed, 1])
    order = rng.permutation(len(worlds))
    for k in range(trials):
        world = worlds[order[k % len(order)]]
        yield setting_at(world, rng.random(world.box.dimensions))


def by_sobol(worlds: Sequence[World], trials: int, seed: int) -> Search:
    """Scrambled Sobol points (scipy)."""
    from scipy.stats import qmc

    world = worlds[0]
    points = qmc.Sobol(world.box.dimensions, rng=seed).random(2 ** math.ceil(math.log2(trials)))
    for place in points[:trials]:
        yield setting_at(world, place)


def by_optuna(sampler: str) -> Callable[[Sequence[World], int, int], Search]:
    """A sampler of Optuna: ``TPESampler``, ``CmaEsSampler`` or ``GPSampler``, with its defaults."""

    def search(worlds: Sequence[World], trials: int, seed: int) -> Search:
        import warnings

        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", module="optuna")
        world = worlds[0]
        study = optuna.create_study(sampler=getattr(optuna.samplers, sampler)(seed=seed))
        for _ in range(trials):
            trial = study.ask()
            places = [trial.suggest_float(f"x{k}", 0.0, 1.0) for k in range(world.box.dimensions)]
            outcome = yield setting_at(world, places)
            study.tell(trial, outcome.loss)

    return search


def by_protein(worlds: Sequence[World], trials: int, seed: int) -> Search:
    """Protein, the successor of CARBS (pufferlib-core): cost-aware, with the cost as a third setting.

    The third setting is ln cost between the cheapest and the costliest world; the nearest world answers.
    """
    import random

    import pyro
    import torch
    from pufferlib.sweep import Protein

    dimensions = worlds[0].box.dimensions
    spaces = {f"x{k}": _unit() for k in range(dimensions)} | ({"cost": _unit()} if len(worlds) > 1 else {})
    np.random.seed(seed)
    random.seed(seed)
    pyro.clear_param_store()  # an earlier search of the process must not leave it its length scales
    pyro.set_rng_seed(seed)
    torch.set_num_threads(1)
    cost = np.log([world.cost for world in worlds])
    with contextlib.redirect_stdout(io.StringIO()):
        sweep = Protein({"metric": "loss", "goal": "minimize", **spaces}, max_suggestion_cost=math.inf)
    for _ in range(trials):
        with contextlib.redirect_stdout(io.StringIO()):
            asked, _ = sweep.suggest(dict.fromkeys(spaces, 0.0))
        share = cost.min() + asked.get("cost", 0.0) * (cost.max() - cost.min())
        world = worlds[int(np.argmin(np.abs(cost - share)))]
        outcome = yield setting_at(world, [asked[f"x{k}"] for k in range(dimensions)])
        sweep.observe(asked, outcome.loss, outcome.cost, outcome.failed)


def _unit() -> dict[str, Any]:
    return {"distribution": "uniform", "min": 0.0, "max": 1.0, "mean": 0.5, "scale": "auto"}


def by_ax(worlds: Sequence[World], trials: int, seed: int) -> Search:
    """Ax's ``Client`` with its default strategy: the middle, Sobol points, then BoTorch's modular GP."""
    import logging

    import torch
    from ax.api.client import Client
    from ax.api.configs import RangeParameterConfig

    logging.getLogger("ax.api.client").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    world = worlds[0]
    client = Client(random_seed=seed)
    names = [f"x{k}" for k in range(world.box.dimensions)]
    client.configure_experiment([RangeParameterConfig(name, (0.0, 1.0), "float") for name in names])
    client.configure_optimization("-loss")
    for _ in range(trials):
        ((index, asked),) = client.get_next_trials(1).items()
        outcome = yield setting_at(world, [float(asked[name]) for name in names])
        client.complete_trial(index, {"loss": outcome.loss})
