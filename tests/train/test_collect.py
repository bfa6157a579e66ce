"""Run folders become a valid run table."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pandas as pd
import pytest

from bayeslaw.assets import EXAMPLE_SWEEP
from bayeslaw.errors import BadInput
from bayeslaw.lab.train import collect, sweep
from bayeslaw.runs.io import read_runs, write_runs
from bayeslaw.runs.schema import BY_NAME
from tests.support import train_works as works
from tests.support.train_sweeps import SPECS, inline, picky


@pytest.fixture
def out(tmp_path):
    """Three finished runs, one given up, and one that is still open: refused."""
    sweep.run(SPECS, tmp_path / "out", picky, inline, io.StringIO())
    return tmp_path / "out"


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_sweep_becomes_a_run_table(out, tmp_path, capsys, suffix):
    path = tmp_path / f"runs.{suffix}"
    assert collect.main([str(out), "-o", str(path)]) == 0
    said = capsys.readouterr()
    assert said.out == f"{path}: 4 runs (3 finished, 1 crashed) in 1 cells\n"
    assert said.err.splitlines() == [
        "note: 1 runs began and have not ended: run the sweep again",
        "note: 1 runs crashed, such as r1: see its folder",
    ]
    table = read_runs(path)
    assert list(table["run_id"]) == ["r0", "r1", "r3", "r4"]
    assert list(table["status"]) == ["finished", "crashed", "finished", "finished"]
    assert table["loss"].isna().tolist() == [False, True, False, False]
    assert set(table["params_nonembedding"]) == {6224.0}


def test_success_outranks_an_earlier_failure(out):
    sweep.run(SPECS, out, works.train, inline, io.StringIO())
    table, notes = collect.collect(out)
    assert notes == []
    assert list(table["status"]) == ["finished"] * 5


def test_a_sweep_goes_on_elsewhere_from_its_table(out, tmp_path):
    table, _ = collect.collect(out)
    write_runs(table, tmp_path / "runs.csv")
    elsewhere = tmp_path / "elsewhere"
    assert collect.restore(tmp_path / "runs.csv", elsewhere / "runs") == 3  # the crashed one is tried again
    report = sweep.run(SPECS, elsewhere, works.train, inline, io.StringIO())
    assert (report.earlier, len(report.records)) == (3, 5)
    again, _ = collect.collect(elsewhere)
    finished = table[table["status"] == "finished"]
    columns = [name for name in BY_NAME if name in table and finished[name].notna().any()]
    kept = again[again["run_id"].isin(finished["run_id"])][columns]
    pd.testing.assert_frame_equal(kept.reset_index(drop=True), finished[columns].reset_index(drop=True))


def test_a_table_of_other_making_cannot_be_restored(tmp_path):
    write_runs(read_runs(EXAMPLE_SWEEP), tmp_path / "other.csv")
    with pytest.raises(BadInput, match="column spec_digest is missing"):
        collect.restore(tmp_path / "other.csv", tmp_path / "runs")


def test_json(out, tmp_path, capsys):
    assert collect.main([str(out), "-o", str(tmp_path / "runs.csv"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["runs"], found["status"], found["cells"]) == (4, {"finished": 3, "crashed": 1}, 1)
    assert found["flops"] > 0


def test_what_is_no_sweep_is_refused(tmp_path, capsys):
    assert collect.main([str(tmp_path), "-o", "runs.csv"]) == 2
    assert capsys.readouterr().err == (
        f"Error: {tmp_path}: no sweep, runs is missing; expected the --out of bayeslaw-sweep; "
        "check the path\n"
    )
    (tmp_path / "runs" / "r0").mkdir(parents=True)
    with pytest.raises(BadInput, match="no run has ended, 1 began; expected a record; let the sweep go on"):
        collect.collect(tmp_path)


@pytest.mark.parametrize("name", ["record.json", "failure.json"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a record (Expecting property name"),
        ("[]", "not a record (no run_id); expected a JSON object with run_id, status; delete it to train"),
        ('{"run_id": "r1"}', "not a record (no status); expected a JSON object with run_id, status; delete"),
        (
            '{"run_id": "r1", "status": "finished"}',
            "not a record (no loss); expected a JSON object with ",
        ),
        ("\ud800", "not a record ('utf-8' codec can't decode"),
        (None, "not a record ([Errno 21] Is a directory"),
    ],
)
def test_a_damaged_record_is_named(out, name, content, message, tmp_path, capsys):
    path = out / "runs" / "r1" / name
    path.unlink(missing_ok=True)
    path.mkdir() if content is None else path.write_bytes(content.encode("utf-8", "surrogatepass"))
    assert collect.main([str(out), "-o", str(tmp_path / "runs.csv")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"Error: {path}: {message}")
    assert error.count("\n") == 1
    assert not (tmp_path / "runs.csv").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [("runs.txt", "unknown suffix"), ("no/runs.csv", "is no folder"), ("folder.csv", "it is a folder")],
)
def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    tmp_path, monkeypatch, capsys, name, message
):
    (tmp_path / "folder.csv").mkdir()
    monkeypatch.setattr(collect, "collect", pytest.fail)
    assert collect.main([str(tmp_path), "-o", str(tmp_path / name)]) == 2
    assert message in capsys.readouterr().err


def test_two_sweeps_in_one_folder_are_one_table(out):
    sweep.run([replace(SPECS[0], run_id="r9", tokens=200_192)], out, works.train, inline, io.StringIO())
    assert collect.summary(collect.collect(out)[0])["cells"] == 2
