"""The law of the loss surface: parameters, formulas, observations, simulation, published laws."""

from typing import TYPE_CHECKING

from bayeslaw.lazy import face

if TYPE_CHECKING:
    from bayeslaw.law.published import LAWS as LAWS
    from bayeslaw.law.published import Law as Law
    from bayeslaw.law.simulation import example_design as example_design
    from bayeslaw.law.simulation import simulate_runs as simulate_runs

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "LAWS": "published",
        "Law": "published",
        "example_design": "simulation",
        "simulate_runs": "simulation",
    },
)
