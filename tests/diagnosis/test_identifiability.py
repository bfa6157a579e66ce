from __future__ import annotations

import pandas as pd
import pytest

from bayeslaw.diagnosis.identifiability import fit_doubts
from tests.support.sweeps import grid_cell


def sweep(cells, **options) -> pd.DataFrame:
    return pd.concat([grid_cell(n, d, **options) for n, d in cells]).assign(study="ours")


WELL = [(1e8, 2e9), (1e8, 8e9), (3e8, 6e9)]


def test_a_sweep_that_brackets_its_optima_leaves_no_doubt():
    assert fit_doubts(sweep(WELL)) == []


@pytest.mark.parametrize(
    ("cells", "doubt"),
    [
        (
            WELL[:1],
            "ours, adamw: one cell (N, D) only: the exponents are the prior's; "
            "add a second size to extrapolate",
        ),
        (
            WELL[:2],
            "ours, adamw: one N only: gamma_path and epsilon_n are the prior's; add runs with another N",
        ),
        (
            [(1e8, 2e9), (3e8, 2e9)],
            "ours, adamw: one D only: epsilon is the prior's; these runs do not separate gamma_path and "
            "delta; add runs with another D",
        ),
        (
            [(1e8, 2e9), (3e8, 6e9)],
            "ours, adamw: N and D vary together: delta is the prior's; these runs do not separate "
            "epsilon and epsilon_n; add cells in which one of them differs alone",
        ),
    ],
)
def test_exponents_need_several_sizes(cells, doubt):
    assert fit_doubts(sweep(cells)) == [doubt]


def test_one_learning_rate_and_one_batch_are_the_priors():
    doubts = fit_doubts(sweep(WELL, rates=1, batches=1))
    assert doubts == [
        "ours, adamw: one learning rate only (0.002): the best learning rate is the prior's, "
        "and its interval wide; run two more, a factor 2 below and above",
        "ours, adamw: one batch only (4e+05): the best batch is the prior's, and its interval wide; "
        "run two more, a factor 2 below and above",
    ]


def test_a_setting_that_follows_the_cell_is_one_a_cell():
    runs = sweep(WELL)
    runs["batch_tokens"] = runs["tokens"] / 1e4
    assert "ours, adamw: one batch only (one a cell): the best batch is the prior's" in fit_doubts(runs)[0]


def test_an_optimum_at_the_edge_of_the_scan_is_told():
    runs = sweep(WELL)
    low = runs[runs["learning_rate"] <= 1.5e-3]
    assert fit_doubts(low) == [
        "ours, adamw: in 3 of 3 cells the best run has the largest learning rate tried: "
        "the optimum may lie higher; extend the scan"
    ]
    high = runs[runs["learning_rate"] >= 3e-3]
    assert "smallest learning rate tried: the optimum may lie lower" in fit_doubts(high)[0]


def test_divergence_bounds_the_learning_rate_from_above():
    runs = sweep(WELL)
    diverged = runs["learning_rate"] > 1.5e-3
    runs.loc[diverged, ["status", "loss"]] = ["diverged", float("nan")]
    assert fit_doubts(runs) == []


def test_stopped_runs_do_not_count_and_groups_are_told_apart():
    runs = sweep(WELL).assign(status="stopped")
    few = sweep(WELL[:1]).assign(optimizer="muon")
    doubts = fit_doubts(pd.concat([runs, few]))
    assert len(doubts) == 1
    assert doubts[0].startswith("ours, muon: one cell")
