"""Every parameter of the law: one row each, with its symbol, meaning, prior and the reason for the prior.

Everything is in natural logarithms about the pivot (N0, D0), so that a standard deviation of 0.25
on an exponent means what it says at any scale of model. A new parameter is a row here; what it multiplies
is a row of ``bayeslaw.law.terms``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bayeslaw.arrays import Floats
from bayeslaw.runs.optimizer_families import log_usual_rates
from bayeslaw.text import short

Level = Literal["group", "study", "common"]

SPREAD_LOG_SD = 0.5
"""Standard deviation of the logarithm of a spread between groups."""

MIXED_STATUS = 0.02
"""Share of divergences, and of survivals, that the cliff does not explain."""

CRASH_IS_MACHINE = 0.5
"""Share of crashes attributed to the cluster and not to the learning rate."""


SPREADS = ("between_optimizers", "between_studies")
"""Kinds of spread between groups."""

NUGGET = 1e-8
"""Variance of a group's value about its optimizer's and study's effects."""

CELL_SHIFTS = ("level", "lr", "batch")
"""What each cell has of its own: shifts of ln loss, ln eta* and ln B*, of spread exp(``log_tau_*``)."""

SIZE_SHIFTS = ("level", "slope", "lr", "batch")
"""What all cells of one N share, of spread exp(``log_tau_size_*``); ``slope`` is that of ln loss in ln D."""


@dataclass(frozen=True)
class Parameter:
    """A row of the law's table.

    Values of a ``group`` parameter, one per (study, optimizer), are jointly Gaussian about ``mean``: variance
    ``sd^2`` shared by all groups, plus ``between_optimizers^2`` shared by one optimizer's groups, plus
    ``between_studies^2`` shared by one study's. The two spreads are estimated; the row has their prior
    medians (lognormal, standard deviation ``SPREAD_LOG_SD`` of the logarithm). A ``study`` parameter has an
    independent value per study, a ``common`` one a single value.

    The shape of the basin (curvatures, knee, skew, ridge above B*, cliff) varies more between studies than
    between optimizers: clipping, length of warm-up and final learning rate set what a wrong setting costs.

    Attributes:
        name: key in the posterior file and in code.
        level: whether each group, each study or the whole table has a value.
        mean, sd: of the prior.
        why: the reason for the prior, with author and year.
        between_optimizers, between_studies: prior medians of the spreads, of ``group`` parameters.
        symbol: in figures, as matplotlib reads it.
        meaning: in a few words, for lists.
        axis: in full, for the axis of a figure; ``{pivot}`` stands for N0 and D0.
        logarithm: whether it is the logarithm of what a person wants to see.
        part: the parts of the law that it belongs to, of ``PARTS`` and with spaces between; empty for the
            core, which every fit has.
    """

    name: str
    level: Level
    mean: float
    sd: float
    why: str
    between_optimizers: float = 0.0
    between_studies: float = 0.0
    symbol: str = ""
    meaning: str = ""
    axis: str = ""
    logarithm: bool = False
    part: str = ""


INTERCEPT, MULTIPLES = "alpha", "multiples"
"""The intercept of the best learning rate, and the part of the law that moves its prior by optimizer."""

PARTS = {
    "drift": "the shape of the basin drifts with D and N: ridge, and fading of the batch's bowl",
    "second": "laws of the optima to second order in ln N and ln D",
    "smooth": "deviations of cells are smooth in ln N and ln D, a Gaussian process",
    "sequence": "the best batch is counted in sequences rather than in tokens",
    MULTIPLES: "priors of best learning rates are apart by the optimizers' usual multiples of AdamW's",
    "schedule": "the best learning rate moves by 1/2 ln(X1/X2) of the schedule, the loss by its 1/2 ln(X1 X2)",
    "schedule_free": "as schedule, with deviations by the decay share and the kind of schedule",
    "schedule_slope": "the best learning rate and the loss depend on the kind of schedule and on its decay share",
    "shape": "the best learning rate and the loss depend on width over depth, and on the normalization",
    "curvature": "the best learning rate depends on the sharpness, and the best batch on the noise scale, that its "
    "network has early in warm-up",
    "theory": "prior: exponents of the optima about those of convergence bounds, tied by one latent q",
    "lmo": "rival: exponents of the optima exactly those of convergence bounds, N in none of them",
}
"""Parts of the law beyond its core; `bayeslaw compare` tells what each is worth."""

