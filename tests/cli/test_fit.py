"""`bayeslaw fit`: what it prints, writes and refuses; one small fit in one cell, shared."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bayeslaw.cli import fitting, tables
from bayeslaw.errors import BadInput
from bayeslaw.law.simulation import example_design, simulate_runs
from bayeslaw.posterior.netcdf import read_posterior
from bayeslaw.runs.io import write_runs
from tests.support.command import run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def one_cell():
    """Twelve runs of one (N, D); two of them diverged."""
    design = example_design(12, params=(1e8,), tokens_per_param=(20.0,), seed=1)
    return simulate_runs(design, seed=1)


@pytest.fixture(scope="module")
def fitted(one_cell, tmp_path_factory):
    """Folder, stdout and stderr of one fit."""
    folder = tmp_path_factory.mktemp("fit")
    write_runs(one_cell, folder / "runs.csv")
    asked = [
        str(folder / "runs.csv"),
        "-o",
        str(folder / "p.nc"),
        "--chains",
        "2",
        "--draws",
        "100",
        "--effort",
        "quick",
        "--json",
    ]
    command = [sys.executable, "-m", "bayeslaw.cli", "fit", *asked]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return folder, result.stdout, result.stderr


def test_json_says_what_was_fitted(fitted, one_cell):
    folder, out, _ = fitted
    assert out.count("\n") == 1
    result = json.loads(out)
    assert list(result) == ["output", "groups", "convergence", "level", "warnings", "population", "prior"]
    assert result["output"] == str(folder / "p.nc")
    (group,) = result["groups"]
    assert (group["study"], group["optimizer"], group["runs"], group["cells"]) == ("example", "adamw", 12, 1)
    assert group["status"] == one_cell["status"].value_counts().to_dict()
    assert group["params_nonembedding"] == [1e8, 1e8]
    assert list(group["exponents"]) == ["gamma", "delta", "epsilon"]
    assert all(x["lower"] < x["median"] < x["upper"] for x in group["exponents"].values())
    assert result["convergence"]["chains"] == 2


def test_one_cell_leaves_the_exponents_to_the_prior_and_says_so(fitted):
    result = json.loads(fitted[1])
    assert any(text.startswith("example, adamw: one cell (N, D) only:") for text in result["warnings"])
    gamma = result["groups"][0]["exponents"]["gamma"]
    assert gamma["upper"] - gamma["lower"] > 0.4


def test_a_quick_fit_says_that_it_is_not_to_be_believed(fitted):
    folder, out, err = fitted
    result = json.loads(out)
    told = "quick fit: every step ran, but too briefly to believe its intervals; fit again with effort full"
    assert result["warnings"][0] == told
    assert f"warning: {told}" in err
    assert not result["convergence"]["converged"]
    diagnostics = read_posterior(folder / "p.nc").diagnostics
    assert (diagnostics["effort"], diagnostics["messages"][0]) == ("quick", told)


def test_an_unknown_effort_is_refused_before_the_work(one_cell, tmp_path, monkeypatch, capsys):
    write_runs(one_cell, tmp_path / "runs.csv")
    asked = ["fit", str(tmp_path / "runs.csv"), "-o", str(tmp_path / "p.nc")]
    expected = "expected one of full, quick; leave it out for full\n"
    code, _, err = run(monkeypatch, capsys, *asked, "--effort", "some")
    assert (code, err) == (2, f"error: effort = 'some'; {expected}")
    monkeypatch.setenv("BAYESLAW_EFFORT", "little")
    code, _, err = run(monkeypatch, capsys, *asked)
    assert (code, err) == (2, f"error: BAYESLAW_EFFORT = 'little'; {expected}")


def test_progress_goes_to_stderr(fitted):
    assert "12 runs, 1 cells" in fitted[2]
    assert "done in" in fitted[2]


def test_the_posterior_reads_back_and_names_its_sources(fitted):
    folder, _, _ = fitted
    posterior = read_posterior(folder / "p.nc")
    assert posterior.provenance["sources"] == [str(folder / "runs.csv")]
    assert posterior.provenance["rows"] == 12
    assert [path.name for path in sorted(folder.iterdir())] == ["p.nc", "runs.csv"]


def test_it_advises(fitted, monkeypatch, capsys):
    asked = ["predict", "--params", "1e8", "--tokens", "2e9", "--study", "example", "--json"]
    code, out, _ = run(monkeypatch, capsys, *asked, "--posterior", str(fitted[0] / "p.nc"))
    assert code == 0
    best = json.loads(out)["optimum"]["learning_rate"]
    assert best["lower"] < best["median"] < best["upper"] < 1


def test_people_read_a_table(fitted, capsys):
    tables.print_fit(json.loads(fitted[1]))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0] == f"posterior written to {fitted[0] / 'p.nc'}; exponents: 90% intervals"
    assert lines[1].split() == "study optimizer runs cells N tokens gamma delta epsilon".split()
    assert lines[3].split()[:2] == ["example", "adamw"]
    assert "converged: R-hat" in lines[4]
    assert lines[5] == "prior: the literature's (--population none)"
    assert all(line.startswith("warning: ") for line in lines[6:])


def test_a_population_is_named(fitted, capsys):
    told = json.loads(fitted[1]) | {"population": {"studies": ["marin", "steplaw"], "path": "theirs.nc"}}
    tables.print_fit(told)
    assert "prior: the population of marin, steplaw (theirs.nc)\n" in capsys.readouterr().out


def test_the_prior_of_theory_is_named(fitted, capsys):
    tables.print_fit(json.loads(fitted[1]) | {"prior": "theory"})
    assert (
        "prior: the literature's, exponents of the optima those of convergence bounds (--prior theory)\n"
        in (capsys.readouterr().out)
    )


@pytest.mark.parametrize("prior", ["literature", "theory"])
def test_the_prior_is_a_part_of_the_fit(one_cell, tmp_path, monkeypatch, capsys, prior):
    """The fit itself is a fake that stops after it was told."""
    told = {}

    def stopped(table, **options):
        told.update(options)
        raise BadInput("stopped")

    monkeypatch.setitem(sys.modules, "bayeslaw.inference.fitting", SimpleNamespace(fit=stopped))
    write_runs(one_cell, tmp_path / "runs.csv")
    asked = ["fit", str(tmp_path / "runs.csv"), "-o", str(tmp_path / "p.nc"), "--parts", "drift"]
    assert run(monkeypatch, capsys, *asked, "--prior", prior)[2] == "error: stopped\n"
    assert told["parts"] == {"literature": ("drift",), "theory": ("drift", "theory")}[prior]


def test_an_unknown_prior_is_refused(one_cell, tmp_path, monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "fit", "r.csv", "-o", str(tmp_path / "p.nc"), "--prior", "magic")
    assert code == 2
    assert err == "error: --prior magic: unknown; expected one of literature, theory; name one of these\n"


def test_a_population_that_holds_the_study_is_refused(one_cell, tmp_path, monkeypatch, capsys):
    write_runs(one_cell.assign(study="marin"), tmp_path / "runs.csv")
    asked = ["fit", str(tmp_path / "runs.csv"), "-o", str(tmp_path / "p.nc"), "--population", "shipped"]
    code, _, err = run(monkeypatch, capsys, *asked)
    assert code == 2
    assert "holds the study marin, whose runs would count twice" in err


def test_defaults_are_those_of_the_fit():
    from bayeslaw.inference.fitting import fit

    here, there = (inspect.signature(function).parameters for function in (fitting.fit_, fit))
    assert {k: here[k].default for k in ("seed", "chains", "draws", "effort")} == {
        k: there[k].default for k in ("seed", "chains", "draws", "effort")
    }


def test_bad_input_is_refused_in_one_message(one_cell, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(monkeypatch, capsys, "fit", "none.csv", "-o", "p.nc")
    assert (code, out) == (2, "")
    assert err.startswith("error: none.csv: does not exist; expected a run table")
    write_runs(one_cell, "runs.csv")
    code, _, err = run(monkeypatch, capsys, "fit", "runs.csv", "-o", "nowhere/p.nc")
    assert code == 2
    assert (
        err == "error: nowhere/p.nc: cannot be written, nowhere is no folder; create it or choose another\n"
    )
    Path("empty.csv").write_text(Path("runs.csv").read_text().splitlines()[0] + "\n")
    code, _, err = run(monkeypatch, capsys, "fit", "empty.csv", "-o", "p.nc")
    assert code == 2
    assert err.startswith("error: empty.csv: no rows; expected one row a run")


def test_runs_that_all_diverged_are_refused(one_cell, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_runs(one_cell.assign(status="diverged", loss=float("nan")), "runs.csv")
    code, out, err = run(monkeypatch, capsys, "fit", "runs.csv", "-o", "p.nc")
    assert (code, out) == (2, "")
    assert err.startswith("error: run table: 12 runs, 0 with status = finished; expected at least one")
    assert not Path("p.nc").exists()
