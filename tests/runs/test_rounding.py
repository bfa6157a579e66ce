from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayeslaw.runs.importing import import_runs
from bayeslaw.runs.rounding import WIDTH, clusters, merge_rounded
from bayeslaw.runs.schema import CELL


def grid(n: list[float], d: list[float], **columns: object) -> pd.DataFrame:
    rows = pd.DataFrame({"study": "ours", "optimizer": "adamw", "params_nonembedding": n, "tokens": d})
    return rows.assign(batch_tokens=1024.0, **columns)


def test_steps_rounded_to_a_batch_share_a_cell():
    sequences = np.array([16, 32, 48, 64, 96, 128, 192, 256])
    tokens = np.round(5e8 / (sequences * 1024)) * sequences * 1024
    table, notes = merge_rounded(grid([1e8] * 8, tokens))
    assert table["tokens"].nunique() == 1
    assert table["tokens_as_given"].tolist() == tokens.tolist()
    (note,) = notes
    assert note.startswith("tokens within 2% of each other made one, so that runs share a cell: ")
    assert note.endswith("; given: tokens_as_given")
    assert "params_nonembedding_as_given" not in table


def test_jitter_of_every_run_leaves_the_cells_of_the_grid():
    rng = np.random.default_rng(0)
    n, d = (x.ravel() for x in np.meshgrid([3e7, 1e8, 3e8], [1e9, 2e9, 4e9, 8e9]))
    n, d = (np.repeat(x, 14) * rng.uniform(0.996, 1.004, 12 * 14) for x in (n, d))
    table, notes = merge_rounded(grid(n, d))
    assert table.groupby(list(CELL)).ngroups == 12
    assert len(notes) == 2


def test_the_most_frequent_value_is_kept_and_of_several_the_middle_one():
    table, _ = merge_rounded(grid([1e6] * 5, [1.00e9, 1.01e9, 1.01e9, 1.004e9, 2e9]))
    assert table["tokens"].tolist() == [1.01e9] * 4 + [2e9]
    table, _ = merge_rounded(grid([1e6] * 3, [1.00e9, 1.01e9, 1.004e9]))
    assert table["tokens"].tolist() == [1.004e9] * 3


def test_neighbours_on_a_grid_stay_apart():
    given = grid([1e8, 1.025e8, 1.05e8], [1e9, 1e9, 1e9])
    table, notes = merge_rounded(given)
    pd.testing.assert_frame_equal(table, given)
    assert notes == []


def test_models_of_other_shapes_and_other_studies_stay_apart():
    given = grid([1.00e8, 1.01e8], [1e9, 1e9], width=[512, 640])
    assert merge_rounded(given)[1] == []
    assert merge_rounded(given.assign(width=512))[0]["params_nonembedding"].nunique() == 1
    assert merge_rounded(given.assign(width=512, study=["a", "b"]))[1] == []


def test_what_was_given_first_is_kept_through_a_second_import():
    once, _ = merge_rounded(grid([1e6] * 3, [1.00e9, 1.001e9, 1.001e9]))
    twice, notes = merge_rounded(once)
    pd.testing.assert_frame_equal(twice, once)
    assert notes == []


def test_a_run_keeps_its_tokens_where_its_batch_would_exceed_them():
    table, _ = merge_rounded(
        grid([1e6] * 3, [1.00e6, 1.01e6, 1.00e6]).assign(batch_tokens=[1e5, 1.01e6, 1e5])
    )
    assert table["tokens"].tolist() == [1.00e6, 1.01e6, 1.00e6]


@given(st.lists(st.floats(1e3, 1e6), min_size=1, max_size=60))
def test_no_cluster_is_wider_than_allowed_and_order_is_kept(values):
    values = np.array(values)
    numbers = clusters(values)
    for number in set(numbers):
        inside = values[numbers == number]
        assert inside.max() <= (1 + WIDTH) * inside.min()
    assert (np.diff(numbers[np.argsort(values, kind="stable")]) >= 0).all()


def test_a_chain_of_close_values_is_not_one():
    chain = 1.005 ** np.arange(400)
    numbers = clusters(chain)
    assert 100 <= len(set(numbers)) <= 250


@pytest.mark.parametrize(
    ("name", "adapter"),
    [
        ("steplaw_dense.csv", "steplaw"),
        ("scalebench_lr_bsz_train.parquet", "scalebench"),
        ("marin_optimizer_sweep.csv", "marin"),
        ("schaipp_haegele_runs.csv", "schaipp"),
    ],
)
def test_the_public_grids_stay_as_they_are(shared_data, name, adapter):
    table, _ = import_runs(shared_data / name, adapter=adapter)
    assert [column for column in table if column.endswith("_as_given")] == []
