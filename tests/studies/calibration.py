"""Simulation-based calibration (Talts et al. 2018) of the recommendation. Slow, outside CI, resumable.

    python -m tests.studies.calibration run [--sweeps 256]   # appends to results/calibration.jsonl
    python -m tests.studies.calibration table                # prints its part of docs/benchmarks.md

Each sweep is drawn from the prior: parameters, shifts of cells and sizes, losses and divergences, all by the
model's own code. Its posterior is drawn by NUTS, and the recommendation is derived from both truth and
posterior by the code that users run (``bayeslaw.advice.target_surface``). If all of it is consistent, the
rank of the truth among posterior draws is uniform.

Sweeps go through NumPyro's NUTS in batches, one chain each, started at the truth (itself a draw of the
posterior), with NumPyro's own warm-up instead of ``bayeslaw.inference.nuts``, whose chains ``diagnose``
watches.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pandas as pd
from jax.flatten_util import ravel_pytree
from numpyro.diagnostics import effective_sample_size
from numpyro.infer import NUTS
from numpyro.infer.util import log_density
from scipy import stats

from bayeslaw.advice.decision import decide
from bayeslaw.advice.prediction import outcome_of
from bayeslaw.advice.target_surface import log_lr_at_batch, surface_at
from bayeslaw.inference import fitting, model
from bayeslaw.inference.laplace import density
from bayeslaw.law import likelihood
from bayeslaw.law.observations import Observations, prepare
from bayeslaw.law.simulation import example_design
from bayeslaw.law.terms import optimum_of
from bayeslaw.posterior.draws import Posterior
from bayeslaw.target import Target
from tests.studies.tables import read_rows

RESULTS = Path(__file__).parent / "results" / "calibration.jsonl"
TARGET = Target(1e9, 2e10, "adamw", "example")
FIXED = Target(1e9, 2e10, "adamw", "example", batch_tokens=5e5)
BATCH, WARMUP, DRAWS, RANKS = 16, 500, 1980, 50
RUNS = 36

Values = dict[str, jax.Array]


def design() -> pd.DataFrame:
    """36 runs of six cells, three model sizes; outcomes are still to be drawn."""
    table = example_design(RUNS, params=(2e7, 6e7, 1.8e8), tokens_per_param=(20.0, 100.0))
    return table.assign(
        run_id=[str(i) for i in range(RUNS)], loss=3.0, loss_kind="simulated", status="finished"
    )


def structure(runs: pd.DataFrame) -> Observations:
    """The sweep without outcomes; its study reports divergences, whether there are any or not."""
    return replace(prepare(runs), cliff_studies=np.array([True]))


def from_prior(sweep: Observations, key: jax.Array) -> tuple[Values, Values]:
    """Latent sites and outcomes of one sweep; arrays without a batch axis."""
    parameters, noise, falls = jax.random.split(key, 3)
    count = len(sweep.log_lr)
    chances: list[jax.Array] = []
    original = likelihood.outcome_log_probability

    def recorded(m: likelihood.Moments, outcomes: likelihood.Outcomes) -> jax.Array:
        chances.append(jnp.exp(original(m, outcomes)))
        return jnp.log(chances[-1])

    likelihood.outcome_log_probability = recorded
    try:
        every = replace(sweep, diverged=np.ones(count, bool), finished=np.zeros(count, bool))
        trace = numpyro.handlers.trace(numpyro.handlers.seed(model.surface_model, parameters)).get_trace(
            every
        )
    finally:
        likelihood.outcome_log_probability = original
    mean, log_scale, dof = trace["moments"]["value"]
    log_loss = mean + jnp.exp(log_scale) * jax.random.t(noise, dof)
    diverged = jax.random.uniform(falls, (count,)) < chances[0]
    sites = {
        name: site["value"]
        for name, site in trace.items()
        if site["type"] == "sample" and not site["is_observed"]
    }
    return sites, {
        "log_loss": jnp.where(diverged, 0.0, log_loss),
        "finished": ~diverged,
        "diverged": diverged,
    }


def sampler(sweep: Observations, unravel: Callable[[jax.Array], Values]) -> Callable[..., Any]:
    """Compiled: keys, flat truths, outcomes of BATCH sweeps -> draws (sweep, draw, dim), divergences.

    Chains walk in units of the prior's standard deviation, about its mean.
    """
    prior = density(sweep)
    mean, sd = jnp.asarray(prior.start), jnp.asarray(prior.sd)

    def chain(key: jax.Array, truth: jax.Array, data: Values) -> tuple[jax.Array, jax.Array]:
        def energy(z: jax.Array) -> jax.Array:
            sites = unravel(mean + sd * z)
            return -log_density(model.surface_model, (replace(sweep, **data),), {}, sites)[0]

        kernel = NUTS(potential_fn=energy, dense_mass=True, target_accept_prob=0.9, max_tree_depth=7)
        state = kernel.init(key, WARMUP, (truth - mean) / sd, (), {})

        def step(state: Any, _: None) -> tuple[Any, Any]:
            state = kernel.sample(state, (), {})
            return state, (state.z, state.diverging)

        state, _ = jax.lax.scan(step, state, length=WARMUP)
        _, (draws, diverging) = jax.lax.scan(step, state, length=DRAWS)
        return mean + sd * draws, diverging.sum()

    return jax.jit(jax.vmap(chain))


def quantities(posterior: Posterior, seed: int) -> dict[str, np.ndarray]:
    """What a recommendation is made of, (draw,) each; the cell is unseen, so it has shifts of its own."""
    at, fixed = surface_at(posterior, TARGET, seed), surface_at(posterior, FIXED, seed)
    p = at.p
    return {
        "ln eta*": at.log_lr,
        "ln B*": at.log_batch,
        "ln eta* at a fixed batch": log_lr_at_batch(fixed, np.log(FIXED.batch_tokens or 1.0)),
        "ln eta* without shifts": optimum_of("learning_rate", p, at.x),
        "ln loss at the optimum": at.log_loss,
        "alpha": p["alpha"],
        "gamma": p["gamma"],
        "delta": p["delta"],
        "beta": p["beta"],
        "epsilon": p["epsilon"],
    }


def ranks(runs: pd.DataFrame, sweep: Observations, sites: Values, draws: Values, seed: int) -> dict[str, Any]:
    """Rank of each true quantity among RANKS posterior draws, 0 to RANKS, and the least ESS."""
    fitted = _posterior(runs, sweep, draws)
    truth = _posterior(runs, sweep, {name: values[None] for name, values in sites.items()})
    true, drawn = quantities(truth, seed + 1), quantities(fitted, seed)
    settings = decide(surface_at(fitted, TARGET, seed))
    true_outcome = outcome_of(surface_at(truth, TARGET, seed + 1), settings, seed + 1)
    outcome = outcome_of(surface_at(fitted, TARGET, seed), settings, seed)
    true |= {"regret of the advice": true_outcome.regret, "loss of a run that follows it": true_outcome.loss}
    drawn |= {"regret of the advice": outcome.regret, "loss of a run that follows it": outcome.loss}
    return {
        "ess_min": round(min(float(effective_sample_size(values[None])) for values in drawn.values())),
        "ranks": {n: int(np.sum(thinned(values) < true[n][0])) for n, values in drawn.items()},
    }


def thinned(values: np.ndarray) -> np.ndarray:
    """RANKS of the draws that a posterior keeps (990 of 1980), evenly spaced."""
    assert len(values) >= RANKS
    return values[:: len(values) // RANKS][:RANKS]


def _posterior(runs: pd.DataFrame, sweep: Observations, draws: Values) -> Posterior:
    """Posterior of one chain of draws (draw, ...)."""
    named = {name: np.asarray(values)[None] for name, values in draws.items()}
    return fitting.keep_posterior(runs, sweep, named, {}, 0, ())


def run(sweeps: int) -> None:
    runs = design()
    sweep = structure(runs)
    fixed_centring = model.centring(sweep)  # must not depend on outcomes, which are traced
    model.centring = lambda _: fixed_centring
    RESULTS.parent.mkdir(exist_ok=True)
    done = len(read_rows(RESULTS))
    unravel = ravel_pytree(from_prior(sweep, jax.random.PRNGKey(0))[0])[1]
    draw = sampler(sweep, unravel)
    prior = jax.jit(jax.vmap(lambda key: from_prior(sweep, key)))
    for first in range(done, sweeps, BATCH):
        keys = jnp.stack([jax.random.PRNGKey(seed) for seed in range(first, first + BATCH)])
        sites, data = prior(keys)
        flat = jax.vmap(lambda site: ravel_pytree(site)[0])(sites)
        draws, divergences = draw(keys, flat, data)
        named = jax.vmap(jax.vmap(unravel))(draws)
        with RESULTS.open("a") as file:
            for i in range(BATCH):
                row = {
                    "sweep": first + i,
                    "diverged_runs": int(data["diverged"][i].sum()),
                    "divergences": int(divergences[i]),
                    **ranks(
                        runs,
                        sweep,
                        {name: np.asarray(values[i]) for name, values in sites.items()},
                        {name: np.asarray(values[i]) for name, values in named.items()},
                        2 * (first + i) + 1,
                    ),
                }
                file.write(json.dumps(row) + "\n")
        print(f"{first + BATCH} sweeps; divergences {np.asarray(divergences).tolist()}", flush=True)


def table(rows: list[dict[str, Any]]) -> str:
    """Coverage of the truth and a test of uniform ranks, quantity by quantity, and the least ESS."""
    ess = np.quantile([row["ess_min"] for row in rows], [0.1, 0.5])
    told = f"Least ESS of a sweep's quantities: median {ess[1]:.0f}, 10% quantile {ess[0]:.0f}."
    lines = [*rank_table(f"Simulation-based calibration, {len(rows)} sweeps", rows), "", told]
    return "\n".join([*lines, chance(len(rows))])


def rank_table(title: str, rows: list[dict[str, Any]]) -> list[str]:
    """Lines of a table: what 50 and 90% intervals cover, and whether ranks are uniform, by quantity."""
    lines = [
        f"**{title}**",
        "",
        "| quantity | 50% interval covers | 90% interval covers | Kolmogorov-Smirnov p |",
        "| --- | --- | --- | --- |",
    ]
    jitter = np.random.default_rng(0)
    for name in rows[0]["ranks"]:
        rank = np.array([row["ranks"][name] for row in rows])
        pit = (rank + jitter.uniform(size=len(rank))) / (RANKS + 1)
        inside = [float(np.mean(np.abs(pit - 0.5) <= level / 2)) for level in (0.5, 0.9)]
        p = stats.kstest(pit, "uniform").pvalue
        lines.append(f"| {name} | {inside[0]:.1%} | {inside[1]:.1%} | {p:.2f} |")
    return lines


def chance(sweeps: int) -> str:
    """By how much chance alone moves the coverages."""
    half = [1.96 * np.sqrt(q * (1 - q) / sweeps) for q in (0.5, 0.9)]
    return f"Chance alone moves the coverages by {half[0]:.1%} and {half[1]:.1%} (95%)."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--sweeps", type=int, default=256)
    given = parser.parse_args()
    if given.what == "run":
        run(given.sweeps)
    else:
        print(table(read_rows(RESULTS)))


if __name__ == "__main__":
    main()
