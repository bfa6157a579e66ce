"""Prior distributions, each with its reason. ``notes`` = shared/research/published-laws.md.

Everything is in natural logarithms about the pivot (N0, D0), so that a standard deviation of 0.25
on an exponent means what it says at any scale of model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Family:
    """A parameter that every (study, optimizer) group has a value of, partially pooled.

    Group values are jointly Gaussian about ``mean``: variance ``sd^2`` shared by all groups,
    plus ``between_optimizers^2`` shared by one optimizer's groups, plus ``between_studies^2``
    shared by one study's. The two spreads are estimated; here stand their prior medians (lognormal,
    standard deviation ``SPREAD_LOG_SD`` of the logarithm).

    The shape of the basin (curvatures, knee, skew, surge, cliff) varies more between studies than between
    optimizers: clipping, length of warm-up and final learning rate set what a wrong setting costs. With
    narrower spreads the first joint fit put AdamW of two studies 3 to 8 spreads apart (LOG.md), and a
    study's own eight runs advised better without the other study than beside it.
    """

    mean: float
    sd: float
    between_optimizers: float
    between_studies: float
    why: str


SPREAD_LOG_SD = 0.5

MIXED_STATUS = 0.02
"""Share of divergences, and of survivals, that the cliff does not explain."""

CRASH_IS_MACHINE = 0.5
"""Share of crashes put down to the cluster and not to the learning rate."""

LR_BATCH: dict[str, Family] = {
    "alpha": Family(
        np.log(2e-3), 0.7, 1.0, 0.6, "tuned constant 2e-3 (notes 1-2); Lion to SGD span decades (3)"
    ),
    "gamma_path": Family(
        0.36, 0.1, 0.12, 0.08, "gamma + delta: Porian .36, DeepSeek .25, Step Law .41, Bjorck .27"
    ),
    "delta": Family(
        -0.1, 0.15, 0.12, 0.08, "-d ln eta/d ln D along B*: Step Law -.31, Bjorck -.08, Scion +.28"
    ),
    "beta": Family(np.log(3e5), 0.7, 0.3, 0.5, "optimal batches of 0.1 to 1M tokens at 300M x 10B (notes 1)"),
    "epsilon": Family(0.47, 0.1, 0.06, 0.1, "batch exponent in D: .38 to .61, theory .5 (notes 1, 4, 8)"),
    "epsilon_n": Family(-0.05, 0.1, 0.06, 0.06, "0 claimed by Step Law, -.27 on its own cells (notes 2)"),
    "rho": Family(0.6, 0.2, 0.1, 0.1, "square root to linear rule below B*: .5 to .79 (notes 2, 3, 8)"),
    "rho_high": Family(
        0.0, 0.2, 0.1, 0.25, "the surge: flat above B*, slope -.03 (notes 2; arXiv:2405.14578)"
    ),
    "lr_curvature": Family(np.log(0.02), 0.5, 0.2, 0.4, "second derivative 2 x 9 per mille/nat^2 (notes 6)"),
    "knee": Family(
        0.5, 0.4, 0.15, 0.25, "undershoot turns linear: 3.7 per mille at eta/2, 9.8 at eta/4 (notes 6)"
    ),
    "twist": Family(0.2, 0.15, 0.1, 0.1, "fewer steps make good less: a wrong eta costs more at large B"),
    "batch_curvature": Family(np.log(0.012), 0.5, 0.2, 0.4, "2 x 4 to 7 per mille/nat^2 in ln B (notes 6)"),
    "batch_skew": Family(
        0.4, 0.3, 0.1, 0.3, "too large a batch costs steps in proportion, too small only noise"
    ),
    "cliff": Family(1.7, 0.4, 0.3, 0.5, "ln(eta_div/eta*) N(1.7, 0.6) (notes 8)"),
    "offset": Family(0.0, 0.005, 0.015, 0.005, "optimizers differ by 1 to 3% in loss (notes 3)"),
    "offset_n": Family(0.0, 0.001, 0.003, 0.001, "speed-ups shrink with N, 1.4x to 1.1x (notes 3)"),
    "offset_d": Family(0.0, 0.001, 0.003, 0.001, "the same with D"),
}

DECAY: dict[str, Family] = {
    "lambda": Family(np.log(0.15), 0.5, 0.6, 0.3, "tuned decays 0.1 to 0.2, Lion 0.6 (notes 3)"),
    "mu": Family(0.0, 0.15, 0.1, 0.1, "falls with D/N (Power Lines), rises as width grows (notes 1, 3)"),
    "decay_curvature": Family(np.log(0.02), 0.7, 0.2, 0.2, "flatter than the learning rate"),
}

MOMENTUM: dict[str, Family] = {
    "zeta": Family(
        np.log(0.06), 0.25, 0.3, 0.2, "0.9 to 0.95, Muon 0.95 to 0.98 (notes 3); below 0.8 nowhere"
    ),
    "kappa": Family(
        0.15, 0.15, 0.1, 0.05, "kappa N(0.25, 0.2), Muon .95 to .98; 0 at fixed alpha (notes 4, 8)"
    ),
    "momentum_curvature": Family(np.log(0.02), 0.7, 0.2, 0.2, "flatter than the learning rate"),
}

STUDY: dict[str, tuple[float, float, str]] = {
    "level": (np.log(2.6), 0.3, "ln loss at the reference scale; Chinchilla 2.7 nats (notes 7)"),
    "share": (-0.5, 0.4, "logit of the reducible share R/L: Chinchilla (2.7 - 1.7)/2.7 = .38 (notes 7)"),
    "slope_n": (0.06, 0.025, "-d ln L/d ln N: Kaplan .076, Chinchilla .38 x .5 x .34 (notes 7)"),
    "slope_d": (0.06, 0.025, "-d ln L/d ln D: Kaplan .095, Chinchilla .38 x .5 x .3 (notes 7)"),
    "curve_nn": (0.012, 0.006, "d2 ln L/d ln N2: .018 in Chinchilla's additive form, .006 in a product form"),
    "curve_nd": (
        -0.003,
        0.006,
        "d2 ln L/d ln N d ln D: -.003 additive, +.004 product; the N x D interaction",
    ),
    "curve_dd": (0.012, 0.005, "d2 ln L/d ln D2: .015 additive, .004 product"),
    "fade_n": (0.1, 0.05, "an excess in proportion to L - E: (E/L) d ln R/d ln N = .6 x .15"),
    "fade_d": (
        0.1,
        0.05,
        "the same in D; curvature 15 to 5 per mille/nat^2 from 5B to 100B is .37 (notes 6)",
    ),
    "log_noise": (np.log(1.2e-3), 0.5, "residual sd 0.9 to 1.6 per mille (notes 6); seeds 0.4 (peers.md)"),
    "log_noise_slope": (np.log(0.1), 0.6, "far from the optimum runs scatter by a tenth of their excess"),
    "log_dof_minus_4": (np.log(2.0), 0.5, "heavy tails: about 6 degrees of freedom"),
    "log_off_shift": (np.log(1e-3), 0.7, "a setting outside the model, off its usual value, costs a little"),
    "log_off_noise": (np.log(2e-3), 0.7, "and scatters as much"),
    "log_off_dof_minus_2": (np.log(1.0), 0.5, "some such settings hardly matter, some ruin the run"),
    "log_tau_level": (
        np.log(1.3e-3),
        0.5,
        "with sizes, rms 2.0 per mille of cells about the level with interaction (design.md)",
    ),
    "log_tau_size_level": (np.log(1.5e-3), 0.5, "width, depth and their ratio move all cells of one N"),
    "log_tau_size_slope": (np.log(1e-3), 0.5, "and change how fast that network gains from tokens, by 2%"),
    "log_tau_lr": (np.log(0.1), 0.4, "residual sd .11 of cell optima (notes 2), sizes apart"),
    "log_tau_size_lr": (
        np.log(0.08),
        0.4,
        "the same shape moves eta* of all cells of one N: .3 nats a 2x width",
    ),
    "log_tau_batch": (np.log(0.1), 0.4, "residual sd .09 of cell optima (notes 2), sizes apart"),
    "log_tau_size_batch": (np.log(0.06), 0.4, "and B*, less"),
    "log_cliff_width": (np.log(0.3), 0.4, "16% at 4x, 51% at 8x, 83% at 16x eta* (notes 6)"),
}

BEND = (0.0, 0.03, "curvature of ln eta* in ln N: N(0, 0.05) (notes 8), an extrapolation discrepancy")

REFERENCE_SCALE = (3e8, 1e10)
"""(N, D) where the priors of intercepts and level are stated; the prior exponents move them to the pivot."""
