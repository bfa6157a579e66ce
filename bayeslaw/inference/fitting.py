"""Fit the hierarchical surface to a run table: whiten, draw with NUTS until converged, keep a posterior."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pandas as pd

from bayeslaw.errors import BadInput
from bayeslaw.inference.effort import EFFORTS, FULL, QUICK, Effort, double_precision, effort_named
from bayeslaw.inference.laplace import Density, density, whitening
from bayeslaw.inference.model import CELL_TAUS, SIZE_TAUS, SPREADS, blocks, cells, families, study_priors
from bayeslaw.inference.nuts import Drawn, draw
from bayeslaw.law.observations import Sweep, prepare
from bayeslaw.posterior.convergence import check_chains
from bayeslaw.posterior.draws import Posterior
from bayeslaw.runs.io import table_sha256
from bayeslaw.runs.schema import CELL

KEEP = 1000
"""Draws kept in the artifact, evenly spaced."""

CONVENTIONS = ("loss_kind", "schedule", "sequence_length", "parametrization")

Draws = dict[str, np.ndarray]


def fit(
    runs: pd.DataFrame,
    seed: int = 0,
    chains: int = 4,
    draws: int = 200,
    sources: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda message: None,
    effort: str | None = None,
) -> Posterior:
    """Posterior of the loss surface given runs.

    Draws come in blocks of ``draws`` per chain, until every parameter has R-hat <= 1.01 and bulk and tail
    ESS >= 400, or a chain has ``Effort.max_draws``; the diagnostics say which. JAX works in 64 bits during
    the fit; the settings of the process stay as they are.

    Args:
        runs: a valid run table (``bayeslaw.runs.schema``), any number of studies and optimizers.
        seed: of the chains; the same seed on the same machine gives the same draws.
        chains: of NUTS (Hoffman & Gelman 2014).
        draws: a chain and block, after the warm-up.
        sources: where the runs came from, for the provenance.
        say: receives progress messages.
        effort: ``full``, or ``quick`` for a trial of everything around the fit: seconds of sampling, whose
            intervals nobody should believe; the diagnostics say so, and that it has not converged. Without
            it, what ``BAYESLAW_EFFORT`` says in the environment, else ``full``.

    Raises:
        BadInput: nothing finished, a count that is not positive, or an unknown effort.
    """
    work = effort_named(effort)
    for name, count in {"chains": chains, "draws": draws}.items():
        if count < 1:
            raise BadInput(f"fit: {name} = {count}; expected at least 1; leave it out for the default")
    with double_precision():
        return _fit(runs, seed, chains, draws, sources, say, work)


def _fit(
    runs: pd.DataFrame,
    seed: int,
    chains: int,
    draws: int,
    sources: tuple[str, ...],
    say: Callable[[str], None],
    effort: Effort,
) -> Posterior:
    began = time.perf_counter()
    sweep = prepare(runs)
    say(
        f"{len(sweep.cell)} runs, {len(sweep.cell_group)} cells, {len(sweep.group_study)} groups of one "
        "study and optimizer; finding the mode"
    )
    target = density(sweep, effort)
    named, diagnostics = _draw(sweep, target, seed, chains, draws, say, effort)
    if effort != FULL:
        diagnostics |= {"converged": False, "messages": [QUICK, *diagnostics["messages"]]}
    diagnostics["effort"] = next(name for name, each in EFFORTS.items() if each == effort)
    say(f"done in {time.perf_counter() - began:.0f} s")
    for message in diagnostics["messages"]:
        say(f"warning: {message}")
    diagnostics["seconds"] = round(time.perf_counter() - began, 1)
    return _posterior(runs, sweep, named, diagnostics, seed, sources)


def _draw(
    sweep: Sweep,
    target: Density,
    seed: int,
    chains: int,
    draws: int,
    say: Callable[[str], None],
    effort: Effort,
) -> tuple[Draws, dict[str, Any]]:
    """Draws until converged, by the names of their sites, and their diagnostics."""
    w = whitening(sweep, target, seed, effort.em_steps)
    say(f"{len(target.start)} parameters, mode found: warming up {chains} chains")
    named: Draws = {}
    diagnostics: dict[str, Any] = {}

    def enough(drawn: Drawn) -> bool:
        nonlocal named, diagnostics
        named = _named(target, drawn.x)
        diagnostics = check_chains(_by_parameter(sweep, named), drawn.divergences)
        say(
            f"{drawn.x.shape[1]} draws a chain: R-hat {diagnostics['rhat_max']:.3f}, ESS bulk "
            f"{diagnostics['ess_bulk_min']:.0f}, tail {diagnostics['ess_tail_min']:.0f}, "
            f"{drawn.divergences} divergences"
        )
        return bool(diagnostics["enough"])

    drawn = draw(target.energy, w, chains, draws, seed, enough, say, effort)
    return named, diagnostics | {"leapfrog_steps_mean": drawn.leapfrog_steps}


def _named(target: Density, flat: np.ndarray) -> Draws:
    """Sites of vectors of shape (chain, draw, dim), as ``unravel`` has them of one, without compiling it."""
    sites = jax.eval_shape(target.unravel, flat[0, 0])  # in their order in the vector
    parts = np.split(flat, np.cumsum([site.size for site in sites.values()])[:-1], axis=2)
    return {
        name: part.reshape(*flat.shape[:2], *site.shape)
        for (name, site), part in zip(sites.items(), parts, strict=True)
    }


def _by_parameter(sweep: Sweep, named: Draws) -> Draws:
    """Sites that hold many parameters, split by the parameters' names; (chain, draw, ...)."""
    split = {site: list(members) for site, (members, _) in blocks(sweep).items()}
    split |= {"study_values": list(study_priors(sweep)), **{site: list(families(sweep)) for site in SPREADS}}
    parameters = {site: values for site, values in named.items() if site not in split}
    for site, names in split.items():
        prefix = f"{site} " if site in SPREADS else ""
        parameters |= {f"{prefix}{name}": named[site][:, :, row] for row, name in enumerate(names)}
    return parameters


