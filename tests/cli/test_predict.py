"""`bayeslaw predict` and `bayeslaw evaluate`: what they print, what they refuse, how fast they start."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.evaluation.advisors import PosteriorAdvisor
from bayeslaw.posterior.netcdf import write_posterior
from bayeslaw.runs.io import write_runs
from bayeslaw.target import Target
from tests.support.command import run
from tests.support.fakes import fake_posterior
from tests.support.pictures import inked
from tests.support.sweeps import grid_cell

ROOT = Path(__file__).resolve().parents[2]
ASKED = ["predict", "--params", "7e9", "--tokens", "1.4e11", "--posterior", "p.nc"]
SAID = {"study": "ours", "sequence_length": 2048}


@pytest.fixture(scope="module")
def fit():
    return fake_posterior(400)


@pytest.fixture
def folder(fit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_posterior(fit, tmp_path / "p.nc")
    return tmp_path


@pytest.fixture
def held_out(fit, folder):
    """A grid around the posterior's own optimum of one cell, and one too small to score."""
    target = Target(3e9, 6e10, "adamw", "ours")
    best = PosteriorAdvisor(fit).recommend(target)
    grid = grid_cell(3e9, 6e10, (best["learning_rate"], best["batch_tokens"]), 2.1, 1e-3)
    small = grid_cell(1e9, 2e10, (1e-3, 4e5), 2.3, rates=1, batches=2)
    write_runs(pd.concat([grid, small]).assign(**SAID), "h.csv")
    return folder / "h.csv"


def test_people_read_a_table(folder, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, *ASKED, "--study", "ours")
    assert (code, err) == (0, "")
    lines = [line.rstrip() for line in out.splitlines() if line.strip()]
    assert lines[0] == "adamw, N = 7B, D = 140B tokens, ours"
    assert lines[1].split() == ["use", "optimum,", "90%", "interval"]
    assert [line.split("  ")[0].strip() for line in lines[3:]] == [
        *("learning rate, peak", "batch, tokens", "weight decay"),
        *("loss", "regret", "extrapolation", "assumes", "posterior"),
    ]
    assert lines[-3] == "extrapolation  0.8 decades in N, 0.8 in D"
    assert lines[-1] == "posterior      p.nc, 60 runs, nuts, 2026-11-21"


def test_an_optimizer_is_known_by_its_other_spellings(folder, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, *ASKED, "--study", "ours", "--optimizer", "torch.optim.AdamW")
    assert (code, err) == (0, "note: optimizer torch.optim.adamw read as adamw\n")
    assert out.splitlines()[0].startswith("adamw, N = 7B")


def test_sizes_are_read_as_people_write_them(folder, monkeypatch, capsys):
    asked = ["predict", "--posterior", "p.nc", "--params", "7B", "--tokens", "140B", "--batch-tokens", "2M"]
    _, out, _ = run(monkeypatch, capsys, *asked)
    assert run(monkeypatch, capsys, *ASKED, "--batch-tokens", "2e6")[1] == out
    with pytest.raises(BadInput, match="params_nonembedding = 1e-05; expected a number of at least 1"):
        Target(1e-5, 1e9)


def test_a_fixed_batch_is_marked_and_doubts_are_printed(folder, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, *ASKED, "--batch-tokens", "2e7", "--optimizer", "lion")
    assert code == 0
    assert "20M (fixed)" in out
    warnings = [line for line in out.splitlines() if line.startswith("warning: ")]
    assert warnings[0].startswith(
        "warning: optimizer lion was never seen: drawn from the population of 2 (adamw, muon); its rate is "
    )
    assert any("above the best one" in line for line in warnings)


def test_json_is_one_object_with_the_contracts_keys(folder, monkeypatch, capsys):
    asked = [*ASKED, "--study", "ours", "--optimizer", "AdamW", "--level", "0.8", "--json"]
    code, out, err = run(monkeypatch, capsys, *asked)
    assert (code, err) == (0, "")
    assert out.count("\n") == 1
    result = json.loads(out)
    parts = "inputs recommendation optimum loss_nats_per_token regret extrapolation level posterior warnings"
    assert list(result) == [*parts.split(), "assumes", "bill"]
    assert result["posterior"]["path"] == "p.nc"
    assert result["inputs"]["optimizer"] == "adamw"
    assert result["level"] == 0.8
    best = result["optimum"]["learning_rate"]
    assert best["lower"] < result["recommendation"]["learning_rate"] < best["upper"]


