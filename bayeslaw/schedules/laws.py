"""Laws of the loss as a function of the whole schedule, in one interface.

Each is a floor plus two terms, L = E + A f(schedule) +- B g(schedule). A, B and E are amplitudes; what shapes
f and g are the law's shape parameters. All parameters are above 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bayeslaw.errors import BadInput
from bayeslaw.schedules.features import Features, schedule_features

AMPLITUDES = ("floor", "first", "second")


@dataclass(frozen=True)
class Shape:
    """A shape parameter: where a fit starts and how far it may go.

    Attributes:
        name: of the parameter.
        start: values that fits start from.
        low: smallest value.
        high: largest value.
        meaning: with its unit.
    """

    name: str
    start: tuple[float, ...]
    low: float
    high: float
    meaning: str


@dataclass(frozen=True)
class ScheduleLaw:
    """One law.

    Attributes:
        name: its key in ``LAWS``.
        formula: as published; sums run over steps after the peak.
        source: paper.
        shapes: shape parameters.
        terms: (shape values by name, features, array namespace) -> f and g, shape (loss,) each.
        sign: of the second term: -1 where annealing lowers the loss, +1 where noise raises it.
        any_peak: whether the law has the noise of the peak learning rate in it; else it is fitted to one.
        note: caveat.
    """

    name: str
    formula: str
    source: str
    shapes: tuple[Shape, ...]
    terms: Callable[[Mapping[str, Any], Features, Any], tuple[Any, Any]]
    sign: float
    any_peak: bool
    note: str = ""

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of amplitudes and shape parameters."""
        return (*AMPLITUDES, *(shape.name for shape in self.shapes))

    def loss(self, params: Mapping[str, Any], features: Features, xp: Any = np) -> Any:
        """Losses [nats/token], shape (loss,).

        Args:
            params: value of each of ``parameters``.
            features: of ``features.schedule_features``.
            xp: ``numpy`` or ``jax.numpy``.
        """
        first, second = self.terms(params, features, xp)
        return params["floor"] + params["first"] * first + self.sign * params["second"] * second


def _annealing(p: Mapping[str, Any], f: Features, xp: Any) -> tuple[Any, Any]:
    fade = -xp.expm1(f.age * xp.log1p(-1 / p["memory"]))  # 1 - lambda^age
    return f.area ** -p["exponent"], xp.sum(f.drop * fade, axis=-1) * p["memory"]


def _multi_power(p: Mapping[str, Any], f: Features, xp: Any) -> tuple[Any, Any]:
    def gone(rate: Any, area: Any) -> Any:
        return 1 - (1 + p["speed"] * rate ** -p["rate_exponent"] * area) ** -p["fade_exponent"]

    risen = f.peak * gone(f.peak, f.area_since_peak)
    return f.area ** -p["exponent"], xp.sum(f.drop * gone(f.rate, f.area_since), axis=-1) - risen


def _functional(p: Mapping[str, Any], f: Features, xp: Any) -> tuple[Any, Any]:
    def gone(before: Any, since: Any) -> Any:
        weight = p["base"] + before ** -p["exponent"]
        return weight * (1 - (1 + p["speed"] * since) ** -p["fade_exponent"])

    risen = f.peak * gone(f.area - f.area_since_peak + f.peak, f.area_since_peak)
    fallen = xp.sum(f.drop * gone(f.area[:, None] - f.area_since + f.rate, f.area_since), axis=-1)
    return f.area ** -p["exponent"], fallen - risen


def _bound(p: Mapping[str, Any], f: Features, xp: Any) -> tuple[Any, Any]:
    return f.distance, f.noise


def _power(p: Mapping[str, Any], f: Features, xp: Any) -> tuple[Any, Any]:
    return f.distance ** p["distance_exponent"], f.noise ** p["noise_exponent"]


