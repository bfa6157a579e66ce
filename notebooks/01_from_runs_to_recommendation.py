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
# # From your runs to a recommendation
#
# You have a pile of small runs and one large run to plan. This notebook goes from the first to the second:
# read the runs, look at them, fit, ask, and see how sure the answer is.
#
# The runs here are the example that comes with the package: 60 simulated runs of at most 300 million
# parameters. Because they were simulated, the right answer is known, and we shall look it up at the end.
# Put your own table in the place of `example_sweep.csv`: CSV, Parquet, JSON lines or a W&B export.

# %%
from importlib.resources import files

import matplotlib.pyplot as plt

from bayeslaw.advice.prediction import predict
from bayeslaw.cli.tables import print_fit
from bayeslaw.diagnosis.summary import fit_summary
from bayeslaw.inference.fitting import fit
from bayeslaw.law.simulation import true_optimum, true_regret
from bayeslaw.plots import plot_learning_rates, plot_optimum, plot_recommendation, plot_surface
from bayeslaw.runs.importing import import_runs
from bayeslaw.target import Target

# %% [markdown]
# ## 1. Read the runs
#
# `import_runs` checks every row. What it cannot read it names, all at once; what merely looks odd it notes.

# %%
runs, notes = import_runs(files("bayeslaw") / "assets" / "example_sweep.csv", study="ours")
for note in notes:
    print("note:", note)
runs.groupby(["params_nonembedding", "status"]).size().unstack(fill_value=0)

# %% [markdown]
# Some runs diverged. They stay in: they say which learning rates are too high.
#
# ## 2. Fit
#
# The whole loss surface is fitted, not the best run of each size. It draws until the chains agree, and says
# so if they do not.

# %%
posterior = fit(runs)
print_fit({"output": "memory"} | fit_summary(posterior, runs))

# %% [markdown]
# gamma is how fast the best learning rate falls as the model grows, delta as the tokens grow, epsilon how
# fast the best batch grows with the tokens. Their intervals are wide. That is no failure: sixty runs do not
# say more, and what follows takes it into account.
#
# ## 3. Look at one cell
#
# One model size and one number of tokens. Contours are what a setting loses against the best one; dots are
# the runs.

# %%
largest = runs.loc[runs["params_nonembedding"].idxmax()]
cell = Target(largest["params_nonembedding"], largest["tokens"], "adamw", "ours")
plot_surface(posterior, runs, cell)
plt.show()

# %% [markdown]
# The basin is wide. Half or double the best learning rate costs a few tenths of a percent of the loss; a
# diverged run costs everything. So the advice leans to the safe side of the optimum.
#
# The same across sizes: the optimum moves.

# %%
sizes = sorted(runs["params_nonembedding"].unique())
targets = [Target(n, 20 * n, "adamw", "ours") for n in (sizes[0], sizes[-1], 1e9)]
plot_learning_rates(posterior, targets)
plt.show()

# %% [markdown]
# ## 4. Ask
#
# One billion parameters, 20 billion tokens, three times beyond the largest run.

# %%
target = Target(params_nonembedding=1e9, tokens=20e9, optimizer="adamw", study="ours")
advice = predict(posterior, target)
advice

# %%
plot_recommendation(posterior, target)
plt.show()

# %% [markdown]
# Read it from the left: too low a learning rate costs little, too high a one much. The grey band is where
# the best learning rate lies with probability 90%. `regret` is what following the advice is expected to
# cost.
#
# ## 5. How far does it carry?
#
# Inside the white range there are runs; beyond it the law is extrapolated, and the interval widens.

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
plot_optimum(posterior, "learning_rate", "params", target, ax=axes[0])
plot_optimum(posterior, "batch_tokens", "tokens", cell, ax=axes[1])
plt.show()

# %% [markdown]
# ## 6. Was it right?
#
# With real runs you would not know. Here the truth is in the simulation.

# %%
truth = true_optimum(target)
for name, best in advice.optimum.items():
    print(
        f"{name:14s} advised {advice.recommendation[name]:.3g}, interval {best.lower:.3g} to "
        f"{best.upper:.3g}, truth {truth[name]:.3g}"
    )
print(
    f"loss given away: expected {advice.regret.expected:.2%}, "
    f"in truth {true_regret(target, advice.recommendation):.2%}"
)

# %% [markdown]
# Next: [02](02_reading_the_posterior.py) looks into the posterior, [04](04_planning_the_next_runs.py) says
# which small run to do next. On the command line the same is `bayeslaw import`, `bayeslaw fit` and
# `bayeslaw predict`.
