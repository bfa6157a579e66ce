"""Curves from files: straight lines between rows, corners without a loss, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.schedules.curves import curve_features, read_curves

ROWS = pd.DataFrame(
    {
        "run": ["a"] * 4,
        "step": [1, 10, 80, 100],
        "learning_rate": [1e-4, 1e-3, 1e-3, 0.0],
        "loss": [np.nan, np.nan, 3.0, 2.9],
    }
)


@pytest.fixture
def written(tmp_path):
    def write(table, name="c.csv"):
        path = tmp_path / name
        {".csv": table.to_csv, ".parquet": table.to_parquet}[path.suffix](path, index=False)
        return path

    return write


@pytest.mark.parametrize("name", ["c.csv", "c.parquet"])
def test_rates_go_in_straight_lines(written, name):
    (curve,) = read_curves([written(ROWS.iloc[::-1], name)])
    assert curve.name == "a"
    assert curve.learning_rates[[0, 9, 50, 89]] == pytest.approx([1e-4, 1e-3, 1e-3, 5e-4])
    assert curve.steps.tolist() == [80, 100]
    features, losses = curve_features([curve])
    assert losses.tolist() == [3.0, 2.9]
    assert features.steps.tolist() == [80, 100]
    assert features.drop.sum(axis=1) == pytest.approx([0.0, 1e-3])


def test_before_the_first_row_the_rate_is_that_of_the_first_row(written):
    (curve,) = read_curves([written(ROWS.drop(columns="run").iloc[2:])])
    assert curve.name == "c"
    assert (curve.learning_rates[:80] == 1e-3).all()


def test_long_curves_are_thinned_and_their_start_is_left_out(written):
    step = np.arange(1, 1001)
    table = pd.DataFrame({"step": step, "learning_rate": 1e-3, "loss": 3 + 1 / step})
    features, losses = curve_features(read_curves([written(table)]))
    assert len(losses) == 24
    assert (features.steps.min(), features.steps.max()) == (100, 1000)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"learning_rate": [0.0] * 4}, "run a: learning_rate is 0 at every step; expected one above 0"),
        ({"learning_rate": [1e-3, -1e-3, 0, 0]}, "learning_rate = -0.001; expected numbers of at least 0"),
        ({"step": [0, 10, 80, 100]}, "step = 0; expected whole numbers from 1 on"),
        ({"step": [1, 10, 10, 100]}, "step is repeated or no whole number"),
        ({"step": [1, 10, 80.5, 100]}, "step is repeated or no whole number"),
        ({"step": [1, 10, 80, 1e12]}, "step = 1e+12; expected whole numbers from 1 on"),
        ({"loss": [np.nan] * 4}, "run a: no loss; expected at least one"),
        ({"loss": [np.nan, 3, np.inf, 2]}, "loss = inf; expected numbers above 0, or nothing; leave runs"),
        ({"loss": ["x"] * 4}, "loss holds text; expected numbers above 0, or nothing"),
    ],
)
def test_bad_rows_are_refused(written, change, said):
    with pytest.raises(BadInput) as refused:
        read_curves([written(ROWS.assign(**change))])
    assert said in str(refused.value)


def test_bad_files_are_refused(written, tmp_path):
    with pytest.raises(BadInput, match=r"no column learning_rate; expected step, learning_rate and loss"):
        read_curves([written(ROWS.drop(columns="learning_rate"))])
    with pytest.raises(BadInput, match=r"no\.csv: no such file"):
        read_curves([tmp_path / "no.csv"])
    with pytest.raises(BadInput, match=r"unknown suffix '\.txt'"):
        read_curves([tmp_path / "c.txt"])
    path = written(ROWS)
    with pytest.raises(BadInput, match="the run a occurs in two files"):
        read_curves([path, path])
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(BadInput, match=r"empty\.csv: cannot be read"):
        read_curves([tmp_path / "empty.csv"])
