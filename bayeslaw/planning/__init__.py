"""The next runs, their worth, and when to stop."""

from typing import TYPE_CHECKING

from bayeslaw.lazy import face

if TYPE_CHECKING:
    from bayeslaw.planning.batches import design as design
    from bayeslaw.planning.batches import plan_table as plan_table
    from bayeslaw.planning.candidates import read_candidates as read_candidates
    from bayeslaw.planning.candidates import read_space as read_space
    from bayeslaw.planning.policies import POLICIES as POLICIES
    from bayeslaw.planning.policies import Policy as Policy
    from bayeslaw.planning.result import Design as Design

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Design": "result",
        "POLICIES": "policies",
        "Policy": "policies",
        "design": "batches",
        "plan_table": "batches",
        "read_candidates": "candidates",
        "read_space": "candidates",
    },
)
