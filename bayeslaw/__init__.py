"""Bayesian hierarchical scaling laws of optimizer hyperparameters.

The functions of each step, loaded when they are first used:

    runs = bayeslaw.read_runs("runs.parquet")
    posterior = bayeslaw.fit(runs)
    answer = bayeslaw.predict(posterior, bayeslaw.Target(1e9, 20e9, "adamw"))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bayeslaw.advice.prediction import predict as predict
    from bayeslaw.advice.result import Prediction as Prediction
    from bayeslaw.comparison.structures import compare as compare
    from bayeslaw.diagnosis.diagnosis import diagnosis as diagnose  # noqa: F401
    from bayeslaw.diagnosis.result import Diagnosis as Diagnosis
    from bayeslaw.evaluation.heldout import evaluate as evaluate
    from bayeslaw.evaluation.result import Evaluation as Evaluation
    from bayeslaw.inference.fitting import fit as fit
    from bayeslaw.planning.batches import design as design
    from bayeslaw.planning.result import Design as Design
    from bayeslaw.posterior.draws import Posterior as Posterior
    from bayeslaw.posterior.netcdf import read_posterior as read_posterior
    from bayeslaw.posterior.netcdf import write_posterior as write_posterior
    from bayeslaw.reporting.page import write_report as report  # noqa: F401
    from bayeslaw.runs.importing import import_runs as import_runs
    from bayeslaw.runs.io import read_runs as read_runs
    from bayeslaw.runs.io import write_runs as write_runs
    from bayeslaw.target import Target as Target

_HOMES = {
    "Design": "planning.result:Design",
    "Diagnosis": "diagnosis.result:Diagnosis",
    "Evaluation": "evaluation.result:Evaluation",
    "Posterior": "posterior.draws:Posterior",
    "Prediction": "advice.result:Prediction",
    "Target": "target:Target",
    "compare": "comparison.structures:compare",
    "design": "planning.batches:design",
    "diagnose": "diagnosis.diagnosis:diagnosis",
    "evaluate": "evaluation.heldout:evaluate",
    "fit": "inference.fitting:fit",
    "import_runs": "runs.importing:import_runs",
    "predict": "advice.prediction:predict",
    "read_posterior": "posterior.netcdf:read_posterior",
    "read_runs": "runs.io:read_runs",
    "report": "reporting.page:write_report",
    "write_posterior": "posterior.netcdf:write_posterior",
    "write_runs": "runs.io:write_runs",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Load a public name from its home (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'bayeslaw' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    value = getattr(import_module(f"bayeslaw.{module}"), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names, whether loaded or not."""
    return sorted({*globals(), *_HOMES})
