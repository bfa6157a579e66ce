"""Bayesian hierarchical scaling laws of optimizer hyperparameters.

The functions of each step, loaded when they are first used:

    runs = bayeslaw.read_runs("runs.parquet")
    posterior = bayeslaw.fit(runs)
    answer = bayeslaw.predict(posterior, bayeslaw.Target(1e9, 20e9, "adamw"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayeslaw.lazy import face

if TYPE_CHECKING:
    from bayeslaw.advice.prediction import predict as predict
    from bayeslaw.advice.result import Prediction as Prediction
    from bayeslaw.comparison.structures import compare as compare
    from bayeslaw.diagnosis.diagnosis import diagnose as diagnose
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

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Design": "planning.result",
        "Diagnosis": "diagnosis.result",
        "Evaluation": "evaluation.result",
        "Posterior": "posterior.draws",
        "Prediction": "advice.result",
        "Target": "target",
        "compare": "comparison.structures",
        "design": "planning.batches",
        "diagnose": "diagnosis.diagnosis",
        "evaluate": "evaluation.heldout",
        "fit": "inference.fitting",
        "import_runs": "runs.importing",
        "predict": "advice.prediction",
        "read_posterior": "posterior.netcdf",
        "read_runs": "runs.io",
        "report": "reporting.page:write_report",
        "write_posterior": "posterior.netcdf",
        "write_runs": "runs.io",
    },
)
