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
# # Planning the next runs
#
# You have some runs, a target, and budget left. Which small run would tell most about the large one, what
# is it expected to buy, and when is it enough?
#
# The runs are the 60 simulated ones of notebook 01. Every sixth of them is all that we have so far.

# %%
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import pandas as pd

from bayeslaw.advice.prediction import predict
from bayeslaw.inference.fitting import fit
from bayeslaw.law.simulation import simulate_runs, true_optimum
from bayeslaw.planning.batches import design, plan_table
from bayeslaw.planning.candidates import read_space
from bayeslaw.planning.policies import POLICIES
from bayeslaw.plots import plot_candidates, plot_optimum
from bayeslaw.runs.io import read_runs
from bayeslaw.target import Target

runs = read_runs(files("bayeslaw") / "assets" / "example_sweep.csv").iloc[::6]
target = Target(params_nonembedding=1e9, tokens=20e9, optimizer="adamw", study="example")
posterior = fit(runs)
before = predict(posterior, target)
print(f"{len(runs)} runs; regret expected at the target: {before['regret']['expected']:.2%}")

# %% [markdown]
# ## 1. What could be run?
#
# A search space: sizes, tokens, ranges. `bayeslaw design` reads the same from a file, or a list of
# candidates with their costs. A run costs 6 N D FLOPs unless you say otherwise.

# %%
space = """
[space]
optimizer = "adamw"
params_nonembedding = [2e7, 5e7, 1.2e8, 3e8]
tokens_per_param = [20, 50]
learning_rate = { low = 3e-4, high = 1.6e-2 }
batch_tokens = { low = 65536, high = 2097152 }
count = 300
"""
with TemporaryDirectory() as folder:
    path = Path(folder) / "space.toml"
    path.write_text(space)
    candidates, unit = read_space(path)
candidates = candidates.assign(study="example")
candidates.groupby("params_nonembedding")["cost"].agg(["count", "min", "max"])

# %% [markdown]
# ## 2. Which of them?
#
# The batch that lowers the expected regret at the target most per FLOP, each run chosen given the others.

# %%
budget = 3e18
plan = design(posterior, [target], candidates, budget, batch=6)
columns = ["params_nonembedding", "tokens", "learning_rate", "batch_tokens", "cost", "regret_reduction"]
pd.DataFrame(plan.runs)[columns]

# %%
print(f"cost {plan.cost:.2g} of {budget:.2g} {unit}")
print(f"expected regret {plan.regret.before:.2%}, after these runs {plan.regret.after:.2%}")
print("stop:" if plan.stop.stop else "go on:", plan.stop.reason)
plot_candidates(candidates, plan.alone, plan.rows, unit)
plt.show()

# %% [markdown]
# Colour is what one run alone would buy. The chosen ones are ringed: they need not be the best ones singly,
# since two runs that would say the same are worth little more than one.
#
# ## 3. Is the policy any better than another?
#
# All policies have one interface. Here is what each expects of its own batch for the same money. Whether
# that is kept, `bayeslaw replay` measures on finished sweeps.

# %%
said = {}
for policy in POLICIES:
    result = design(posterior, [target], candidates, budget, batch=6, policy=policy)
    said[policy] = {
        "runs": len(result.runs),
        "cost": f"{result.cost:.2g}",
        "expected regret after": f"{result.regret.after:.3%}",
    }
pd.DataFrame(said).T

# %% [markdown]
# ## 4. Make the runs, and look again
#
# Here they are simulated; `bayeslaw-sweep` would train them (notebook 05).

# %%
new = simulate_runs(plan_table(candidates, plan), seed=7)
new["run_id"] = [f"new-{i}" for i in range(len(new))]
posterior_after = fit(pd.concat([runs, new], ignore_index=True))
after = predict(posterior_after, target)

figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", sharey=True)
for ax, fitted, title in zip(axes, (posterior, posterior_after), ("before", "after"), strict=True):
    plot_optimum(fitted, "learning_rate", "params", target, ax=ax)
    ax.set_title(title)
plt.show()

# %%
truth = true_optimum(target)["learning_rate"]
for name, result in (("before", before), ("after", after)):
    best = result.optimum["learning_rate"]
    print(
        f"{name:7s} best learning rate {best.lower:.2g} to {best.upper:.2g} (truth {truth:.2g}), "
        f"regret expected {result.regret.expected:.2%}"
    )

# %% [markdown]
# ## 5. When to stop
#
# When the regret is small enough for you (`tolerance`) with probability 90%, or when the best runs left cost
# more than they spare at the target: training it on more tokens would lower its loss as well. Its cost is
# 6 N D unless you say another.

# %%
again = design(posterior_after, [target], candidates, budget, batch=6)
print("stop:" if again.stop.stop else "go on:", again.stop.reason)