def test_a_law_answers_with_formula_units_and_range(folder, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, *ASKED[:5], "--law", "step")
    assert code == 0
    for text in ("0.000452", "1.34M", "1.79 N^-0.713 D^0.307", "N 5.9e+07 to 1.1e+09", "arXiv 2503.04715"):
        assert text in out
    assert "warning: step law: N = 7e+09 is 0.81 decades above its fitted range" in out
    code, out, _ = run(monkeypatch, capsys, *ASKED[:5], "--law", "step", "--json")
    result = json.loads(out)
    assert list(result) == ["inputs", "law", "recommendation", "warnings"]
    assert result["recommendation"]["learning_rate"] == pytest.approx(1.79 * 7e9**-0.713 * 1.4e11**0.307)


def test_all_laws_stand_beside_the_posterior(folder, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, *ASKED, "--law", "all", "--optimizer", "muon")
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert [row[0] for row in rows if row and row[0] in ("step", "bjorck", "kaplan")] == [
        *("step", "bjorck", "kaplan"),
    ]
    assert "warning: step law: fitted to adamw, not muon" in out
    _, out, _ = run(monkeypatch, capsys, *ASKED, "--law", "all", "--json")
    result = json.loads(out)
    assert list(result) == ["inputs", "posterior", "laws", "agreement"]
    assert "recommendation" in result["posterior"]
    assert [answer["law"]["name"] for answer in result["laws"]][:2] == ["step", "deepseek"]


def test_the_field_and_our_place_in_it(folder, monkeypatch, capsys):
    _, out, _ = run(monkeypatch, capsys, *ASKED, "--law", "all")
    assert "learning rate   6 published laws disagree by a factor of " in out
    assert "times their median, " in out
    assert "rate with D     published laws disagree on the direction: raised by 1, lowered by 3" in out
    assert "; ours " in out
    assert "; rules at one batch: scion -0.56, hyperp -0.32" in out
    _, out, _ = run(monkeypatch, capsys, *ASKED, "--law", "all", "--tuned", "1e8,2e9,131072,4e-3", "--json")
    assert [answer["rule"]["name"] for answer in json.loads(out)["rules"]][:2] == ["sqrt", "linear"]


def test_a_rule_carries_a_tuned_run(folder, monkeypatch, capsys):
    asked = [*ASKED, "--law", "sqrt", "--batch-tokens", "524288"]
    _, out, _ = run(monkeypatch, capsys, *asked, "--tuned", "100M,2B,131072,4e-3")
    assert out.startswith("sqrt rule, N = 100M, D = 2B, batch 131k, learning rate 0.004, carried to N = 7B")
    assert "learning rate   0.008" in out
    code, _, err = run(monkeypatch, capsys, *asked)
    assert code == 2
    assert "or with --tuned one of sqrt, linear" in err


def test_a_law_that_breaks_down_says_so(folder, monkeypatch, capsys):
    code, out, _ = run(
        monkeypatch, capsys, "predict", "--params", "7e10", "--tokens", "1e12", "--law", "kaplan"
    )
    assert code == 0
    assert "breaks down this far out; choose another law or a smaller N" in out


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (
            ["--posterior", "no.nc"],
            "no.nc: no such file; expected a posterior; fit one with `bayeslaw fit RUNS -o posterior.nc`",
        ),
        (
            ["--params", "nan"],
            "--params nan: expected a finite number above 0; give it as 7e9, 7B, 500M or 2k",
        ),
        (
            ["--tokens", "-1"],
            "--tokens -1: expected a finite number above 0; give it as 7e9, 7B, 500M or 2k",
        ),
        (
            ["--batch-tokens", "2e11"],
            "target: batch_tokens = 2e+11 exceeds tokens = 1.4e+11; expected a batch in tokens "
            "(not sequences) of at most D; lower the batch",
        ),
        (["--level", "90"], "level = 90.0; expected a probability between 0 and 1; give 0.9 for 90%"),
        (
            ["--study", "mine"],
            "--study mine: not in p.nc; expected one of ours, theirs; leave it out for a set-up never seen",
        ),
        (
            ["--tuned", "1,2"],
            "--tuned 1,2: given without --law; expected a rule that carries it; add --law all",
        ),
        (
            ["--law", "all", "--tuned", "1e8,2e9"],
            "--tuned 1e8,2e9: expected N,D,BATCH,RATE, four finite numbers above 0; give it as "
            "100M,2B,131072,4e-3",
        ),
        (
            ["--law", "chinchilla"],
            "law = 'chinchilla'; expected one of step, deepseek, bjorck, kaplan, porian, zhou, "
            "minicpm, power-lines, zhang, merrill, saturating, constant or all; name one of these",
        ),
    ],
)
def test_bad_input_is_one_clear_message(folder, monkeypatch, capsys, extra, message):
    assert run(monkeypatch, capsys, *ASKED, *extra) == (2, "", f"error: {message}\n")


