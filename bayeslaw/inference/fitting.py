"""Fit the hierarchical surface to a run table: Laplace approximation, NUTS until converged, posterior."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pandas as pd

from bayeslaw.errors import SEED_MAX, BadInput, check_count
from bayeslaw.inference.checkpoint import Arrays, Keep, Stopped, keeper, key_of, read_checkpoint
from bayeslaw.inference.compilation import FEW, padded
from bayeslaw.inference.effort import EFFORTS, FULL, QUICK, Effort, double_precision, effort_named
from bayeslaw.inference.laplace import Density, Whitening, density, whitening
from bayeslaw.inference.model import block_site, cells, factor_site, spread_site
from bayeslaw.inference.nuts import Chains, Drawn, draw, sampler
from bayeslaw.inference.reach import reach
from bayeslaw.law import surface
from bayeslaw.law.observations import Observations, prepare
from bayeslaw.law.parameters import CELL_SHIFTS, DEFAULT_PARTS, SIZE_SHIFTS, SPREADS, described
from bayeslaw.law.population import Population
from bayeslaw.law.structure import Structure, structure_of
from bayeslaw.law.ties import tie_of
from bayeslaw.posterior.convergence import check_chains
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.population import conflict_warning, conflicts, population_of, refuse_far
from bayeslaw.processes import delayed_signals
from bayeslaw.runs.checks import refuse_uninformative
from bayeslaw.runs.io import table_sha256

KEEP = 1000
"""Number of draws kept in the posterior, evenly spaced."""

CHAINS_MAX, DRAWS_MAX = 64, 20_000

EARLY = 0.2
"""Share of the draws of a long run that count as warm-up where the rest is worth more without them: a chain
may come from a far corner late."""

CONVENTIONS = ("loss_kind", "schedule", "sequence_length", "parametrization")

Draws = dict[str, np.ndarray]


def fit(
    runs: pd.DataFrame,
    seed: int = 0,
    chains: int = 4,
    draws: int = 200,
    sources: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda message: None,
    parts: Sequence[str] = DEFAULT_PARTS,
    effort: str | None = None,
    checkpoint: Path | None = None,
    population: Posterior | None = None,
) -> Posterior:
    """Fit the posterior of the loss surface to runs.

    Draws come in blocks of ``draws`` per chain, until bulk and tail ESS are at least 400 and R-hat at most
    1.01 for every parameter that people read and at most ``convergence.rhat_limit`` for all others, or until
    a chain has ``Effort.max_draws``; the diagnostics say which. JAX works in 64 bits during
    the fit; the settings of the process stay as they are.

    Args:
        runs: a valid run table (``bayeslaw.runs.schema``), any number of studies and optimizers.
        seed: seed of the chains; the same seed on the same machine gives the same draws.
        chains: number of NUTS chains (Hoffman & Gelman 2014).
        draws: draws per chain and block, after the warm-up.
        sources: origins of the runs, for the provenance.
        say: receives progress messages.
        parts: of the law, beyond its core (``parameters.PARTS``); `bayeslaw compare` tells what each is
            worth.
        effort: ``full``, or ``quick`` for a trial of everything around the fit: seconds of sampling, whose
            intervals nobody should believe; the diagnostics say so, and that it has not converged. Without
            it, what ``BAYESLAW_EFFORT`` says in the environment, else ``full``.
        checkpoint: file that keeps the draws so far, every minute and at SIGINT or SIGTERM; the same fit goes
            on from it. Whoever writes the posterior removes it (``checkpoint.unfinished``).
        population: posterior of other studies, whose population takes the place of the priors from the
            literature (``posterior.population``); the fit is made about its pivot. ``diagnostics`` then has
            ``conflicts``, the parameters that these runs moved away from it.

    Raises:
        BadInput: nothing finished, one loss in all runs, an unknown effort, a population that holds these
            studies or lies far from these runs, or as ``check_fit``.
    """
    work = effort_named(effort)
    check_fit(seed, chains, draws)
    with double_precision():
        return _fit(runs, seed, chains, draws, sources, say, work, parts, checkpoint, population)


def _fit(
    runs: pd.DataFrame,
    seed: int,
    chains: int,
    draws: int,
    sources: tuple[str, ...],
    say: Callable[[str], None],
    effort: Effort,
    parts: Sequence[str],
    checkpoint: Path | None,
    population: Posterior | None,
) -> Posterior:
    began = time.perf_counter()
    refuse_uninformative(runs)
    if population is not None and population.cells:
        refuse_far(population, *runs[["params_nonembedding", "tokens"]].drop_duplicates().to_numpy(float).T)
    observed = observations(runs, parts, population)
    count = int((runs["status"] != "stopped").sum())
    say(
        f"{count} runs, {len(observed.cells)} cells, {len(observed.groups)} groups of one "
        "study and optimizer; finding the mode"
    )
    target = density(observed, effort)
    facts = {"runs": table_sha256(runs), "seed": seed, "chains": chains, "draws": draws}
    facts |= {"kept": Chains._fields, "parts": list(parts), "effort": vars(effort), "versions": _versions()}
    key = key_of(facts, [target.start, target.sd])
    named, diagnostics = _draw(observed, target, seed, chains, draws, say, effort, checkpoint, key)
    if effort != FULL:
        diagnostics |= {"converged": False, "messages": [QUICK, *diagnostics["messages"]]}
    diagnostics["effort"] = next(name for name, each in EFFORTS.items() if each == effort)
    say(f"done in {time.perf_counter() - began:.0f} s")
    diagnostics["seconds"] = round(time.perf_counter() - began, 1)
    kept = keep_posterior(runs, observed, named, diagnostics, seed, sources)
    for message in (*diagnostics["messages"], *conflict_warning(kept.diagnostics.get("conflicts", {}))):
        say(f"warning: {message}")
    return kept


def observations(runs: pd.DataFrame, parts: Sequence[str], population: Posterior | None) -> Observations:
    """The arrays of some runs, with the population that stands in for other studies, about its pivot."""
    if population is None:
        return padded(prepare(runs, parts=parts))
    if tie_of(parts):
        raise BadInput(
            "fit: a population and exponents tied by theory are both a prior of the same parameters; "
            "expected one of them; leave out --population, or --prior theory"
        )
    optimizers, studies = (sorted(runs[name].unique()) for name in ("optimizer", "study"))
    known = population_of(population, optimizers, studies)
    own = {name: at for name, at in prepare(runs, parts=parts).pivot.items() if name not in known.pivot}
    observed = prepare(runs, {**known.pivot, **own}, parts=parts)
    return replace(padded(observed), population=known)


def check_fit(seed: int, chains: int, draws: int) -> None:
    """Refuse numbers that no fit can be made with: R-hat compares chains, so one alone never converges.

    Raises:
        BadInput: a number out of its range.
    """
    check_count("fit: seed", seed, 0, SEED_MAX)
    check_count("fit: chains", chains, 2, CHAINS_MAX)
    check_count("fit: draws", draws, 1, DRAWS_MAX)


def _draw(
    observed: Observations,
    target: Density,
    seed: int,
    chains: int,
    draws: int,
    say: Callable[[str], None],
    effort: Effort,
    checkpoint: Path | None,
    key: str,
) -> tuple[Draws, dict[str, Any]]:
    """Draws until converged, by the names of their sites, and their diagnostics."""
    saved = read_checkpoint(checkpoint, key, say) if checkpoint else {}
    with ThreadPoolExecutor(1) as thread:  # it compiles for seconds, and so does the search for the mode
        few = len(observed.cell) <= FEW
        compiled = thread.submit(sampler, target.energy, len(target.start), effort, few)
        if saved:
            w = Whitening(saved.pop("mode"), saved.pop("scale"))
            say(f"{checkpoint}: going on after {len(saved['blocks']) * effort.block} draws per chain")
        else:
            w = whitening(observed, target, seed, effort.em_steps)
            say(f"{len(target.start)} parameters, mode found: warming up {chains} chains")
    named: Draws = {}
    diagnostics: dict[str, Any] = {}

    def enough(drawn: Drawn) -> bool:
        nonlocal named, diagnostics

        def checked(x: np.ndarray) -> tuple[Draws, dict[str, Any]]:
            sites = named_sites(target, x)
            parameters = _by_parameter(structure_of(observed), sites)
            return sites, check_chains(parameters, drawn.divergences, described(parameters))

        total = drawn.x.shape[1]
        named, diagnostics = settled(checked, drawn.x, draws)
        left_out = total - diagnostics["draws"]
        say(
            f"{total} draws per chain{f' (the first {left_out} left out)' if left_out else ''}: R-hat "
            f"{diagnostics['rhat_max']:.3f}, ESS bulk {diagnostics['ess_bulk_min']:.0f}, tail "
            f"{diagnostics['ess_tail_min']:.0f}, {drawn.divergences} divergences"
        )
        return bool(diagnostics["enough"])

    def drawn_with(keep: Keep) -> Drawn:
        nuts = compiled.result()
        return draw(nuts, target.slope, w, chains, draws, seed, enough, say, effort, saved, keep)

    if checkpoint is None:
        drawn = drawn_with(lambda pack: None)
    else:
        drawn = _kept(drawn_with, checkpoint, key, {"mode": w.mean, "scale": w.scale}, say)
    return named, diagnostics | {"leapfrog_steps_mean": drawn.leapfrog_steps}


def settled(
    check: Callable[[np.ndarray], tuple[Draws, dict[str, Any]]], x: np.ndarray, first: int
) -> tuple[Draws, dict[str, Any]]:
    """Check draws (chain, draw, dim); beyond ``first`` without their start where the rest is worth more."""
    whole = check(x)
    if whole[1]["enough"] or x.shape[1] <= first:
        return whole
    late = check(x[:, int(EARLY * x.shape[1]) :])
    return max(whole, late, key=lambda each: each[1]["ess_bulk_min"])


def _kept(
    drawn_with: Callable[[Keep], Drawn],
    checkpoint: Path,
    key: str,
    before: Arrays,
    say: Callable[[str], None],
) -> Drawn:
    """Draws, kept in the checkpoint; a signal takes effect once they are.

    Raises:
        KeyboardInterrupt: after a signal whose handler does not end the process.
    """
    with delayed_signals() as came:
        try:
            return drawn_with(keeper(checkpoint, key, before, came))
        except Stopped:
            say(f"stopped: the draws so far are kept in {checkpoint}; the same command goes on from them")
    raise KeyboardInterrupt


def named_sites(target: Density, flat: np.ndarray) -> Draws:
    """Sites of vectors of shape (chain, draw, dim), as ``unravel`` has them of one, without compiling it."""
    sites = jax.eval_shape(target.unravel, flat[0, 0])  # in their order in the vector
    parts = np.split(flat, np.cumsum([site.size for site in sites.values()])[:-1], axis=2)
    return {
        name: part.reshape(*flat.shape[:2], *site.shape)
        for (name, site), part in zip(sites.items(), parts, strict=True)
    }


def _by_parameter(known: Structure, named: Draws) -> Draws:
    """Sites that hold many parameters, split by the parameters' names; (chain, draw, ...)."""
    split = {block_site(block): list(names) for block, names in known.blocks.items()}
    split |= {"study_values": list(known.study), **{f"log_{kind}": list(known.group) for kind in SPREADS}}
    parameters = {site: values for site, values in named.items() if site not in split}
    for site, names in split.items():
        prefix = f"{site} " if site.removeprefix("log_") in SPREADS else ""
        parameters |= {f"{prefix}{name}": named[site][:, :, row] for row, name in enumerate(names)}
    return parameters


