"""One run: exact resume, divergence, what it records."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bayeslaw.errors import BadInput
from bayeslaw.lab.models.counts import flops_per_token, params_nonembedding
from bayeslaw.lab.models.transformer import build
from bayeslaw.lab.train import curvature, optimizers, plan, record, run
from bayeslaw.lab.train.optimizers import OPTIMIZERS
from bayeslaw.lab.train.spec import RunSpec, digest
from bayeslaw.runs.schema import validate

ROOT = Path(__file__).resolve().parents[2]
WORDS = "the of and to in that is was he for it with as his on be at by had not are but from or have an they"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """300 documents of random words, and a cache for their tokens."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    lines = [json.dumps({"text": " ".join(rng.choice(WORDS.split(), 400))}) for _ in range(300)]
    (folder / "train.jsonl").write_text("\n".join(lines[:280]) + "\n")
    (folder / "validation.jsonl").write_text("\n".join(lines[280:]) + "\n")
    return folder


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    place = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("BAYESLAW_CACHE", str(place))
    return place


@pytest.fixture
def spec(corpus, cache):
    return RunSpec(
        "r", "test", str(corpus), "adamw", 16, 1, 1, 6_400, 512, 1e-2, vocabulary=300, sequence_length=32
    )


def test_the_record_is_a_row_of_the_run_table(spec, tmp_path):
    found = run.execute(spec, tmp_path)
    assert found == record.read(tmp_path)
    table = validate(pd.DataFrame([found]), "record")
    assert table["status"][0] == "finished"
    assert table["loss_kind"][0] == "val_final"
    assert 1 < table["loss"][0] < np.log(300)
    assert found["loss_train_smoothed"] == pytest.approx(found["loss"], abs=0.5)
    assert found["tokens_seen"] == 6_400
    assert found["flops"] > 6_400 * 6 * found["params_nonembedding"]
    assert found["cpu_seconds"] > 0
    assert found["energy_joules"] > 0
    assert found["energy_kind"].startswith("estimated")
    assert json.loads(found["versions"])["torch"] == torch.__version__
    curve = pd.read_csv(tmp_path / record.CURVE)
    assert curve["tokens"].iloc[-1] == 6_400
    assert curve["step"].iloc[-1] == 13
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curve.csv", "record.json"]


def test_the_same_spec_gives_the_same_loss_and_a_finished_run_is_not_trained_again(spec, tmp_path):
    first, second = run.execute(spec, tmp_path / "a"), run.execute(spec, tmp_path / "b")
    assert first["loss"] == second["loss"]
    assert run.execute(spec, tmp_path / "a") == first
    assert run.execute(replace(spec, seed=1), tmp_path / "c")["loss"] != first["loss"]


CHOICES = [
    *({"optimizer": name} for name in OPTIMIZERS),
    {"batch_schedule": "0.3:256:0.008,0.6:1024:0.012"},  # 8, 14 and 5 steps
    {"optimizer": "muon", "dropout": 0.2, "lr_dropout": 0.5, "epochs": 3},
]


