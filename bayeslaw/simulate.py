"""Simulated sweeps: run tables drawn from the loss surface with known truth.

    python -m bayeslaw.simulate -o sweep.csv        # the sweep shipped as bayeslaw/assets/example_sweep.csv

The truth is the surface of ``bayeslaw.surface`` about ``PIVOT``. What differs from the fitted model: no
effects of cells or sizes, and every run beyond the cliff by chance diverges (none crashes).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import qmc

from bayeslaw import priors, surface
from bayeslaw.errors import BadInput
from bayeslaw.runs import write_runs
from bayeslaw.target import Target

PIVOT = priors.REFERENCE_SCALE
"""(N0, D0) at which the truth is stated: where the priors are."""

TRUTH: dict[str, float] = {
    **{name: float(family.mean) for name, family in priors.LR_BATCH.items()},
    **{name: float(mean) for name, (mean, _, _) in priors.STUDY.items()},
    **{"bend": 0.0, "gamma_path": 0.4, "delta": -0.05, "epsilon": 0.5, "epsilon_n": 0.0},
}
"""The default truth: prior centres, but exponents a little off them, so that a fit has something to find."""

SEQUENCE_LENGTH = 2048


def simulate_runs(
    design: pd.DataFrame, truth: Mapping[str, float] | None = None, seed: int = 0
) -> pd.DataFrame:
    """Runs of a design, as the surface would have them.

    ln loss is the surface's mean plus Student-t noise that grows with the excess; a run beyond the cliff
    diverges with the probability of ``bayeslaw.model``.

    Args:
        design: study, optimizer, params_nonembedding, tokens, learning_rate, batch_tokens; one row a run.
        truth: replaces values of ``TRUTH``; names as in ``bayeslaw.priors``, natural logs about ``PIVOT``.
        seed: of noise and divergences.

    Returns:
        A valid run table; a diverged run has no loss.

    Raises:
        BadInput: for a name the surface does not know.

    >>> runs = simulate_runs(example_design(runs=8), seed=1)
    >>> len(runs), bool(runs["loss"].dropna().between(2, 5).all())
    (8, True)
    """
    p = _truth(truth)
    rng = np.random.default_rng(seed)
    n, d = _coordinates(design["params_nonembedding"], design["tokens"])
    v = np.log(design["batch_tokens"].to_numpy(float)) - surface.log_batch_optimum(p, n, d)
    lr_best = surface.log_lr_optimum(p, n, d) + surface.ridge(v, p["rho"], p["rho_high"])
    u = np.log(design["learning_rate"].to_numpy(float)) - lr_best
    excess = surface.lr_batch_excess(p, u, v) * surface.fading(p, n, d)
    usual = np.zeros(len(design))
    noise = surface.noise_scale(p, excess, usual) * rng.standard_t(surface.noise_dof(p, usual))
    loss = np.exp(surface.log_level(p, n, d) + excess + noise)
    falls = rng.uniform(size=len(design)) < 1.0 / (
        1.0 + np.exp(-(u - p["cliff"]) / np.exp(p["log_cliff_width"]))
    )
    return design.reset_index(drop=True).assign(
        run_id=[f"sim-{i:03d}" for i in range(len(design))],
        loss=np.where(falls, np.nan, loss),
        loss_kind="simulated",
        status=np.where(falls, "diverged", "finished"),
    )


def example_design(
    runs: int = 60,
    study: str = "example",
    optimizer: str = "adamw",
    params: Sequence[float] = (20e6, 50e6, 120e6, 300e6),
    tokens_per_param: Sequence[float] = (20.0, 50.0, 100.0),
    learning_rate: tuple[float, float] = (3e-4, 1.6e-2),
    batch_tokens: tuple[float, float] = (6.5e4, 1.05e6),
    seed: int = 0,
) -> pd.DataFrame:
    """A small sweep that a lab could afford: cells in turn, learning rate and batch by a Sobol sequence.

    Args:
        runs: how many.
        study, optimizer: labels.
        params: N of the cells [count].
        tokens_per_param: D/N of the cells.
        learning_rate: range of the peak learning rate, scanned evenly in its logarithm.
        batch_tokens: the same of the batch [tokens]; rounded to whole sequences of 2,048.
        seed: of the scrambling.
    """
    points = qmc.Sobol(2, seed=seed).random_base2(int(np.ceil(np.log2(max(runs, 2)))))[:runs]
    low, high = np.log([learning_rate, batch_tokens]).T
    rates, batches = np.exp(low + points * (high - low)).T
    cells = [(n, n * ratio) for n in params for ratio in tokens_per_param]
    n, d = np.array([cells[i % len(cells)] for i in range(runs)]).T
    return pd.DataFrame(
        {
            "study": study,
            "optimizer": optimizer,
            "params_nonembedding": n,
            "tokens": d,
            "batch_tokens": np.maximum(np.round(batches / SEQUENCE_LENGTH), 1) * SEQUENCE_LENGTH,
            "sequence_length": float(SEQUENCE_LENGTH),
            "learning_rate": [float(f"{rate:.3g}") for rate in rates],
        }
    )


def true_optimum(target: Target, truth: Mapping[str, float] | None = None) -> dict[str, float]:
    """The simulated truth at a target: learning_rate, batch_tokens and loss [nats/token] at the optimum.

    At a batch that the target fixes, the learning rate is the best one there; the loss stays that of B*.
    """
    p = _truth(truth)
    n, d = _coordinates(np.array(target.params_nonembedding), np.array(target.tokens))
    best = surface.log_batch_optimum(p, n, d)
    batch = best if target.batch_tokens is None else np.log(target.batch_tokens)
    log_lr = surface.log_lr_optimum(p, n, d) + surface.ridge(batch - best, p["rho"], p["rho_high"])
    logs = {"learning_rate": log_lr, "batch_tokens": batch, "loss": surface.log_level(p, n, d)}
    return {name: float(np.exp(value)) for name, value in logs.items()}


def _truth(truth: Mapping[str, float] | None) -> dict[str, np.ndarray]:
    """Every parameter, those of ``truth`` replaced, as arrays without axes; gamma beside them."""
    unknown = sorted(set(truth or {}) - set(TRUTH))
    if unknown:
        raise BadInput(
            f"truth: {unknown[0]!r} is no parameter of the surface; expected one of {', '.join(TRUTH)}"
        )
    p = {name: np.array(value, float) for name, value in (TRUTH | dict(truth or {})).items()}
    return p | {"gamma": p["gamma_path"] - p["delta"]}


def _coordinates(params: object, tokens: object) -> tuple[np.ndarray, np.ndarray]:
    n, d = np.asarray(params, float), np.asarray(tokens, float)
    return np.log(n / PIVOT[0]), np.log(d / PIVOT[1])


def main() -> None:
    """Write the example sweep."""
    parser = argparse.ArgumentParser(
        prog="python -m bayeslaw.simulate", description="Write a simulated sweep."
    )
    parser.add_argument("-o", "--output", required=True, help="run table: .csv, .parquet or .jsonl")
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    write_runs(simulate_runs(example_design(asked.runs, seed=asked.seed), seed=asked.seed), asked.output)


if __name__ == "__main__":
    main()
