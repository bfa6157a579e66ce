"""The methods: where each searches, how, what it then advises, and what it was told."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from bayeslaw.evaluation.baselines import fit_argmin, fit_huber, fit_near_optimal
from bayeslaw.law.parameters import DEFAULT_PARTS
from tests.studies.validation import advice
from tests.studies.validation.advice import Advise
from tests.studies.validation.designs import SMALL, budget, by_design, proxies
from tests.studies.validation.searches import (
    Search,
    at_random,
    by_ax,
    by_optuna,
    by_protein,
    by_sobol,
)
from tests.studies.validation.worlds import Family, World

Place = Literal["target", "proxy", "pool", "design", "sweep", "nothing"]
PLACES: dict[str, str] = {
    "target": "20 runs of the target itself; the best one is kept",
    "proxy": "20 runs of the costliest small cell that the budget of 24 small runs pays for",
    "pool": "small runs in any cell of the pool; sees N and D",
    "design": "small runs chosen in rounds for the FLOPs of 24; sees N and D of the targets too",
    "sweep": "all published runs of the pool",
    "nothing": "no runs",
}
TRIALS, FEW = 20, 8


@dataclass(frozen=True)
class Method:
    """One row.

    Attributes:
        name: in tables.
        place: where its runs are, a key of ``PLACES``.
        advise: what it says of a target once its runs are in.
        search: what it asks for; None without runs of its own, and for the design.
        trials: runs that it may ask for.
        seeds: the most that it is run with: some are slow.
        needs: a package that is not among ours.
        ablation: whether it is a part of ours removed, compared with ours only.
        fitted_on: beginnings of the names of studies whose runs it was fitted to: advice there is in-sample.
        cites: the same of studies that its priors cite: advice there is not independent.
    """

    name: str
    place: Place
    advise: Advise
    search: Callable[[Sequence[World], int, int], Search] | None = None
    trials: int = 0
    seeds: int = 1
    needs: str = ""
    ablation: bool = False
    fitted_on: tuple[str, ...] = ()
    cites: tuple[str, ...] = ()

    @property
    def missing(self) -> bool:
        """Whether its package is not installed."""
        return bool(self.needs) and importlib.util.find_spec(self.needs) is None

    def in_sample(self, study: str) -> bool:
        """Whether it was fitted to the runs of a study, named as in the shipped posterior."""
        return bool(study) and study.startswith(self.fitted_on)

    def cited(self, study: str) -> bool:
        """Whether its priors cite the study."""
        return bool(study) and study.startswith(self.cites)


def _searching(place: Place, name: str, seeds: int, needs: str, search: Callable[..., Search]) -> Method:
    where = "at the target" if place == "target" else "at a proxy"
    return Method(f"{name}, {where}", place, advice.best_run, search, TRIALS, seeds, needs)


OPTUNA = {"Optuna TPE": "TPESampler", "Optuna CMA-ES": "CmaEsSampler", "Optuna GP": "GPSampler"}
MOST, SLOW, PART = 3, 2, 2
"""Seeds of fast and of slow methods, and of ablations that need a fit of their own."""

STEP_LAW = ("step", "bjorck", "kaplan")
"""Laws fitted to Step Law's runs: the Step Law, and those without a law of the batch, which take its own."""
CITED = ("steplaw", "marin", "schaipp")
"""Studies of the shipped posterior that the reasons of our priors cite (``bayeslaw.law.parameters``)."""

RANDOM, OURS = "random search, at the target", "ours, 24 small runs"
"""The baseline and the method that all others are compared with."""


