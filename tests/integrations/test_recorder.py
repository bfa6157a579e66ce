"""Advice, schedules and the recorder, without a training framework."""

from __future__ import annotations

import json
import math
import os
import pickle
import runpy
import subprocess
import sys
import warnings
from dataclasses import asdict, replace

import numpy as np
import pytest

from bayeslaw.advice.prediction import predict
from bayeslaw.assets import EXAMPLE_SWEEP
from bayeslaw.errors import BadInput
from bayeslaw.integrations import (
    AdviceWarning,
    RunRecorder,
    lr_multiplier,
    optax_schedule,
    optimizer_settings,
    recommended,
)
from bayeslaw.integrations.columns import DECOUPLED
from bayeslaw.integrations.recorder import mean_loss
from bayeslaw.integrations.schedules import SCHEDULES
from bayeslaw.lab.train.optimizers import OPTIMIZERS
from bayeslaw.lab.train.schedules import SCHEDULES as LAB
from bayeslaw.lab.train.schedules import fraction
from bayeslaw.posterior.netcdf import write_posterior
from bayeslaw.runs.importing import import_runs
from bayeslaw.runs.io import read_runs
from bayeslaw.target import Target
from tests.support.documents import ROOT
from tests.support.fakes import fake_posterior

BASIC = {
    "study": "ours",
    "optimizer": "adamw",
    "params_nonembedding": 1e6,
    "tokens": 1e5,
    "batch_tokens": 1e3,
    "learning_rate": 1e-3,
}


@pytest.fixture(scope="module")
def posterior():
    return fake_posterior()


@pytest.fixture(scope="module")
def advice(posterior):
    return recommended(3e8, 6e9, "adamw", study="ours", posterior=posterior)


def record(recorder):
    (row,) = recorder.path.read_text().splitlines()
    return json.loads(row)


def raising(recorder, exception):
    """A block of training that ends in an exception."""
    with recorder:
        raise exception


def finishing(recorder, losses):
    with recorder:
        for loss in losses:
            recorder.finish(*loss)


# ------------------------------------------------------------------------------------------------ advice


def test_importing_it_imports_no_framework():
    script = "import sys, bayeslaw.integrations; print(*{name.partition('.')[0] for name in sys.modules})"
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set("torch transformers lightning optax jax pandas".split()) & set(ran.stdout.split())


def test_advice_is_the_prediction(posterior, advice, tmp_path):
    answer = predict(posterior, Target(3e8, 6e9, "adamw", "ours"))
    settings = answer["recommendation"]
    assert (advice.learning_rate, advice.batch_tokens) == (
        settings["learning_rate"],
        settings["batch_tokens"],
    )
    assert advice.weight_decay == settings["weight_decay"]
    assert advice.momentum is None
    assert advice.optimum == answer.optimum
    assert advice.regret_expected == answer["regret"]["expected"]
    assert advice.steps == math.ceil(6e9 / advice.batch_tokens)
    assert json.loads(json.dumps(asdict(advice)))["optimizer"] == "adamw"


def test_a_posterior_may_be_a_file_and_a_batch_fixed(posterior, tmp_path):
    write_posterior(posterior, tmp_path / "posterior.nc")
    fixed = recommended(
        3e8, 6e9, "AdamW", study="ours", batch_tokens=2**18, posterior=tmp_path / "posterior.nc"
    )
    assert (fixed.batch_tokens, fixed.optimizer) == (2**18, "adamw")


def test_doubts_are_warned_of_once_and_kept(posterior):
    with pytest.warns(AdviceWarning) as caught:
        far = recommended(1e12, 6e9, "lion", posterior=posterior)
    assert len(caught) == 1
    message = str(caught[0].message)
    assert message.startswith("advice for N = 1T, D = 6B, lion: optimizer lion was never seen")
    assert all(text in message for text in far.warnings)
    assert "N lies 3.0 decades outside" in message
    assert caught[0].filename == __file__


def test_a_study_nobody_knows_is_refused(posterior):
    with pytest.raises(BadInput) as caught:
        recommended(3e8, 6e9, study="mine", posterior=posterior)
    assert str(caught.value) == (
        "study = 'mine': not in the posterior; expected one of ours, theirs; "
        "leave it out for a set-up never seen"
    )


