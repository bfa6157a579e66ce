"""The law as a table: covariates, and what each quantity of the surface is made of.

A covariate is a known property of a cell, in its own coordinate about a pivot. A quantity (the best learning
rate, the best batch, an optimizer's gain in loss, a shape) is a sum of terms, each a parameter times an
expression in covariates. A factor shifts a quantity by an amount of its own for each value of a column.
Preparing arrays, moving priors to the pivot, fitting, predicting, designing, diagnosing, plotting, reporting
and documenting all loop over these rows; nothing else names a covariate.

To add one: a row of ``PARAMETERS``, a row here, and a term (docs/extending.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.law.parameters import PARAMETERS, Parameter
from bayeslaw.law.scalars import COORDINATES, schedule_coordinates

Array = Any  # a numpy.ndarray or a jax.Array
Columns = Mapping[str, Any]

EDGE = 0.125
"""Width [nats] of the bend in which an optimum comes to rest at the end of its range."""

DECAY_SHARE = "share"
"""The covariate that the scalars of a schedule follow from."""

NOTHING = 1e-9
"""A hyperparameter below this is none at all: what rounding leaves of 0."""


def xp_of(x: Array) -> Any:
    """The array library of an array: NumPy, or JAX's NumPy."""
    return np if isinstance(x, (float, int)) else x.__array_namespace__()


def special_of(x: Array) -> Any:
    """The special functions beside the array library of an array: SciPy's, or those of JAX's SciPy."""
    return import_module(xp_of(x).__name__.replace("numpy", "scipy.special"))


# ------------------------------------------------------------------------------------------ coordinates


@dataclass(frozen=True)
class Transform:
    """The coordinate ln(offset + sign * value) in which a quantity is close to linear, and its way back.

    >>> float(Transform(0.01).to(np.array(0.09))).__round__(4), float(Transform(1.0, -1).back(np.log(0.1)))
    (-2.3026, 0.9)
    """

    offset: float = 0.0
    sign: int = 1

    def to(self, value: Any) -> Any:
        """Value -> coordinate."""
        value = np.asarray(value, float)
        return (
            np.log1p(-value)
            if (self.offset, self.sign) == (1.0, -1)
            else np.log(self.offset + self.sign * value)
        )

    def back(self, coordinate: Any) -> Any:
        """Coordinate -> value."""
        return self.sign * (np.exp(np.asarray(coordinate, float)) - self.offset)

    @property
    def at_zero(self) -> tuple[float, float]:
        """Bounds of the coordinate that keep the value at or above 0."""
        if self.offset <= 0:
            return -math.inf, math.inf
        end = math.log(self.offset)
        return (end, math.inf) if self.sign > 0 else (-math.inf, end)


LOG = Transform()


# ------------------------------------------------------------------------------------------- covariates


@dataclass(frozen=True)
class Covariate:
    """A known property of a cell.

    Attributes:
        name: key in expressions, in ``Target.covariates`` and in the posterior file.
        label: what people call it, in JSON keys, tables and on axes.
        meaning: in words.
        columns: of the run table that it is computed from.
        value: columns -> its natural value, such as a count or a ratio.
        reference: natural value at which the priors of intercepts are stated.
        optional: whether cells without the columns count as having the reference value.
        transform: to the coordinate that terms are linear in.
        part: the optional parts of the law that it belongs to, as of ``Parameter``; empty for the core.
        measured: whether it is measured on one run of a cell, early, and holds for all (``runs.curvature``).
    """

    name: str
    label: str
    meaning: str
    columns: tuple[str, ...]
    value: Callable[[Columns], Any]
    reference: float
    optional: bool = True
    transform: Transform = LOG
    part: str = ""
    measured: bool = False


