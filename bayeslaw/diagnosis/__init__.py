"""Whether the law describes these runs, and what they cannot tell."""

from typing import TYPE_CHECKING

from bayeslaw.lazy import face

if TYPE_CHECKING:
    from bayeslaw.diagnosis.diagnosis import diagnose as diagnose
    from bayeslaw.diagnosis.identifiability import fit_doubts as fit_doubts
    from bayeslaw.diagnosis.result import Diagnosis as Diagnosis
    from bayeslaw.diagnosis.summary import fit_summary as fit_summary

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Diagnosis": "result",
        "diagnose": "diagnosis",
        "fit_doubts": "identifiability",
        "fit_summary": "summary",
    },
)