DEFAULT_PARTS = ("drift", "second", "smooth", "sequence", MULTIPLES)
"""What a fit has by default. ``schedule`` and ``shape`` are for tables that vary them apart from the optimizer
and from N, ``curvature`` for those that measure it, ``theory`` and ``lmo`` are there to be compared (``law.ties``)."""


PARAMETERS: dict[str, Parameter] = {}
"""Name -> row, in the order of the posterior file."""


def register(*rows: Parameter) -> None:
    """Add rows to the table; a name that it holds is replaced."""
    PARAMETERS.update({row.name: row for row in rows})


def of_level(level: Level, parts: Collection[str] = ()) -> dict[str, Parameter]:
    """The rows of one level, in order: those of the core, and of the optional ``parts`` of the law.

    >>> list(of_level("common"))
    ['bend']
    """
    rows = {name: row for name, row in PARAMETERS.items() if row.level == level}
    return {name: row for name, row in rows.items() if belongs(row.part, parts)}


def belongs(part: str, parts: Collection[str]) -> bool:
    """Whether a row is in a fit with these parts of the law.

    Args:
        part: of the row: names with spaces between; empty for the core.
        parts: of the fit.

    >>> belongs("", ()), belongs("schedule schedule_free", ["schedule"]), belongs("schedule", ["smooth"])
    (True, True, False)
    """
    return not part or not set(part.split()).isdisjoint(parts)


def usual_shifts(name: str, optimizers: Iterable[str], parts: Collection[str]) -> Floats:
    """By how much the priors of a group parameter are apart for optimizers, with part ``MULTIPLES``.

    Args:
        name: of the parameter; only the intercept of the learning rate has usual multiples.
        optimizers: names.
        parts: of the fit.

    Returns:
        ln of each one's usual rate over AdamW's, 0 where none is usual, (optimizer,).

    >>> usual_shifts("alpha", ["adamw", "sgd", "muon"], ["multiples"]).round(2)
    array([0.  , 4.61, 0.  ])
    """
    known = np.nan_to_num(np.array(log_usual_rates(optimizers)))
    return known if name == INTERCEPT and MULTIPLES in parts else np.zeros(len(known))


def _optional(part: str, name: str, mean: float, sd: float, why: str, level: Level = "study") -> Parameter:
    """A row of a part of the law beyond its core."""
    return Parameter(name, level, mean, sd, why, part=part, logarithm=name.startswith("log_"))


def _group(
    name: str,
    mean: float,
    sd: float,
    between: tuple[float, float],
    why: str,
    symbol: str = "",
    meaning: str = "",
    axis: str = "",
    logarithm: bool = False,
) -> Parameter:
    """A ``group`` row; ``between`` optimizers and studies."""
    return Parameter(name, "group", mean, sd, why, *between, symbol, meaning, axis, logarithm)


def _study(
    name: str,
    mean: float,
    sd: float,
    why: str,
    symbol: str = "",
    meaning: str = "",
    axis: str = "",
    logarithm: bool = False,
) -> Parameter:
    """A ``study`` row."""
    return Parameter(name, "study", mean, sd, why, 0.0, 0.0, symbol, meaning, axis, logarithm)


# ------------------------------------------------------------------------------ optima and their exponents