COVARIATES: dict[str, Covariate] = {
    "n": Covariate(
        "n", "params", "ln N, non-embedding parameters", ("params_nonembedding",),
        lambda c: c["params_nonembedding"], 3e8, optional=False,
    ),
    "d": Covariate(
        "d", "tokens", "ln D, training tokens", ("tokens",), lambda c: c["tokens"], 1e10, optional=False
    ),
    "share": Covariate(
        "share", "decay_share", "ln of the share of the run in which the rate falls", ("decay_share",),
        lambda c: c["decay_share"], 1.0, transform=Transform(0.01),
        part="schedule schedule_free schedule_slope",
    ),
    "aspect": Covariate(
        "aspect", "width_over_depth", "ln of width over depth", ("width", "depth"),
        lambda c: c["width"] / c["depth"], 64.0, part="shape",
    ),
    "sequence": Covariate(
        "sequence", "sequence_length", "ln of the tokens per sequence", ("sequence_length",),
        lambda c: c["sequence_length"], 2048.0, part="sequence",
    ),
    "sharpness": Covariate(
        "sharpness", "lambda_preconditioned",
        "ln of the largest eigenvalue of the preconditioned Hessian at about step 20 of a low rate",
        ("lambda_preconditioned",), lambda c: c["lambda_preconditioned"], 600.0,
        part="curvature", measured=True,
    ),
    "noise": Covariate(
        "noise", "noise_scale", "ln of the gradient noise scale at about step 20 [tokens]", ("noise_scale",),
        lambda c: c["noise_scale"], 500.0, part="curvature", measured=True,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Factor:
    """A partially pooled shift of a quantity for each value of a column, such as a schedule.

    Shifts are N(0, spread^2), the spread lognormal about ``spread`` (``parameters.SPREAD_LOG_SD``). A value
    that was never fitted is drawn from that population; the default of a target is the value that most
    cells of its study have, or most fitted cells where the study is none of them.

    Attributes:
        name: key in the posterior file.
        column: of the run table.
        quantity: that it shifts, a key of ``QUANTITIES`` or ``OPTIMA``.
        spread: prior median of the standard deviation of the shifts.
        why: the reason for it.
        part: the optional parts of the law that it belongs to, as of ``Parameter``; empty for the core.
    """

    name: str
    column: str
    quantity: str
    spread: float
    why: str
    part: str = ""


FACTORS: dict[str, Factor] = {
    "schedule": Factor(
        "schedule", "schedule", "learning_rate", 0.4,
        "at one decay share a constant or stepped rate peaks elsewhere (Schaipp et al. 2025)",
        "schedule_slope schedule_free",
    ),
    "schedule_level": Factor(
        "schedule_level", "schedule", "offset", 0.01,
        "without a decay the loss is 1 to 3% higher (Haegele et al. 2024)",
        "schedule schedule_free schedule_slope",
    ),
    "normalization": Factor(
        "normalization", "normalization", "learning_rate", 0.2,
        "QK norm widens what trains, not where it is best (Wortsman et al. 2024)", "shape",
    ),
    "normalization_level": Factor(
        "normalization_level", "normalization", "offset", 0.005,
        "RMSNorm and LayerNorm end level (Zhang & Sennrich 2019)", "shape",
    ),
}  # fmt: skip


# ------------------------------------------------------------------------------------ terms of quantities


@dataclass(frozen=True)
class Term:
    """One summand ``sign * parameter * expression``.

    Attributes:
        parameter: a key of ``PARAMETERS``.
        of: expression in covariates: ``1``, ``n``, ``d - n``, ``n^2``, ``n d``.
        sign: +1 or -1.
    """

    parameter: str
    of: str = "1"
    sign: int = 1


@dataclass(frozen=True)
class Optimum:
    """A hyperparameter that has a best value, and what that depends on.

    Attributes:
        name: column of the run table and key of a recommendation.
        terms: of the coordinate of the best value; the first is its intercept.
        transform: from the hyperparameter's unit to the coordinate in which its bowl is symmetric.
        range: of the coordinate, in which the best value must lie; None for no bound.
        curvature: the parameter that holds the ln curvature of a bowl of its own; None for learning rate
            and batch, which ``bayeslaw.law.surface`` couples by the ridge.
        words: for people.
    """

    name: str
    terms: tuple[Term, ...]
    transform: Transform = LOG
    range: tuple[float, float] | None = None
    curvature: str | None = None
    words: str = ""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Every parameter of a bowl of its own."""
        return (*(term.parameter for term in self.terms), *((self.curvature,) if self.curvature else ()))


OPTIMA: dict[str, Optimum] = {
    "learning_rate": Optimum(
        "learning_rate",
        (
            Term("alpha"), Term("gamma_path", "n", -1), Term("delta", "d - n", -1), Term("bend", "n^2", -1),
            Term("bend_nd", "n d", -1), Term("bend_dd", "d^2", -1), Term("alpha_share", "share"),
            Term("alpha_aspect", "aspect"), Term("alpha_scalars", "shift"), Term("alpha_deviation", "share"),
            Term("alpha_sharpness", "sharpness"),
        ),
        words="learning rate, peak",
    ),
    "batch_tokens": Optimum(
        "batch_tokens",
        (
            Term("beta"), Term("epsilon", "d"), Term("epsilon_n", "n"),
            Term("batch_nn", "n^2"), Term("batch_nd", "n d"), Term("batch_dd", "d^2"),
            Term("batch_sequence", "sequence"), Term("batch_noise", "noise"),
        ),
        words="batch, tokens",
    ),
    "weight_decay": Optimum(
        "weight_decay", (Term("lambda"), Term("mu", "n", -1)), Transform(0.01),
        (math.log(0.01), math.log(10.0)), "decay_curvature", "weight decay",
    ),
    "momentum": Optimum(
        "momentum", (Term("zeta"), Term("kappa", "n", -1)), Transform(1.0, -1), (math.log(1e-4), 0.0),
        "momentum_curvature", "momentum",
    ),
}  # fmt: skip
"""Weight decay is compared as ln(w + 0.01), so that a run without decay stays comparable; no decay is below 0
and nobody runs one above 10. Momentum is compared as ln(1 - m)."""

QUANTITIES: dict[str, tuple[Term, ...]] = {
    "offset": (
        Term("offset"), Term("offset_n", "n"), Term("offset_d", "d"), Term("offset_share", "share", -1),
        Term("offset_aspect", "aspect"), Term("offset_scalars", "cost"),
    ),
    "level": (Term("level"), Term("slope_n", "n", -1), Term("slope_d", "d", -1)),
}  # fmt: skip
"""Quantities that are no optima. ``offset`` is an optimizer's share of ln loss, which takes further
covariates of the level. Of ``level`` these are the terms of first order, which move its prior to the pivot;
the rest of its formula is ``surface.log_level``."""


SHAPES: dict[str, tuple[Term, ...]] = {
    "rho": (Term("rho_d", "d"),),
    "rho_high": (Term("rho_high_d", "d"),),
    "batch_curvature": (Term("batch_drift_n", "n"), Term("batch_drift_d", "d")),
}
"""Parameter of the basin's shape -> how it drifts about its value at the pivot."""


def own_bowls() -> dict[str, Optimum]:
    """Hyperparameters with a bowl of their own: all but learning rate and batch."""
    return {name: optimum for name, optimum in OPTIMA.items() if optimum.curvature}


def blocks() -> dict[str, dict[str, Parameter]]:
    """Group parameters by what groups must have varied to have them: ``surface``, or a hyperparameter.

    >>> list(blocks()["momentum"])
    ['zeta', 'kappa', 'momentum_curvature']
    """
    own = {name: optimum.parameters for name, optimum in own_bowls().items()}
    taken = {parameter for names in own.values() for parameter in names}
    group = {name: row for name, row in PARAMETERS.items() if row.level == "group"}
    surface = {name: row for name, row in group.items() if name not in taken}
    return {"surface": surface} | {
        name: {k: group[k] for k in names if k in group} for name, names in own.items()
    }


# ---------------------------------------------------------------------------------------- evaluating them


@cache
def monomials(expression: str) -> tuple[tuple[float, tuple[str, ...]], ...]:
    """An expression as a sum: (coefficient, covariates multiplied) of each summand.

    >>> monomials("d - n")
    ((1.0, ('d',)), (-1.0, ('n',)))
    >>> monomials("n^2"), monomials("1")
    (((1.0, ('n', 'n')),), ((1.0, ()),))
    """
    signed = expression.replace(" - ", " + -").split(" + ")
    found = []
    for text in signed:
        factors: list[str] = []
        for part in text.removeprefix("-").split():
            name, _, power = part.partition("^")
            factors += [name] * int(power or 1)
        found.append((-1.0 if text.startswith("-") else 1.0, tuple(f for f in factors if f != "1")))
    return tuple(found)


def degree(expression: str) -> int:
    """The largest number of covariates that one summand multiplies."""
    return max(len(names) for _, names in monomials(expression))


def covariates_in(terms: Iterable[Term]) -> set[str]:
    """The covariates that some terms depend on; the decay share in place of the scalars of a schedule."""
    names = {name for term in terms for _, names in monomials(term.of) for name in names}
    return {DECAY_SHARE if name in COORDINATES else name for name in names}


def value_of(expression: str, x: Mapping[str, Array]) -> Array:
    """An expression at covariates ``x`` about the pivot; those not in ``x`` lie at the pivot.

    >>> value_of("d - n", {"n": 1.0, "d": 3.0}), value_of("n^2", {"n": 3.0}), value_of("1", {})
    (2.0, 9.0, 1.0)
    """
    total: Array = 0.0
    for coefficient, names in monomials(expression):
        product: Array = coefficient
        for name in names:
            product = product * x.get(name, 0.0)
        total = total + product
    return total


def sum_of(terms: Iterable[Term], p: Mapping[str, Array], x: Mapping[str, Array]) -> Array:
    """A quantity at covariates ``x``: the sum of its terms but for those whose parameter ``p`` lacks."""
    total: Array = 0.0
    for term in terms:
        if term.parameter in p:
            by = value_of(term.of, x)
            total = total + (
                term.sign * p[term.parameter] if term.of == "1" else term.sign * p[term.parameter] * by
            )
    return total


def optimum_of(name: str, p: Mapping[str, Array], x: Mapping[str, Array]) -> Array:
    """The coordinate of a hyperparameter's best value, within its range; NumPy or JAX.

    Args:
        name: of ``OPTIMA``.
        p: parameters; factor shifts of the quantity under ``shift_key(name)``.
        x: covariates about the pivot.

    >>> p = {"zeta": np.array(np.log(0.1)), "kappa": np.array(0.0)}
    >>> float(OPTIMA["momentum"].transform.back(optimum_of("momentum", p, {"n": 0.0}))).__round__(6)
    0.9
    """
    optimum = OPTIMA[name]
    total = sum_of(optimum.terms, p, x) + p.get(shift_key(name), 0.0)
    return total if optimum.range is None else within(total, *optimum.range)


def drifted(p: Mapping[str, Array], x: Mapping[str, Array]) -> dict[str, Array]:
    """Those parameters of the basin's shape that drift, at covariates ``x``; empty where none does.

    >>> drifted({"rho": 0.5, "rho_d": 0.1}, {"d": 2.0})
    {'rho': 0.7}
    """
    return {
        name: p[name] + sum_of(terms, p, x)
        for name, terms in SHAPES.items()
        if any(term.parameter in p for term in terms)
    }


def shift_key(quantity: str) -> str:
    """Key of what factors add to a quantity."""
    return f"shift_{quantity}"


def within(x: Array, low: float, high: float) -> Array:
    """x between ``low`` and ``high``, where it bends smoothly: a softplus of width ``EDGE`` at either end.

    >>> [round(float(within(np.array(x), -4.0, 0.0)), 3) for x in (-30.0, -4.0, -2.0, 5.0)]
    [-4.0, -3.913, -2.0, 0.0]
    """
    xp = xp_of(x)
    return x + EDGE * (xp.logaddexp(0.0, (low - x) / EDGE) - xp.logaddexp(0.0, (x - high) / EDGE))


def to_coordinate(name: str, value: Floats | float) -> Floats:
    """A hyperparameter's value in the coordinate of its bowl.

    >>> float(from_coordinate("momentum", to_coordinate("momentum", 0.9))).__round__(9)
    0.9
    """
    return np.asarray(OPTIMA[name].transform.to(value))


def from_coordinate(name: str, coordinate: Floats | float) -> Floats:
    """Inverse of ``to_coordinate``; 0 below ``NOTHING`` where the hyperparameter can be 0."""
    transform = OPTIMA[name].transform
    value = transform.back(coordinate)
    return np.asarray(value if transform == LOG else np.where(value < NOTHING, 0.0, value))


# ------------------------------------------------------------------------------------------ at a place


def coordinates(columns: Columns, pivot: Mapping[str, float]) -> dict[str, Any]:
    """Covariates about a pivot; an optional one whose columns are missing is at its reference.

    Where the fit knows the decay share, the two scalars of the schedule come with it, about a linear decay.

    Args:
        columns: of a run table or of a target, by name.
        pivot: covariate -> natural value where its coordinate is 0; names those that the fit knows.
    """
    found = {}
    for name, centre in pivot.items():
        value = natural_value(name, columns)
        found[name] = COVARIATES[name].transform.to(value) - COVARIATES[name].transform.to(centre)
    if DECAY_SHARE in pivot:
        found |= schedule_coordinates(columns.get("schedule", ""), natural_value(DECAY_SHARE, columns))
    return found


def natural_value(name: str, columns: Columns) -> Any:
    """A covariate's natural value; its own name among the columns wins; the reference where it is unknown."""
    row = COVARIATES[name]
    if name in columns:
        value = columns[name]
    elif all(column in columns for column in row.columns):
        value = row.value(columns)
    else:
        return np.float64(row.reference)
    value = np.asarray(value, float)
    return np.where(np.isfinite(value), value, row.reference)


def check_covariates(given: Mapping[str, float | str]) -> None:
    """Refuse names that are neither covariates of the law nor columns of its factors, and 0 where only more
    has a coordinate.

    Raises:
        BadInput: naming the first one.
    """
    known = [name for name, row in COVARIATES.items() if row.optional]
    known += list(dict.fromkeys(row.column for row in FACTORS.values()))
    for name, value in given.items():
        if value == 0 and name in COVARIATES and COVARIATES[name].transform == LOG:
            raise BadInput(f"covariate {name} = 0: expected a finite number above 0; correct it")
        if name not in known:
            expected = (
                f"one of {', '.join(known)}" if known else "none, since the law has no further covariate"
            )
            raise BadInput(f"covariate {name}: not in the law; expected {expected}; leave it out")


def reference(names: Iterable[str] | None = None) -> dict[str, float]:
    """Natural values where the priors of intercepts are stated; by default of what every table has."""
    own = [name for name, row in COVARIATES.items() if not row.optional] if names is None else names
    return {name: COVARIATES[name].reference for name in own}


def moved_priors(
    priors: Mapping[str, tuple[float, float]], pivot: Mapping[str, float]
) -> dict[str, tuple[float, float]]:
    """(mean, sd) of parameters with every intercept moved from the reference to the pivot.

    An intercept at the pivot is the one at the reference plus slopes times the way between, so its mean moves
    and its standard deviation grows. Terms of second order are stated about the pivot and move nothing.

    >>> moved_priors({"beta": (0.0, 0.3), "epsilon": (0.5, 0.4)}, {"n": 3e8, "d": 1e10 * np.e})["beta"]
    (0.5, 0.5)
    """
    way = {
        name: float(
            COVARIATES[name].transform.to(centre) - COVARIATES[name].transform.to(COVARIATES[name].reference)
        )
        for name, centre in pivot.items()
    }
    moved = dict(priors)
    for first, *slopes in (*(o.terms for o in OPTIMA.values()), *QUANTITIES.values()):
        if first.parameter not in priors or first.parameter == "offset":
            continue
        mean, variance = priors[first.parameter][0], priors[first.parameter][1] ** 2
        for term in slopes:
            if term.parameter in priors and degree(term.of) == 1:
                by = term.sign * float(value_of(term.of, way))
                mean += priors[term.parameter][0] * by
                variance += (priors[term.parameter][1] * by) ** 2
        moved[first.parameter] = (mean, math.sqrt(variance))
    return moved


# --------------------------------------------------------------------------------------------- in words


def words_of(name: str) -> str:
    """A hyperparameter for people, as the head of a row or column."""
    return OPTIMA[name].words or name.replace("_", " ")


def axis_of(name: str) -> str:
    """A hyperparameter's best value as the label of an axis; 1 - value where it is compared so."""
    words, _, unit = words_of(name).partition(", ")
    words = f"{unit} {words}" if unit == "peak" else f"{words} [{unit}]" if unit else words
    return f"1 - best {words}" if OPTIMA[name].transform.sign < 0 else f"best {words}"


def formula(terms: Iterable[Term]) -> str:
    """A quantity's terms as a formula, for docs and reports; those of parts beyond its core in brackets.

    >>> formula(OPTIMA["weight_decay"].terms)
    'lambda - mu n'
    """
    parts = []
    for term in terms:
        of = "" if term.of == "1" else f" ({term.of})" if " " in term.of else f" {term.of}"
        parts.append(f"{'-' if term.sign < 0 else '+'} {term.parameter}{of}")
    return " ".join(parts).removeprefix("+ ")
