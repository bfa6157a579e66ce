"""Tables that vary the network at one learning rate, as run tables."""

from __future__ import annotations

import pandas as pd
import pytest

from bayeslaw.law.observations import off_usual
from bayeslaw.runs.importing import import_runs

OPENLM = {"key": "a", "width": 1024, "depth": 24, "heads": 8, "f4": 64, "lr": 3e-3, "wd": 0.033, "f7": 64}
OPENLM |= {"tokens": 5149020160, "warmup": 100, "cd": 3e-5, "loss": 2.7}
C4 = "eval/c4_en-validation/CrossEntropyLoss"


def imported(tmp_path, rows, adapter):
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    return import_runs(tmp_path / "t.csv", adapter=adapter)[0]


def test_openlm_rows(tmp_path):
    (row,) = imported(tmp_path, [OPENLM], "openlm").to_dict("records")
    head = 50432 * 1024  # the published table of 104 models counts it: 359,973,888 with norms
    assert row["params_nonembedding"] + head == pytest.approx(359_973_888, rel=1e-3)
    assert (row["batch_tokens"], row["warmup_tokens"]) == (64 * 2048, 100 * 64 * 2048)
    assert (row["schedule"], row["final_lr_ratio"]) == ("cosine", pytest.approx(0.01))
    assert (row["loss"], row["loss_kind"], row["status"]) == (2.7, "val_final", "finished")


def test_heads_and_warm_up_are_no_noise(tmp_path):
    others = [OPENLM, OPENLM | {"key": "b"}, OPENLM | {"key": "c", "heads": 4}]
    table = imported(tmp_path, [*others, OPENLM | {"key": "d", "warmup": 2000}], "openlm")
    every = pd.Series(True, index=table.index).to_numpy()
    cell = pd.Series(0, index=table.index).to_numpy()
    assert off_usual(table, cell, every, ["n", "d"]).tolist() == [0, 0, 1, 1]


def test_the_ladder_keeps_the_last_point_of_each_run(tmp_path):
    point = {"learning_rate_peak": 9.73e-4, "batch_size_in_tokens": 524288}
    rows = [
        point | {"run": "190M-1xC", "_step": 10, C4: 8.0},
        point | {"run": "190M-1xC", "_step": 7272, C4: 3.6},
        point | {"run": "190M-1xC-rerun", "_step": 7272, C4: 3.59},
        point | {"run": "190M-10xC", "_step": 72625, C4: 3.3},
        point | {"run": "peteish7_eval_full", "_step": 925000, C4: 2.5},
    ]
    table = imported(tmp_path, rows, "olmo-ladder").sort_values("run_id")
    assert table["run_id"].tolist() == [f"olmo-ladder-190M-{k}" for k in ("10xC", "1xC", "1xC-rerun")]
    assert table["loss"].tolist() == [3.3, 3.6, 3.59]
    assert table["params_nonembedding"].unique().tolist() == [pytest.approx(190_380_000, rel=1e-3)]
    assert table["tokens"].tolist() == [72625 * 524288, 7272 * 524288, 7272 * 524288]


@pytest.mark.parametrize(
    ("file", "adapter", "rows"),
    [("gadre_openlm_grid.csv", "openlm", 435), ("olmo_ladder_curves.parquet", "olmo-ladder", 30)],
)
def test_the_published_tables_are_read(shared_data, file, adapter, rows):
    table, notes = import_runs(shared_data / file, adapter=adapter)
    assert len(table) == rows
    assert any("one learning rate" in note for note in notes)
