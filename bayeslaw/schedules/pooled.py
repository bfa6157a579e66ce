"""The fit that stands in where no curve is given.

The law ``power``, fitted to 94 final losses of Schaipp et al. (arXiv 2501.18965, public repository
fabian-sp/lr-scheduling, MIT): 124M parameters, AdamW, 102,400 tokens a step, 15k to 50k steps, peaks of
5e-4 to 2e-3, linear, 1 - sqrt and cosine decay. Numbers: ``python -m tests.studies.schedules run``.

Its level is that of these runs. What is used elsewhere is how losses of schedules compare, each at its
best peak: the two exponents and the share of the loss that the schedule moves.
"""

from __future__ import annotations

import numpy as np

from bayeslaw.schedules.fitting import DRAWS, ScheduleFit
from bayeslaw.schedules.laws import LAWS

LOSSES, NOISE = 94, 0.00151
STEPS, PEAKS = 50_000.0, (5e-4, 2e-3)
LOG_MEAN = (0.42956, 0.43306, 0.67725, -2.10938, -1.54326)
LOG_COVARIANCE = (
    (0.0053211, -0.0044214, -0.0002357, 0.0076013, 0.0001726),
    (-0.0044214, 0.0047689, 0.0015678, -0.0083436, 0.0037027),
    (-0.0002357, 0.0015678, 0.0021477, -0.0027325, 0.005104),
    (0.0076013, -0.0083436, -0.0027325, 0.0149059, -0.0068584),
    (0.0001726, 0.0037027, 0.005104, -0.0068584, 0.0140116),
)
"""Of ln parameter, in the order of ``LAWS["power"].parameters``."""


def pooled_fit(seed: int = 0, draws: int = DRAWS) -> ScheduleFit:
    """The stored fit.

    >>> round(pooled_fit().params["noise_exponent"], 2)
    0.21
    """
    names = LAWS["power"].parameters
    rng = np.random.default_rng(seed)
    logs = rng.multivariate_normal(LOG_MEAN, LOG_COVARIANCE, draws, method="eigh", check_valid="ignore")
    return ScheduleFit(
        law="power",
        params=dict(zip(names, np.exp(LOG_MEAN).tolist(), strict=True)),
        draws=dict(zip(names, np.exp(logs).T, strict=True)),
        noise=NOISE,
        losses=LOSSES,
        method="least squares",
        steps=STEPS,
        peaks=PEAKS,
    )
