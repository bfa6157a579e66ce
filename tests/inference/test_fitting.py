"""A fit leaves the process as it found it; checked in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bayeslaw.inference.fitting import settled
from bayeslaw.posterior.convergence import check_chains

SCRIPT = """
import logging, os
from bayeslaw.inference.fitting import fit
from bayeslaw.law.simulation import example_design, simulate_runs
import jax

def settings():
    return (
        str(jax.numpy.ones(1).dtype),
        "XLA_FLAGS" in os.environ,
        logging.getLogger("jax._src.xla_bridge").level,
    )

level = logging.NOTSET
assert settings() == ("float32", False, level), settings()
runs = simulate_runs(example_design(12, params=(1e8,), tokens_per_param=(20.0,), seed=1), seed=1)
posterior = fit(runs, chains=2, draws=60, effort="quick")
assert settings() == ("float32", False, level), settings()
print(posterior.common["bend"].dtype, posterior.diagnostics["effort"], posterior.diagnostics["converged"])
"""


@pytest.mark.slow
def test_a_fit_leaves_the_settings_of_jax_as_they_are(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    root = Path(__file__).resolve().parents[2]
    ran = subprocess.run([sys.executable, "-c", SCRIPT], cwd=root, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["float64", "quick", "False"]


@pytest.mark.parametrize(("far", "first", "kept"), [(5.0, 200, 800), (5.0, 1000, 1000), (0.0, 200, 1000)])
def test_the_start_of_a_long_run_is_left_out_where_a_chain_came_from_far(far, first, kept):
    x = np.random.default_rng(0).standard_normal((4, 1000, 1))
    x[0, :150] += far
    found, told = settled(lambda x: ({"x": x}, check_chains({"x": x}, 0)), x, first)
    assert found["x"].shape == (4, kept, 1)
    assert told["draws"] == kept