def _methods() -> list[Method]:
    found: list[Method] = []
    for place in ("target", "proxy"):
        found += [
            _searching(place, "random search", MOST, "", at_random),
            _searching(place, "Sobol", MOST, "", by_sobol),
        ]
        for name, sampler in OPTUNA.items():
            slow = sampler == "GPSampler" and place == "target"
            needs = "cmaes" if sampler == "CmaEsSampler" else "optuna"
            found.append(_searching(place, name, SLOW if slow else MOST, needs, by_optuna(sampler)))
        if place == "target":
            found.append(_searching(place, "Ax", 1, "ax", by_ax))
    small = partial(Method, place="pool", search=at_random, trials=SMALL, seeds=MOST)
    found += [
        Method("Protein, multi-fidelity", "pool", advice.best_run, by_protein, SMALL, 1, "pufferlib"),
        small("BoTorch GP over N and D, 24 small runs", advise=advice.gaussian_process, needs="botorch"),
        Method("framework default", "nothing", advice.framework_default),
        Method("square-root rule from a proxy", "proxy", advice.square_root_rule, at_random, TRIALS, MOST),
        Method("width rule from a proxy", "proxy", advice.width_rule, at_random, TRIALS, MOST),
    ]
    found += [
        Method(f"{name} law", "nothing", advice.law(name), fitted_on=("steplaw",) if name in STEP_LAW else ())
        for name in ("step", "deepseek", "bjorck", "kaplan", "porian")
    ]
    regressions = {
        "argmin + least squares": fit_argmin,
        "argmin + Huber": fit_huber,
        "near-optimal rows": fit_near_optimal,
    }
    for name, fit in regressions.items():
        found.append(small(f"{name}, 24 small runs", advise=advice.regression(fit)))
        found.append(Method(f"{name}, whole sweep", "sweep", advice.regression(fit)))
    found += [
        Method("ours, no runs", "nothing", advice.without_runs),
        Method("ours, 8 small runs", "pool", advice.ours(), at_random, FEW, MOST),
        small(OURS, advise=advice.ours()),
        Method("ours, designed small runs", "design", advice.ours(), None, SMALL, SLOW),
        Method("ours, whole sweep", "sweep", advice.ours()),
    ]
    removed = partial(small, ablation=True)
    found += [
        removed("ours, posterior median", advise=advice.ours(median=True)),
        removed(
            "ours, off-optimum runs removed", advise=advice.ours(select=advice.near_optimal_only), seeds=PART
        ),
        removed("ours, diverged runs removed", advise=advice.ours(select=advice.finished_only), seeds=PART),
        removed("ours, ridge removed", advise=advice.ours(prior="no ridge"), seeds=PART),
        removed("ours, priors four times as wide", advise=advice.ours(prior="vague"), seeds=PART),
        removed("ours, flat priors of the optima", advise=advice.ours(prior="flat"), seeds=PART),
        removed("ours, cells' own deviations removed", advise=advice.ours(prior="no deviations"), seeds=PART),
        removed(
            "ours, drift, second order and smooth parts added", advise=advice.ours(DEFAULT_PARTS), seeds=PART
        ),
        removed(
            "ours, these parts added, posterior median",
            advise=advice.ours(DEFAULT_PARTS, median=True),
            seeds=PART,
        ),
        removed(
            "ours, these parts added, shipped population as prior", advise=advice.with_population, seeds=PART
        ),
    ]
    return found


METHODS: dict[str, Method] = {
    method.name: replace(method, cites=CITED if method.name.startswith("ours") else ())
    for method in _methods()
}
USUAL = [name for name, method in METHODS.items() if method.needs not in ("pufferlib", "ax")]
"""Methods of the default run: Protein and Ax take minutes a search."""


def asked(method: Method, family: Family, target: World | None, seed: int) -> Search | None:
    """The search of a method, at a target if it searches there; None if it asks for no runs."""
    if method.place == "design":
        return by_design(family, method.trials, seed)
    if method.search is None:
        return None
    if method.place == "target":
        assert target is not None
        return method.search((target,), method.trials, seed)
    worlds = proxies(family.pool, budget(family), TRIALS) if method.place == "proxy" else family.pool
    return method.search(worlds, method.trials, seed)
