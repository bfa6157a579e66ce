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
# # Reading the posterior: exponents, pooling, and what the data cannot tell
#
# The posterior that ships with bayeslaw was fitted to public sweeps of nine optimizers (the card in
# `bayeslaw/assets` names them). Nothing is fitted here: we only read.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from bayeslaw.assets import POSTERIOR
from bayeslaw.plots import plot_forest, plot_prior_posterior, plot_ranks, plot_spread
from bayeslaw.posterior import pooling
from bayeslaw.posterior.arviz import to_inference_data
from bayeslaw.posterior.netcdf import read_posterior

posterior = read_posterior(POSTERIOR)
origin = posterior.provenance
print(origin["rows_by_study"])
print(
    {name: posterior.diagnostics[name] for name in ("converged", "rhat_max", "ess_bulk_min", "divergences")}
)

# %% [markdown]
# ## 1. Did the chains agree?
#
# First things first. If the ranks of one chain's draws among all draws are not about level, nothing below
# counts.

# %%
plot_ranks(posterior, ["bend", "level", "log_noise"])
plt.show()

# %% [markdown]
# ## 2. One exponent, many optimizers
#
# gamma: how fast the best learning rate falls with model size. Each line is one optimizer in one study. The
# hollow mark is what its own runs would say alone; the filled one is what is believed after pooling.
# Optimizers with few runs move most: they borrow from the others.

# %%
plot_forest(posterior, "gamma")
plt.show()

# %% [markdown]
# The same for epsilon, the growth of the best batch with the tokens.

# %%
plot_forest(posterior, "epsilon")
plt.show()

# %% [markdown]
# ## 3. How different are optimizers?
#
# The spread between optimizers of each exponent is itself estimated. Where the posterior lies left of its
# prior, the sweeps say that optimizers are more alike than was thought before.

# %%
plot_spread(posterior, ["alpha", "gamma_path", "delta", "beta", "epsilon"])
plt.show()

# %% [markdown]
# ## 4. An optimizer that nobody ran
#
# It is drawn from the population. Its interval is wide, and that is the honest answer.

# %%
rows = {}
for name, study in (("adamw", None), ("muon", None), ("one never run", None)):
    draws = pooling.group_draws(posterior, study, name)
    rows[name] = {
        exponent: "{:.2f} ({:.2f} to {:.2f})".format(*np.quantile(draws[exponent], [0.5, 0.05, 0.95]))
        for exponent in ("gamma", "delta", "epsilon")
    }
pd.DataFrame(rows).T

# %% [markdown]
# ## 5. What the data cannot tell
#
# Prior and posterior, one on the other. Where they coincide, the runs said nothing, and the answer is the
# literature's. The marks are published exponents and theory.

# %%
figure, axes = plt.subplots(3, 1, figsize=(8, 9), layout="constrained")
for ax, name in zip(axes, ("gamma", "rho", "epsilon"), strict=True):
    plot_prior_posterior(posterior, name, ax=ax)
plt.show()

# %% [markdown]
# The same as a number: the share of the prior's variance that the runs removed, for each group. Near 1 the
# runs decide, near 0 the prior does. Before its runs, a group varies about the population by the spreads
# between optimizers and between studies.

# %%
names = ("alpha", "gamma_path", "delta", "beta", "epsilon", "rho")
measured = {}
for name in names:
    spreads = posterior.between_optimizers[name] ** 2 + posterior.between_studies[name] ** 2
    before = posterior.group_prior[name][1] ** 2 + spreads.mean()
    measured[name] = 1 - posterior.group[name].var(axis=0) / before
pd.DataFrame(measured, index=[f"{study} / {optimizer}" for study, optimizer in posterior.groups]).round(2)

# %% [markdown]
# `bayeslaw diagnose` says the same of the recommendation at your target, and what would help.
#
# ## 6. Take it elsewhere
#
# All draws, with named dimensions, as ArviZ knows them: every plot and summary of ArviZ works from here.

# %%
to_inference_data(posterior).posterior[["gamma", "delta", "epsilon"]]
