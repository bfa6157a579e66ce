"""What the report's page computes with: a posterior's draws, packed for the browser.

The page does what ``bayeslaw.advice.prediction`` does (``reporting/static/*.js``, function by function).
Nothing random in it depends on N, D or the batch, so every random number is drawn here: the parameters of
each group, seen or not, the normal numbers behind the shifts of a cell never fitted, and the noise of the
run.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from typing import Any

import numpy as np

from bayeslaw.advice import decision, prediction, target_surface
from bayeslaw.advice.target_surface import fresh_normals
from bayeslaw.arrays import Floats
from bayeslaw.law import smoothness, surface, terms
from bayeslaw.posterior import pooling
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.prior import known_bowls
from bayeslaw.target import Cell, Target

STEPS_PER_SD = 4096
"""Draws are packed to this fraction of their standard deviation: finer than three digits need."""

FINER_STEPS = {"lambda": 2**20, "mu": 2**20}
"""Weight decay is exp(.) less a floor: near 0 its digits hang on later ones of the logarithm."""

CONSTANTS = {
    name: getattr(module, name)
    for module, names in (
        (surface, ("RIDGE_WIDTH", "TWIST_MAX")),
        (smoothness, ("LENGTHS", "WANDER")),
        (terms, ("EDGE", "NOTHING")),
        (target_surface, ("SAME_SIZE",)),
        (decision, ("MAX_EXCESS", "TOLERANCE", "ALLOWANCE")),
        (prediction, ("FAR", "ASIDE", "RISKY")),
    )
    for name in names
}

Block = dict[str, Any]


def page_data(posterior: Posterior, seed: int = 0) -> dict[str, Any]:
    """Everything that a prediction needs, JSON-ready, for each study or none and each optimizer or a new one.

    Args:
        posterior: the fit.
        seed: as in ``bayeslaw.advice.prediction.predict``.

    Returns:
        ``constants``, ``law`` (the rows of optima, offset and shapes), ``pivot``, ``covariates``, ``draws``,
        ``doubts`` (of the fit), ``cells``, ``common`` (what all groups share, and the numbers of cells and
        sizes never fitted), ``studies`` and, in each, ``groups``, ``defaults`` (of covariates that the page
        does not ask for) and ``doubts_of_covariates`` left at them. Draws are ``packed``.
    """
    cells, sizes = (fresh_normals(posterior, kind, seed) for kind in ("cell", "size"))
    common = posterior.common | {f"cell_{k}": v for k, v in cells.items()}
    common |= {f"size_{k}": v for k, v in sizes.items()}
    return {
        "constants": CONSTANTS,
        "law": {
            "optima": {name: _optimum(row) for name, row in terms.OPTIMA.items()},
            "offset": [_term(term) for term in terms.QUANTITIES["offset"]],
            "shapes": {name: [_term(term) for term in row] for name, row in terms.SHAPES.items()},
        },
        "pivot": posterior.pivot,
        "covariates": [
            {"name": name, "key": prediction.distance_key(name), "words": prediction.covariate_words(name)}
            for name in posterior.pivot
        ],
        "draws": posterior.draws,
        "unseen": unseen_optimizer(posterior),
        "doubts": prediction.about_fit(posterior),
        "cells": [
            {"optimizer": cell.optimizer, "x": _place(posterior, Target.of_cell(cell))}
            for cell in posterior.cells
        ],
        "common": packed(common),
        "studies": [_study(posterior, study, seed) for study in (*posterior.studies, None)],
    }


def _optimum(row: terms.Optimum) -> dict[str, Any]:
    return {
        "terms": [_term(term) for term in row.terms],
        "offset": row.transform.offset,
        "sign": row.transform.sign,
        "range": row.range,
        "curvature": row.curvature,
        "words": terms.words_of(row.name),
    }


def _term(term: terms.Term) -> dict[str, Any]:
    return {"parameter": term.parameter, "sign": term.sign, "of": terms.monomials(term.of)}


def _place(posterior: Posterior, target: Target) -> dict[str, float]:
    return {name: float(value) for name, value in target_surface.place(posterior, target).items()}


def unseen_optimizer(posterior: Posterior) -> str:
    """A name that stands for an optimizer the posterior does not know."""
    names = ("other", *(f"other-{i}" for i in range(len(posterior.optimizers))))
    return next(name for name in names if name not in posterior.optimizers)


def _study(posterior: Posterior, study: str | None, seed: int) -> dict[str, Any]:
    usual = Target(*posterior.reference, study=study)
    parameters = pooling.study_draws(posterior, study, seed)
    noise = prediction.standard_noise(parameters, (posterior.draws,), prediction.run_rng(seed))
    parameters |= target_surface.factor_shifts(posterior, usual, seed)
    optimizers = (*posterior.optimizers, unseen_optimizer(posterior))
    return {
        "name": study,
        "defaults": _place(posterior, usual),
        "doubts_of_covariates": prediction.about_covariates(posterior, usual),
        "parameters": packed(parameters | {"noise": noise}),
        "sizes": [
            {"n": n, "shifts": packed({name: values[:, i] for name, values in posterior.size.items()})}
            for i, (name, n) in enumerate(posterior.sizes)
            if name == study and posterior.size
        ],
        "groups": [_group(posterior, study, optimizer, seed) for optimizer in optimizers],
    }


def _group(posterior: Posterior, study: str | None, optimizer: str, seed: int) -> dict[str, Any]:
    draws = pooling.group_draws(posterior, study, optimizer, seed)
    target = Target(*posterior.reference, optimizer, study)
    return {
        "optimizer": optimizer,
        "parameters": packed({name: draws[name] for name in posterior.group}),
        "cells": [
            {
                "n": cell.params_nonembedding,
                "d": cell.tokens,
                "shifts": packed({name: v[:, i] for name, v in posterior.cell.items()}),
            }
            for i, cell in enumerate(posterior.cells)
            if cell.group == (study, optimizer) and _is_usual(posterior, i, cell)
        ],
        "tried": posterior.tried.get((str(study), optimizer), {}),
        "only_batch": posterior.only_batch.get((str(study), optimizer)),
        "deviations": _deviations(posterior, study, optimizer),
        "doubts": prediction.about_group(posterior, target),
        "doubts_of_extras": prediction.about_extras(posterior, target, known_bowls(posterior)),
    }


def _deviations(posterior: Posterior, study: str | None, optimizer: str) -> Block | None:
    """How the group's cells depart from the law, where deviations are smooth; None where they are not."""
    if "log_tau_smooth_level" not in posterior.study:
        return None
    found = target_surface.fitted_deviations(posterior, study, optimizer)
    places = np.column_stack([*found.places.values()]).tolist()
    known = {
        name: {str(mode): row for mode, row in enumerate(values.T)} for name, values in found.known.items()
    }
    return {
        "places": [dict(zip(found.places, x, strict=True)) for x in places],
        "variances": found.variances.tolist(),
        "modes": found.modes.T.tolist(),
        "known": {name: packed(rows) for name, rows in known.items() if rows},
    }


