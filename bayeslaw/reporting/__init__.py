"""The report, one HTML file."""

from typing import TYPE_CHECKING

from bayeslaw.lazy import face

if TYPE_CHECKING:
    from bayeslaw.reporting.page import write_report as write_report

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "write_report": "page",
    },
)