register(
    _group(
        "alpha", math.log(2e-3), 0.7, (1.0, 0.6),
        "a tuned constant is 2e-3 (Li et al. 2025); Lion to SGD span decades (Wen et al. 2025)",
        r"$\alpha$", "ln learning rate at the pivot", "best peak learning rate at {pivot}", logarithm=True,
    ),
    _group(
        "gamma_path", 0.36, 0.1, (0.12, 0.08),
        "gamma + delta: Porian et al. 2024 .36, DeepSeek-AI 2024 .25, Li et al. 2025 .41, Bjorck et al. 2024 .27",
        r"$\gamma+\delta$", "learning rate at fixed D/N",
        r"best learning rate $\propto N^{{-(\gamma+\delta)}}$ at fixed D/N",
    ),
    _group(
        "delta", -0.1, 0.15, (0.12, 0.08),
        "-d ln eta/d ln D along B*: Li et al. 2025 -.31, Bjorck et al. 2024 -.08, Scion (2025) +.28",
        r"$\delta$", "learning rate in D", r"best learning rate $\propto D^{{-\delta}}$ at fixed N",
    ),
    _group(
        "beta", math.log(3e5), 0.7, (0.3, 0.5),
        "optimal batches of 0.1 to 1M tokens at 300M x 10B (DeepSeek-AI 2024, Li et al. 2025, Porian et al. 2024)",
        r"$\beta$", "ln batch at the pivot", "best batch at {pivot} [tokens]", logarithm=True,
    ),
    _group(
        "epsilon", 0.47, 0.1, (0.06, 0.1),
        "batch exponent in D: .38 to .59 (Bergsma et al. 2025, Zhang et al. 2024, Li et al. 2025), in theory .5",
        r"$\varepsilon$", "batch in D", r"best batch $\propto D^{{\varepsilon}}$ at fixed N",
    ),
    _group(
        "epsilon_n", -0.05, 0.1, (0.06, 0.06),
        "0 according to Li et al. 2025, -.27 on their public cells",
        r"$\varepsilon_N$", "batch in N", r"best batch $\propto N^{{\varepsilon_N}}$ at fixed D",
    ),
)  # fmt: skip

# -------------------------------------------------------------------------------- the shape of the basin

register(
    _group(
        "rho", 0.6, 0.2, (0.1, 0.1),
        "square root to linear rule below B*: .5 (Malladi et al. 2022), .56 to .62 measured with Scion and Muon (2025)",
        r"$\rho$", "ridge below B*", r"best learning rate $\propto B^{{\rho}}$ below the best batch",
    ),
    _group(
        "rho_high", 0.0, 0.2, (0.1, 0.25),
        "the surge: flat above B* (Li et al. 2024, arXiv:2405.14578), slope -.03 in Step Law's runs",
        r"$\rho_{high}$", "ridge above B*",
        r"best learning rate $\propto B^{{\rho_{{high}}}}$ above the best batch",
    ),
    _group(
        "lr_curvature", math.log(0.02), 0.5, (0.2, 0.4),
        "second derivative 2 x 9 per mille/nat^2 in Step Law's runs (Li et al. 2025)",
        "ln $k_u$", "ln curvature in learning rate", "curvature in ln learning rate at {pivot}", logarithm=True,
    ),
    _group(
        "knee", 0.5, 0.4, (0.15, 0.25),
        "undershoot turns linear: 3.7 per mille at eta/2, 9.8 at eta/4 (Step Law's runs, Li et al. 2025)",
    ),
    _group(
        "twist", 0.2, 0.15, (0.1, 0.1),
        "fewer steps make good less: a wrong eta costs more at large B",
    ),
    _group(
        "batch_curvature", math.log(0.012), 0.5, (0.2, 0.4),
        "2 x 4 to 7 per mille/nat^2 in ln B (Step Law's runs, Li et al. 2025)",
        "ln $k_v$", "ln curvature in batch", "curvature in ln batch at {pivot}", logarithm=True,
    ),
    _group(
        "batch_skew", 0.4, 0.3, (0.1, 0.3),
        "too large a batch costs steps in proportion, too small only noise",
    ),
    _group(
        "cliff", 1.7, 0.4, (0.3, 0.5),
        "ln(eta_div/eta*) N(1.7, 0.6): median 1.9 in Step Law's runs, 0.7 to 1.4 with AdamW in Wen et al. 2025",
        "cliff", "ln of the diverging over the best learning rate", "ln(diverging / best learning rate)",
    ),
)  # fmt: skip

# ------------------------------------------------------------------------- what an optimizer gains in loss

register(
    _group(
        "offset", 0.0, 0.005, (0.015, 0.005),
        "optimizers differ by 1 to 3% in loss (Wen et al. 2025)",
    ),
    _group(
        "offset_n", 0.0, 0.001, (0.003, 0.001),
        "speed-ups shrink with N, 1.4 to 1.1 times (Wen et al. 2025)",
    ),
    _group("offset_d", 0.0, 0.001, (0.003, 0.001), "the same with D"),
)  # fmt: skip

# -------------------------------------------------------------------------------- weight decay and momentum

