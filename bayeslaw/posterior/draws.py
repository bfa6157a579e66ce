"""A fitted posterior as arrays, and its file: netCDF4 that xarray and ArviZ open, read here by h5py alone.

Reading imports NumPy and h5py only, so that ``bayeslaw predict`` starts at once. In a notebook:

    posterior = xr.open_dataset("posterior.nc")         # gamma(draw, group), level(draw, study), ...
    az.summary(posterior.expand_dims("chain"), var_names=["gamma", "delta"])
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bayeslaw.arrays import Floats
from bayeslaw.errors import BadInput
from bayeslaw.law.parameters import SPREADS
from bayeslaw.target import Cell
from bayeslaw.text import short

TRIED = ("learning_rate", "batch_tokens")
"""Settings of which a posterior knows what was tried."""


@dataclass(frozen=True)
class Posterior:
    """Draws of every parameter, and what is needed to use them elsewhere. Natural logarithms throughout.

    Attributes:
        group: parameter -> (draw, group); a column is NaN where the group has no such parameter (its runs
            never varied weight decay, or momentum).
        study: parameter -> (draw, study).
        common: parameter -> (draw,); what all groups share, such as the curvature of ln eta* in ln N.
        between_optimizers, between_studies: group parameter -> standard deviation of its groups, (draw,).
        cell: ``level``, ``lr``, ``batch`` -> shifts of ln loss, ln eta*, ln B* of the fitted cells,
            (draw, cell). ``level`` is the whole shift, that of the cell's size included.
        group_prior, study_prior, common_prior: parameter -> (mean, sd), intercepts moved to the pivot.
        groups: (study, optimizer) of each group.
        studies, optimizers: labels.
        cells: what the runs of each cell share.
        pivot: covariate -> natural value where its coordinate is 0, as n = ln(N/N0) is at N0.
        conventions: study -> loss_kind, schedule, sequence_length and the like.
        provenance: sources, row counts, versions, seed, method, created.
        diagnostics: converged, messages, rhat_max, ess_bulk_min, divergences and the like.
        sizes: (study, N) of each size: cells of one N share a shape of network.
        size: shifts shared by a size's cells, (draw, size) each: ``level`` of ln loss, ``slope`` of it in
            ln D, ``lr`` of ln eta*, ``batch`` of ln B*; empty without sizes.
        factor: factor -> shift of its quantity for each of its values, (draw, value).
        factor_spread: factor -> standard deviation of these shifts, (draw,).
        factor_values: factor -> its values, the most common first.
        only_batch: group whose runs never compare batches -> its batch [tokens]: the level that its draws
            have is the one at that batch.
        tried: group -> setting -> how far the runs' learning rates (at their batches) and batches reach from
            the best ones of their cells, (least, greatest) [nats]; a group without an entry says nothing.
    """

    group: dict[str, Floats]
    study: dict[str, Floats]
    common: dict[str, Floats]
    between_optimizers: dict[str, Floats]
    between_studies: dict[str, Floats]
    cell: dict[str, Floats]
    group_prior: dict[str, tuple[float, float]]
    study_prior: dict[str, tuple[float, float]]
    common_prior: dict[str, tuple[float, float]]
    groups: tuple[tuple[str, str], ...]
    studies: tuple[str, ...]
    optimizers: tuple[str, ...]
    cells: tuple[Cell, ...]
    pivot: dict[str, float]
    conventions: dict[str, dict[str, Any]]
    provenance: dict[str, Any]
    diagnostics: dict[str, Any]
    sizes: tuple[tuple[str, float], ...] = ()
    size: dict[str, Floats] = field(default_factory=dict)
    factor: dict[str, Floats] = field(default_factory=dict)
    factor_spread: dict[str, Floats] = field(default_factory=dict)
    factor_values: dict[str, tuple[str, ...]] = field(default_factory=dict)
    tried: dict[tuple[str, str], dict[str, tuple[float, float]]] = field(default_factory=dict)
    only_batch: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def draws(self) -> int:
        """Number of draws."""
        return len(next(iter(self.common.values())))

    def counts_outcomes(self, study: str) -> bool:
        """Whether the outcomes of a study's runs count in the likelihood: it reports diverged runs."""
        return bool(self.conventions.get(study, {}).get("reports_divergences", True))

    @property
    def reference(self) -> tuple[float, float]:
        """(N0, D0) of the pivot."""
        return self.pivot["n"], self.pivot["d"]


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
        "pivot": p.pivot.values(),
        "cells": [x for cell in p.cells for x in (cell.params_nonembedding, cell.tokens)],
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
    expected: list[tuple[str, Floats, tuple[int, ...]]] = []
    expected += [(name, values, (p.draws,)) for name, values in p.common.items()]
    expected += [(name, values, (p.draws, sizes["group"])) for name, values in p.group.items()]
    expected += [(name, values, (p.draws, sizes["study"])) for name, values in p.study.items()]
    expected += [(f"cell_{name}", values, (p.draws, sizes["cell"])) for name, values in p.cell.items()]
    expected += [(f"size_{name}", values, (p.draws, sizes["size"])) for name, values in p.size.items()]
    for name, values in p.factor.items():
        expected.append((f"factor_{name}", values, (p.draws, len(p.factor_values[name]))))
        expected.append((f"factor_spread_{name}", p.factor_spread[name], (p.draws,)))
    for kind in SPREADS:
        expected += [(f"{kind}[{name}]", values, (p.draws,)) for name, values in getattr(p, kind).items()]
    return expected


def parameter_name(posterior: Posterior, text: str) -> str:
    """A parameter of the diagnostics, ``beta[1]``, by the name of what it belongs to, ``beta[ours/muon]``.

    A place that the posterior does not have stays as it is.
    """
    found = re.fullmatch(r"(\w+)\[(\d+)\]", text)
    if not found:
        return text
    name, place = found[1], int(found[2])
    labels = _labels(posterior, name)
    return f"{name}[{labels[place]}]" if place < len(labels) else text


def _labels(posterior: Posterior, name: str) -> list[str]:
    """What each value of a parameter belongs to, in order."""
    if name in posterior.group:
        return ["/".join(group) for group in posterior.groups]
    if name in posterior.study:
        return list(posterior.studies)
    if name.removeprefix("cell_") in posterior.cell:
        return [
            f"{cell.study}/{cell.optimizer}, N = {short(cell.params_nonembedding)}, D = {short(cell.tokens)}"
            for cell in posterior.cells
        ]
    if name.removeprefix("mode_") in posterior.cell:  # of the deviations of a group's cells
        return [f"{cell.study}/{cell.optimizer}" for cell in posterior.cells]
    if name.removeprefix("size_") in posterior.size:
        return [f"{study}, N = {short(n)}" for study, n in posterior.sizes]
    return []