def _is_usual(posterior: Posterior, index: int, cell: Cell) -> bool:
    """Whether a cell has the defaults of what the page does not ask for."""
    asked = Target(cell.params_nonembedding, cell.tokens, cell.optimizer, cell.study)
    return target_surface.fitted_cell(posterior, asked) == index


def packed(values: Mapping[str, Floats]) -> Block:
    """Draws as text: whole steps above each row's smallest, bytes of one weight together, gzip, base64.

    Args:
        values: name -> (draw,), all of one length.

    Returns:
        ``names``, ``lowest`` and ``step`` of each row, and ``gzip``, the steps. ``unpacked`` inverts it, as
        does ``draws.js``.
    """
    rows = np.array(list(values.values()))
    lowest, spread = rows.min(axis=1), rows.std(axis=1)
    finest = np.array([FINER_STEPS.get(name, STEPS_PER_SD) for name in values])
    step = 2.0 ** np.floor(np.log2(np.where(spread > 0, spread, 1.0) / finest))
    steps = np.round((rows - lowest[:, None]) / step[:, None]).astype("<u4")
    planes = steps.view(np.uint8).reshape(-1, 4).T.tobytes()
    text = base64.b64encode(gzip.compress(planes, 9, mtime=0)).decode()
    return {"names": list(values), "lowest": lowest.tolist(), "step": step.tolist(), "gzip": text}


def unpacked(block: Block) -> dict[str, Floats]:
    """The draws of ``packed``: name -> (draw,).

    >>> unpacked(packed({"bend": np.array([0.5, -0.25])}))
    {'bend': array([ 0.5 , -0.25])}
    """
    planes = np.frombuffer(gzip.decompress(base64.b64decode(block["gzip"])), np.uint8).reshape(4, -1)
    steps = np.ascontiguousarray(planes.T).view("<u4").reshape(len(block["names"]), -1)
    rows = np.array(block["lowest"])[:, None] + np.array(block["step"])[:, None] * steps
    return dict(zip(block["names"], rows, strict=True))
