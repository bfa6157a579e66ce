# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Is it calibrated? Held-out scales, and simulation
#
# An interval is worth something if it holds the truth as often as it promises. Two ways to check: hide the
# large models and predict them, and simulate sweeps whose truth is known.

# %%
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import bayeslaw
from bayeslaw.evaluation.advisors import PosteriorAdvisor
from bayeslaw.evaluation.heldout import evaluate
from bayeslaw.inference.fitting import fit
from bayeslaw.law.simulation import example_design, simulate_runs
from bayeslaw.plots import plot_predictive, plot_regret, plot_reliability

# %% [markdown]
# ## 1. Hide the large models
#
# 160 simulated runs of four sizes. The two smaller are fitted, the two larger are predicted. What is held
# out are whole model sizes, never single runs: the neighbours of a hidden run would give it away.

# %%
design = example_design(160, params=(2e7, 6e7, 1.8e8, 5.4e8), tokens_per_param=(20.0, 60.0))
runs = simulate_runs(design, seed=4)
small, large = (runs[(runs["params_nonembedding"] < 1e8) == small] for small in (True, False))
print(f"{len(small)} runs to fit, {len(large)} to predict")
posterior = fit(small)

# %%
advisor = PosteriorAdvisor(posterior, label="fitted on N < 1e8")
scores = evaluate(advisor, large)
print(f"{scores.n} runs, {scores.level:.0%} intervals:", scores.losses)

# %% [markdown]
# The line should follow the diagonal. It strays further than the grey band, because runs of one size share
# that size's error: a hundred hidden runs of two sizes are two independent numbers rather than a hundred.

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
plot_reliability(scores, ax=axes[0])
plot_regret(scores, ax=axes[1])
plt.show()

# %% [markdown]
# ## 2. Which cells are off, and which way?
#
# Measured against predicted, cell by cell, for all runs. Cells that were fitted should scatter about zero.
# Those that were hidden may lie off together, but inside their intervals.

# %%
plot_predictive(posterior, runs)
plt.show()

# %% [markdown]
# ## 3. Simulation
#
# One sweep says little. `python -m tests.studies.calibration` draws 208 sweeps from the prior, fits each,
# and asks where the truth ranks among the draws. Its results are committed with the code.

# %%
results = Path(bayeslaw.__file__).parents[1] / "tests" / "studies" / "results" / "calibration.jsonl"
sweeps = [json.loads(line) for line in results.read_text().splitlines()]
ranks = (pd.DataFrame([sweep["ranks"] for sweep in sweeps]) + 0.5) / 51  # among 50 draws
print(f"{len(sweeps)} sweeps")
covered = {level: ((ranks - 0.5).abs() <= level / 2).mean() for level in (0.5, 0.9)}
pd.DataFrame(covered).rename(columns="{:.0%} interval covers".format).round(3)

# %% [markdown]
# Ranks should be level. Chance alone makes bars of ten differ by about a fifth.

# %%
figure, axes = plt.subplots(1, 3, figsize=(10, 2.8), layout="constrained", sharey=True)
for ax, name in zip(axes, ranks.columns[:3], strict=True):
    ax.hist(ranks[name], bins=np.linspace(0, 1, 11), color="#0072B2", edgecolor="white")
    ax.set_title(name)
    ax.set_xlabel("rank of the truth among the draws")
axes[0].set_ylabel("sweeps")
plt.show()

# %% [markdown]
# This says that the inference is right *if* the model is. Whether the model is right only held-out scales
# of real sweeps can say: docs/benchmarks.md has the tables, misses included.