@pytest.mark.parametrize(
    ("optimizer", "momentum", "expected"),
    [
        ("adamw", 0.93, {"betas": (0.93, 0.95), "weight_decay": 0.1}),
        ("adamw", None, {"betas": (0.9, 0.95), "weight_decay": 0.1}),
        ("lion", 0.93, {"betas": (0.93, 0.99), "weight_decay": 0.1}),
        ("lamb", 0.93, {"betas": (0.93, 0.95), "weight_decay": 0.1}),
        ("muon", 0.93, {"momentum": 0.93, "weight_decay": 0.1}),
        ("muon", None, {"weight_decay": 0.1}),
        ("adafactor", None, {"weight_decay": 0.1}),
        ("sgd", 0.75, {"momentum": 0.75, "weight_decay": 0.025}),
        ("sgd", None, {"weight_decay": 0.1}),
    ],
)
def test_settings_of_each_optimizer(advice, optimizer, momentum, expected):
    wanted = replace(advice, optimizer=optimizer, learning_rate=2e-3, weight_decay=0.1, momentum=momentum)
    assert optimizer_settings(wanted) == {"lr": 2e-3, **expected}


def test_a_decay_that_cannot_be_given_is_warned_of(advice):
    wanted = replace(advice, optimizer="rmsprop", weight_decay=0.1, momentum=0.5)
    with pytest.warns(AdviceWarning, match="no decoupled weight decay: 0.1 is left out"):
        found = optimizer_settings(wanted)
    assert found == {"lr": advice.learning_rate, "momentum": 0.5, "alpha": 0.95}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer_settings(replace(wanted, weight_decay=None))


def test_what_the_posterior_does_not_know_is_absent(advice):
    bare = replace(advice, optimizer="sgd", weight_decay=None, momentum=None)
    assert optimizer_settings(bare) == {"lr": advice.learning_rate}


def test_an_optimizer_without_settings_is_refused(advice):
    with pytest.raises(BadInput) as caught:
        optimizer_settings(replace(advice, optimizer="sophia"))
    assert str(caught.value) == (
        "optimizer_settings: optimizer = 'sophia'; expected one of adamw, sgd, rmsprop, muon, lion, "
        "adafactor, lamb; take the numbers from the advice itself"
    )


# ------------------------------------------------------------------------------------------------ schedules


def test_schedules_are_those_of_the_training_lab():
    assert set(SCHEDULES) == set(LAB)
    for name in SCHEDULES:
        for steps, warmup, final in ((50, 7, 0.1), (10, 0, 0.0), (9, 8, 0.3)):
            multiplier = lr_multiplier(steps, warmup_steps=warmup, schedule=name, final_lr_ratio=final)
            lab = [fraction(name, step, steps, warmup, final) for step in range(steps)]
            np.testing.assert_allclose([multiplier(step) for step in range(steps)], lab, rtol=1e-12)
            assert multiplier(steps + 5) == pytest.approx(multiplier(steps - 1))
    pickle.loads(pickle.dumps(multiplier))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup", [0, 7])
def test_the_optax_schedule_is_the_same_times_the_peak(advice, name, warmup):
    import jax

    schedule = jax.jit(optax_schedule(advice, 53, warmup_steps=warmup, schedule=name, final_lr_ratio=0.2))
    multiplier = lr_multiplier(53, warmup_steps=warmup, schedule=name, final_lr_ratio=0.2)
    expected = [advice.learning_rate * multiplier(step) for step in range(60)]
    np.testing.assert_allclose([float(schedule(step)) for step in range(60)], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"schedule": "step"},
            "schedule = 'step'; expected one of constant, linear, cosine, wsd; "
            "take one of them, or the framework's own",
        ),
        (
            {"warmup_steps": 100},
            "warmup_steps = 100 of total_steps = 100; expected at least 0 and fewer than all; "
            "shorten the warm-up",
        ),
        (
            {"final_lr_ratio": -0.1},
            "final_lr_ratio = -0.1; expected at least 0: last learning rate over its peak; "
            "give 0.1 for a tenth",
        ),
        (
            {"wsd_decay": 0.0},
            "wsd_decay = 0; expected above 0 and at most 1: share of the steps after the warm-up; "
            "give 0.2 for the last fifth",
        ),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(advice, changed, message):
    given = {"warmup_steps": 5, **changed}
    for made in (lambda: lr_multiplier(100, **given), lambda: optax_schedule(advice, 100, **given)):
        with pytest.raises(BadInput) as caught:
            made()
        assert str(caught.value) == message


# ------------------------------------------------------------------------------------------------ recorder


def test_a_finished_run(tmp_path):
    with RunRecorder(tmp_path / "new" / "runs", **BASIC, seed=3, extra_rank=8, weight_decay=None) as recorder:
        for step in range(1, 101):
            assert not recorder.loss(step, 5 - step / 100)
        assert not recorder.path.exists()
        recorder.finish(3.5)
    row = record(recorder)
    assert {**BASIC, **row} == row
    assert (row["status"], row["loss"], row["loss_kind"], row["seed"]) == ("finished", 3.5, "val_final", 3)
    assert (row["extra_rank"], row["tokens_seen"]) == (8, 100_000)
    assert (row["flops"], row["flops_kind"]) == (6e11, "estimated, 6 N D")
    assert 0 <= row["wall_seconds"] < 60
    assert "weight_decay" not in row
    assert os.listdir(recorder.path.parent) == [recorder.path.name]


