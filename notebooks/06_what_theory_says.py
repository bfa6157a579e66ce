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
# # What theory says, and what runs say
#
# Convergence bounds predict how learning rate, batch and momentum should move with the samples seen. The bad
# news first:
#
# * **The bounds predict that the best learning rate falls as the momentum rises; for AdamW and Muon it does
#   not** (section 6).
# * **They let it rise with the square root of the batch for ever.** Measured exponents lie at a half or above
#   it, differ between optimizers, and depend on which runs one trusts.
# * **They bound a gradient norm.** Their bowls say how exponents trade, but no loss.
#
# What remains is a language: which trades are possible, and what is flat. No full text of the paper behind
# sections 1 to 4 (arXiv 2603.15958) was found. Its exponents come from secondary sources; every constant here
# is derived in `bayeslaw.theory` and compared with brute force.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from bayeslaw.assets import BOOKS
from bayeslaw.plots.theory import plot_burn_in, plot_contours, plot_paths, plot_penalties, plot_slopes
from bayeslaw.theory.burn_in import burn_in_samples, tune_with_burn_in
from bayeslaw.theory.contours import batch_penalty, contour_batch, fewest_samples, learning_rate_penalty
from bayeslaw.theory.lmo import bound, bound_coefficients, largest_batch, tune_at_batch, tune_at_momentum
from bayeslaw.theory.measured import measure_slopes
from bayeslaw.theory.paths import path_exponents, tune_all, tune_given_batch
from bayeslaw.theory.schedule_bounds import bound_ratio, learning_rate_shift, schedule_shape

# %% [markdown]
# ## 1. One bound, three theorems
#
# Train with T samples in batches of b, learning rate eta and momentum 1 - alpha, by a method that steps a
# fixed length along a direction (normalised SGD, signSGD, Muon). The average gradient norm is at most
#
# $$F = \frac{\Delta b}{\eta T} + 2\rho\sigma\sqrt{\frac{\alpha}{b}} + \frac{2\rho\sigma\sqrt b}{\alpha T}
#  + \frac{2 L \eta}{\alpha} + \frac72 L\eta .$$
#
# Too small a learning rate goes nowhere (first term); noise is averaged by momentum and batch (second); the
# momentum must first forget (third); it lags behind the gradient (fourth). What is tuned decides the law:

# %%
samples = 10.0 ** np.arange(8, 19, 2)
c = bound_coefficients()


def exponent(values):
    """Power of T."""
    return round(float(np.polyfit(np.log(samples), np.log(values), 1)[0]), 3) + 0.0


tuned = {
    "Theorem 1: momentum fixed": tune_at_momentum(samples, 0.01, c),
    "Theorem 2: batch fixed": tune_at_batch(samples, 100.0, c),
    "Theorem 3: all tuned": tune_all(samples, c),
}
pd.DataFrame(
    {name: {key: exponent(values) for key, values in best._asdict().items()} for name, best in tuned.items()}
).T

# %% [markdown]
# So "the learning rate falls as T^-1/4", "as T^-3/4" and "as T^-7/12" are one bound along three paths. An
# exponent without its path says nothing.
#
# ## 2. Where burn-in ends
#
# Keep the momentum and the third term, and look for the best batch. Lines are closed forms; dots search
# learning rate and batch on a grid.

# %%
alphas = {"momentum 0.999": 0.001, "momentum 0.934": 0.066}


def searched(t, alpha):
    """Best batch of at least one sample, by looking everywhere, then closer four times."""
    rates, batches = (-0.75 * np.log(t) - 5, 5.0), (0.0, 0.6 * np.log(t) + 1)
    for _ in range(5):
        x, y = np.linspace(*rates, 61), np.linspace(*batches, 61)
        values = bound(np.exp(x)[:, None], np.exp(y), alpha, t)
        i, j = np.unravel_index(values.argmin(), values.shape)
        rates, batches = (x[max(i - 2, 0)], x[min(i + 2, 60)]), (y[max(j - 2, 0)], y[min(j + 2, 60)])
    return np.exp(y[j])


line, dots = np.geomspace(1e4, 1e18, 57), 10.0 ** np.arange(4, 19)
plot_burn_in(
    line,
    {name: tune_with_burn_in(line, alpha).batch for name, alpha in alphas.items()},
    {name: (dots, np.array([searched(t, alpha) for t in dots])) for name, alpha in alphas.items()},
    {name: float(burn_in_samples(alpha)) for name, alpha in alphas.items()},
)
plt.show()
for name, alpha in alphas.items():
    print(f"{name}: one sample a step is best until T = {burn_in_samples(alpha):.3g} samples")

# %% [markdown]
# After burn-in the best batch grows as the square root of T. With a momentum of 0.999, burn-in takes four
# thousand times as many samples as with 0.934.
#
# ## 3. If momentum is tuned too, the batch hardly matters
#
# Now let the momentum follow. The bound is almost the same for every batch in the dark band, which widens
# with T: a constant batch, a batch that grows as T^1/6 and one that grows nearly as T^1/2 all keep within 1%.

