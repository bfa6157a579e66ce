"""Runs as predicted from the others, and the reasons why a cell is off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest

from bayeslaw.diagnosis.cell_fit import cell_checks, run_checks
from bayeslaw.diagnosis.fitted_runs import fitted_runs
from tests.support.fakes import fake_posterior
from tests.support.fitted import runs_of

SIZES = tuple((n, d) for n in (1e8, 3e8, 1e9) for d in (2e9, 8e9))


@pytest.fixture(scope="module")
def fit():
    return fake_posterior(40, 0.0, groups=(("ours", "adamw"),), sizes=SIZES)


@pytest.fixture
def runs(fit):
    return runs_of(fit, 40)


def checked(fit, runs):
    cells, _ = fitted_runs(fit, runs)
    return cell_checks(fit, cells, run_checks(cells))


def first(runs):
    return (runs["params_nonembedding"] == 1e8) & (runs["tokens"] == 2e9)


def test_runs_of_the_surface_leave_no_cell_off(fit, runs):
    cells, _ = fitted_runs(fit, runs)
    checks = run_checks(cells)
    assert kstest(checks["pit"], "uniform").pvalue > 0.01
    told = cell_checks(fit, cells, checks)
    assert not any(cell.off for cell in told)
    assert [cell.runs for cell in told] == [40] * 6
    assert np.mean([cell.inside_90 for cell in told]) == pytest.approx(0.9, abs=0.05)
    assert np.mean([cell.inside_50 for cell in told]) == pytest.approx(0.5, abs=0.08)


def test_the_residual_is_in_percent_and_the_worst_run_is_named(fit, runs):
    runs.loc[runs.index[first(runs)][3], "loss"] *= 1.1
    told = checked(fit, runs)[0]
    assert told.worst_run.run_id == "ours-adamw-1e+08-2e+09-3"
    assert told.worst_run.residual_percent == pytest.approx(9.5, abs=0.7)
    assert told.residual_percent == pytest.approx(9.5 / 40, abs=0.1)
    assert not told.off


def test_a_cell_shifted_as_a_whole_is_off_to_one_side(fit, runs):
    runs.loc[first(runs), "loss"] *= 1.01
    told, *others = checked(fit, runs)
    assert told.off
    assert told.reason == "its runs lie above what the others let expect"
    assert told.action == "check N, D, the kind of loss and the tokenizer of these runs"
    assert not any(cell.off for cell in others)


def test_other_conventions_are_named_first(fit, runs):
    runs["schedule"] = np.where(first(runs), "constant", "cosine")
    runs.loc[first(runs), "loss"] *= 1.01
    mixed = replace(fit, conventions={"ours": {"schedule": "mixed", "loss_kind": "val_final"}})
    assert checked(mixed, runs)[0].reason == "other conventions than its study: schedule"
    assert checked(mixed, runs.drop(columns="schedule"))[0].reason.startswith("its runs lie above")


def test_few_runs_are_the_reason_where_there_are_few(fit, runs):
    few = runs[~first(runs) | (runs.groupby("tokens").cumcount() < 4)].copy()
    few.loc[first(few), "loss"] *= 1.1
    told = checked(fit, few)[0]
    assert (told.finished, told.reason) == (4, "4 finished runs only")


def test_settings_off_their_usual_value_are_the_reason_where_they_fail(fit, runs):
    clipped = first(runs) & (runs.index % 3 == 0)
    runs["grad_clip"] = np.where(clipped, 0.1, 1.0)
    runs.loc[clipped, "loss"] *= np.where(np.arange(clipped.sum()) % 2, 1.2, 0.8)
    told = checked(fit, runs)[0]
    assert told.reason.endswith("runs outside have settings unusual for their cell")


def test_the_edge_of_the_scan_is_the_reason_where_runs_fail_there(fit, runs):
    rate = runs["learning_rate"].to_numpy(copy=True)
    low, high = (np.quantile(rate[first(runs)], q) for q in (0.15, 0.85))
    runs["learning_rate"] = np.where(first(runs), np.clip(rate, low, high), rate)
    ends = first(runs) & runs["learning_rate"].isin([low, high])
    runs.loc[ends, "loss"] *= np.where(np.arange(ends.sum()) % 2, 1.03, 0.97)
    told = checked(fit, runs)[0]
    assert told.reason.endswith("runs outside lie at the edge of the scan")


def test_else_the_surface_is_doubted(fit, runs):
    within = first(runs) & (runs.index % 2 == 0)
    runs.loc[within, "loss"] *= np.where(np.arange(within.sum()) % 2, 1.02, 0.98)
    assert checked(fit, runs)[0].reason.startswith("the surface has another shape here")


def test_a_cell_without_a_finished_run_is_neither_on_nor_off(fit, runs):
    gone = first(runs)
    runs.loc[gone, ["loss", "status"]] = [np.nan, "diverged"]
    told = checked(fit, runs)[0]
    assert (told.runs, told.finished, told.off) == (40, 0, False)
    assert told.inside_90 is None
    assert told.worst_run is None