def test_without_a_loss_given_it_is_that_of_the_last_tenth(tmp_path):
    with RunRecorder(tmp_path, **BASIC, flops=7.0) as recorder:
        for step in range(1, 101):
            recorder.loss(step, np.float32(5 if step <= 90 else 4))
        recorder.finish()
    row = record(recorder)
    assert (row["loss"], row["loss_kind"], row["flops"]) == (4.0, "train_smoothed", 7.0)
    assert "flops_kind" not in row


def test_a_noted_loss_stands_for_the_steps_before_it():
    assert mean_loss([(500, 3.0), (502, 2.0), (503, 5.0)], 3) == 3.0
    assert mean_loss([(500, 3.0)], 0) == 3.0
    assert mean_loss([(0, 3.0)], 0) == 3.0


@pytest.mark.parametrize(
    ("losses", "diverged"),
    [
        ([5, 4, math.nan], True),
        ([5, 4, math.inf], True),
        ([math.nan], True),
        ([5, *[6.1] * 10], True),
        ([5, 9], False),
        ([5, *[4] * 20, 20, *[4] * 9], False),
        ([5, *[4] * 9, math.nan, *[4] * 10], False),
        ([5, 5.9, 5.9], False),
    ],
    ids=["nan", "infinite", "at once", "exploded", "a spike at once", "a spike", "recovered", "slow"],
)
def test_divergence_is_seen_and_recorded(tmp_path, losses, diverged):
    with RunRecorder(tmp_path, **BASIC) as recorder:
        seen = [recorder.loss(step, loss) for step, loss in enumerate(losses, start=1)][-1]
    row = record(recorder)
    assert seen == diverged
    assert row["status"] == ("diverged" if diverged else "stopped")
    assert "loss" not in row
    assert row["tokens_seen"] == 1000 * len(losses)


@pytest.mark.parametrize("loss", [math.nan, math.inf, 6.5])
def test_a_final_loss_decides(tmp_path, loss):
    recorder = RunRecorder(tmp_path, **BASIC)
    recorder.loss(1, 5.0)
    recorder.finish(loss)
    assert (record(recorder)["status"], record(recorder)["tokens_seen"]) == ("diverged", 100_000)


@pytest.mark.parametrize(
    ("exception", "status"),
    [(RuntimeError, "crashed"), (KeyboardInterrupt, "stopped"), (SystemExit, "stopped")],
)
def test_exceptions_are_recorded_and_go_on(tmp_path, exception, status):
    recorder = RunRecorder(tmp_path, **BASIC)
    recorder.loss(7, 5.0)
    with pytest.raises(exception):
        raising(recorder, exception)
    assert (record(recorder)["status"], record(recorder)["tokens_seen"]) == (status, 7000)


def test_an_exception_after_divergence_is_divergence(tmp_path):
    recorder = RunRecorder(tmp_path, **BASIC)
    recorder.loss(7, math.nan)
    with pytest.raises(FloatingPointError):
        raising(recorder, FloatingPointError)
    assert record(recorder)["status"] == "diverged"


def test_a_block_that_ends_early_says_so(tmp_path, caplog):
    with RunRecorder(tmp_path, **BASIC) as recorder:
        pass
    assert record(recorder)["status"] == "stopped"
    assert "flops" not in record(recorder)
    assert f"{recorder.path}: the run ended early: recorded as stopped" in caplog.text


@pytest.mark.parametrize(("steps", "status"), [(100, "finished"), (99, "stopped"), (100.5, "finished")])
def test_callbacks_finish_a_run_that_lacks_less_than_a_batch(tmp_path, steps, status):
    recorder = RunRecorder(tmp_path, **{**BASIC, "tokens": steps * 1e3 + (100 - steps) * 2e3})
    recorder.conclude(100, 3.0)
    recorder.conclude(100, 3.0)
    assert record(recorder)["status"] == status


def test_a_run_taken_up_again_replaces_its_record(tmp_path):
    with pytest.raises(RuntimeError):
        raising(RunRecorder(tmp_path, **BASIC, run_id="a"), RuntimeError)
    with RunRecorder(tmp_path, **BASIC, run_id="a") as recorder:
        recorder.finish(3.0)
    assert record(recorder)["status"] == "finished"
    with pytest.raises(BadInput) as caught:
        RunRecorder(tmp_path, **BASIC, run_id="a")
    assert str(caught.value) == (
        f"{tmp_path}/a.jsonl: holds a run that finished; expected a new run_id; name this run otherwise"
    )


