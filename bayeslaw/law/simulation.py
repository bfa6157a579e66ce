"""Simulated sweeps: run tables drawn from the loss surface with known truth.

    python -m bayeslaw.law.simulation -o sweep.csv        # as bayeslaw/assets/example_sweep.csv

The truth is the surface of ``bayeslaw.law.surface`` about ``PIVOT``, with shifts of cells and sizes,
Student-t noise and a cliff as in ``bayeslaw.inference.model``. The fitted model is therefore true here, which
holds for no real sweep. No run crashes, and hyperparameters other than learning rate and batch do not vary.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from bayeslaw.errors import BadInput
from bayeslaw.law import surface
from bayeslaw.law.likelihood import chance_diverged
from bayeslaw.law.parameters import CELL_SHIFTS
from bayeslaw.law.terms import coordinates, optimum_of, reference
from bayeslaw.runs.io import write_runs
from bayeslaw.runs.schema import CELL
from bayeslaw.space import sobol
from bayeslaw.target import Target

PIVOT = reference()
"""(N0, D0) at which the truth is stated: where the priors are."""

LOG = np.log
TRUTH: dict[str, float] = {
    # ln lr* = ln 1.5e-3 - 0.44 n + 0.02 d and ln B* = ln 4e5 + 0.52 d; the ridge between them
    **{"alpha": LOG(1.5e-3), "gamma_path": 0.42, "delta": -0.02, "bend": 0.0},
    **{"beta": LOG(4e5), "epsilon": 0.52, "epsilon_n": 0.0, "rho": 0.55, "rho_high": 0.05},
    # what a miss costs, and where runs diverge
    **{
        "lr_curvature": LOG(0.022),
        "knee": 0.5,
        "twist": 0.2,
        "batch_curvature": LOG(0.012),
        "batch_skew": 0.4,
    },
    **{"fade_n": 0.1, "fade_d": 0.1, "cliff": 1.6, "log_cliff_width": LOG(0.3)},
    # the level
    **{"level": LOG(2.62), "share": -0.4, "slope_n": 0.065, "slope_d": 0.062},
    **{"curve_nn": 0.012, "curve_nd": -0.002, "curve_dd": 0.012},
    **{"offset": 0.0, "offset_n": 0.0, "offset_d": 0.0},
    # noise of runs, and shifts of cells and sizes
    **{"log_noise": LOG(1.2e-3), "log_noise_slope": LOG(0.1), "log_dof_minus_4": LOG(2.0)},
    **{
        "log_tau_level": LOG(1e-3),
        "log_tau_size_level": LOG(2e-3),
        "log_tau_size_slope": LOG(1e-3),
        "log_tau_lr": LOG(0.1),
        "log_tau_size_lr": LOG(0.06),
        "log_tau_batch": LOG(0.1),
        "log_tau_size_batch": LOG(0.05),
    },
    # of runs off their cell's usual settings: the design has none
    **{"log_off_shift": LOG(1e-3), "log_off_noise": LOG(2e-3), "log_off_dof_minus_2": 0.0},
}
"""Default truth: like AdamW, near the prior means but not at them, so that a fit has something to find."""

SEQUENCE_LENGTH = 2048  # tokens


def simulate_runs(
    design: pd.DataFrame, truth: Mapping[str, float] | None = None, seed: int = 0
) -> pd.DataFrame:
    """Simulate the runs of a design.

    Every cell has its own shifts of level, learning rate and batch, and so has every N. ln loss is the
    surface's mean plus Student-t noise that grows with the excess. The further the learning rate lies above
    the best one, the more likely a run diverges.

    Args:
        design: study, optimizer, params_nonembedding, tokens, learning_rate, batch_tokens; one row per run.
        truth: replaces values of ``TRUTH``; names as in ``bayeslaw.law.parameters``, natural logs about
        ``PIVOT``. seed: of noise and divergences.

    Returns:
        A valid run table; a diverged run has no loss.

    Raises:
        BadInput: a name that the surface does not know.

    >>> runs = simulate_runs(example_design(runs=8), seed=1)
    >>> len(runs), bool(runs["loss"].dropna().between(2, 5).all())
    (8, True)
    """
    p = _truth(truth)
    rng = np.random.default_rng(seed)
    x = coordinates({name: design[name].to_numpy(float) for name in ("params_nonembedding", "tokens")}, PIVOT)
    shift = _shifts(design, x["d"], p, rng)
    rate, batch = (np.log(design[name].to_numpy(float)) for name in ("learning_rate", "batch_tokens"))
    best_rate = optimum_of("learning_rate", p, x) + shift["lr"]
    u, v = surface.off_ridge(p, rate, batch, best_rate, optimum_of("batch_tokens", p, x) + shift["batch"])
    excess = surface.lr_batch_excess(p, u, v) * surface.fading(p, x)
    usual = np.zeros(len(design))
    noise = surface.noise_scale(p, excess, usual) * rng.standard_t(surface.noise_dof(p, usual))
    loss = np.exp(surface.log_level(p, x) + shift["level"] + excess + noise)
    falls = rng.uniform(size=len(design)) < chance_diverged(p, u)
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
    """Design a small, affordable sweep: cells in turn, learning rate and batch from a Sobol sequence.

    Args:
        runs: number of runs.
        study, optimizer: labels.
        params: N of the cells [count].
        tokens_per_param: D/N of the cells.
        learning_rate: range of the peak learning rate, scanned uniformly in its logarithm.
        batch_tokens: range of the batch [tokens], likewise; rounded to whole sequences of 2,048.
        seed: of the scrambling.
    """
    points = sobol(runs, 2, seed)
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
    """Simulated truth at a target: learning_rate, batch_tokens and loss [nats/token] at the optimum.

    Shifts of the target's own cell and size are left out, since no sweep elsewhere is informative about them.
    At a batch that the target fixes, the learning rate is the best one there; the loss stays that of B*.
    """
    p = _truth(truth)
    x = coordinates(target.columns, PIVOT)
    best = optimum_of("batch_tokens", p, x)
    batch = best if target.batch_tokens is None else np.log(target.batch_tokens)
    log_lr = optimum_of("learning_rate", p, x) + surface.ridge(batch - best, p["rho"], p["rho_high"])
    logs = {"learning_rate": log_lr, "batch_tokens": batch, "loss": surface.log_level(p, x)}
    return {name: float(np.exp(value)) for name, value in logs.items()}


def true_regret(
    target: Target, settings: Mapping[str, float], truth: Mapping[str, float] | None = None
) -> float:
    """Excess loss of a noiseless run with these settings, as a fraction of the best reachable loss.

    Args:
        target: the run.
        settings: learning_rate and batch_tokens [tokens].
        truth: as in ``simulate_runs``.

    >>> target = Target(1e9, 2e10)
    >>> true_regret(target, true_optimum(target))
    0.0
    """
    p = _truth(truth)
    x = coordinates(target.columns, PIVOT)
    rate, batch = (np.log(settings[name]) for name in ("learning_rate", "batch_tokens"))
    u, v = surface.off_ridge(
        p, rate, batch, optimum_of("learning_rate", p, x), optimum_of("batch_tokens", p, x)
    )
    return float(np.expm1(surface.lr_batch_excess(p, u, v) * surface.fading(p, x)))


def _truth(truth: Mapping[str, float] | None) -> dict[str, np.ndarray]:
    """Every parameter, those of ``truth`` replaced, as arrays without axes."""
    unknown = sorted(set(truth or {}) - set(TRUTH))
    if unknown:
        raise BadInput(
            f"truth: {unknown[0]!r} is no parameter of the surface; expected one of {', '.join(TRUTH)}"
        )
    return {name: np.array(value, float) for name, value in (TRUTH | dict(truth or {})).items()}


def _shifts(
    design: pd.DataFrame, d: np.ndarray, p: Mapping[str, np.ndarray], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Shift of each run from its cell and its N; shape (run,)."""
    cell = design.groupby(list(CELL)).ngroup().to_numpy()
    size = design.groupby(["study", "params_nonembedding"]).ngroup().to_numpy()

    def drawn(name: str, group: np.ndarray) -> np.ndarray:
        return np.exp(p[f"log_tau_{name}"]) * rng.standard_normal(group.max() + 1)[group]

    shift = {name: drawn(name, cell) + drawn(f"size_{name}", size) for name in CELL_SHIFTS}
    return shift | {"level": shift["level"] + drawn("size_slope", size) * d}


def main() -> None:
    """Write the example sweep."""
    parser = argparse.ArgumentParser(
        prog="python -m bayeslaw.law.simulation", description="Write a simulated sweep."
    )
    parser.add_argument("-o", "--output", required=True, help="run table: .csv, .parquet or .jsonl")
    parser.add_argument("--runs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    write_runs(simulate_runs(example_design(asked.runs, seed=asked.seed), seed=asked.seed), asked.output)


if __name__ == "__main__":
    main()
