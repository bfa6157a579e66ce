"""A posterior from runs, by NUTS; the only package that loads JAX."""

from typing import TYPE_CHECKING

from bayeslaw.lazy import face

if TYPE_CHECKING:
    from bayeslaw.inference.approximation import approximate as approximate
    from bayeslaw.inference.fitting import fit as fit

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "approximate": "approximation",
        "fit": "fitting",
    },
)
