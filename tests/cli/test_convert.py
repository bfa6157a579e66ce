"""The command ``convert``."""

from __future__ import annotations

import json

import pytest

from bayeslaw.posterior.netcdf import write_posterior
from tests.support.command import run
from tests.support.fakes import fake_posterior

ASKED = ["convert", "--from", "AdamW", "--params", "1B", "--tokens", "20B", "--posterior", "p.nc"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_posterior(fake_posterior(), tmp_path / "p.nc")
    monkeypatch.chdir(tmp_path)


def test_json_has_the_contracts_keys(folder, monkeypatch, capsys):
    code, out, err = run(monkeypatch, capsys, *ASKED, "--to", "muon", "--study", "ours", "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert list(result) == ["from", "to", "ratio", "level", "warnings", "posterior"]
    assert (result["from"]["optimizer"], result["to"]["optimizer"]) == ("adamw", "muon")
    assert set(result["ratio"]) == {"learning_rate", "batch_tokens"}


def test_people_read_a_table(folder, monkeypatch, capsys):
    asked = [*ASKED, "--to", "adamw", "--batch-tokens", "100k", "--to-batch-tokens", "400k"]
    code, out, _ = run(monkeypatch, capsys, *asked, "--study", "ours")
    assert code == 0
    assert out.splitlines()[0].strip() == "adamw to adamw"
    assert "learning rate" in out
    assert "batch tokens" not in out
    assert "adamw: normalised: a step of about the rate per weight" in out


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--to", "muon", "--study", "nobody"], "--study nobody: not in p.nc; expected one of ours, theirs"),
        (["--to", "muon", "--to-batch-tokens", "1M"], "--to-batch-tokens without --batch-tokens"),
        (["--to", "muon", "--covariate", "shape"], "--covariate: 'shape'; expected NAME=VALUE"),
    ],
)
def test_misuse_is_one_line(folder, monkeypatch, capsys, more, told):
    code, out, err = run(monkeypatch, capsys, *ASKED, *more)
    assert (code, out) == (2, "")
    assert told in err
