"""Draws of the law, their file, groups never seen, convergence."""

from typing import TYPE_CHECKING

from bayeslaw.lazy import face

if TYPE_CHECKING:
    from bayeslaw.posterior.draws import Posterior as Posterior
    from bayeslaw.posterior.netcdf import read_posterior as read_posterior
    from bayeslaw.posterior.netcdf import write_posterior as write_posterior
    from bayeslaw.posterior.prior import prior_posterior as prior_posterior

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "Posterior": "draws",
        "prior_posterior": "prior",
        "read_posterior": "netcdf",
        "write_posterior": "netcdf",
    },
)