@pytest.mark.parametrize(("given", "environment"), [(False, "0"), (None, "1")])
def test_only_the_main_process_writes(tmp_path, monkeypatch, given, environment):
    monkeypatch.setenv("RANK", environment)
    with RunRecorder(tmp_path / "runs", **BASIC, main_process=given) as recorder:
        recorder.finish(3.0)
    assert recorder.row["status"] == "finished"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"warmup_token": 5},
            "unknown column warmup_token; expected one of the run table that is known before the run, "
            "such as schedule or weight_decay; call a hyperparameter of your own extra_warmup_token",
        ),
        ({"loss": 3.0}, "unknown column loss; "),
        ({"learning_rate": 0.0}, "learning_rate = 0; expected > 0"),
        ({"tokens": None}, "tokens missing; expected > 0 and <= 1e+18 [count]"),
        ({"study": None}, "study missing; expected text"),
        ({"batch_tokens": 1e6}, "batch_tokens = 1000000; expected <= tokens = 100000"),
        ({"run_id": "a/b"}, "run_id = 'a/b'; expected the name of a file; leave out slashes"),
    ],
)
def test_what_cannot_be_recorded_is_refused_before_training(tmp_path, changed, message):
    with pytest.raises(BadInput) as caught:
        RunRecorder(tmp_path, **{**BASIC, **changed})
    assert message in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_is_refused_before_training(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(BadInput) as caught:
        RunRecorder(tmp_path / "runs", **BASIC)
    assert str(caught.value) == (
        f"{tmp_path}/runs: cannot be made (File exists); expected a folder for records; choose another"
    )


@pytest.mark.parametrize(
    ("finished", "message"),
    [
        (((3.0,), (3.0,)), "has ended already; expected one end of a run; start another RunRecorder"),
        (((),), "finished without a loss; expected finish(loss) or losses noted by loss(); give one"),
        (((-1.0,),), "loss = -1; expected nats per token, above 0; give the mean cross-entropy"),
    ],
)
def test_an_end_that_makes_no_sense_is_refused(tmp_path, finished, message):
    recorder = RunRecorder(tmp_path, **BASIC, run_id="a")
    with pytest.raises(BadInput) as caught:
        finishing(recorder, finished)
    assert str(caught.value) == f"run a: {message}"
    assert record(recorder)["status"] == ("finished" if len(finished) == 2 else "stopped")


def test_records_are_run_tables(tmp_path):
    """Together, beside another table, and through an import, which marks the hopeless one."""
    for number, loss in enumerate((3.0, 3.1, 9.0, None)):
        with RunRecorder(tmp_path, **BASIC, run_id=f"r{number}", seed=number) as recorder:
            if loss is not None:
                recorder.finish(loss)
    paths = sorted(tmp_path.glob("*.jsonl"))
    table = read_runs(*paths, EXAMPLE_SWEEP)
    assert list(table["run_id"])[:4] == ["r0", "r1", "r2", "r3"]
    assert len(table) == 4 + len(read_runs(EXAMPLE_SWEEP))
    (tmp_path / "all.jsonl").write_text("".join(path.read_text() for path in paths))
    imported, _ = import_runs(tmp_path / "all.jsonl")
    assert list(imported["status"]) == ["finished", "finished", "diverged", "stopped"]
    assert imported["tokens_seen"].tolist() == [100_000, 100_000, 100_000, 0]


@pytest.mark.filterwarnings("ignore::bayeslaw.integrations.AdviceWarning")
def test_the_example_in_jax(tmp_path):
    runpy.run_path(str(ROOT / "docs/examples/optax_training.py"))["main"](str(tmp_path))
    (row,) = read_runs(*tmp_path.iterdir()).to_dict("records")
    assert (row["status"], row["params_nonembedding"]) == ("finished", 8192)
    assert row["loss"] < 4.3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::bayeslaw.integrations.AdviceWarning")
def test_the_example_in_jax_that_measures_its_curvature(capsys):
    runpy.run_path(str(ROOT / "docs/examples/curvature_optax.py"))["main"]()
    refused, told = capsys.readouterr().out.splitlines()
    assert refused.startswith("without the curvature: --lambda-max")
    assert float(told.rpartition(" ")[2]) < 4.1


def test_the_lab_decouples_the_same_optimizers():
    assert {name for name, entry in OPTIMIZERS.items() if entry.decoupled} == set(DECOUPLED)