# %%
grid = np.geomspace(1.0, 1e10, 401)
values = tune_given_batch(line[:, None], grid, c).bound
near = {share: values <= (1 + share) * values.min(axis=1, keepdims=True) for share in (0.01, 0.1)}
plot_paths(
    line,
    {share: np.array([grid[row].max() for row in rows]) for share, rows in near.items()},
    {
        "q = 1/2: cap of Corollary 1": largest_batch(line, c),
        "q = 1/6: Theorem 3": tune_all(line, c).batch,
        "q = 0: batch of 4": np.full_like(line, 4.0),
    },
)
plt.show()
pd.DataFrame([path_exponents(q) for q in (0.0, 1 / 6, 0.25, 0.5)]).round(3)

# %% [markdown]
# Each row is a path b = T^q with the powers of T that go with it. Above the cap no momentum is left to trade,
# and the bound rises.
#
# ## 4. Trading batch against steps, and what mistakes cost
#
# At a fixed momentum. All points of a curve reach the same bound; the dot does it with the fewest samples, at
# four times the fewest steps and four times the smallest batch.

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
levels = {f"P = {level:g}": level for level in (0.3, 0.1, 0.03)}
steps = np.geomspace(10.0, 1e6, 400)
plot_contours(
    steps,
    {name: contour_batch(level, steps) for name, level in levels.items()},
    {name: tuple(map(float, fewest_samples(level))) for name, level in levels.items()},
    ax=axes[0],
)
ratios = np.geomspace(1 / 8, 8, 101)
plot_penalties(
    ratios,
    {
        "batch, learning rate retuned": batch_penalty(ratios),
        "learning rate, at the best batch": learning_rate_penalty(ratios),
    },
    ax=axes[1],
)
plt.show()

# %% [markdown]
# ## 5. Schedules
#
# Another bound, for the last iterate of a convex problem, holds the schedule in two numbers. Their ratio
# shifts the best learning rate between schedules, with nothing to fit. Relative to a linear decay to zero:

# %%
linear = schedule_shape(20_000)
others = {
    "cosine": {"decay": "cosine"},
    "cosine to 10%": {"decay": "cosine", "final": 0.1},
    "WSD, last 20%": {"share": 0.2},
    "WSD, last 60%": {"share": 0.6},
    "constant": {"share": 0.0},
}
shapes = {name: schedule_shape(20_000, **options) for name, options in others.items()}
pd.DataFrame(
    {
        "learning rate, times": {name: np.exp(learning_rate_shift(linear, s)) for name, s in shapes.items()},
        "bound, times": {name: bound_ratio(linear, s) for name, s in shapes.items()},
    }
).round(3)

# %% [markdown]
# Warm-up has no benefit in this theory: it has nothing that could diverge.
#
# ## 6. What runs say
#
# The shipped sweep of small networks on books varies batch and momentum in every cell. For each optimizer, a
# robust fit of the best learning rate: how does it move with each of them? Runs far above the best loss of
# their cell say little of the optimum but are many; three cuts show how much that choice decides.

# %%
books = pd.read_csv(BOOKS)
books = books[books["status"] == "finished"]


def slopes(runs, within):
    """Exponents of the best learning rate in batch, 1 - momentum, weight decay, N and D."""
    settings = {"batch": runs["batch_tokens"], "alpha": 1 - runs["momentum"]}
    settings["decay"] = runs["weight_decay"] + 0.01
    sizes = {"params": runs["params_nonembedding"], "tokens": runs["tokens"]}
    cells = [f"{n} {d}" for n, d in zip(runs["params_nonembedding"], runs["tokens"], strict=True)]
    return measure_slopes(runs["learning_rate"], settings, sizes, runs["loss"], cells, within)


found = {
    name: {within: slopes(books[books["optimizer"] == name], within) for within in (0.1, 0.2, 0.4)}
    for name in ("adamw", "muon", "lion", "rmsprop", "sgd")
}
figure, axes = plt.subplots(2, 1, figsize=(7, 7), layout="constrained")
predictions = {
    "batch": {"predicted": 0.5},
    "alpha": {"predicted, averaged momentum": 0.5, "predicted, heavy ball": 1.5},
}
labels = {
    "batch": "d ln(learning rate) / d ln(batch)",
    "alpha": "d ln(learning rate) / d ln(1 - momentum)",
}
for ax, (key, predicted) in zip(axes, predictions.items(), strict=True):
    estimates = {
        name: {f"ln loss within {cut:g}": (each.mean[key], each.error[key]) for cut, each in ways.items()}
        for name, ways in found.items()
    }
    plot_slopes(estimates, predicted, labels[key], ax=ax)
plt.show()

# %%
table = {
    name: {key: f"{each.mean[key]:+.2f} ± {each.error[key]:.2f}" for key in each.mean}
    for name, each in ((name, ways[0.2]) for name, ways in found.items())
}
pd.DataFrame({"predicted": {"batch": "+0.50", "alpha": "+0.50", "tokens": "-0.50"}, **table}).fillna("")

# %% [markdown]
# The momentum leg fails where it was meant to hold: AdamW, Muon. Lion's `momentum` is only the beta1 of its
# update, so it is no test. RMSprop and SGD keep their momentum as a sum, for which the prediction is 3/2, and
# do not follow it either. A learning rate in proportion to 1 - momentum, the rule of thumb that keeps the
# length of a step, gives 1: RMSprop agrees with it.
#
# The batch leg has the right sign. The leg of the tokens, -1/2 at a fixed batch and momentum, lies inside the
# range of the measured values.
#
# So `bayeslaw` takes no exponent from theory: it fits them, optimizer by optimizer.
