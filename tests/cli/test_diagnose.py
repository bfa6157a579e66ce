"""`bayeslaw diagnose`: its verdicts, what it prints, what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from bayeslaw.diagnosis.cell_fit import CellFit, RunsFit
from bayeslaw.diagnosis.findings import of_cells, of_convergence, of_influence, of_prior
from bayeslaw.diagnosis.influence import CellInfluence, HardRun, Influence, Shift
from bayeslaw.diagnosis.prior_sensitivity import PriorPart
from bayeslaw.inference import fitting as fit_module
from bayeslaw.posterior.netcdf import read_posterior, write_posterior
from bayeslaw.runs.io import read_runs, table_sha256, write_runs
from bayeslaw.target import Cell, Target
from tests.support.command import run
from tests.support.fakes import fake_posterior
from tests.support.fitted import runs_of

ROOT = Path(__file__).resolve().parents[2]
FINE = {"converged": True, "rhat_max": 1.004, "ess_bulk_min": 600.0, "ess_tail_min": 500.0, "divergences": 0}
GROUPS = (("ours", "adamw"), ("ours", "muon"))
KEYS = ["posterior", "verdict", "convergence", "cells", "influence", "prior", "actions"]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A posterior and its runs on disk, as `fit` leaves them."""
    folder = tmp_path_factory.mktemp("diagnose")
    fit = fake_posterior(400, 0.005, groups=GROUPS)
    write_runs(runs_of(fit, 8), folder / "runs.csv")
    digest = table_sha256(read_runs(folder / "runs.csv"))
    told = {"provenance": fit.provenance | {"table_sha256": digest}, "diagnostics": FINE}
    write_posterior(replace(fit, **told), folder / "p.nc")
    return folder


@pytest.fixture
def folder(fitted, monkeypatch):
    monkeypatch.chdir(fitted)
    return fitted


def test_people_read_a_verdict_then_tables_then_actions(folder, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, "diagnose", "p.nc", "runs.csv")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "p.nc: sound"
    assert lines[1] == "for adamw, N = 10B, D = 200B, ours (--target and --study ask about another)"
    heads = [
        line for line in lines if line.startswith(("convergence", "fit by cell", "influence", "the prior"))
    ]
    assert [head.partition(":")[0] for head in heads] == [
        *("convergence", "fit by cell", "influence", "the prior's part"),
    ]
    assert "note" not in out


def test_programs_read_the_same(folder, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "diagnose", "p.nc", "runs.csv", "--json")
    result = json.loads(out)
    assert (code, list(result)) == (0, KEYS)
    assert result["verdict"] == {"level": "sound", "reasons": []}
    assert result["cells"]["as_fitted"]
    assert [cell["runs"] for cell in result["cells"]["cells"]] == [8] * 4
    assert {"pareto_k", "reliable", "learning_rate_shift_sd", "batch_tokens_factor"} <= set(
        result["influence"]["cells"][0]
    )
    assert [part["quantity"] for part in result["prior"]["quantities"]][:2] == [
        "learning_rate",
        "batch_tokens",
    ]


def test_without_runs_it_says_how_to_hear_more(folder, monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "diagnose", "p.nc", "--target", "7e9,1.4e11,muon")
    assert code == 0
    assert "for muon, N = 7B, D = 140B, ours" in out
    assert "fit by cell, influence: left out; they need the runs: `bayeslaw diagnose p.nc RUNS`\n" in out
    _, out, _ = run(monkeypatch, capsys, "diagnose", "p.nc", "--json")
    assert (json.loads(out)["cells"], json.loads(out)["influence"]) == (None, None)


def test_other_runs_are_noted_and_those_not_fitted_left_out(folder, monkeypatch, capsys):
    table = read_runs("runs.csv")
    more = table.head(3).assign(tokens=5e9, run_id=list("abc"))
    write_runs(pd.concat([table, more]), "more.csv")
    code, out, _ = run(monkeypatch, capsys, "diagnose", "p.nc", "more.csv")
    assert code == 0
    assert "note: this table is not, row by row, the one that was fitted" in out
    assert "note: 3 runs lie in cells that were not fitted: left out\n" in out


