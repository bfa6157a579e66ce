"""A policy rehearsed on a finished sweep."""

from typing import TYPE_CHECKING

from bayeslaw.lazy import face

if TYPE_CHECKING:
    from bayeslaw.rehearsal.many import curves as curves
    from bayeslaw.rehearsal.many import run as run
    from bayeslaw.rehearsal.task import Study as Study
    from bayeslaw.rehearsal.task import study_of as study_of

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Study": "task",
        "curves": "many",
        "run": "many",
        "study_of": "task",
    },
)
