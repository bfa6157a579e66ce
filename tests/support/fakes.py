"""A made-up posterior whose truth is known, for everything that reads one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bayeslaw.law import parameters
from bayeslaw.posterior.draws import Posterior

PIVOT = (3e8, 1e10)
GROUPS = (("ours", "adamw"), ("ours", "muon"), ("theirs", "adamw"))
TRUTH = {"alpha": np.log(2e-3), "gamma_path": 0.45, "delta": 0.05, "beta": np.log(3e5), "epsilon": 0.45}


def fake_posterior(
    draws=200, spread=1.0, seed=0, groups=GROUPS, sizes=((1e8, 2e9), (1e9, 2e10)), families=None
) -> Posterior:
    """Draws about the prior means (and ``TRUTH``), of ``spread`` times a tenth of the prior width.

    ``spread`` 0 makes every draw the truth. Momentum was varied nowhere; weight decay in the first group.
    """
    rng = np.random.default_rng(seed)
    chosen = families or (parameters.LR_BATCH | parameters.DECAY)
    studies, optimizers = (tuple(sorted({g[k] for g in groups})) for k in (0, 1))

    def about(mean, sd, count):
        return mean + 0.1 * spread * sd * rng.standard_normal((draws, count))

    group = {name: about(TRUTH.get(name, f.mean), f.sd, len(groups)) for name, f in chosen.items()}
    for name in parameters.DECAY:
        if name in group:
            group[name][:, 1:] = np.nan
    study = {name: about(mean, sd, len(studies)) for name, (mean, sd, _) in parameters.STUDY.items()}
    cells = tuple((s, o, n, d) for s, o in groups for n, d in sizes)
    tau = {"level": 2e-3, "lr": 0.1, "batch": 0.1}
    return Posterior(
        group=group,
        study=study,
        bend=about(0.0, 0.03, 1)[:, 0],
        between_optimizers={name: np.full(draws, f.between_optimizers) for name, f in chosen.items()},
        between_studies={name: np.full(draws, f.between_studies) for name, f in chosen.items()},
        cell={name: spread * sd * rng.standard_normal((draws, len(cells))) for name, sd in tau.items()},
        family_prior={name: (float(f.mean), float(f.sd)) for name, f in chosen.items()},
        study_prior={name: (float(mean), float(sd)) for name, (mean, sd, _) in parameters.STUDY.items()},
        groups=groups,
        studies=studies,
        optimizers=optimizers,
        cells=cells,
        pivot=PIVOT,
        conventions={name: {"loss_kind": "val_final", "sequence_length": 2048} for name in studies},
        provenance={"sources": ["made up"], "rows": 60, "method": "nuts", "seed": 0, "created": "2026-11-21"},
        diagnostics={"converged": True, "messages": [], "rhat_max": 1.004, "divergences": 0, "draws": draws},
    )


def shifted(posterior: Posterior, **columns) -> Posterior:
    """The posterior with families or study parameters replaced: each by (draw,) in every column."""
    parts = {"group": dict(posterior.group), "study": dict(posterior.study)}
    for name, values in columns.items():
        part = parts["group" if name in posterior.group else "study"]
        part[name] = np.broadcast_to(np.reshape(values, (-1, 1)), part[name].shape).copy()
    return replace(posterior, **parts)