def test_a_bad_verdict_is_no_error(folder, monkeypatch, capsys):
    worst = [{"parameter": "beta[0]", "rhat": 1.31, "ess_bulk": 12.0, "ess_tail": 30.0}]
    told = {"converged": False, "rhat_max": 1.31, "ess_bulk_min": 12.0, "ess_tail_min": 30.0, "worst": worst}
    write_posterior(replace(read_posterior("p.nc"), diagnostics=FINE | told), "bad.nc")
    code, out, _ = run(monkeypatch, capsys, "diagnose", "bad.nc")
    assert code == 0
    assert out.startswith(
        "bad.nc: do not use: the chains disagree, R-hat 1.310; few effective draws, ESS 12\n"
    )
    assert "convergence: NOT reached" in out
    longer = "fit again with more draws (`bayeslaw fit --draws 4000`)"
    assert f"1. R-hat above 1.01: {longer}; worst: beta[0] (1.31)\n" in out


def test_bad_input_is_one_clear_message(folder, monkeypatch, capsys):
    write_runs(read_runs("runs.csv").assign(study="theirs"), "theirs.csv")
    write_posterior(read_posterior("p.nc"), "old.nc")
    with h5py.File("old.nc", "a") as file:
        file.attrs["format_version"] = 1
    for arguments, message in (
        (
            ["none.nc"],
            "none.nc: no such file; expected a posterior; fit one with `bayeslaw fit RUNS -o posterior.nc`",
        ),
        (
            ["old.nc"],
            "old.nc: format_version = 1; this bayeslaw reads 2 and 3; fit it again with this version",
        ),
        (
            ["p.nc", "--study", "mine"],
            "--study mine: not in p.nc; expected one of ours; leave it out for a set-up never seen",
        ),
        (
            ["p.nc", "--target", "7e9"],
            "--target 7e9: expected N,D,OPTIMIZER; give it as 7e9,1.4e11,adamw or 7B,140B,adamw",
        ),
        (
            ["p.nc", "theirs.csv"],
            "runs: none of their 4 cells is in the posterior; expected the runs that it was fitted to; "
            "name their table (`bayeslaw evaluate` is for others)",
        ),
        (
            ["p.nc", "gone.csv"],
            f"gone.csv: does not exist; expected a run table; check the path (now in {folder})",
        ),
    ):
        assert run(monkeypatch, capsys, "diagnose", *arguments) == (2, "", f"error: {message}\n")


def test_the_digest_is_that_of_the_fit(runs):
    assert table_sha256(runs) == fit_module._provenance(runs, 0, ())["table_sha256"]


# ---------------------------------------------------------------------------------------- each finding


@pytest.mark.parametrize(
    ("told", "weights"),
    [
        ({}, []),
        ({"converged": False, "rhat_max": 1.03}, ["usable with care"]),
        ({"converged": False, "rhat_max": np.nan}, ["do not use"]),
        ({"converged": False, "ess_tail_min": 390.0}, ["usable with care"]),
        ({"converged": False, "ess_bulk_min": 40.0, "divergences": 3}, ["do not use", "usable with care"]),
        ({"converged": False, "divergences": 90}, ["do not use"]),
        ({"converged": False}, ["do not use"]),
    ],
)
def test_chains_that_fail_are_weighed(told, weights):
    found = of_convergence(FINE | {"chains": 4, "draws": 1000} | told)
    assert [finding.weight for finding in found] == weights


@pytest.mark.parametrize(
    ("share", "weights"), [(0.9, []), (0.8, ["usable with care"]), (0.6, ["do not use"])]
)
def test_intervals_that_are_too_narrow_are_weighed(share, weights):
    assert [finding.weight for finding in of_cells(all_runs(share))] == weights


PLACE = Cell("ours", "muon", 1e9, 2e10)


