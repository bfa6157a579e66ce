"""The smoothed cell finds the basin's floor, prices advice, and says when it cannot."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayeslaw.errors import BadInput
from bayeslaw.evaluation.smoothing import smooth_cell, smooth_cells
from bayeslaw.law.published import LAWS, step_batch_tokens
from bayeslaw.runs.cells import cell_of, comparable_runs, group_cells
from bayeslaw.runs.importing import import_runs
from tests.support.sweeps import basin, grid_cell

RATE, BATCH = 2e-3, 4e5
NOISY = grid_cell(noise=1e-3)


def smooth(rows):
    ((key, mine),) = group_cells(rows)
    return smooth_cell(key, mine)


def quadratic(u, v):
    return 0.008 * u**2 - 0.004 * u * v + 0.006 * v**2


def test_a_quadratic_basin_is_found_exactly():
    cell = smooth(grid_cell(excess=quadratic))
    assert (cell.scorable, cell.note, cell.axis) == (True, "", "both")
    assert cell.learning_rate == pytest.approx(RATE, rel=1e-2)
    assert cell.batch_tokens == pytest.approx(BATCH, rel=1e-2)
    assert cell.loss == pytest.approx(2.5, rel=1e-6)
    assert cell.noise < 1e-9
    expected = np.expm1(quadratic(np.log(2), np.log(0.5)))
    assert cell.regret(2 * RATE, 0.5 * BATCH) == pytest.approx([expected], abs=1e-5)


def test_an_asymmetric_noisy_basin_is_found_within_its_noise():
    misses, floors, errors, noises = [], [], [], []
    u, v = np.array([0.5, -0.5, 0.0, 1.0]), np.array([0.0, 0.5, -0.7, 0.5])
    for seed in range(12):
        cell = smooth(grid_cell(noise=1e-3, seed=seed))
        misses.append(np.expm1(basin(np.log(cell.learning_rate / RATE), np.log(cell.batch_tokens / BATCH))))
        floors.append(cell.loss / 2.5 - 1)
        errors.append(cell.regret(RATE * np.exp(u), BATCH * np.exp(v)) - np.expm1(basin(u, v)))
        noises.append(cell.noise)
    assert np.mean(misses) < 2e-4  # the best single run of such a grid costs about 1e-3
    assert np.abs(floors).max() < 1.2e-3
    assert np.abs(np.mean(errors, axis=0)).max() < 5e-4
    assert np.mean(noises) == pytest.approx(1e-3, rel=0.25)


def test_outliers_hardly_move_the_floor():
    spoiled = NOISY.copy()
    order = np.argsort(spoiled["loss"].to_numpy())
    spoiled.loc[spoiled.index[order[[3, 9, 17, 25]]], "loss"] *= 1.02
    before, after = smooth(NOISY), smooth(spoiled)
    assert before.regret(after.learning_rate, after.batch_tokens)[0] < 2e-4
    assert after.loss == pytest.approx(before.loss, rel=5e-4)


def test_only_finished_runs_count():
    lure = NOISY.assign(loss=1.0, learning_rate=NOISY["learning_rate"] * 9)
    others = [lure.assign(status=s) for s in ("diverged", "crashed", "stopped")]
    assert smooth(pd.concat([NOISY, *others])) == smooth(NOISY)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(len(NOISY))), st.floats(0.5, 2))
def test_the_order_of_runs_and_the_unit_of_loss_do_not_matter(order, unit):
    a, b = smooth(NOISY), smooth(NOISY.iloc[list(order)].assign(loss=lambda t: unit * t["loss"]))
    assert b.learning_rate == pytest.approx(a.learning_rate, rel=1e-3)
    assert b.loss == pytest.approx(unit * a.loss, rel=1e-6)


CELL = smooth(NOISY)


@settings(max_examples=100, deadline=None)
@given(st.floats(-12, 5), st.floats(5, 25))
def test_regret_is_finite_and_never_negative_however_far_the_advice(ln_rate, ln_batch):
    (regret,) = CELL.regret(np.exp(ln_rate), np.exp(ln_batch))
    assert 0 <= regret < 10


def test_beyond_the_runs_regret_stays_at_the_edge_and_says_so():
    edge = RATE * 2 ** (5 / 2)
    at, beyond = CELL.regret([edge, 1e3 * edge], BATCH)
    assert beyond == pytest.approx(at, rel=0.02)
    assert at > 0.03
    assert CELL.inside([edge, 1.1 * edge, RATE], BATCH).tolist() == [True, False, True]


def test_far_from_the_floor_the_runs_themselves_are_interpolated():
    far = NOISY[NOISY["loss"] > NOISY["loss"].min() * 1.06].iloc[0]
    raw = far["loss"] / CELL.loss - 1
    assert CELL.regret(far["learning_rate"], far["batch_tokens"])[0] == pytest.approx(raw, rel=0.01)


def test_repeated_configurations_are_averaged():
    again = pd.concat([NOISY, grid_cell(noise=1e-3, seed=5)])
    assert smooth(again).n == 2 * smooth(NOISY).n
    assert smooth(again).scorable


def test_a_floor_at_the_edge_of_the_sweep_is_not_scorable():
    low = NOISY[NOISY["learning_rate"] < 0.8 * RATE]
    cell = smooth(low)
    assert not cell.scorable
    assert "still falls at the edge" in cell.note


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_too_few_runs_are_not_scorable_and_have_no_regret(keep):
    rows = NOISY.iloc[:keep] if keep else NOISY.assign(status="crashed")
    cell = smooth(rows)
    assert not cell.scorable
    assert cell.note
    assert np.isnan(cell.regret(RATE, BATCH)[0])
    assert not cell.inside(RATE, BATCH)[0]


def test_one_batch_is_scored_along_the_learning_rate():
    line = grid_cell(batches=1, excess=quadratic)
    cell = smooth(line)
    assert (cell.scorable, cell.axis) == (True, "learning_rate")
    assert cell.batch_tokens == pytest.approx(BATCH)
    assert cell.learning_rate == pytest.approx(RATE, rel=0.01)
    assert cell.regret(2 * RATE, BATCH)[0] == pytest.approx(np.expm1(0.008 * np.log(2) ** 2), rel=0.05)
    assert cell.inside([RATE, RATE], [BATCH, 2 * BATCH]).tolist() == [True, False]


def test_one_learning_rate_is_not_scorable():
    assert not smooth(grid_cell(rates=1)).scorable


def test_a_cross_of_one_at_a_time_variations_is_scored_along_the_learning_rate():
    grid = grid_cell(excess=quadratic)
    on_axis = np.isclose(grid["learning_rate"], RATE) | np.isclose(grid["batch_tokens"], BATCH)
    assert smooth(grid[on_axis]).axis == "learning_rate"


def test_runs_that_differ_in_another_setting_are_set_aside():
    base = grid_cell(weight_decay=0.1)
    other = base[np.isclose(base["learning_rate"], RATE)].assign(weight_decay=0.5, loss=2.4)
    kept = comparable_runs(pd.concat([base, other]))
    assert set(kept["weight_decay"]) == {0.1}
    assert len(kept) == len(base)


def test_a_setting_tied_to_the_learning_rate_or_batch_sets_nothing_aside():
    recipe = grid_cell().assign(
        final_lr_ratio=lambda t: 1e-5 / t["learning_rate"], warmup_tokens=lambda t: 2000 * t["batch_tokens"]
    )
    assert len(comparable_runs(recipe)) == len(recipe)


def test_cells_are_numbered_in_the_order_they_are_grouped():
    table = pd.concat([grid_cell(params=3e8, rates=2, batches=1), grid_cell(params=1e8, rates=3, batches=1)])
    assert cell_of(table).tolist() == [1, 1, 0, 0, 0]
    assert [key.params_nonembedding for key, _ in group_cells(table)] == [1e8, 3e8]
    with pytest.raises(BadInput, match="no column tokens"):
        group_cells(table.drop(columns="tokens"))


def test_advice_that_is_no_number_is_refused():
    with pytest.raises(BadInput, match="expected finite numbers above 0"):
        CELL.regret(-1.0, BATCH)


def test_the_public_step_law_cells_agree_with_the_published_ranking(shared_data):
    runs, _ = import_runs(shared_data / "steplaw_dense.csv", study="steplaw", adapter="steplaw")
    cells = smooth_cells(runs)
    assert len(cells) == 17
    assert all(cell.scorable for cell in cells)
    ranked = ["step", "constant", "porian", "deepseek", "bjorck", "kaplan"]
    regret = {name: np.mean([_law_regret(LAWS[name], cell) for cell in cells]) for name in ranked}
    assert sorted(regret, key=regret.get) == ranked
    assert regret["step"] < 5e-4  # in-sample for that law
    assert regret["constant"] == pytest.approx(2.5e-3, abs=5e-4)
    assert np.mean([cell.noise for cell in cells]) == pytest.approx(1.3e-3, abs=2e-4)


def _law_regret(law, cell):
    n, d = cell.key.params_nonembedding, cell.key.tokens
    advice = {"batch_tokens": step_batch_tokens(n, d)} | law.recommend(n, d)
    return cell.regret(advice["learning_rate"], advice["batch_tokens"])[0]
