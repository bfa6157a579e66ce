"""Columns read off PyTorch models, optimizers and schedulers; a plain loop that leaves a record."""

from __future__ import annotations

import runpy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR

from bayeslaw.integrations import (
    AdviceWarning,
    advised_schedule,
    lr_multiplier,
    lr_scheduler,
    optimizer_settings,
    parameter_counts,
    recommended,
    settings_of,
)
from bayeslaw.integrations.columns import final_lr_ratio
from bayeslaw.runs.io import read_runs
from tests.support.documents import ROOT, blocks
from tests.support.fakes import fake_posterior


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def advice():
    found = recommended(3e8, 6e9, "adamw", study="ours", posterior=fake_posterior())
    return replace(found, learning_rate=0.01, weight_decay=0.5, momentum=0.8)


def built(advice, optimizer, weights):
    import pytorch_optimizer

    kinds = {"lion": pytorch_optimizer.Lion, "lamb": pytorch_optimizer.Lamb, "adamw": torch.optim.AdamW}
    kinds |= {"sgd": torch.optim.SGD, "muon": torch.optim.Muon, "adafactor": torch.optim.Adafactor}
    return kinds[optimizer]([weights], **optimizer_settings(replace(advice, optimizer=optimizer)))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon", "lion", "lamb", "adafactor"])
def test_settings_build_the_optimizer_and_are_read_back(advice, optimizer):
    found = settings_of(built(advice, optimizer, nn.Parameter(torch.ones(2, 2))))
    expected = {"optimizer": optimizer, "learning_rate": 0.01, "weight_decay": 0.5, "momentum": 0.8}
    if optimizer == "adafactor":
        del expected["momentum"]
    assert {name: found[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "muon", "lion"])
def test_a_weight_without_gradient_decays_by_learning_rate_times_decay(advice, optimizer):
    weights = nn.Parameter(torch.ones(2, 2))
    stepper = built(advice, optimizer, weights)
    for _ in range(40):  # by then SGD's momentum has settled
        weights.grad = torch.zeros(2, 2)
        before = weights[0, 0].item()
        stepper.step()
    assert 1 - weights[0, 0].item() / before == pytest.approx(0.01 * 0.5, rel=0.03)


def test_decay_that_joins_the_gradient_is_kept_apart():
    weights = [nn.Parameter(torch.ones(2))]
    assert settings_of(torch.optim.Adam(weights, weight_decay=0.1))["extra_weight_decay_l2"] == 0.1
    assert settings_of(torch.optim.RMSprop(weights, weight_decay=0.1))["extra_weight_decay_l2"] == 0.1
    plain = settings_of(torch.optim.RMSprop(weights, alpha=0.9, momentum=0.3))
    assert plain == {
        "optimizer": "rmsprop",
        "learning_rate": 0.01,
        "momentum": 0.3,
        "beta2": 0.9,
        "epsilon": 1e-8,
        "weight_decay": 0.0,
    }


def test_the_learning_rate_is_the_peak_and_decay_that_of_the_matrices():
    one, two = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    groups = [{"params": [one], "weight_decay": 0.0}, {"params": [two], "weight_decay": 0.1, "lr": 0.02}]
    optimizer = torch.optim.AdamW(groups, lr=0.01)
    scheduler = LambdaLR(optimizer, lr_multiplier(100, warmup_steps=10, final_lr_ratio=0.25))
    assert optimizer.param_groups[1]["lr"] == pytest.approx(0.002)
    found = settings_of(optimizer)
    assert (found["learning_rate"], found["weight_decay"]) == (0.02, 0.1)
    assert final_lr_ratio(scheduler, 100) == 0.25
    assert final_lr_ratio(OneCycleLR(optimizer, 0.5, total_steps=10), 10) is None
    assert settings_of(optimizer)["learning_rate"] == 0.5


def test_parameters_are_counted_once_and_by_place():
    model = nn.ModuleDict(
        {"words": nn.Embedding(100, 8), "places": nn.Embedding(16, 8), "inner": nn.Linear(8, 8)}
    )
    model["head"] = nn.Linear(8, 100, bias=False)
    assert parameter_counts(model) == {"params_nonembedding": 72 + 800, "params_embedding": 928}
    assert parameter_counts(model, head=model["head"]) == {
        "params_nonembedding": 72,
        "params_embedding": 1728,
    }
    model["head"].weight = model["words"].weight
    assert parameter_counts(model) == {"params_nonembedding": 72, "params_embedding": 928}


