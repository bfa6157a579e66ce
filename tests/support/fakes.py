"""A made-up posterior whose truth is known, for everything that reads one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bayeslaw.law.parameters import CELL_SHIFTS, PARAMETERS, of_level
from bayeslaw.law.terms import blocks
from bayeslaw.posterior.draws import Posterior
from bayeslaw.target import Cell

PIVOT = {"n": 3e8, "d": 1e10}
GROUPS = (("ours", "adamw"), ("ours", "muon"), ("theirs", "adamw"))
TRUTH = {"alpha": np.log(2e-3), "gamma_path": 0.45, "delta": 0.05, "beta": np.log(3e5), "epsilon": 0.45}


def fake_posterior(
    draws=200,
    spread=1.0,
    seed=0,
    groups=GROUPS,
    sizes=((1e8, 2e9), (1e9, 2e10)),
    extras=("weight_decay",),
    parts=(),
) -> Posterior:
    """Draws about the prior means (and ``TRUTH``), of ``spread`` times a tenth of the prior width.

    ``spread`` 0 makes every draw the truth. Momentum was varied nowhere; weight decay in the first group.
    """
    rng = np.random.default_rng(seed)
    names = {name for block in ("surface", *extras) for name in blocks()[block]}
    chosen = {name: row for name, row in of_level("group").items() if name in names}
    studies, optimizers = (tuple(sorted({g[k] for g in groups})) for k in (0, 1))

    def about(mean, sd, count):
        return mean + 0.1 * spread * sd * rng.standard_normal((draws, count))

    group = {name: about(TRUTH.get(name, f.mean), f.sd, len(groups)) for name, f in chosen.items()}
    for name in blocks()["weight_decay"]:
        if name in group:
            group[name][:, 1:] = np.nan
    own = of_level("study", parts)
    study = {name: about(row.mean, row.sd, len(studies)) for name, row in own.items()}
    cells = tuple(Cell(s, o, n, d) for s, o in groups for n, d in sizes)
    tau = dict(zip(CELL_SHIFTS, (2e-3, 0.1, 0.1), strict=True))
    return Posterior(
        group=group,
        study=study,
        common={"bend": about(0.0, 0.03, 1)[:, 0]},
        between_optimizers={name: np.full(draws, f.between_optimizers) for name, f in chosen.items()},
        between_studies={name: np.full(draws, f.between_studies) for name, f in chosen.items()},
        cell={name: spread * sd * rng.standard_normal((draws, len(cells))) for name, sd in tau.items()},
        group_prior={name: (float(f.mean), float(f.sd)) for name, f in chosen.items()},
        study_prior={name: (row.mean, row.sd) for name, row in own.items()},
        common_prior={"bend": (PARAMETERS["bend"].mean, PARAMETERS["bend"].sd)},
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