@pytest.mark.parametrize("choices", CHOICES)
def test_a_run_cut_short_goes_on_exactly(choices, spec, tmp_path, monkeypatch):
    spec = replace(spec, tokens=12_800, **choices)  # some 25 steps, looked at after 10 and 20
    whole = run.execute(spec, tmp_path / "whole")
    monkeypatch.setattr(run, "CHECKPOINT_SECONDS", 0.0)
    save = run._save

    def save_then_die(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_save", save_then_die)
    for _ in range(3):  # at steps 10, 20 and 25
        with pytest.raises(KeyboardInterrupt):
            run.execute(spec, tmp_path / "cut")
    assert record.read(tmp_path / "cut") is None
    resumed = run.execute(spec, tmp_path / "cut")
    assert resumed["loss"] == whole["loss"]
    columns = ["step", "loss"]
    curves = [pd.read_csv(tmp_path / name / record.CURVE)[columns] for name in ("whole", "cut")]
    pd.testing.assert_frame_equal(*curves)
    assert not (tmp_path / "cut" / run.CHECKPOINT).exists()


def test_a_run_under_way_says_how_far_it_is(spec, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(run, "CHECKPOINT_SHARE", math.inf)
    said, shares = [], []

    def say(text):
        said.append(text)
        shares.append(record.share(tmp_path))

    run.execute(replace(spec, tokens=12_800), tmp_path, say=say)
    assert [text.partition(", loss ")[0] for text in said] == [
        f"{spec.run_id}: {share}%" for share in (40, 80, 100)
    ]
    assert shares == [0.4, 0.8, 1.0]
    assert record.share(tmp_path) == 0
    assert not (tmp_path / record.SHARE).exists()


@pytest.mark.slow
def test_a_killed_process_resumes_exactly(spec, tmp_path, cache):
    spec = replace(spec, run_id="cut", tokens=128_000)
    whole = run.execute(spec, tmp_path / "whole")
    (tmp_path / "spec.json").write_text(json.dumps(vars(spec)))
    code = (
        "import sys; from bayeslaw.lab.train import run; run.CHECKPOINT_SECONDS = 0.05; "
        f"sys.exit(run.main({arguments(tmp_path)!r}))"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment)
    while not (tmp_path / "cut" / run.CHECKPOINT).exists():
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert record.read(tmp_path / "cut") is None
    assert subprocess.run(command, cwd=ROOT, env=environment, check=True).returncode == 0
    assert record.read(tmp_path / "cut")["loss"] == whole["loss"]


def arguments(folder):
    return ["--spec", str(folder / "spec.json"), "--folder", str(folder / "cut")]


def test_a_switch_to_the_same_settings_changes_nothing(spec, tmp_path):
    spec = replace(spec, tokens=12_700, warmup_tokens=2_000)  # the last batch is not whole
    plain = run.execute(spec, tmp_path / "plain")
    same = run.execute(replace(spec, batch_schedule="0.3:512:0.01"), tmp_path / "same")
    assert same["loss"] == plain["loss"]
    assert same["steps"] == plain["steps"] == 25
    assert (tmp_path / "same" / record.CURVE).read_text() == (tmp_path / "plain" / record.CURVE).read_text()


def test_batches_of_a_plan_read_every_sequence_once(spec, tmp_path, monkeypatch):
    plan = {"batch_tokens": 512, "learning_rate": 0.01, "schedule": "wsd", "decay_share": 0.4}
    plan["switches"] = [{"share": 0.25, "batch_tokens": 1024, "learning_rate": 0.014}]
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    sizes = []
    step = run._step

    def counted(accelerator, model, steppers, spec, tokens, number):
        sizes.append((len(tokens), steppers[0].param_groups[0]["lr"]))
        return step(accelerator, model, steppers, spec, tokens, number)

    monkeypatch.setattr(run, "_step", counted)
    (tmp_path / "spec.json").write_text(json.dumps(vars(spec)))
    whole = ["--folder", str(tmp_path / "r"), "--batch-schedule", str(tmp_path / "plan.json")]
    known = {k: v for k, v in vars(spec).items() if k not in ("batch_tokens", "learning_rate")}
    (tmp_path / "spec.json").write_text(json.dumps(known))
    assert run.main([*whole, "--spec", str(tmp_path / "spec.json"), "--tokens", "6400"]) == 0
    assert [size for size, _ in sizes] == [16] * 3 + [32] * 4 + [24]
    assert sum(size for size, _ in sizes) * 32 == 6_400
    assert [rate for _, rate in sizes[2:5]] == [0.01, 0.014, 0.014]
    assert sizes[5][1] < 0.014  # in the last 0.4, not in the last fifth
    found = record.read(tmp_path / "r")
    assert found["extra_batch_schedule"] == "0.25:1024:0.014"
    assert (found["schedule"], found["decay_share"]) == ("wsd", 0.4)
    assert (found["batch_tokens"], found["learning_rate"], found["steps"]) == (512, 0.01, 8)
    assert found["final_lr_ratio"] == pytest.approx(0.1)
    assert pd.read_csv(tmp_path / "r" / record.CURVE)["tokens"].tolist() == [6_400]


def test_dropout_and_epochs_are_told_where_they_are_chosen(spec, tmp_path):
    plain = run.execute(spec, tmp_path / "plain")
    chosen = replace(spec, run_id="chosen", dropout=0.3, epochs=4)
    told = run.execute(chosen, tmp_path / "chosen")
    assert (told["dropout"], told["extra_epochs"]) == (0.3, 4)
    assert (plain["dropout"], plain.keys() & {"extra_epochs", "extra_lr_dropout"}) == (0.0, set())
    assert told["loss"] != plain["loss"]
    validate(pd.DataFrame([plain, told]), "record")


def test_curvature_is_measured_without_dropout(spec, tmp_path):
    at_start = {"curvature_at": "0", "curvature_sequences": 4}
    found = [
        run.execute(replace(spec, **at_start, dropout=p), tmp_path / str(p))["lambda_max_at_0"]
        for p in (0.0, 0.5)
    ]
    assert found[0] == found[1]


def test_batches_are_the_same_in_pieces(spec, tmp_path):
    whole = run.execute(spec, tmp_path / "whole")
    pieces = run.execute(replace(spec, micro_batch_tokens=96), tmp_path / "pieces")
    assert pieces["loss"] == pytest.approx(whole["loss"], abs=1e-4)


def test_divergence_ends_the_run_and_is_recorded(spec, tmp_path):
    found = run.execute(replace(spec, optimizer="sgd", learning_rate=1e4, grad_clip=0.0), tmp_path)
    assert found["status"] == "diverged"
    assert found["loss"] is None
    assert found["tokens_seen"] < found["tokens"] == 6_400
    validate(pd.DataFrame([found]), "record")


@pytest.mark.parametrize("precision", ["bf16", "no"])
def test_precision_changes_between_runs_of_one_process(precision, spec, tmp_path):
    found = run.execute(replace(spec, precision=precision), tmp_path)
    assert found["status"] == "finished"
    assert found["loss"] < np.log(300)


def test_curvature_joins_on_request(spec, tmp_path):
    found = run.execute(replace(spec, curvature_sequences=8), tmp_path)
    assert found["lambda_max"] > 0
    assert np.isfinite(found["hessian_trace"])
    assert pd.read_csv(tmp_path / curvature.ROWS)["step"].tolist() == [13]


CURVED = {"tokens": 12_800, "curvature_at": "0,0.12,0.5,1", "curvature_sequences": 4}


def test_curvature_at_shares_of_a_run_leaves_training_as_it_is(spec, tmp_path):
    plain = run.execute(replace(spec, tokens=12_800), tmp_path / "plain")
    found = run.execute(replace(spec, **CURVED), tmp_path / "measured")
    assert found["loss"] == plain["loss"]
    rows = pd.read_csv(tmp_path / "measured" / curvature.ROWS)
    assert tuple(rows) == curvature.COLUMNS
    assert rows["step"].tolist() == [0, 3, 12, 25]
    assert rows["tokens"].tolist() == [0, 1_536, 6_144, 12_800]
    assert (rows[["lambda_max", "lambda_preconditioned", "critical_learning_rate"]] > 0).all(axis=None)
    assert found["lambda_max_at_0.12"] == pytest.approx(rows["lambda_max"][1], rel=1e-6)
    assert found["lambda_max"] == found["lambda_max_at_1"]
    assert found["hessian_trace"] == pytest.approx(rows["hessian_trace"][3], rel=1e-6)
    assert found["curvature_seconds"] == pytest.approx(rows["seconds"].sum(), rel=1e-6)
    assert found["curvature_overhead"] == pytest.approx(
        found["curvature_seconds"] / found["train_seconds"], rel=1e-6
    )
    assert found["wall_seconds"] > found["train_seconds"] + found["curvature_seconds"]
    validate(pd.DataFrame([found]), "record")


def test_curvature_of_a_run_cut_short_is_that_of_the_whole_run(spec, tmp_path, monkeypatch):
    spec = replace(spec, **CURVED, optimizer="muon")
    run.execute(spec, tmp_path / "whole")
    monkeypatch.setattr(run, "CHECKPOINT_SECONDS", 0.0)
    save = run._save

    def save_then_die(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_save", save_then_die)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run.execute(spec, tmp_path / "cut")
    monkeypatch.setattr(run, "_save", save)
    run.execute(spec, tmp_path / "cut")
    tables = [pd.read_csv(tmp_path / name / curvature.ROWS) for name in ("whole", "cut")]
    pd.testing.assert_frame_equal(*(table.drop(columns="seconds") for table in tables))


def test_a_run_that_diverges_keeps_the_curvature_it_had(spec, tmp_path):
    wild = replace(spec, **CURVED, optimizer="sgd", learning_rate=1e4, grad_clip=0.0)
    found = run.execute(wild, tmp_path)
    assert found["status"] == "diverged"
    assert found["lambda_max_at_0"] > 0
    assert "lambda_max" not in found
    validate(pd.DataFrame([found]), "record")


def test_weights_that_are_no_numbers_leave_an_empty_row(spec):
    full = run.checked(replace(spec, **CURVED))
    model = build(full.shape, 32, 0)
    steppers = optimizers.build("adamw", model, full.settings)
    torch.nn.init.constant_(model.norm.weight, float("nan"))
    row = curvature.measured(model, steppers, torch.zeros(4, 33, dtype=torch.long), full, 3)
    assert row["lambda_max"] is row["noise_scale"] is None
    assert (row["step"], row["seconds"]) == (3, 0.0)
    assert row["note"].startswith("landscape: weights norm.weight are not finite")


class Once(torch.autograd.Function):
    """The identity, as a fused kernel has it: with a first derivative only."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return gradient.clone()


def test_without_a_second_derivative_the_rest_is_measured_and_the_reason_told_once(
    spec, tmp_path, monkeypatch
):
    plain = curvature.cross_entropy
    monkeypatch.setattr(
        curvature, "cross_entropy", lambda logits, *others: plain(Once.apply(logits), *others)
    )
    said = []
    found = run.execute(replace(spec, **CURVED), tmp_path, say=said.append)
    (told,) = [line for line in said if "curvature" in line]
    reason = "critical learning rate and noise scale alone: second derivative: an operation cannot be"
    assert reason in told
    assert found["curvature_note"].startswith(reason)
    assert found["lambda_max_at_0.12"] is found["hessian_trace"] is None
    assert min(found["critical_learning_rate_at_0.12"], found["noise_scale_at_0"]) > 0
    rows = pd.read_csv(tmp_path / curvature.ROWS)
    assert rows["note"].str.startswith(reason).all()
    assert rows["lambda_max"].isna().all()
    assert (rows["gradients"] > 0).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*bf16")
def test_the_plan_for_a_gpu_trains_where_it_is_tiny(spec, tmp_path):
    """Its own optimizers, precision and moments; width, tokens, batch and corpus are this test's."""
    specs = plan.read(ROOT / "train" / "plans" / "curvature_gpu.toml")
    sizes = {params_nonembedding(each.shape) for each in specs}
    assert (len(specs), len(sizes)) == (72, 6)
    assert 10e6 < min(sizes) < max(sizes) < 120e6
    flops = sum(each.tokens * flops_per_token(each.shape, each.sequence_length) for each in specs)
    assert flops == pytest.approx(5e18, rel=0.1)
    measured = [each for each in specs if each.curvature_at]
    for each in measured:
        assert each.learning_rate == min(e.learning_rate for e in specs if e.optimizer == each.optimizer)
    small = {"corpus": spec.corpus, "vocabulary": 300, "sequence_length": 32}
    small |= {"width": 16, "depth": 1, "heads": 1, "micro_batch_tokens": 512}
    small |= {"tokens": 25_600, "batch_tokens": 512, "warmup_tokens": 2_560}
    small |= {"curvature_sequences": 4}
    for name in ("adamw", "muon"):
        one = next(each for each in measured if each.optimizer == name)
        found = run.execute(replace(one, **small), tmp_path / name)
        assert found["status"] == "finished"
        shares = [f"critical_learning_rate_at_{share}" for share in ("0", "0.02", "0.1", "0.5", "1")]
        assert min(found[share] for share in shares) > 0


@pytest.mark.parametrize("precision", ["bf16"])
def test_curvature_is_measured_in_32_bits(precision, spec, tmp_path):
    at_start = {"curvature_at": "0", "curvature_sequences": 4}
    found = [
        run.execute(replace(spec, **at_start, precision=p), tmp_path / p)["lambda_max_at_0"]
        for p in ("no", precision)
    ]
    assert found[0] == found[1]


def test_more_tokens_than_the_corpus_has(spec, tmp_path):
    with pytest.raises(BadInput, match="tokens"):
        run.execute(replace(spec, tokens=10**9), tmp_path)
    assert record.read(tmp_path) is None


def test_a_folder_of_another_run_is_left_alone(spec, tmp_path):
    found = run.execute(spec, tmp_path)
    with pytest.raises(BadInput) as caught:
        run.execute(replace(spec, seed=9), tmp_path)
    other = digest(run.checked(replace(spec, seed=9)))
    assert str(caught.value) == (
        f"{tmp_path}/record.json: belongs to another run (spec {found['spec_digest']}, this is {other}); "
        "expected the same choices; take another folder or run_id"
    )
    assert record.read(tmp_path) == found


def test_a_truncated_checkpoint_is_named_and_kept(spec, tmp_path):
    broken = tmp_path / run.CHECKPOINT
    broken.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(BadInput) as caught:
        run.execute(spec, tmp_path)
    assert str(caught.value).startswith(f"{broken}: not a readable checkpoint (")
    assert str(caught.value).endswith("delete it to train this run anew")
    assert broken.exists()


def test_a_full_disk_is_one_error_and_the_last_checkpoint_stays(spec, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(run, "CHECKPOINT_SHARE", math.inf)
    saves = iter([torch.save, None])

    def full_at_the_second(state, file):
        if save := next(saves):
            return save(state, file)
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 114560 vs 114452")

    monkeypatch.setattr(torch, "save", full_at_the_second)
    with pytest.raises(BadInput, match=r"cannot be written .*; expected room on the disk"):
        run.execute(replace(spec, tokens=12_800), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {run.CHECKPOINT, record.SHARE}
    assert record.share(tmp_path) == 0.4
    assert torch.load(tmp_path / run.CHECKPOINT)["progress"]["step"] == 10


def test_a_checkpoint_of_other_choices_is_named(spec, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(record, "write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run.execute(spec, tmp_path)
    with pytest.raises(BadInput, match=r"checkpoint\.pt: belongs to another run"):
        run.execute(replace(spec, learning_rate=2e-2), tmp_path)


@pytest.mark.parametrize("given", [["--optimizer", "adam"], ["--spec", "/no/such.json"], []])
def test_the_command_line_refuses_with_one_line(given, tmp_path, capsys):
    command = ["--folder", str(tmp_path / "x"), *given]
    if "--optimizer" in given:
        command += "--params-nonembedding 25e3 --tokens 1e5 --batch-tokens 4096 --learning-rate 1e-3".split()
    assert run.main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith("Error: ")
    assert error.count("\n") == 1


@pytest.mark.slow
def test_two_processes_train_as_one(spec, tmp_path):
    """`accelerate launch` on two CPU processes: the same batches, hence nearly the same loss."""
    spec = replace(spec, curvature_at="0,0.5", curvature_sequences=5)
    alone = run.execute(spec, tmp_path / "alone")
    (tmp_path / "spec.json").write_text(json.dumps(vars(spec)))
    launch = [sys.executable, "-W", "ignore", "-m", "accelerate.commands.launch", "--cpu"]
    launch += [
        "--num_processes",
        "2",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
    ]
    launch += ["--main_process_port", "0", "-m", "bayeslaw.lab.train.run", *arguments(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(launch, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    together = record.read(tmp_path / "cut")
    assert together["loss"] == pytest.approx(alone["loss"], abs=2e-3)
    for name in curvature.SUMMARISED:  # before the first step both have the same weights
        assert together[f"{name}_at_0"] == pytest.approx(alone[f"{name}_at_0"], rel=1e-3), name
        assert together[f"{name}_at_0.5"] == pytest.approx(alone[f"{name}_at_0.5"], rel=0.1), name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_short_run_with_a_checkpoint(number, spec, tmp_path, monkeypatch):
    spec = replace(spec, tokens=12_800)  # 25 steps
    whole = run.execute(spec, tmp_path / "whole")
    step, steps = run._step, []

    def signalled_at_the_fifth(*arguments):
        steps.append(None)
        if len(steps) == 5:
            signal.raise_signal(number)
        return step(*arguments)

    def end(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_step", signalled_at_the_fifth)
    before = signal.signal(number, end)
    said = []
    with pytest.raises(KeyboardInterrupt):
        run.execute(spec, tmp_path / "cut", say=said.append)
    assert signal.signal(number, before) is end
    assert (len(steps), record.read(tmp_path / "cut")) == (10, None)
    assert said[0].startswith("r: 40%, loss ")
    assert run.execute(spec, tmp_path / "cut")["loss"] == whole["loss"]
    assert len(steps) == 25


def test_the_same_signal_twice_ends_the_run_at_once(spec, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_step", lambda *_: [signal.raise_signal(signal.SIGINT) for _ in range(2)])
    with pytest.raises(KeyboardInterrupt):
        run.execute(spec, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_half_precision_is_refused_where_it_would_not_be_used(spec, tmp_path):
    with pytest.raises(BadInput) as error:
        run.execute(replace(spec, precision="fp16"), tmp_path)
    assert str(error.value) == (
        "run r: precision = fp16 on a CPU, which Accelerate trains in 32 bits; expected a GPU for it; "
        "choose no or bf16"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [record.RECORD, record.CURVE, run.CHECKPOINT])
def test_a_folder_in_the_place_of_an_output_is_refused_before_the_work(name, spec, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_examples", pytest.fail)
    (tmp_path / name).mkdir()
    with pytest.raises(BadInput, match=f"{name}: "):
        run.execute(spec, tmp_path)


def test_a_file_in_the_place_of_the_folder_is_refused_before_the_work(spec, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_examples", pytest.fail)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"file: cannot be made or written to \(File exists\)"):
        run.execute(spec, tmp_path / "file")


SMALL = "--optimizer adamw --width 16 --depth 1 --heads 1 --batch-tokens 4096 --learning-rate 1e-3".split()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--tokens inf", "tokens = inf; expected a whole number; correct it"),
        ("--tokens many", "tokens = many; expected a whole number; correct it"),
        ("--tokens 1e5 --seed -1", "run x: seed = -1; expected at least 0 and below 4.29497e+09; "),
        ("--tokens 1e5 --seed 1e23", "run x: seed = 99999999999999991611392; expected at least 0 and below"),
        ("--tokens 1e5 --seed 0.5", "seed = 0.5; expected a whole number; correct it"),
        ("--tokens 1e5 --tied maybe", "tied = maybe; expected true or false; correct it"),
        ("--tokens 1e5 --learning-rate nan", "learning_rate = nan; expected a number; correct it"),
        ("--tokens 1e5 --depth 1e9", "run x: width = 16, depth = 1000000000, vocabulary = 1024 are 3.1e+12 "),
        ("--tokens 1e5 --spec {folder}", "{folder}: not a readable JSON object ("),
        ("--tokens 1e5 --spec {folder}/list", "{folder}/list: a JSON list; expected an object; write one "),
        ("--tokens 1e5 --spec {folder}/wide", "{folder}/wide: not a readable JSON object ("),
        ("--tokens 1e5 --batch-schedule {folder}/empty", "{folder}/empty: not a batch plan (KeyError: "),
        ("--tokens 1e5 --batch-schedule {folder}/plan", "--batch-tokens 4096: {folder}/plan tells it, too; "),
        ("--tokens 1e5 --params-nonembedding x", "params_nonembedding = x; expected a number; correct it"),
    ],
)
def test_odd_values_are_refused_with_one_line(given, message, tmp_path, capsys):
    (tmp_path / "list").write_text("[]")
    (tmp_path / "empty").write_text("{}")
    (tmp_path / "plan").write_text('{"batch_tokens": 256, "learning_rate": 0.01, "switches": []}')
    (tmp_path / "wide").write_text("{}", encoding="utf-16")
    command = ["--folder", str(tmp_path / "x"), *SMALL, *given.format(folder=tmp_path).split()]
    assert run.main(command) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"Error: {message.format(folder=tmp_path)}")
    assert error.count("\n") == 1
    assert not (tmp_path / "x").exists()