@pytest.mark.filterwarnings("ignore::bayeslaw.integrations.AdviceWarning")
def test_the_example(tmp_path, capsys):
    runpy.run_path(str(ROOT / "docs/examples/plain_pytorch.py"))["main"](str(tmp_path))
    (path,) = tmp_path.iterdir()
    assert capsys.readouterr().out.startswith(f"{path}: finished, loss ")
    (row,) = read_runs(path).to_dict("records")
    assert row["status"] == "finished"
    assert row["loss"] < 4.1  # a uniform guess has ln 64 = 4.16
    assert (row["params_nonembedding"], row["params_embedding"]) == (2 * (3 * 32 * 32 + 3 * 32), 2 * 64 * 32)
    assert (row["optimizer"], row["schedule"], row["beta2"]) == ("adamw", "wsd", 0.95)


@pytest.mark.filterwarnings("ignore::bayeslaw.integrations.AdviceWarning")
def test_the_example_that_measures_its_curvature(capsys):
    runpy.run_path(str(ROOT / "docs/examples/curvature_pytorch.py"))["main"]()
    refused, told = capsys.readouterr().out.splitlines()
    assert refused.startswith("without the curvature: --lambda-max")
    assert float(told.rpartition(" ")[2]) < 3.5  # a uniform guess has ln 64 = 4.16


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayeslaw.integrations.AdviceWarning")
def test_the_example_of_the_lab_has_its_curvature_accepted(capsys):
    runpy.run_path(str(ROOT / "docs/examples/curvature_lab.py"))["main"]()
    _, without, known = capsys.readouterr().out.splitlines()
    ranges = [line.rpartition(" in ")[2].split(" to ") for line in (without, known)]
    factors = [float(upper) / float(lower) for lower, upper in ranges]
    assert factors[1] < 10 < factors[0]


def test_the_scheduler_warms_up_to_the_peak_and_decays_to_a_tenth(advice):
    advice = replace(advice, tokens=199.5 * advice.batch_tokens)
    steps = advised_schedule(advice)
    optimizer = torch.optim.AdamW([nn.Parameter(torch.ones(2))], **optimizer_settings(advice))
    scheduler, rates = lr_scheduler(optimizer, **steps), []
    for _ in range(advice.steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert (steps["total_steps"], steps["warmup_steps"]) == (200, 10)
    assert rates.index(max(rates)) == steps["warmup_steps"] - 1
    assert max(rates) == pytest.approx(advice.learning_rate)
    assert rates[-1] == pytest.approx(0.1 * advice.learning_rate)


@pytest.mark.parametrize("share", [0.1, 0.2])
def test_the_advised_schedule_is_the_one_that_the_advice_assumes(advice, share):
    assumes = {"schedule": "wsd", "decay_share": share}
    advice = replace(advice, tokens=199.5 * advice.batch_tokens, assumes=assumes)
    multiplier = lr_multiplier(**advised_schedule(advice))
    begin = round(200 * (1 - share))
    assert [multiplier(step) for step in (9, 100, begin - 1)] == pytest.approx([1.0] * 3)
    assert multiplier(begin + 5) == pytest.approx(1 - 6 / (200 * share))
    assert multiplier(199) == pytest.approx(0.0, abs=1e-9)


def test_the_block_of_the_readme_leaves_a_record(tmp_path, monkeypatch):
    (block,) = [b for b in blocks((ROOT / "README.md").read_text()) if b.language == "python"]
    monkeypatch.chdir(tmp_path)
    with pytest.warns(AdviceWarning, match="no study named"):
        exec(block.text, {"model": nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 4))})
    (record,) = (tmp_path / "runs").glob("*.jsonl")
    row = read_runs(record).iloc[0]
    assert (row["status"], row["optimizer"], row["params_nonembedding"]) == ("stopped", "adamw", 20)
