from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayeslaw.cli import app, tables
from bayeslaw.runs.io import read_runs

SWEEP = """lr,bs,seq_len,N,D,final_loss
0.001,32,128,1e6,2e7,3.0
0.002,32,128,1e6,2e7,3.2
0.004,64,128,1e6,2e7,
"""
SAID = "--study ours --set optimizer=adamw --map batch_sequences=bs --map params_nonembedding=N".split()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.csv").write_text(SWEEP)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of ``bayeslaw ARGUMENTS``, run in this process."""
    monkeypatch.setattr(sys, "argv", ["bayeslaw", *arguments])
    with pytest.raises(SystemExit) as caught:
        app.main()
    return int(caught.value.code or 0)


def test_a_sweep_becomes_a_run_table(folder, monkeypatch, capsys):
    assert run(monkeypatch, "import", "sweep.csv", "-o", "runs.parquet", *SAID) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "3 runs written to runs.parquet"
    assert out.splitlines()[4].split() == (
        [
            "ours",
            "adamw",
            "3",
            "2",
            "1M",
            "20M",
            "4.1k",
            "to",
            "8.19k",
            "0.001",
            "to",
            "0.004",
            "3",
            "to",
            "3.2",
        ]
    )
    assert "note: runs without a loss, counted as crashed: 1\n" in err
    told = [line.split() for line in err.splitlines() if " lr " in line]
    assert told == [["learning_rate", "lr", "a", "name", "of", "the", "learning_rate"]], "once, in the table"
    table = read_runs("runs.parquet")
    assert table["batch_tokens"].tolist() == [4096, 4096, 8192]
    assert table["status"].tolist() == ["finished", "finished", "crashed"]


def test_an_optimizer_is_renamed(folder, monkeypatch, capsys):
    assert run(monkeypatch, "import", "sweep.csv", "-o", "r.csv", *SAID, "--rename", "adamw=ours") == 0
    assert "note: read optimizer adamw as ours\n" in capsys.readouterr().err
    assert set(read_runs("r.csv")["optimizer"]) == {"ours"}


def test_help_lists_the_layouts(monkeypatch, capsys):
    assert run(monkeypatch, "import", "--help") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "A known layout: steplaw, Step Law's table of dense runs (arXiv 2503.04715); scalebench, " in out


def test_json_is_one_object_on_stdout(folder, monkeypatch, capsys):
    assert run(monkeypatch, "import", "sweep.csv", "-o", "runs.csv", *SAID, "--json") == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    notes = result.pop("notes")
    assert {"role": "learning_rate", "column": "lr", "reason": "a name of the learning_rate"} in result.pop(
        "columns"
    )
    assert result == {
        "output": "runs.csv",
        "runs": 3,
        "status": {"finished": 2, "crashed": 1},
        "studies": ["ours"],
        "optimizers": ["adamw"],
        "cells": 1,
    }
    assert [f"note: {note}" for note in notes] == err.splitlines()


def test_json_is_strict_whatever_the_numbers_are(capsys):
    tables.print_json({"x": math.nan, "y": np.float64(1.5), "z": np.array([1.0, -np.inf]), "n": np.int64(3)})
    assert capsys.readouterr().out == '{"x": null, "y": 1.5, "z": [1.0, null], "n": 3}\n'


def test_bad_input_is_a_message_and_exit_code_2(folder, monkeypatch, capsys):
    assert run(monkeypatch, "import", "gone.csv", "-o", "runs.csv", "--json") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"error: gone.csv: does not exist; expected a run table; check the path (now in {Path.cwd()})\n"
    )
    assert not (folder / "runs.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["import", "sweep.csv"], "Missing option '--output'"),
        (["import", "sweep.csv", "-o", "runs.csv", "--unit", "x"], "No such option: --unit"),
        (["impotr", "sweep.csv"], "No such command 'impotr'"),
        (["import", "sweep.csv", "-o", "r.csv", "--diverged-ratio", "much"], "--diverged-ratio"),
        (["import", "sweep.csv", "-o", "r.csv", "--map", "loss"], "error: --map loss: expected NAME=VALUE"),
        (
            ["import", "sweep.csv", "-o", "r.csv", "--rename", "a"],
            "error: --rename a: expected NAME=VALUE;",
        ),
        (["import", "sweep.csv", "-o", "r.csv", "--adapter", "x"], "error: --adapter x: unknown"),
        (
            ["import", "sweep.csv", "-o", "./sweep.csv", *SAID],
            "error: sweep.csv: is the source and the output",
        ),
        (["import", "sweep.csv", "-o", "r.csv"], "error: sweep.csv does not say what these runs are:"),
        (["import", "sweep.csv", "-o", "r.xlsx", *SAID], "error: r.xlsx: unknown suffix '.xlsx'"),
        (
            ["import", "sweep.csv", "-o", "no/r.csv", *SAID],
            "error: no/r.csv: cannot be written, no is no folder",
        ),
    ],
)
def test_misuse_is_exit_code_2_without_a_traceback(folder, monkeypatch, capsys, arguments, words):
    assert run(monkeypatch, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert "Traceback" not in err


def test_as_a_program_it_says_the_same(folder):
    environment = {**os.environ, "PYTHONPATH": str(Path(app.__file__).parents[2])}
    result = subprocess.run(
        [sys.executable, "-m", "bayeslaw.cli", "import", "gone.csv", "-o", "runs.csv"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: gone.csv: does not exist")
    assert result.stdout == ""


def test_the_public_sweeps_from_end_to_end(shared_data, tmp_path, monkeypatch, capsys):
    output = str(tmp_path / "marin.parquet")
    source = str(shared_data / "marin_optimizer_sweep.csv")
    assert run(monkeypatch, "import", source, "-o", output, "--adapter", "marin", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["runs"], result["cells"], len(result["optimizers"])) == (1469, 102, 9)
    assert isinstance(read_runs(output), pd.DataFrame)
