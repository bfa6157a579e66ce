"""Laws of the schedule that the package does not offer, for ``tests.studies.schedules``, and C3's numbers.

Published forms taken literally: without the rise to the peak as a first change, and the annealing law with
the memory that its paper sets by hand. And two extensions that C3 names by their numbers of parameters alone;
what they are made of is our reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from bayeslaw.schedules.features import Features
from bayeslaw.schedules.laws import LAWS, ScheduleLaw, Shape


def falls_only(name: str) -> ScheduleLaw:
    """A law in which the rise to the peak is no change of the rate: its peak is 0 in the second term."""
    law = LAWS[name]

    def terms(p: Mapping[str, Any], f: Features, xp: Any) -> tuple[Any, Any]:
        without = f._replace(peak=1e-12 * f.peak)
        return law.terms(p, without, xp)

    return replace(law, name=f"{name}, falls only", terms=terms)


def _below_zero(p: Mapping[str, Any], f: Features, xp: Any) -> tuple[Any, Any]:
    """The multi-power law with a negative exponent of the rate."""
    return LAWS["multi-power"].terms({**p, "rate_exponent": -p["rate_exponent"]}, f, xp)


def with_memory(steps: float) -> ScheduleLaw:
    """The annealing law with a memory of so many steps, 1 / (1 - l)."""
    law = LAWS["annealing"]

    def terms(p: Mapping[str, Any], f: Features, xp: Any) -> tuple[Any, Any]:
        return law.terms({**p, "memory": steps}, f, xp)

    shapes = tuple(shape for shape in law.shapes if shape.name != "memory")
    return replace(law, name=f"annealing, l = {1 - 1 / steps:g}", shapes=shapes, terms=terms)


def _seven(p: Mapping[str, Any], f: Features, xp: Any) -> tuple[Any, Any]:
    far = (f.distance * f.peak) ** p["distance_exponent"] * f.peak ** -p["peak_falls"]
    return far, (f.noise / f.peak) ** p["noise_exponent"] * f.peak ** p["peak_rises"]


def _same_weight(p: Mapping[str, Any], f: Features, xp: Any) -> tuple[Any, Any]:
    """The functional law in which all changes weigh alike: c3 + T_k^-s is c3, which c2 takes up."""
    large = 1e6
    first, second = LAWS["functional"].terms({**p, "base": large}, f, xp)
    return first, second / large


def _of_the_peak(p: Mapping[str, Any], f: Features, xp: Any) -> tuple[Any, Any]:
    first, second = _same_weight(p, f, xp)
    return first * f.peak ** p["peak_first"], second * f.peak ** -p["peak_second"]


def _exponents(*names: str) -> tuple[Shape, ...]:
    return tuple(Shape(name, (0.2, 0.6), 0.005, 3.0, "of the peak rate") for name in names)


WITHOUT_BASE = tuple(shape for shape in LAWS["functional"].shapes if shape.name != "base")

VARIANTS: dict[str, ScheduleLaw] = {
    law.name: law
    for law in (
        falls_only("multi-power"),
        falls_only("functional"),
        replace(LAWS["multi-power"], name="multi-power, exponent below 0", terms=_below_zero),
        with_memory(100.0),
        with_memory(2000.0),
        replace(
            LAWS["power"],
            name="power, exponents of the peak",
            formula="L = E + A X1^a lr^-c + B X2^b lr^d",
            shapes=(*LAWS["power"].shapes, *_exponents("peak_falls", "peak_rises")),
            terms=_seven,
        ),
        replace(
            LAWS["functional"],
            name="functional, c3 only",
            formula="as functional, with c3 in place of c3 + T_k^-s",
            shapes=WITHOUT_BASE,
            terms=_same_weight,
        ),
        replace(
            LAWS["functional"],
            name="functional, exponents of the peak",
            formula="as functional, c3 only, with c1 times lr^p and c2 times lr^-q",
            shapes=(*WITHOUT_BASE, *_exponents("peak_first", "peak_second")),
            terms=_of_the_peak,
        ),
    )
}


OVER_PEAKS = tuple(name for name in VARIANTS if "exponent" in name)
"""Those that say something of the peak, and are not fitted to one."""


class Cited(NamedTuple):
    """A row of C3 (``../shared/research/theory.md``), in per mille; None where it has no number.

    Attributes:
        law: ours.
        words: C3's.
        fit, ahead: rms over 15k and 25k, and over 35k and 50k steps.
        regret: of the choice of peak and share.
        parameters: as C3 counts them.
        trunk: regrets of the share chosen from a trunk with branches, at three peaks.
    """

    law: str
    words: str
    fit: float | None
    ahead: float | None
    regret: float | None
    parameters: int
    trunk: str = ""


CITED = (
    Cited("bound", "literal convex bound", 7.6, 19.8, None, 3, "3.8 / 1.7 / 0.7"),
    Cited("power", "power bound", 1.27, 3.1, 0.67, 5, "0 / 0.65 / 0"),
    Cited("power, exponents of the peak", "bound, 7 parameters", 0.67, 3.9, 0.67, 7),
    Cited("multi-power", "MPL", 3.0, 6.6, 8.8, 7, "0 / 0 / 0"),
    Cited("multi-power, falls only", "(MPL, falls only)", None, None, None, 7),
    Cited("multi-power, exponent below 0", "(MPL, γ below 0)", None, None, None, 7),
    Cited("functional, c3 only", "FSL", 4.2, 7.1, None, 6, "2.3 / 4.5 / 2.3"),
    Cited("functional", "(FSL with T_k^-s, ours)", None, None, None, 7),
    Cited("functional, falls only", "(FSL, falls only)", None, None, None, 7),
    Cited("functional, exponents of the peak", "FSL + peak exponents", 1.13, 3.9, 0.34, 8),
    Cited("annealing, l = 0.99", "Tissue, λ = .99", 10.0, 26.0, None, 4, "6.4 / 10 / 15"),
    Cited("annealing, l = 0.9995", "Tissue, λ = .9995", 10.0, 26.0, None, 4, "0 / 0 / 0"),
    Cited("annealing", "(Tissue, λ fitted, ours)", None, None, None, 5),
    Cited("quadratic surface", "quadratic surface", 0.77, 1.2, 0.55, 11),
)
"""Rows in brackets are not in C3. Its FSL counts the rise and has one weight for all changes: with that
reading its numbers come out, and so do those of the bound with seven parameters."""