def _posterior(
    runs: pd.DataFrame,
    sweep: Sweep,
    named: Draws,
    diagnostics: dict[str, Any],
    seed: int,
    sources: tuple[str, ...],
) -> Posterior:
    flat = {k: v.reshape(-1, *v.shape[2:]) for k, v in named.items()}
    total = len(flat["bend"])
    kept = np.linspace(0, total - 1, min(KEEP, total)).round().astype(int)
    flat = {k: v[kept] for k, v in flat.items()}
    study = {name: flat["study_values"][:, row] for row, name in enumerate(study_priors(sweep))}
    effects = _effects(sweep, flat)
    chosen = families(sweep)
    spread = {kind: {f: np.exp(flat[kind][:, i]) for i, f in enumerate(chosen)} for kind in SPREADS}
    used = runs[runs["status"] != "stopped"]
    table = used.drop_duplicates(list(CELL)).sort_values(list(CELL))
    groups = tuple(
        (sweep.studies[s], sweep.optimizers[o])
        for s, o in zip(sweep.group_study, sweep.group_optimizer, strict=True)
    )
    sizes = table.drop_duplicates(["study", "params_nonembedding"])
    return Posterior(
        group=_by_group(sweep, flat),
        study=study,
        bend=flat["bend"],
        between_optimizers=spread[SPREADS[0]],
        between_studies=spread[SPREADS[1]],
        cell={name: effects[name] for name in CELL_TAUS},
        family_prior={name: (f.mean, f.sd) for name, f in chosen.items()},
        study_prior=study_priors(sweep),
        groups=groups,
        studies=sweep.studies,
        optimizers=sweep.optimizers,
        cells=tuple(
            (r.study, r.optimizer, float(r.params_nonembedding), float(r.tokens)) for r in table.itertuples()
        ),
        pivot=sweep.pivot,
        conventions={s: _conventions(used[used["study"] == s]) for s in sweep.studies},
        provenance=_provenance(runs, seed, sources),
        diagnostics=diagnostics,
        sizes=tuple((r.study, float(r.params_nonembedding)) for r in sizes.itertuples()),
        size={name: effects[f"size_{name}"] for name in SIZE_TAUS},
    )


def _effects(sweep: Sweep, flat: Draws) -> Draws:
    """Cell and size effects of each draw, by running the model's own code on the draws."""

    def one(sites: dict[str, jax.Array]) -> dict[str, jax.Array]:
        return numpyro.handlers.substitute(lambda: cells(sweep)[1], sites)()

    sites = {name: jnp.asarray(draws) for name, draws in flat.items()}
    effects = jax.jit(lambda draws: jax.lax.map(one, draws), compiler_options=FULL.compiler_options)(sites)
    return {name: np.asarray(effect) for name, effect in effects.items()}


def _by_group(sweep: Sweep, flat: Draws) -> Draws:
    values = {}
    for block, (members, index) in blocks(sweep).items():
        for row, name in enumerate(members):
            values[name] = np.full((len(flat["bend"]), len(sweep.group_study)), np.nan)
            values[name][:, index] = flat[block][:, row]
    return values


def _conventions(runs: pd.DataFrame) -> dict[str, Any]:
    found = {}
    for name in CONVENTIONS:
        if name in runs and (known := runs[name].dropna().unique()).size:
            found[name] = known[0] if len(known) == 1 else "mixed"
    return found


def _provenance(runs: pd.DataFrame, seed: int, sources: tuple[str, ...]) -> dict[str, Any]:
    packages = ("bayeslaw", "numpyro", "jax", "numpy")
    return {
        "sources": list(sources),
        "rows": len(runs),
        "rows_by_study": {str(k): int(v) for k, v in runs["study"].value_counts().items()},
        "statuses": {str(k): int(v) for k, v in runs["status"].value_counts().items()},
        "table_sha256": table_sha256(runs),
        "method": "nuts",
        "seed": seed,
        "versions": {name: _version(name) for name in packages} | {"python": platform.python_version()},
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
