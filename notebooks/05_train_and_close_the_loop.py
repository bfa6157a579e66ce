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
# # Train a sweep with Accelerate, and close the loop
#
# No runs yet? The training lab trains small transformers under Hugging Face Accelerate and leaves a run
# table; the closed loop then chooses the next ones by itself. Everything here is tiny, so that it ends in
# two minutes on a laptop. The commands are those you would use in earnest.
#
# The lab is part of the repository (`pip install -e '.[train]'`), not of the installed package.

# %%
import importlib.util
import os
import sys
from pathlib import Path
from tempfile import mkdtemp

import matplotlib.pyplot as plt

import bayeslaw
from bayeslaw.errors import BadInput
from bayeslaw.loop import journal
from bayeslaw.plots import plot_learning_rates, plot_loop
from bayeslaw.posterior.netcdf import read_posterior
from bayeslaw.runs.io import read_runs
from bayeslaw.target import Target

root = Path(bayeslaw.__file__).parents[1]
if not (root / "train" / "sweep.py").is_file() or importlib.util.find_spec("accelerate") is None:
    raise BadInput(
        f"notebook 05: no training lab in {root}; expected a clone of the repository installed with "
        "pip install -e '.[train,notebooks]'; install that and start the notebook again"
    )
folder = Path(mkdtemp(prefix="bayeslaw-"))
os.environ["PATH"] += f":{Path(sys.executable).parent}"
os.environ["PYTHONPATH"] = str(root)

# %% [markdown]
# ## 1. A plan
#
# Six AdamW runs of two sizes, learning rate and batch by a Sobol sequence. The corpus is Python's own
# standard library, which every machine has.

# %%
(folder / "plan.toml").write_text(
    """
[sweep]
study = "notebook"
corpus = "stdlib"
warmup_share = 0.1

[[part]]
design = "sobol"
runs = 6
optimizer = "adamw"
params_nonembedding = [9.3e3, 13.9e3]
tokens_per_param = 10
learning_rate = { low = 3e-3, high = 0.15 }
batch_tokens = { low = 128, high = 512 }
"""
)
# !{sys.executable} -m bayeslaw.lab.train.sweep --plan {folder}/plan.toml --out {folder}/sweep 2>&1 | cat

# %%
# !{sys.executable} -m bayeslaw.lab.train.collect {folder}/sweep -o {folder}/runs.parquet
runs = read_runs(folder / "runs.parquet")
columns = ["params_nonembedding", "tokens", "learning_rate", "batch_tokens", "loss"]
runs[[*columns, "wall_seconds", "energy_joules"]].round(4)

# %% [markdown]
# ## 2. The loop
#
# A target 24 times larger, for which a few more runs are worth their cost, a space to choose from, a
# budget. Each round fits, chooses, has the runs trained by `bayeslaw-sweep`, and looks at what came back. One
# round is enough here; with a larger `--rounds` the same command goes on from where it stopped, or was
# killed.

# %%
(folder / "space.toml").write_text(
    """
[space]
optimizer = "adamw"
params_nonembedding = [9.3e3, 13.9e3]
tokens_per_param = 10
learning_rate = { low = 3e-3, high = 0.15 }
batch_tokens = { low = 128, high = 512 }
corpus = "stdlib"
warmup_share = 0.1
count = 100
"""
)
loop = (
    f"--target 332e3,3.32e6,adamw --space {folder}/space.toml --budget 4e10 --batch 3 --rounds 1 "
    f"--runs {folder}/runs.parquet --study notebook --out {folder}/loop "
    f'--runner "{sys.executable} -m bayeslaw.lab.train.sweep --plan {{plan}} --out {{out}} --workers 2" '
    f'--collect "{sys.executable} -m bayeslaw.lab.train.collect {{out}} -o {{table}}"'
)
# !bayeslaw loop {loop} 2>&1 | cat

# %% [markdown]
# The journal says what was chosen, why, what came back and what is now believed.

# %%
print((folder / "loop" / "journal.md").read_text()[:3000])

# %%
plot_loop(journal.read(folder / "loop"))
plt.show()

# %% [markdown]
# ## 3. What is believed at the end
#
# A handful of runs of a few seconds each: the intervals are wide, as they should be. What they say of the
# batch is next to nothing.

# %%
last = read_posterior(sorted((folder / "loop").glob("round-*/posterior.nc"))[-1])
target = Target(332e3, 3.32e6, "adamw", "notebook")
small = Target(9328, 10 * 9328, "adamw", "notebook")
plot_learning_rates(last, [small, target])
plt.show()

# %% [markdown]
# In earnest: more sizes, more runs, a target at which it matters. `train/plans/books.toml` is the sweep
# that we ship; `accelerate launch -m bayeslaw.lab.train.run` trains one run on several devices;
# `--executor ray` a sweep on several machines.
