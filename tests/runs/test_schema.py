from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayeslaw.errors import BadInput
from bayeslaw.runs.schema import COLUMNS, REQUIRED, columns_markdown, mark_diverged, validate


def message(table: pd.DataFrame, **options: object) -> str:
    with pytest.raises(BadInput) as caught:
        validate(table, "runs.csv", **options)
    return str(caught.value)


def test_valid_table_gets_its_dtypes_and_keeps_unknown_columns(runs):
    texts = runs.assign(tokens="20000000", optimizer="AdamW", note=[1, "x", None, 2.5])
    checked = validate(texts, "runs.csv")
    assert (checked["tokens"] == 2e7).all()
    assert checked["tokens"].dtype == np.float64
    assert set(checked["optimizer"]) == {"adamw"}
    assert checked["note"].tolist() == [1, "x", None, 2.5]


def test_the_callers_table_is_untouched(runs):
    before = runs.astype({"tokens": str})
    after = before.copy()
    validate(after, "runs.csv")
    pd.testing.assert_frame_equal(before, after)


def test_every_bad_row_is_reported_at_once(runs):
    runs["tokens"] = [2e7, -1, 2e7, 2e7]
    runs["status"] = ["finished", "finished", "done", "crashed"]
    runs["batch_tokens"] = [1e8, 4096, 4096, math.inf]
    runs["learning_rate"] = ["1e-3", "1e-3", "fast", None]
    assert message(runs) == (
        "runs.csv breaks the run-table contract in 4 rows:\n"
        "  row 1 (run a): batch_tokens = 100000000; expected <= tokens = 20000000 [tokens, not sequences]\n"
        "  row 2 (run b): tokens = -1; expected > 0 and <= 1e+18 [count]\n"
        "  row 3 (run c): learning_rate = 'fast'; expected a number, > 0\n"
        "  row 3 (run c): status = 'done'; expected one of finished, diverged, crashed, stopped\n"
        "  row 4 (run d): batch_tokens = inf; expected > 0 [tokens]\n"
        "  row 4 (run d): learning_rate missing; expected > 0\n"
        "Correct or drop these rows; rows are counted from 1 below the header."
    )


def test_a_finished_run_needs_a_loss(runs):
    runs.loc[0, "loss"] = None
    runs.loc[1, "loss"] = math.inf
    runs.loc[2, "loss"] = 0.0
    assert message(runs) == (
        "runs.csv breaks the run-table contract in 3 rows:\n"
        "  row 1 (run a): loss missing in a finished run; set status=crashed or drop the row\n"
        "  row 2 (run b): loss = inf in a finished run; set status=diverged\n"
        "  row 3 (run c): loss = 0; expected > 0 [nats/token]\n"
        "Correct or drop these rows; rows are counted from 1 below the header."
    )


def test_numbers_beyond_any_run_are_refused(runs):
    runs["params_nonembedding"] = [1e300, 1e6, 1e6, 1e6]
    runs["tokens"] = [2e7, 1e300, 2e7, 2e7]
    runs["loss"] = [3.0, 3.0, 1e300, None]
    assert message(runs) == (
        "runs.csv breaks the run-table contract in 3 rows:\n"
        "  row 1 (run a): params_nonembedding = 1e+300; expected > 0 and <= 1e+15 [count]\n"
        "  row 2 (run b): tokens = 1e+300; expected > 0 and <= 1e+18 [count]\n"
        "  row 3 (run c): loss = 1e+300 in a finished run; set status=diverged\n"
        "Correct or drop these rows; rows are counted from 1 below the header."
    )


def test_a_loss_that_is_no_number_is_missing_once_the_run_did_not_finish(runs):
    runs["status"] = ["diverged", "crashed", "finished", "crashed"]
    runs["loss"] = [math.inf, "NaN", 2.9, None]
    assert validate(runs, "runs.csv")["loss"].isna().tolist() == [True, True, False, True]


def test_run_ids_are_unique_and_present(runs):
    runs["run_id"] = ["a", "a", "", "d"]
    assert message(runs) == (
        "runs.csv breaks the run-table contract in 2 rows:\n"
        "  row 2 (run a): run_id repeats an earlier row's; expected each run once\n"
        "  row 3: run_id missing; expected text\n"
        "Correct or drop these rows; rows are counted from 1 below the header."
    )


def test_rows_are_named_as_the_caller_counts_them(runs):
    runs.loc[3, "tokens"] = 0
    assert "row 9 (run d): tokens = 0" in message(runs, row_numbers=[2, 3, 5, 9])


def test_the_report_shows_twenty_problems_and_counts_the_rest(runs):
    many = pd.concat([runs.iloc[[0]]] * 30).assign(run_id=[f"r{i}" for i in range(30)], tokens=-1)
    lines = message(many).splitlines()
    assert len([line for line in lines if line.startswith("  row")]) == 20
    assert lines[0] == "runs.csv breaks the run-table contract in 30 rows:"
    assert lines[-2] == "  ... and 10 more problems"


def test_a_table_of_something_else_names_what_is_missing():
    assert message(pd.DataFrame({"lr": [1e-3], "final_loss": [3.0]})) == (
        "runs.csv: not a run table, 8 required columns missing: run_id, study, optimizer, "
        "params_nonembedding, tokens, batch_tokens, learning_rate, status; found lr, final_loss; "
        "convert it with: bayeslaw import SOURCE -o runs.parquet --study NAME"
    )


def test_an_empty_table_is_an_error(runs):
    assert message(runs.iloc[:0]) == (
        "runs.csv: no rows; expected one row a run; check that the export or filter kept any runs"
    )