register(
    _group(
        "lambda", math.log(0.15), 0.5, (0.6, 0.3), "tuned decays 0.1 to 0.2, Lion 0.6 (Wen et al. 2025)",
        r"$\lambda$", "ln weight decay at the pivot", "best weight decay + 0.01 at {pivot}", logarithm=True,
    ),
    _group(
        "mu", 0.0, 0.15, (0.1, 0.1),
        "falls with D/N (Bergsma et al. 2025), rises as width grows (Wang & Aitchison 2024)",
        r"$\mu$", "weight decay in N", r"best weight decay $\propto N^{{-\mu}}$",
    ),
    _group(
        "decay_curvature", math.log(0.02), 0.7, (0.2, 0.2), "flatter than the learning rate",
        logarithm=True,
    ),
    _group(
        "zeta", math.log(0.06), 0.25, (0.3, 0.2),
        "0.9 to 0.95, Muon 0.95 to 0.98 (Wen et al. 2025); below 0.8 nowhere",
        r"$\zeta$", "ln(1 - momentum) at the pivot", "1 - best momentum at {pivot}", logarithm=True,
    ),
    _group(
        "kappa", 0.15, 0.15, (0.1, 0.05),
        "Muon .95 to .98 over Wen et al. 2025; 1/3 to 1/2 where momentum is tuned with T (Shulgin et al. 2026)",
        r"$\kappa$", "1 - momentum in N", r"1 - best momentum $\propto N^{{-\kappa}}$",
    ),
    _group(
        "momentum_curvature", math.log(0.02), 0.7, (0.2, 0.2), "flatter than the learning rate",
        logarithm=True,
    ),
)  # fmt: skip

# --------------------------------------------------------------------------------- the level, noise, cells

register(
    _study(
        "level", math.log(2.6), 0.3, "ln loss at the reference scale: 2.7 nats (Hoffmann et al. 2022)",
        r"$\ell$", "ln loss at the pivot", "loss at {pivot} [nats/token]", logarithm=True,
    ),
    _study(
        "share", -0.5, 0.4,
        "logit of the reducible share R/L: (2.7 - 1.7)/2.7 = .38 (Hoffmann et al. 2022)",
        "logit $f$", "reducible share of the loss", "logit of the reducible share of the loss at {pivot}",
    ),
    _study(
        "slope_n", 0.06, 0.025,
        "-d ln L/d ln N: .076 (Kaplan et al. 2020), .38 x .5 x .34 (Hoffmann et al. 2022)",
        "$s_n$", "fall of ln loss in N", "-d ln loss / d ln N at {pivot}",
    ),
    _study(
        "slope_d", 0.06, 0.025,
        "-d ln L/d ln D: .095 (Kaplan et al. 2020), .38 x .5 x .3 (Hoffmann et al. 2022)",
        "$s_d$", "fall of ln loss in D", "-d ln loss / d ln D at {pivot}",
    ),
    _study(
        "curve_nn", 0.012, 0.006, "d2 ln L/d ln N2: .018 in the additive form of Hoffmann et al. 2022, .006 in a product",
    ),
    _study(
        "curve_nd", -0.003, 0.006, "d2 ln L/d ln N d ln D: -.003 additive, +.004 product; the N x D interaction",
    ),
    _study("curve_dd", 0.012, 0.005, "d2 ln L/d ln D2: .015 additive, .004 product"),
    _study(
        "fade_n", 0.1, 0.05, "an excess in proportion to L - E: (E/L) d ln R/d ln N = .6 x .15",
        r"$\phi_n$", "flattening in N", r"excess loss $\propto N^{{-\phi_n}}$",
    ),
    _study(
        "fade_d", 0.1, 0.05,
        "the same in D; curvature 15 to 5 per mille/nat^2 from 5B to 100B tokens (Step Law's runs) is .37",
        r"$\phi_d$", "flattening in D", r"excess loss $\propto D^{{-\phi_d}}$",
    ),
    _study(
        "log_noise", math.log(1.2e-3), 0.5,
        "residual sd 0.9 to 1.6 per mille about quadratics (Step Law's runs); seeds alone 0.4",
        r"$\sigma$", "ln of the scatter of ln loss", "scatter of ln loss near the optimum", logarithm=True,
    ),
    _study(
        "log_noise_slope", math.log(0.1), 0.6, "far from the optimum runs scatter by a tenth of their excess",
        logarithm=True,
    ),
    _study("log_dof_minus_4", math.log(2.0), 0.5, "heavy tails: about 6 degrees of freedom", logarithm=True),
    _study(
        "log_off_shift", math.log(1e-3), 0.7, "a setting outside the model, off its usual value, costs a little",
        logarithm=True,
    ),
    _study("log_off_noise", math.log(2e-3), 0.7, "and scatters as much", logarithm=True),
    _study(
        "log_off_dof_minus_2", 0.0, 0.5, "some such settings hardly matter, some ruin the run", logarithm=True
    ),
    _study(
        "log_tau_level", math.log(1.3e-3), 0.5, "with sizes, rms 2.0 per mille of cells about a level with interaction",
        r"$\tau_L$", "ln of the cells' spread in ln loss", "spread of cells in ln loss", logarithm=True,
    ),
    _study(
        "log_tau_size_level", math.log(1.5e-3), 0.5, "width, depth and their ratio move all cells of one N",
        logarithm=True,
    ),
    _study(
        "log_tau_size_slope", math.log(1e-3), 0.5, "and change how fast that network gains from tokens, by 2%",
        logarithm=True,
    ),
    _study(
        "log_tau_lr", math.log(0.1), 0.4, "residual sd .11 of cell optima (Step Law's runs), sizes apart",
        r"$\tau_\eta$", "ln of the cells' spread in ln lr*", "spread of cells in ln learning rate",
        logarithm=True,
    ),
    _study(
        "log_tau_size_lr", math.log(0.08), 0.4,
        "the same shape moves eta* of all cells of one N: .3 nats for twice the width", logarithm=True,
    ),
    _study(
        "log_tau_batch", math.log(0.1), 0.4, "residual sd .09 of cell optima (Step Law's runs), sizes apart",
        r"$\tau_B$", "ln of the cells' spread in ln B*", "spread of cells in ln batch", logarithm=True,
    ),
    _study("log_tau_size_batch", math.log(0.06), 0.4, "and B*, less", logarithm=True),
    _study(
        "log_cliff_width", math.log(0.3), 0.4, "16% at 4, 51% at 8, 83% at 16 times eta* (Step Law's runs)",
        logarithm=True,
    ),
)  # fmt: skip

