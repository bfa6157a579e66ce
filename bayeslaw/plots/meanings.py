"""Meanings of the parameters, and their values in theory and published laws."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.law.published import LAWS, Law
from bayeslaw.plots.axes import round_ticks
from bayeslaw.text import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEANINGS = {  # parameter -> symbol, in short, as an axis
    "alpha": (r"$\alpha$", "ln learning rate at the pivot", "best peak learning rate at {pivot}"),
    "gamma": (r"$\gamma$", "learning rate in N", r"best learning rate $\propto N^{{-\gamma}}$ at fixed D"),
    "gamma_path": (
        r"$\gamma+\delta$",
        "learning rate at fixed D/N",
        r"best learning rate $\propto N^{{-(\gamma+\delta)}}$ at fixed D/N",
    ),
    "delta": (r"$\delta$", "learning rate in D", r"best learning rate $\propto D^{{-\delta}}$ at fixed N"),
    "beta": (r"$\beta$", "ln batch at the pivot", "best batch at {pivot} [tokens]"),
    "epsilon": (r"$\varepsilon$", "batch in D", r"best batch $\propto D^{{\varepsilon}}$ at fixed N"),
    "epsilon_n": (r"$\varepsilon_N$", "batch in N", r"best batch $\propto N^{{\varepsilon_N}}$ at fixed D"),
    "rho": (r"$\rho$", "ridge below B*", r"best learning rate $\propto B^{{\rho}}$ below the best batch"),
    "rho_high": (
        r"$\rho_{high}$",
        "ridge above B*",
        r"best learning rate $\propto B^{{\rho_{{high}}}}$ above the best batch",
    ),
    "lambda": (r"$\lambda$", "ln weight decay at the pivot", "best weight decay + 0.01 at {pivot}"),
    "mu": (r"$\mu$", "weight decay in N", r"best weight decay $\propto N^{{-\mu}}$"),
    "zeta": (r"$\zeta$", "ln(1 - momentum) at the pivot", "1 - best momentum at {pivot}"),
    "kappa": (r"$\kappa$", "1 - momentum in N", r"1 - best momentum $\propto N^{{-\kappa}}$"),
    "level": (r"$\ell$", "ln loss at the pivot", "loss at {pivot} [nats/token]"),
    "slope_n": ("$s_n$", "fall of ln loss in N", "-d ln loss / d ln N at {pivot}"),
    "slope_d": ("$s_d$", "fall of ln loss in D", "-d ln loss / d ln D at {pivot}"),
    "share": (
        "logit $f$",
        "reducible share of the loss",
        "logit of the reducible share of the loss at {pivot}",
    ),
    "fade_n": (r"$\phi_n$", "flattening in N", r"excess loss $\propto N^{{-\phi_n}}$"),
    "fade_d": (r"$\phi_d$", "flattening in D", r"excess loss $\propto D^{{-\phi_d}}$"),
    "cliff": (
        "cliff",
        "ln of the diverging over the best learning rate",
        "ln(diverging / best learning rate)",
    ),
    "log_noise": (r"$\sigma$", "ln of the scatter of ln loss", "scatter of ln loss near the optimum"),
    "log_tau_level": (r"$\tau_L$", "ln of the cells' spread in ln loss", "spread of cells in ln loss"),
    "log_tau_lr": (
        r"$\tau_\eta$",
        "ln of the cells' spread in ln lr*",
        "spread of cells in ln learning rate",
    ),
    "log_tau_batch": (r"$\tau_B$", "ln of the cells' spread in ln B*", "spread of cells in ln batch"),
}
LOGARITHMS = (
    *("alpha", "beta", "lambda", "zeta", "level"),
    *("log_noise", "log_tau_level", "log_tau_lr", "log_tau_batch"),
)
"""Logarithmic parameters that figures show on their natural scale."""

THEORY = {  # arXiv 2205.10287 for adaptive methods; arXiv 1706.02677 for SGD
    "rho": {"square-root rule (Malladi et al. 2022)": 0.5, "linear rule (Goyal et al. 2017)": 1.0}
}


def short_name(name: str) -> str:
    """Name a parameter in a list."""
    if name not in MEANINGS:
        return name.replace("_", " ")
    symbol, words, _ = MEANINGS[name]
    return f"{symbol}, {words}"


def axis_name(name: str, pivot: tuple[float, float]) -> str:
    """Label the axis of a parameter."""
    if name not in MEANINGS:
        return name.replace("_", " ")
    symbol, _, words = MEANINGS[name]
    said = words.format(pivot=f"N = {short(pivot[0])}, D = {short(pivot[1])}")
    return said if name in LOGARITHMS else f"{symbol}: {said}"


def natural(name: str, values: Floats) -> Floats:
    """Convert values of a parameter for display: ``LOGARITHMS`` are exponentiated."""
    return np.exp(values) if name in LOGARITHMS else values


def value_axis(ax: Axes, name: str, pivot: tuple[float, float]) -> None:
    """Set words, scale and ticks of the horizontal axis of a parameter."""
    ax.set_xlabel(axis_name(name, pivot))
    if name in LOGARITHMS:
        ax.set_xscale("log")
        round_ticks(ax.xaxis)


def check_known(place: str, name: str, known: Iterable[str]) -> None:
    """Refuse a parameter that the figure ``place`` cannot show.

    Raises:
        BadInput: ``name`` is not among ``known``.
    """
    if name not in (names := list(known)):
        expected = ", ".join(names)
        raise BadInput(f"{place}: unknown parameter {name!r}; expected one of {expected}; name one of these")


def published(name: str, pivot: tuple[float, float]) -> dict[str, float]:
    """Values of a parameter in published laws, law -> value: logarithmic derivatives at the pivot.

    Only comparable laws count. Exponents of the learning rate need N in the law and a batch that is not
    fixed, since ours follow the best batch. Except along constant D/N, D must be in the law, since a law in N
    alone was fitted along one path. The tuned constant does not count.

    >>> published("epsilon", (3e8, 1e10))  # 0.58 D^0.571; 0.2920 (6 N D)^0.3271
    {'step': 0.571, 'deepseek': 0.327}
    """
    found = {key: _in_law(law, name, pivot) for key, law in LAWS.items() if key != "constant"}
    return {key: round(value, 3) for key, value in found.items() if value is not None}


def _in_law(law: Law, name: str, pivot: tuple[float, float]) -> float | None:
    advice = law.recommend(*pivot)
    if name == "beta":
        return float(np.log(advice["batch_tokens"])) if law.batch_tokens else None
    if name in ("epsilon", "epsilon_n"):
        n, d = _slopes(law, "batch_tokens", pivot)
        return None if not d else d if name == "epsilon" else n
    if law.fixed_batch_tokens:
        return None
    if name == "alpha":
        return float(np.log(advice["learning_rate"]))
    if name in ("gamma", "delta", "gamma_path"):
        n, d = _slopes(law, "learning_rate", pivot)
        unknown = not n or (name != "gamma_path" and not d)
        return None if unknown else {"gamma": -n, "delta": -d, "gamma_path": -n - d}[name]
    return None


def _slopes(law: Law, name: str, pivot: tuple[float, float]) -> tuple[float, float]:
    """Central derivatives of ln advice in ln N and ln D; 0 if the law has no such advice."""
    n, d = pivot
    step = 1e-3

    def log_advice(by_n: float, by_d: float) -> float:
        return float(np.log(law.recommend(n * np.exp(by_n), d * np.exp(by_d)).get(name, 1.0)))

    in_n = (log_advice(step, 0.0) - log_advice(-step, 0.0)) / (2 * step)
    in_d = (log_advice(0.0, step) - log_advice(0.0, -step)) / (2 * step)
    return round(in_n, 6), round(in_d, 6)