def keep_posterior(
    runs: pd.DataFrame,
    observed: Observations,
    named: Draws,
    diagnostics: dict[str, Any],
    seed: int,
    sources: tuple[str, ...],
    method: str = "nuts",
) -> Posterior:
    """At most ``KEEP`` draws as a posterior; ``named``: site -> (chain, draw, ...)."""
    known = structure_of(observed)
    flat = {k: v.reshape(-1, *v.shape[2:]) for k, v in named.items()}
    total = len(flat["study_values"])
    kept = np.linspace(0, total - 1, min(KEEP, total)).round().astype(int)
    flat = {k: v[kept] for k, v in flat.items()}
    shifts = _shifts(observed, flat)
    spread = {
        kind: {name: np.exp(flat[f"log_{kind}"][:, i]) for i, name in enumerate(known.group)}
        for kind in SPREADS
    }
    used = runs[runs["status"] != "stopped"]
    reported = dict(zip(observed.studies, observed.cliff_studies.tolist(), strict=True))
    study = {name: flat["study_values"][:, row] for row, name in enumerate(known.study)}
    back = {name: -values for name, values in observed.centres.items()}
    posterior = Posterior(
        group=_by_group(known, observed, flat),
        study=study | surface.level_elsewhere(study, back),
        common={name: flat[name] for name in known.common},
        between_optimizers=spread["between_optimizers"],
        between_studies=spread["between_studies"],
        cell={name: shifts[name] for name in CELL_SHIFTS},
        group_prior={name: (row.mean, row.sd) for name, row in known.group.items()},
        study_prior=known.study,
        common_prior=known.common,
        groups=observed.groups,
        studies=observed.studies,
        optimizers=observed.optimizers,
        cells=observed.cells,
        pivot=observed.pivot,
        conventions={
            s: _conventions(used[used["study"] == s]) | {"reports_divergences": reported[s]}
            for s in observed.studies
        },
        provenance=_provenance(runs, seed, sources) | {"method": method, "parts": list(observed.parts)},
        diagnostics=diagnostics,
        sizes=observed.sizes,
        size={name: shifts[f"size_{name}"] for name in SIZE_SHIFTS},
        factor={name: flat[factor_site(name)] for name in observed.factor_values},
        factor_spread={name: np.exp(flat[spread_site(name)]) for name in observed.factor_values},
        factor_values=observed.factor_values,
        only_batch={
            group: float(np.exp(batch))
            for group, batch in zip(observed.groups, observed.only_batch, strict=True)
            if np.isfinite(batch)
        },
    )
    posterior = replace(posterior, tried=reach(posterior, observed))
    return posterior if observed.population is None else _compared(posterior, observed.population)