register(
    Parameter(
        "bend", "common", 0.0, 0.03,
        "ln eta* is curved in ln N: N(0, 0.05) (arXiv:2606.29158), an allowance for extrapolation",
    ),
)  # fmt: skip

# ----------------------------------------------------------------------- parts of the law beyond its core

register(
    _optional("drift", "rho_d", 0.0, 0.1, "the ridge below B* steepens with D: +.11 a nat over Step Law's cells"),
    _optional("drift", "rho_high_d", 0.0, 0.1, "and falls above B*: -.07 a nat over the same cells"),
    _optional("drift", "batch_drift_n", 0.05, 0.1, "the batch's bowl fades less with N than the learning rate's"),
    _optional("drift", "batch_drift_d", 0.05, 0.1, "and less with D: -.06 against -.16 a nat over Step Law's cells"),
    _optional(
        "second", "bend_nd", 0.0, 0.05,
        "ln eta* has an n d term: a quadratic in logarithms predicts better", "common",
    ),
    _optional("second", "bend_dd", 0.0, 0.05, "and one in d^2", "common"),
    _optional("second", "batch_nn", 0.0, 0.05, "ln B* likewise in n^2", "common"),
    _optional("second", "batch_nd", 0.0, 0.05, "n d: -.08 over Step Law's cells", "common"),
    _optional("second", "batch_dd", 0.0, 0.05, "and d^2: +.05 over the same cells", "common"),
    _optional("smooth", "log_tau_smooth_level", math.log(3e-3), 0.7, "smooth deviation of ln loss, 3 per mille"),
    _optional("smooth", "log_tau_smooth_lr", math.log(0.15), 0.7, "of ln eta*: residuals of neighbouring cells agree"),
    _optional("smooth", "log_tau_smooth_batch", math.log(0.12), 0.7, "of ln B*, less"),
    Parameter(
        "alpha_share", "common", 0.3, 0.2,
        "a longer decay allows a higher peak: +.3 a nat of the share (Schaipp et al. 2025)", part="schedule_slope",
    ),
    Parameter(
        "offset_share", "common", 0.0, 0.005,
        "a longer decay lowers the loss until about a fifth of the run (Haegele et al. 2024)",
        part="schedule_slope schedule_free",
    ),
    Parameter(
        "alpha_scalars", "common", 1.0, 1e-3,
        "convex bound: the best rate moves by 1/2 ln(X1/X2) (Schaipp et al. 2025; derived in docs/theory.md)",
        part="schedule schedule_free",
    ),
    Parameter(
        "alpha_deviation", "common", 0.0, 0.2, "the slope in the share that the bound leaves", part="schedule_free",
    ),
    Parameter(
        "offset_scalars", "common", 0.085, 0.02,
        "ln loss over 1/2 ln(X1 X2): .07 to .10 at 50k steps (runs of Schaipp et al. 2025)",
        part="schedule schedule_free",
    ),
    Parameter(
        "alpha_aspect", "common", -0.15, 0.2,
        "at one N -1/3 to 0: the rate falls as 1/width, and with depth not at all (Yang et al. 2022) or by its root",
        part="shape",
    ),
    Parameter(
        "offset_aspect", "common", 0.0, 0.01,
        "the loss hardly depends on the aspect ratio (Kaplan et al. 2020)", part="shape",
    ),
    Parameter(
        "alpha_sharpness", "common", -0.5, 0.5,
        "-1 where eta* is the stability threshold over lambda (Cohen et al. 2022), 0 where it is far below that",
        part="curvature",
    ),
    Parameter(
        "batch_noise", "common", 0.5, 0.5,
        "1 where B* is the noise scale (McCandlish et al. 2018), 0 where it is not (Merrill et al. 2025)",
        part="curvature",
    ),
    Parameter(
        "batch_sequence", "common", 0.8, 0.25,
        "gradients average independent sequences, not tokens: .7 to .95 a nat between 128, 2,048 and 4,096 tokens",
        part="sequence",
    ),
    Parameter("theory_path", "common", 0.0, 1.0, "score of q, N(.45, .12) from 0 to 1/2 (law.ties)", part="theory"),
    Parameter("lmo_path", "common", 0.0, 1.0, "the same", part="lmo"),
)  # fmt: skip

