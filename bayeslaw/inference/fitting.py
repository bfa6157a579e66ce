"""Fit the hierarchical surface to a run table: whiten, draw with NUTS until converged, keep a posterior."""

from __future__ import annotations

import datetime
import importlib.metadata
import logging
import os
import platform
import time
from collections.abc import Callable
from typing import Any

# the older emitters compile in 0.6 of the time, and what they make runs as fast
FLAGS = "--xla_cpu_multi_thread_eigen=false --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}".strip()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import numpyro  # noqa: E402
import pandas as pd  # noqa: E402

from bayeslaw.errors import SEED_MAX, check_count  # noqa: E402
from bayeslaw.inference.laplace import Density, density, whitening  # noqa: E402
from bayeslaw.inference.model import CELL_TAUS, SIZE_TAUS, SPREADS, blocks, cells, families, study_priors  # noqa: E402
from bayeslaw.inference.nuts import Drawn, draw  # noqa: E402
from bayeslaw.law.observations import Sweep, prepare  # noqa: E402
from bayeslaw.posterior.convergence import diagnose  # noqa: E402
from bayeslaw.posterior.draws import Posterior  # noqa: E402
from bayeslaw.runs.io import table_sha256  # noqa: E402
from bayeslaw.runs.schema import CELL  # noqa: E402

jax.config.update("jax_enable_x64", True)

KEEP = 1000
"""Draws kept in the artifact, evenly spaced."""

CHAINS_MAX, DRAWS_MAX = 64, 20_000

CONVENTIONS = ("loss_kind", "schedule", "sequence_length", "parametrization")

Draws = dict[str, np.ndarray]


def fit(
    runs: pd.DataFrame,
    seed: int = 0,
    chains: int = 4,
    draws: int = 200,
    sources: tuple[str, ...] = (),
    say: Callable[[str], None] = lambda message: None,
) -> Posterior:
    """Posterior of the loss surface given runs.

    Draws come in blocks of ``draws`` a chain, until every parameter has R-hat <= 1.01 and bulk and tail
    ESS >= 400, or there are ``draw.MAX_DRAWS`` a chain; the diagnostics say which.

    Args:
        runs: a valid run table (``bayeslaw.runs.schema``), any number of studies and optimizers.
        seed: of the chains; the same seed on the same machine gives the same draws.
        chains: of NUTS (Hoffman & Gelman 2014).
        draws: a chain and block, after the warm-up.
        sources: where the runs came from, for the provenance.
        say: receives progress messages.

    Raises:
        BadInput: nothing finished, or as ``check_fit``.
    """
    check_fit(seed, chains, draws)
    began = time.perf_counter()
    sweep = prepare(runs)
    say(
        f"{len(sweep.cell)} runs, {len(sweep.cell_group)} cells, {len(sweep.group_study)} groups of one "
        "study and optimizer; finding the mode"
    )
    target = density(sweep)
    named, diagnostics = _draw(sweep, target, seed, chains, draws, say)
    say(f"done in {time.perf_counter() - began:.0f} s")
    for message in diagnostics["messages"]:
        say(f"warning: {message}")
    diagnostics["seconds"] = round(time.perf_counter() - began, 1)
    return _posterior(runs, sweep, named, diagnostics, seed, sources)


def check_fit(seed: int, chains: int, draws: int) -> None:
    """Refuse numbers that no fit can be made with: R-hat compares chains, so one alone never converges.

    Raises:
        BadInput: a number out of its range.
    """
    check_count("fit: seed", seed, 0, SEED_MAX)
    check_count("fit: chains", chains, 2, CHAINS_MAX)
    check_count("fit: draws", draws, 1, DRAWS_MAX)


def _draw(
    sweep: Sweep, target: Density, seed: int, chains: int, draws: int, say: Callable[[str], None]
) -> tuple[Draws, dict[str, Any]]:
    """Draws until converged, by the names of their sites, and their diagnostics."""
    w = whitening(sweep, target, seed)
    say(f"{len(target.start)} parameters, mode found: warming up {chains} chains")
    named: Draws = {}
    diagnostics: dict[str, Any] = {}

    def enough(drawn: Drawn) -> bool:
        nonlocal named, diagnostics
        named = _named(target, drawn.x)
        diagnostics = diagnose(_by_parameter(sweep, named), drawn.divergences)
        say(
            f"{drawn.x.shape[1]} draws a chain: R-hat {diagnostics['rhat_max']:.3f}, ESS bulk "
            f"{diagnostics['ess_bulk_min']:.0f}, tail {diagnostics['ess_tail_min']:.0f}, "
            f"{drawn.divergences} divergences"
        )
        return bool(diagnostics["enough"])

    drawn = draw(target.energy, w, chains, draws, seed, enough, say)
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
    effects = jax.jit(lambda draws: jax.lax.map(one, draws))(sites)
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


logging.getLogger("jax._src.xla_bridge").setLevel(logging.ERROR)