def test_a_column_given_twice_is_an_error(runs):
    twice = pd.concat([runs, runs[["tokens"]]], axis=1)
    assert message(twice) == (
        "runs.csv: column tokens appears twice; expected each column once; rename or drop one"
    )


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=3),
    st.sampled_from(["finished", "nan", "inf", "-1e3", pd.NaT, pd.NA, pd.Timestamp("2026-01-01")]),
    st.lists(st.integers(), max_size=2),
    st.complex_numbers(max_magnitude=2),
)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_junk_raises_nothing_but_bad_input(data):
    others = [column.name for column in COLUMNS if not column.required]
    names = [*REQUIRED, *data.draw(st.lists(st.sampled_from([*others, "x", 7]), unique=True, max_size=4))]
    names = names[data.draw(st.integers(0, 1)) :]
    size = data.draw(st.integers(0, 3))
    values = {name: data.draw(st.lists(CELLS, min_size=size, max_size=size)) for name in names}
    table = pd.DataFrame({name: pd.Series(items, dtype="object") for name, items in values.items()})
    try:
        checked = validate(table, "junk")
    except BadInput:
        return
    assert (checked["batch_tokens"] <= checked["tokens"]).all()
    assert checked["run_id"].is_unique


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "float32", "category", "str", "float64[pyarrow]"])
def test_numbers_of_any_dtype_are_read(runs, dtype):
    runs["tokens"] = pd.Series([20_000_000] * 4).astype(dtype)
    assert (validate(runs, "runs.csv")["tokens"] == 2e7).all()


def test_truth_values_are_not_numbers(runs):
    runs["tokens"] = True
    assert "row 1 (run a): tokens = True; expected a number, > 0 and <= 1e+18 [count]" in message(runs)


def test_a_run_far_above_its_cell_diverged_and_keeps_its_loss(runs):
    runs["loss"] = [3.0, 4.19, 4.21, None]
    marked = mark_diverged(validate(runs, "runs.csv"))
    assert marked["status"].tolist() == ["finished", "finished", "diverged", "crashed"]
    assert marked["loss"].tolist()[:3] == [3.0, 4.19, 4.21]


def test_each_cell_is_judged_by_its_own_smallest_loss(runs):
    runs["loss"] = [3.0, 3.0, 6.0, None]
    runs["tokens"] = [2e7, 2e7, 1e6, 2e7]
    assert (mark_diverged(validate(runs, "runs.csv"))["status"] != "diverged").all()


def test_an_infinite_loss_diverged_and_does_not_spoil_its_cell(runs):
    runs["loss"] = [math.inf, 3.0, 3.1, None]
    assert mark_diverged(runs.astype({"loss": float}))["status"].tolist()[:2] == ["diverged", "finished"]


def cell_of(losses: list[float], rates: list[float] | None = None, tokens: float = 2e7) -> pd.DataFrame:
    """One cell of finished runs, at growing learning rates unless given."""
    size = len(losses)
    return pd.DataFrame(
        {
            "run_id": [f"{tokens:g}-{row}" for row in range(size)],
            "study": "ours",
            "optimizer": "adamw",
            "params_nonembedding": 1e6,
            "tokens": tokens,
            "batch_tokens": 4096.0,
            "learning_rate": rates or np.geomspace(1e-3, 1e-2, size),
            "loss": losses,
            "status": "finished",
        }
    )


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([3.1, 3.0, 2.0, 3.1, 3.3], "ffsff"),  # 2.0 alone is wrong
        ([3.1, 3.0, 3.05, 3.2, 3e-6], "ffffs"),
        ([0.3, 3.0, 3.05, 3.2, 7.0], "sfffd"),  # of the lowest rate, but too far
        ([3.0, 6.9, 7.0, 7.2, 8.0], "fdddd"),  # divergence explains it: the lowest rate alone trained
        ([3.0, 3.2, 3.1, 3.3, 7.0, 7.1, 9.0, 8.0, 8.0, 8.0], "ffffdddddd"),  # too many to be wrong
        ([3.0, 3.1, 1e4, 1e5, 1e6], "ffddd"),
        ([3.0, 6.0], "fd"),
    ],
)
def test_a_loss_far_off_to_either_side_spoils_no_cell(losses, expected):
    assert "".join(status[0] for status in mark_diverged(cell_of(losses))["status"]) == expected


def test_an_alone_run_is_judged_by_its_study():
    split = [cell_of([loss], tokens=2e7 * 2**row) for row, loss in enumerate([3.0, 1e5, 3.2, 0.1, 2.9])]
    marked = mark_diverged(pd.concat(split, ignore_index=True))
    assert marked["status"].tolist() == ["finished", "diverged", "finished", "stopped", "finished"]


@settings(max_examples=30, deadline=None)
@given(st.floats(0.2, 0.6) | st.floats(1.5, 1e6), st.integers(0, 9))
def test_one_wrong_loss_changes_no_other_run(factor, row):
    losses = np.linspace(3.0, 3.3, 10)
    losses[row] *= factor
    status = mark_diverged(cell_of(list(losses)))["status"]
    others = status.drop(row)
    alone_at_the_lowest_rate = row == 0 and 1 / 4 <= factor < 1
    assert (others == "finished").all() or alone_at_the_lowest_rate
    assert status[row] == ("stopped" if factor < 1 else "diverged") or alone_at_the_lowest_rate


def test_the_ratio_must_mean_something(runs):
    with pytest.raises(BadInput, match=r"diverged ratio = 0\.9; expected a number above 1"):
        mark_diverged(runs, 0.9)


def test_the_documented_table_has_a_line_for_every_column():
    lines = columns_markdown().splitlines()
    assert len(lines) == len(COLUMNS) + 2
    assert "| tokens* | > 0 and <= 1e+18 [count] | D, training tokens, repeats included |" in lines
