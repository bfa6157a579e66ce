"""Smooth deviations of cells never fitted: one by one, and together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bayeslaw.advice.target_surface import assemble_surface, smooth_path, surface_at, surface_draws
from bayeslaw.law.parameters import CELL_SHIFTS, SIZE_SHIFTS
from bayeslaw.target import Target
from tests.support.fakes import fake_posterior, shifted

DRAWS = 2000
SIZES = tuple((study, n) for study in ("ours", "theirs") for n in (1e8, 1e9))
OURS = {"optimizer": "adamw", "study": "ours"}


@pytest.fixture(scope="module")
def fit():
    """Sharp but for the cells' own shifts: smooth ones of 0.2 nats, white ones of 0.02, none of sizes."""
    fit = fake_posterior(DRAWS, spread=0.0, parts=("smooth",))
    spreads = {f"log_tau_{name}": np.log(0.02) for name in CELL_SHIFTS}
    spreads |= {f"log_tau_smooth_{name}": np.log(0.2) for name in CELL_SHIFTS}
    spreads |= {f"log_tau_size_{name}": -30.0 for name in SIZE_SHIFTS}
    size = {name: np.zeros((DRAWS, len(SIZES))) for name in SIZE_SHIFTS}
    cell = {name: np.full((DRAWS, len(fit.cells)), 0.3) for name in CELL_SHIFTS}
    return replace(shifted(fit, **spreads), sizes=SIZES, size=size, cell=cell)


def log_lr(fit, *targets):
    """ln eta* of targets judged together, (target, draw)."""
    return np.array([surface_at(fit, target).log_lr for target in targets])


def test_cells_never_fitted_deviate_together_where_they_are_neighbours(fit):
    here, near, far = (Target(n, 20 * n, **OURS) for n in (3e8, 3.3e8, 3e10))
    drawn = np.corrcoef(log_lr(fit, here, near, far))
    assert drawn[0, 1] > 0.9
    assert abs(drawn[0, 2]) < 0.1


@pytest.mark.parametrize("n", [1.02e8, 3e8, 3e9])
def test_together_or_by_itself_a_cell_is_as_certain(fit, n):
    target = Target(n, 20 * n, **OURS)
    together, alone = (surface_at(fit, target, independent=by_itself).log_lr for by_itself in (False, True))
    assert together.std() == pytest.approx(alone.std(), rel=0.1)
    assert together.mean() == pytest.approx(alone.mean(), abs=0.02)


def test_deviations_widen_with_distance(fit):
    spreads = [
        surface_at(fit, Target(n, 20 * n, **OURS), independent=True).log_lr.std()
        for n in (1e9, 3e9, 1e11, 1e13)
    ]
    assert spreads == sorted(spreads)
    assert spreads[0] < 0.05 < 0.2 < spreads[-1]


def test_a_path_is_drawn_once_for_all_cells_of_a_group(fit):
    target = Target(3e8, 6e9, **OURS)
    p = surface_draws(fit, "ours", "adamw")
    on_path = assemble_surface(fit, target, p, path=smooth_path(fit, "ours", "adamw", p))
    assert np.array_equal(on_path.log_lr, surface_at(fit, target).log_lr)
