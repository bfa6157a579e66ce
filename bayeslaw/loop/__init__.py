"""Fit, choose, run, repeat."""

from typing import TYPE_CHECKING

from bayeslaw.lazy import face

if TYPE_CHECKING:
    from bayeslaw.loop.rounds import run as run
    from bayeslaw.loop.task import Task as Task

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Task": "task",
        "run": "rounds",
    },
)
