from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from bayeslaw.assets import EXAMPLE_SWEEP
from bayeslaw.errors import BadInput
from bayeslaw.law.parameters import of_level
from bayeslaw.law.simulation import TRUTH, example_design, simulate_runs, true_optimum, true_regret
from bayeslaw.law.terms import blocks
from bayeslaw.runs.schema import validate
from bayeslaw.target import Target

QUIET = {"log_noise": -30.0, "log_noise_slope": -30.0} | {
    f"log_tau_{name}": -30.0
    for name in ("level", "lr", "batch", "size_level", "size_slope", "size_lr", "size_batch")
}


def test_the_truth_names_every_parameter_of_the_surface():
    assert set(TRUTH) == {*of_level("common"), *blocks()["surface"], *of_level("study")}


def test_the_shipped_sweep_is_what_the_command_writes(tmp_path):
    command = [sys.executable, "-m", "bayeslaw.law.simulation", "-o", str(tmp_path / "sweep.csv")]
    subprocess.run(command, check=True, cwd=EXAMPLE_SWEEP.parents[2])
    again, shipped = pd.read_csv(tmp_path / "sweep.csv"), pd.read_csv(EXAMPLE_SWEEP)
    pd.testing.assert_frame_equal(again, shipped, rtol=1e-12)


def test_runs_are_a_valid_table_with_a_cliff():
    runs = simulate_runs(example_design(256), seed=3)
    validate(runs, "simulated")
    diverged = runs[runs["status"] == "diverged"]
    assert 0.02 < len(diverged) / len(runs) < 0.4
    assert diverged["loss"].isna().all()
    finished = runs[runs["status"] == "finished"]
    assert diverged["learning_rate"].median() > finished["learning_rate"].median()


def test_the_same_seed_gives_the_same_runs():
    design = example_design(16)
    pd.testing.assert_frame_equal(simulate_runs(design, seed=4), simulate_runs(design, seed=4))
    assert not simulate_runs(design, seed=4)["loss"].equals(simulate_runs(design, seed=5)["loss"])


def test_without_noise_the_best_settings_have_the_smallest_loss():
    target = Target(1e8, 5e9)
    best = true_optimum(target, QUIET)
    factors = np.exp(np.linspace(-1, 1, 21))
    design = pd.DataFrame(
        {
            "study": "s",
            "optimizer": "adamw",
            "params_nonembedding": 1e8,
            "tokens": 5e9,
            "learning_rate": best["learning_rate"] * factors,
            "batch_tokens": best["batch_tokens"],
        }
    )
    loss = simulate_runs(design, QUIET | {"cliff": 50.0})["loss"].to_numpy()
    assert loss.argmin() == 10
    assert loss[10] == pytest.approx(best["loss"], rel=1e-9)
    regrets = [true_regret(target, row, QUIET) for row in design.to_dict("records")]
    assert loss / loss[10] - 1 == pytest.approx(regrets, abs=1e-9)


def test_a_fixed_batch_moves_the_learning_rate_along_the_ridge():
    free = true_optimum(Target(1e8, 5e9))
    fixed = true_optimum(Target(1e8, 5e9, batch_tokens=free["batch_tokens"] / 4))
    assert fixed["batch_tokens"] == pytest.approx(free["batch_tokens"] / 4)
    assert free["learning_rate"] / 4 < fixed["learning_rate"] < free["learning_rate"]


def test_an_unknown_name_is_refused():
    with pytest.raises(
        BadInput, match="truth: 'alfa' is no parameter of the surface; expected one of alpha, "
    ):
        simulate_runs(example_design(4), {"alfa": 0.0})


def test_the_example_design_covers_its_cells_and_ranges():
    design = example_design(60)
    cells = design.groupby(["params_nonembedding", "tokens"]).size()
    assert len(cells) == 12
    assert set(cells) == {5}
    assert design["learning_rate"].between(3e-4, 1.6e-2).all()
    assert (design["batch_tokens"] % 2048 == 0).all()