def all_runs(share, cells=()):
    """200 runs, of which this share lies inside 90% intervals."""
    return RunsFit(True, 0, 200, 0.5, share, tuple(cells))


def test_cells_that_are_off_are_named_with_reason_and_action():
    off = CellFit(PLACE, 4, 4, inside_90=0.5, reason="4 finished runs only", action="add runs there")
    found = list(of_cells(all_runs(0.9, [off] * 5 + [replace(off, reason="", action="")])))
    assert found[0] == (
        "usable with care",
        "cells fitted badly: 5 of 6",
        "ours muon N = 1B D = 20B: 50% of runs inside 90% intervals; 4 finished runs only: add runs there",
    )
    assert found[-1].action == "2 more cells are off: --json names them"


def test_a_cell_that_carries_the_advice_is_named_and_one_that_cannot_be_weighed_is_not_blamed():
    target = Target(1e10, 2e11, "muon", "ours")
    heavy = CellInfluence(PLACE, 4, 0.3, Shift(-1.4, 0.6), Shift(0.1, 1.0))
    unknown = CellInfluence(PLACE._replace(tokens=4e10), 4, 0.8, Shift(5.0, 1.0), Shift(0.1, 1.0))
    told = Influence(60, (HardRun("r7", 0.9),), (heavy, unknown))
    found = list(of_influence(told, target))
    assert [finding.weight for finding in found] == ["usable with care", "", ""]
    assert found[0].action == (
        "ours muon N = 1B D = 20B: without it the best learning rate at the target is 0.6 times and the best "
        "batch 1 times as large; repeat its best runs with another seed"
    )
    assert found[1].action.endswith("first ours muon N = 1B D = 40B")
    assert "1 of 60 runs" in found[2].action
    elsewhere = replace(target, optimizer="adamw")
    assert [finding.weight for finding in of_influence(told, elsewhere)] == ["usable with care", ""]


def test_what_the_prior_decides_is_said_with_the_runs_that_would_tell():
    parts = [PriorPart(name, 1.0, 1.0, 0.3, 0.01, "x") for name in ("gamma", "delta")]
    parts.append(PriorPart("batch_tokens", 1.0, 1.0, 0.6, 0.081, "epsilon"))
    fit = fake_posterior(5)
    seen, other, unseen = (
        Target(1e10, 2e11, *of) for of in (("muon", "ours"), ("lion", "ours"), ("muon", None))
    )
    assert [finding.action for finding in of_prior(parts, fit, seen)] == [
        "the prior of epsilon pulls the batch at the target (sensitivity 0.081, above 0.05): "
        "scan batches at a further D",
        "the prior decides gamma (30% measured): add cells of a further N at the same D",
        "the prior decides delta (30% measured): add cells of a further D at the same N",
    ]
    assert [finding.action for finding in of_prior(parts, fit, other)][1] == (
        "the prior decides gamma (30% measured), delta (30% measured): add runs of lion in ours"
    )
    assert "name a fitted set-up with --study" in next(of_prior(parts, fit, unseen)).action


@pytest.mark.slow
def test_the_shipped_posterior_is_judged_by_its_own_runs(shared_data, tmp_path, monkeypatch, capsys):
    from bayeslaw.runs.importing import import_runs

    table = tmp_path / "steplaw.parquet"
    write_runs(import_runs(shared_data / "steplaw_dense.csv", adapter="steplaw")[0], table)
    shipped = ROOT / "bayeslaw" / "assets" / "posterior.nc"
    asked = ("diagnose", str(shipped), str(table), "--study", "steplaw", "--json")
    code, out, _ = run(monkeypatch, capsys, *asked)
    result = json.loads(out)
    assert code == 0
    assert result["verdict"]["level"] in ("sound", "usable with care")
    assert len(result["cells"]["cells"]) == 17
    assert result["cells"]["inside_90"] == pytest.approx(0.9, abs=0.05)
    assert sum(cell["reliable"] for cell in result["influence"]["cells"]) > 8
