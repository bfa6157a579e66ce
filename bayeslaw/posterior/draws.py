"""A fitted posterior as arrays, and its file: netCDF4 that xarray and ArviZ open, read here by h5py alone.

Reading imports NumPy and h5py only, so that ``bayeslaw predict`` starts at once. In a notebook:

    posterior = xr.open_dataset("posterior.nc")         # gamma(draw, group), level(draw, study), ...
    az.summary(posterior.expand_dims("chain"), var_names=["gamma", "delta"])
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput

SIZE_SHIFTS = ("level", "slope", "lr", "batch")
SPREADS = ("between_optimizers", "between_studies")
CELL_EFFECTS = ("level", "lr", "batch")


@dataclass(frozen=True)
class Posterior:
    """Draws of every parameter, and what is needed to use them elsewhere. Natural logarithms throughout.

    Attributes:
        group: family of parameters -> (draw, group); a column is NaN where the group has no such parameter
            (its runs never varied weight decay, or momentum).
        study: parameter -> (draw, study).
        bend: curvature of ln eta* in ln N, (draw,).
        between_optimizers, between_studies: family -> standard deviation of its groups, (draw,).
        cell: ``level``, ``lr``, ``batch`` -> shifts of ln loss, ln eta*, ln B* of the fitted cells,
            (draw, cell). ``level`` is the whole shift, that of the cell's size included.
        family_prior, study_prior: parameter -> (mean, sd), intercepts moved to the pivot.
        groups: (study, optimizer) of each group.
        studies, optimizers: labels.
        cells: (study, optimizer, N, D) of each cell.
        pivot: (N0, D0), where n = ln(N/N0) and d = ln(D/D0) vanish.
        conventions: study -> loss_kind, schedule, sequence_length and the like.
        provenance: sources, row counts, versions, seed, method, created.
        diagnostics: converged, messages, rhat_max, ess_bulk_min, divergences and the like.
        sizes: (study, N) of each size: cells of one N share a shape of network.
        size: shifts shared by a size's cells, (draw, size) each: ``level`` of ln loss, ``slope`` of it in
            ln D, ``lr`` of ln eta*, ``batch`` of ln B*; empty without sizes.
    """

    group: dict[str, Floats]
    study: dict[str, Floats]
    bend: Floats
    between_optimizers: dict[str, Floats]
    between_studies: dict[str, Floats]
    cell: dict[str, Floats]
    family_prior: dict[str, tuple[float, float]]
    study_prior: dict[str, tuple[float, float]]
    groups: tuple[tuple[str, str], ...]
    studies: tuple[str, ...]
    optimizers: tuple[str, ...]
    cells: tuple[tuple[str, str, float, float], ...]
    pivot: tuple[float, float]
    conventions: dict[str, dict[str, Any]]
    provenance: dict[str, Any]
    diagnostics: dict[str, Any]
    sizes: tuple[tuple[str, float], ...] = ()
    size: dict[str, Floats] = field(default_factory=dict)

    @property
    def draws(self) -> int:
        """Number of draws."""
        return len(self.bend)


def derived(group: dict[str, Floats]) -> dict[str, Floats]:
    """What follows from the families and is wanted beside them: ``gamma``, of the same shape.

    >>> derived({"gamma_path": np.array([0.5]), "delta": np.array([0.2])})
    {'gamma': array([0.3])}
    """
    return {"gamma": group["gamma_path"] - group["delta"]}


def check_posterior(posterior: Posterior, place: str = "posterior") -> None:
    """Refuse a posterior whose arrays do not fit together or hold numbers that are not finite.

    Raises:
        BadInput: naming ``place`` and the first variable at fault.
    """
    if posterior.draws < DRAWS_MIN:
        raise BadInput(f"{place}: {posterior.draws} draws; expected at least {DRAWS_MIN}; {REFIT}")
    _check_records(posterior, place)
    for name, values, shape in _expected_shapes(posterior):
        if values.shape != shape:
            raise BadInput(f"{place}: {name} has shape {values.shape}; expected {shape}; {REFIT}")
        missing = np.isnan(values).all(axis=0) if name in posterior.group else np.zeros(shape[1:], bool)
        wrong = ~np.isfinite(values) & ~missing
        if wrong.any():
            raise BadInput(
                f"{place}: {name} holds {int(wrong.sum())} values that are not finite; "
                f"expected {values.size} numbers; {REFIT}"
            )
    wrong_names = [s for s, _ in posterior.groups if s not in posterior.studies]
    wrong_names += [o for _, o in posterior.groups if o not in posterior.optimizers]
    if wrong_names:
        raise BadInput(
            f"{place}: groups name {wrong_names[0]!r}; expected a known study and optimizer; {REFIT}"
        )


def _check_records(p: Posterior, place: str) -> None:
    """Refuse what is said beside the draws where it is no object, or no size above 0."""
    for name in ("conventions", "provenance", "diagnostics"):
        if not isinstance(getattr(p, name), dict):
            kind = type(getattr(p, name)).__name__
            raise BadInput(f"{place}: {name} is a {kind}; expected a JSON object; {REFIT}")
    sizes = {
        "pivot": p.pivot,
        "cells": [x for cell in p.cells for x in cell[2:]],
        "sizes": [n for _, n in p.sizes],
    }
    for name, values in sizes.items():
        if not all(np.isfinite(x) and x > 0 for x in values):
            raise BadInput(f"{place}: {name} holds N or D that are no numbers above 0; {REFIT}")


DRAWS_MIN = 2
"""Fewer draws have no spread."""

REFIT = "fit it again with `bayeslaw fit`, or take another copy of the file"


def _expected_shapes(p: Posterior) -> list[tuple[str, Floats, tuple[int, ...]]]:
    sizes = {"group": len(p.groups), "study": len(p.studies), "cell": len(p.cells), "size": len(p.sizes)}
    expected: list[tuple[str, Floats, tuple[int, ...]]] = [("bend", p.bend, (p.draws,))]
    expected += [(name, values, (p.draws, sizes["group"])) for name, values in p.group.items()]
    expected += [(name, values, (p.draws, sizes["study"])) for name, values in p.study.items()]
    expected += [(f"cell_{name}", values, (p.draws, sizes["cell"])) for name, values in p.cell.items()]
    expected += [(f"size_{name}", values, (p.draws, sizes["size"])) for name, values in p.size.items()]
    for kind in SPREADS:
        expected += [(f"{kind}[{name}]", values, (p.draws,)) for name, values in getattr(p, kind).items()]
    return expected