def test_a_damaged_posterior_is_one_clear_message(folder, monkeypatch, capsys):
    (folder / "p.nc").write_bytes((folder / "p.nc").read_bytes()[:5000])
    code, out, err = run(monkeypatch, capsys, *ASKED)
    assert (code, out) == (2, "")
    assert err.startswith("error: p.nc: cannot be read as netCDF4")
    assert err.count("\n") == 1


def test_diagnostics_are_repeated(fit, folder, monkeypatch, capsys):
    doubtful = replace(fit, diagnostics={"converged": False, "messages": ["R-hat 1.31 for beta"]})
    write_posterior(doubtful, "bad.nc")
    _, out, _ = run(monkeypatch, capsys, *ASKED, "--posterior", "bad.nc")
    assert "warning: the fit has not converged: R-hat 1.31 for beta\n" in out


def test_evaluate_scores_a_posterior(held_out, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "evaluate", "h.csv", "--posterior", "p.nc", "--plot", "s.png")
    assert code == 0
    assert err == "note: 1 of these cells were fitted: scores there are held out only if the runs were\n"
    assert out.startswith("p: 101 finished runs\n")
    assert "coverage" in out
    assert inked(held_out.parent / "s.png") > 0.02
    code, out, _ = run(monkeypatch, capsys, "evaluate", "h.csv", "--posterior", "p.nc", "--json")
    result = json.loads(out)
    assert result["runs"]["n"] == 101
    assert {"r2", "mae", "crps", "coverage", "level"} <= set(result["runs"])
    scored = [cell for cell in result["cells"] if cell["scorable"]]
    assert [cell["params"] for cell in scored] == [3e9]
    assert 0 <= scored[0]["regret"] < 2e-3


FITTED = ("--train", "h.csv", "--method")


@pytest.mark.parametrize("choice", [["--law", "step"], [*FITTED, "near-optimal"], [*FITTED, "lmo"]])
def test_evaluate_scores_laws_and_baselines(held_out, monkeypatch, capsys, choice):
    sizes = [(1e8, 2e9), (2e8, 9e9), (4e8, 8e9), (9e8, 9e10)]
    write_runs(pd.concat([grid_cell(n, d) for n, d in sizes]).assign(**SAID), "t.csv")
    choice = [word.replace("h.csv", "t.csv") for word in choice]
    code, out, _ = run(monkeypatch, capsys, "evaluate", "h.csv", *choice, "--json")
    assert code == 0
    result = json.loads(out)
    assert result["summary"]["cells_scored"] == 1
    assert "r2" not in result["runs"]
    code, out, _ = run(monkeypatch, capsys, "evaluate", "h.csv", *choice)
    assert code == 0
    assert "regret" in out


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--law", "step", "--posterior", "p.nc"], "exclude each other; give one of them"),
        (["--method", "argmin"], "--method and --train go together"),
        (["--train", "h.csv"], "--method and --train go together"),
        (["--method", "magic", "--train", "h.csv"], "expected one of argmin, huber, near-optimal"),
        (["--law", "magic"], "law = 'magic'; expected one of step"),
        (["--level", "0"], "level = 0.0; expected a probability"),
        (["--posterior", "p.nc", "--plot", "s.docx"], "s.docx: unknown kind of figure"),
        (["--posterior", "h.csv"], "h.csv: cannot be read as netCDF4"),
    ],
)
def test_evaluate_refuses_what_it_cannot_do(held_out, monkeypatch, capsys, extra, words):
    code, out, err = run(monkeypatch, capsys, "evaluate", "h.csv", *extra)
    assert (code, out) == (2, "")
    assert words in err


def test_predict_loads_nothing_heavy(folder):
    script = (
        "import sys, bayeslaw.cli.app as cli\n"
        f"sys.argv = ['bayeslaw', *{[*ASKED[:-1], str(folder / 'p.nc')]!r}, '--json']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    answer, modules = done.stdout.splitlines()
    assert np.isfinite(json.loads(answer)["recommendation"]["learning_rate"])
    heavy = "jax numpyro pandas scipy xarray arviz matplotlib torch pyarrow h5netcdf rich".split()
    assert set(heavy) & set(modules.split()) == set()
