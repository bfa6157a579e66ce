"""What following an advisor would have cost."""

from typing import TYPE_CHECKING

from bayeslaw.lazy import face

if TYPE_CHECKING:
    from bayeslaw.evaluation.advisors import PosteriorAdvisor as PosteriorAdvisor
    from bayeslaw.evaluation.baselines import fit_argmin as fit_argmin
    from bayeslaw.evaluation.baselines import fit_huber as fit_huber
    from bayeslaw.evaluation.baselines import fit_near_optimal as fit_near_optimal
    from bayeslaw.evaluation.heldout import evaluate as evaluate
    from bayeslaw.evaluation.heldout import law_advisor as law_advisor
    from bayeslaw.evaluation.lmo import fit_lmo as fit_lmo
    from bayeslaw.evaluation.result import Evaluation as Evaluation
    from bayeslaw.evaluation.scores import Advisor as Advisor
    from bayeslaw.evaluation.smoothing import smooth_cells as smooth_cells

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Advisor": "scores",
        "Evaluation": "result",
        "PosteriorAdvisor": "advisors",
        "evaluate": "heldout",
        "fit_argmin": "baselines",
        "fit_huber": "baselines",
        "fit_lmo": "lmo",
        "fit_near_optimal": "baselines",
        "law_advisor": "heldout",
        "smooth_cells": "smoothing",
    },
)