def _compared(posterior: Posterior, population: Population) -> Posterior:
    """The posterior with the population named that stood in for other studies, and what disagrees with it."""
    return replace(
        posterior,
        diagnostics=posterior.diagnostics | {"conflicts": conflicts(posterior, population)},
        provenance=posterior.provenance | {"population": {"studies": list(population.studies)}},
    )


def _shifts(observed: Observations, flat: Draws) -> Draws:
    """Shifts of cells and sizes in each draw, by running the model's own code on the draws."""

    def one(sites: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return numpyro.handlers.substitute(lambda: cells(observed)[1], sites)()

    sites = {name: jnp.asarray(draws) for name, draws in flat.items()}
    shifts = jax.jit(lambda draws: jax.lax.map(one, draws), compiler_options=FULL.compiler_options)(sites)
    return {name: np.asarray(values) for name, values in shifts.items()}


def _by_group(known: Structure, observed: Observations, flat: Draws) -> Draws:
    values = {}
    for block, names in known.blocks.items():
        drawn = flat[block_site(block)]
        for row, name in enumerate(names):
            values[name] = np.full((len(drawn), len(observed.group_study)), np.nan)
            values[name][:, known.members[block]] = drawn[:, row]
    return {name: values[name] for name in known.group}


def _conventions(runs: pd.DataFrame) -> dict[str, Any]:
    found = {}
    for name in CONVENTIONS:
        if name in runs and (known := runs[name].dropna().unique()).size:
            found[name] = known[0] if len(known) == 1 else "mixed"
    return found


def _provenance(runs: pd.DataFrame, seed: int, sources: tuple[str, ...]) -> dict[str, Any]:
    return {
        "sources": list(sources),
        "rows": len(runs),
        "rows_by_study": {str(k): int(v) for k, v in runs["study"].value_counts().items()},
        "statuses": {str(k): int(v) for k, v in runs["status"].value_counts().items()},
        "table_sha256": table_sha256(runs),
        "seed": seed,
        "versions": _versions(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _versions() -> dict[str, str]:
    packages = ("bayeslaw", "numpyro", "jax", "numpy")
    return {name: _version(name) for name in packages} | {"python": platform.python_version()}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
