"""Families of optimizers: complete, and never pooled in silence."""

from __future__ import annotations

import pytest

from bayeslaw.runs.optimizer_families import MATRIX, NORMALISED, OPTIMIZERS, UNNORMALISED, convention_of
from bayeslaw.runs.optimizer_families import of_other_families as outside
from bayeslaw.runs.optimizer_names import ALIASES


def test_every_named_optimizer_has_a_convention():
    assert set(ALIASES) <= set(OPTIMIZERS)
    assert {row.family for row in OPTIMIZERS.values()} == {NORMALISED, MATRIX, UNNORMALISED}


@pytest.mark.parametrize(
    ("optimizer", "known", "family"),
    [
        ("sgd", ["adamw", "lion"], UNNORMALISED),
        ("sgd", ["sgd"], None),
        ("muon", ["adamw"], MATRIX),
        ("scion", ["muon"], None),
        ("our-own", ["adamw"], None),
    ],
)
def test_an_optimizer_outside_every_fitted_family_is_told(optimizer, known, family):
    assert outside(optimizer, known) == family


def test_muons_scalings_are_named():
    assert "rows" in str(convention_of("muon"))
    assert convention_of("our-own") is None