DERIVED_NAMES = {
    "gamma": Parameter(
        "gamma", "group", math.nan, math.nan, "gamma_path - delta", 0.0, 0.0,
        r"$\gamma$", "learning rate in N", r"best learning rate $\propto N^{{-\gamma}}$ at fixed D",
    ),
}  # fmt: skip
"""Rows of what follows from others and is only shown."""


def derived(values: Mapping[str, Floats]) -> dict[str, Floats]:
    """What follows from group parameters and is wanted beside them: ``gamma``, of the same shape.

    >>> derived({"gamma_path": np.array([0.5]), "delta": np.array([0.2])})
    {'gamma': array([0.3])}
    """
    return {"gamma": values["gamma_path"] - values["delta"]}


# ---------------------------------------------------------------------------------------- words for people


def row_of(name: str) -> Parameter | None:
    """The row of a parameter, or of a derived one; None for a name that is neither."""
    return PARAMETERS.get(name) or DERIVED_NAMES.get(name)


def described(names: Iterable[str]) -> list[str]:
    """Those of some names that have words for a figure."""
    return [name for name in names if (row := row_of(name)) and row.meaning]


def short_name(name: str) -> str:
    """A parameter in a line of a list; its own name where nothing shorter says it."""
    row = row_of(name)
    return f"{row.symbol}, {row.meaning}" if row and row.meaning else name.replace("_", " ")


def axis_name(name: str, reference: tuple[float, float]) -> str:
    """A parameter as the label of its axis; ``reference`` is (N0, D0) of the posterior."""
    row = row_of(name)
    if not (row and row.axis):
        return name.replace("_", " ")
    words = row.axis.format(pivot=f"N = {short(reference[0])}, D = {short(reference[1])}")
    return words if row.logarithm else f"{row.symbol}: {words}"


def is_logarithm(name: str) -> bool:
    """Whether a parameter is shown as what it is the logarithm of."""
    row = row_of(name)
    return bool(row and row.logarithm and row.axis)


def natural(name: str, values: Floats) -> Floats:
    """Values of a parameter as they are shown: the exponential of a logarithm."""
    return np.exp(values) if is_logarithm(name) else values
