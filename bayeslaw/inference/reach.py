"""How far the fitted runs reach from the best settings: beyond that, advice has no run behind it."""

from __future__ import annotations

import numpy as np

from bayeslaw.arrays import Floats
from bayeslaw.law.observations import Observations
from bayeslaw.law.surface import off_ridge
from bayeslaw.law.terms import drifted, optimum_of
from bayeslaw.posterior.draws import TRIED, Posterior


def reach(
    posterior: Posterior, observed: Observations
) -> dict[tuple[str, str], dict[str, tuple[float, float]]]:
    """How far each group's runs reach from the best settings of their cells, as ``Posterior.tried`` has it.

    The best settings are those of the medians over draws; learning rates count from the best one at their
    batch.
    """
    middle = {
        level: {name: np.median(values, axis=0) for name, values in getattr(posterior, level).items()}
        for level in ("group", "study", "common", "cell")
    }
    reached: dict[tuple[str, str], list[tuple[Floats, Floats]]] = {}
    for c, cell in enumerate(posterior.cells):
        g, s = posterior.groups.index(cell.group), posterior.studies.index(cell.study)
        x = {name: values[c] for name, values in observed.x.items()}
        p = {name: values[g] for name, values in middle["group"].items()}
        p |= {name: values[s] for name, values in middle["study"].items()} | middle["common"]
        p |= drifted(p, x)
        rate, batch = (
            optimum_of(name, p, x) + middle["cell"][shift][c]
            for name, shift in (("learning_rate", "lr"), ("batch_tokens", "batch"))
        )
        runs = observed.cell == c
        off = off_ridge(p, observed.log_lr[runs], observed.log_batch[runs], rate, batch)
        reached.setdefault(cell.group, []).append(off)
    return {
        group: {
            name: (float(np.min(np.concatenate(off))), float(np.max(np.concatenate(off))))
            for name, off in zip(TRIED, zip(*cells, strict=True), strict=True)
        }
        for group, cells in reached.items()
    }