_EXPONENT = Shape("exponent", (0.2, 0.5, 1.0), 0.02, 3.0, "of the area of the schedule")
LAWS: dict[str, ScheduleLaw] = {
    law.name: law
    for law in (
        ScheduleLaw(
            name="annealing",
            formula="L = L0 + A S1^-a - C S2, S1 = sum lr, S2 = sum m, m_i = l m_(i-1) + lr_(i-1) - lr_i",
            source="Tissue et al. 2024, arXiv 2408.11029",
            shapes=(
                _EXPONENT,
                Shape("memory", (100.0, 1000.0, 10_000.0), 10.0, 1e6, "1 / (1 - l) [steps]"),
            ),
            terms=_annealing,
            sign=-1.0,
            any_peak=False,
            note="The paper sets l by hand, to 0.99 or 0.999; here it is fitted.",
        ),
        ScheduleLaw(
            name="multi-power",
            formula="L = L0 + A S1^-a - B sum_k (lr_(k-1) - lr_k) (1 - (1 + C lr_k^-g S_k)^-b), "
            "S_k = sum of lr from step k on",
            source="Luo et al. 2025, arXiv 2503.12811",
            shapes=(
                _EXPONENT,
                Shape("speed", (1e-3, 0.1, 2.0, 30.0), 1e-5, 1e4, "C"),
                Shape("rate_exponent", (0.1, 0.5, 1.0), 0.02, 3.0, "g"),
                Shape("fade_exponent", (0.1, 0.3, 0.6, 1.5), 0.02, 3.0, "b"),
            ),
            terms=_multi_power,
            sign=-1.0,
            any_peak=True,
            note="Here the rise to the peak counts as the first change, so that the law can be fitted "
            "over peak "
            "rates; with one peak the floor takes it up.",
        ),
        ScheduleLaw(
            name="functional",
            formula="L = L0 + c1 T^-s - c2 sum_k (lr_(k-1) - lr_k) (c3 + T_k^-s) (1 - (1 + c4 (T - "
            "T_k))^-g), "
            "T_k = sum of lr up to step k",
            source="Li et al. 2025, functional scaling laws, arXiv 2509.19189",
            shapes=(
                _EXPONENT,
                Shape("base", (0.01, 0.1, 1.0), 1e-4, 1e3, "c3"),
                Shape("speed", (0.1, 1.0, 30.0, 300.0), 1e-3, 1e4, "c4"),
                Shape("fade_exponent", (0.1, 0.5, 1.5), 0.02, 10.0, "g"),
            ),
            terms=_functional,
            sign=-1.0,
            any_peak=True,
            note="The form that the paper fits to language models; the rise to the peak counts as the "
            "first change.",
        ),
        ScheduleLaw(
            name="bound",
            formula="L = E + A X1/lr + B lr X2",
            source="Schaipp et al. 2025, arXiv 2501.18965; split into X1 and X2: theory.schedule_bounds",
            shapes=(),
            terms=_bound,
            sign=1.0,
            any_peak=True,
            note="A bound on a convex loss, fitted as if it were the loss.",
        ),
        ScheduleLaw(
            name="power",
            formula="L = E + A (X1/lr)^a + B (lr X2)^b",
            source="Derived here from the convex bound: theory.schedule_bounds",
            shapes=(
                Shape("distance_exponent", (0.1, 0.3, 0.6), 0.02, 3.0, "a"),
                Shape("noise_exponent", (0.1, 0.3, 1.0), 0.02, 3.0, "b"),
            ),
            terms=_power,
            sign=1.0,
            any_peak=True,
        ),
    )
}


def law_named(name: str) -> ScheduleLaw:
    """Look up a law.

    Raises:
        BadInput: an unknown name.
    """
    if name not in LAWS:
        raise BadInput(f"schedule law = {name!r}; expected one of {', '.join(LAWS)}; name one of these")
    return LAWS[name]


def schedule_loss(law: str | ScheduleLaw, params: Mapping[str, float], learning_rates: ArrayLike) -> float:
    """Loss [nats/token] after the last step of a schedule.

    Args:
        law: a law or its name.
        params: value of each of the law's ``parameters``.
        learning_rates: at each step, warm-up included, shape (steps,).

    Raises:
        BadInput: an unknown law, parameters that are missing, unknown or not above 0, rates that are
            negative, not finite or all 0, or a schedule shorter than the law's memory.

    >>> params = {"floor": 2.0, "first": 1.0, "second": 1.0}
    >>> round(schedule_loss("bound", params, [0.5]), 6)  # 2 + 1/(2 0.5) + 0.5/2
    3.25
    """
    chosen = law if isinstance(law, ScheduleLaw) else law_named(law)
    check_params(chosen, params)
    features = schedule_features([learning_rates])
    check_memory(params, float(features.steps[0]))
    return float(chosen.loss(params, features)[0])


def check_params(law: ScheduleLaw, params: Mapping[str, float]) -> None:
    """Refuse parameters that are not the law's.

    Raises:
        BadInput: missing or unknown names, or a value that is not finite and above 0 (amplitudes: >= 0).
    """
    if set(params) != set(law.parameters):
        raise BadInput(
            f"{law.name} law: parameters {', '.join(params) or 'none'}; "
            f"expected {', '.join(law.parameters)}; give each of these"
        )
    for name, value in params.items():
        if not (np.isfinite(value) and (value > 0 or (value == 0 and name in AMPLITUDES))):
            raise BadInput(
                f"{law.name} law: {name} = {value!r}; expected a finite number above 0; correct this "
                "parameter"
            )


def check_memory(params: Mapping[str, float], steps: float) -> None:
    """Refuse a schedule that is shorter than the law remembers.

    Raises:
        BadInput: ``memory`` among the parameters exceeds ``steps``.
    """
    memory = params.get("memory", 0.0)
    if memory > steps:
        raise BadInput(
            f"annealing law: a schedule of {steps:g} steps is shorter than the law's memory of "
            f"{memory:.4g} steps; "
            "expected a longer one; give more steps or choose another law"
        )
