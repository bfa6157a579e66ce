"""The study of another domain: its plan trains what was advised; its tables judge by the cells' curves."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest

from bayeslaw.evaluation.smoothing import smooth_cell
from bayeslaw.lab.train import plan
from bayeslaw.target import Cell
from tests.studies import code
from tests.studies.tables import read_rows


@pytest.fixture(scope="module")
def planned() -> pd.DataFrame:
    """The plan's runs, as if all had finished."""
    specs = plan.read(code.ROOT / "train" / "plans" / "code.toml")
    return pd.DataFrame([asdict(spec) for spec in specs]).assign(loss=4.0, status="finished")


def test_the_plan_trains_every_advice_and_a_curve_about_the_core_s(planned):
    advised = [row for row in read_rows(code.RESULTS) if row["fixed_batch"] is None]
    missing = [row["method"] for row in advised if code.trained(row, planned) is None]
    assert missing == [name for name in code.ORDER if name.endswith("as if on books")]
    assert (planned["batch_tokens"] == code.CURVE_BATCH).sum() == 6
    assert (len(planned), set(planned["tokens"])) == (13, {int(code.LIVE.tokens)})


def test_a_rate_costs_what_the_cell_s_curve_says_and_its_interval_is_counted():
    cell = Cell("toy", "adamw", 24_848.0, 131_072.0)
    rate = np.geomspace(1e-3, 1e-1, 9)
    rows = {"learning_rate": rate, "loss": 5 * np.exp(0.01 * np.log(rate / 1e-2) ** 2)}
    runs = pd.DataFrame(rows).assign(batch_tokens=512.0, status="finished")
    row = {"method": code.ORDER[0], "params": 24_848.0, "fixed_batch": 512, "interval": [5e-3, 1.5e-2]}
    row |= {"learning_rate": 2e-2, "batch_tokens": 512.0}
    told = code.rates([row], {24_848.0: smooth_cell(cell, runs)})
    regret = f"{np.expm1(0.01 * np.log(2) ** 2):.2%}"
    assert f"| {code.ORDER[0]} | 0.02: {regret} | {regret} | 1 of 1 | 3 times |" in told
    assert "| the cell's own runs | 0.01 (error 0.0%) |" in told


def test_what_is_copied_is_the_best_run_of_the_other_corpus_and_of_the_next_smaller_network():
    cell = Cell(code.CODE, "adamw", 55_536.0, 131_072.0)
    assert {name: row["learning_rate"] for name, row in code.copies(cell, 512)} == {
        code.COPY_BOOKS: 0.0144688,
        code.COPY_CODE: 0.0075113,
    }
