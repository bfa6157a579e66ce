"""Advice for one target: the surface there, the decision, the prediction."""

from typing import TYPE_CHECKING

from bayeslaw.lazy import face

if TYPE_CHECKING:
    from bayeslaw.advice.prediction import example_target as example_target
    from bayeslaw.advice.prediction import loss_curve as loss_curve
    from bayeslaw.advice.prediction import predict as predict
    from bayeslaw.advice.result import Prediction as Prediction

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Prediction": "result",
        "example_target": "prediction",
        "loss_curve": "prediction",
        "predict": "prediction",
    },
)
