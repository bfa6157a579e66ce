"""Which parts of the law a sweep supports: structures fitted to small cells and scored on larger ones."""

from typing import TYPE_CHECKING

from bayeslaw.lazy import face

if TYPE_CHECKING:
    from bayeslaw.comparison.structures import compare as compare
    from bayeslaw.comparison.structures import summarise as summarise

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "compare": "structures",
        "summarise": "structures",
    },
)
