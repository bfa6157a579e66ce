from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.runs.column_names import resolve_roles
from bayeslaw.runs.importing import import_runs
from bayeslaw.runs.layouts import LAYOUTS

SWEEP = pd.DataFrame(
    {
        "name": ["r1", "r2", "r3"],
        "lr": [1e-3, 2e-3, 4e-3],
        "bs": [32, 32, 64],
        "seq_len": 128,
        "N": 1e6,
        "D": 2e7,
        "val_loss": [3.0, 3.1, None],
        "comment": ["x", "y", "z"],
    }
)
SAID = {"mapping": {"batch_sequences": "bs", "params_nonembedding": "N"}, "constants": {"optimizer": "adamw"}}


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    SWEEP.to_csv("sweep.csv", index=False)
    return "sweep.csv"


def write(path: str, table: pd.DataFrame) -> str:
    table.to_csv(path, index=False)
    return path


def error_of(*args: object, **options: object) -> str:
    with pytest.raises(BadInput) as caught:
        import_runs(*args, **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_a_plain_sweep_is_read_by_its_names(sweep):
    table, notes = import_runs(sweep, "ours", **SAID)
    assert table.columns.tolist() == [
        *("run_id", "study", "optimizer", "params_nonembedding", "tokens", "batch_tokens"),
        *("sequence_length", "learning_rate", "loss", "loss_kind", "status", "bs", "comment"),
    ]
    assert table.iloc[0].to_dict() == {
        "run_id": "r1",
        "study": "ours",
        "optimizer": "adamw",
        "params_nonembedding": 1e6,
        "tokens": 2e7,
        "batch_tokens": 4096.0,
        "sequence_length": 128.0,
        "learning_rate": 1e-3,
        "loss": 3.0,
        "loss_kind": "val_final",
        "status": "finished",
        "bs": 32,
        "comment": "x",
    }
    assert table["status"].tolist() == ["finished", "finished", "crashed"]
    assert notes == [
        "kept without using: comment",
        "no status column: runs with a loss count as finished",
        "runs without a loss, counted as crashed: 1",
        "of 3 runs, 1 crashed",
        "runs without a loss: 1 (r3)",
        "read bs as batch_sequences; N as params_nonembedding; name as run_id; D as tokens; "
        "seq_len as sequence_length; lr as learning_rate; val_loss as loss; "
        "batch_sequences, sequence_length as batch_tokens",
    ]


def test_units_are_asked_for_never_guessed(sweep):
    assert error_of(sweep) == (
        "sweep.csv does not say what these runs are:\n"
        "  study: add --study NAME\n"
        "  optimizer: add --set optimizer=adamw, or --map optimizer=COLUMN\n"
        "  params_nonembedding: does N include embeddings? add --map params_nonembedding=N if not, "
        "or --map params_total=N with --map params_embedding=COLUMN\n"
        "  batch_tokens: does bs count sequences or tokens? "
        "add --map batch_sequences=bs, or --map batch_tokens=bs\n"
        "--confirm would read:\n"
        "  bs as batch_sequences: 32 to 64 are few for tokens; trainers count sequences\n"
        "  N as params_total: a module counts all its parameters, the embedding among them\n"
        "columns: name, lr, bs, seq_len, N, D, val_loss, comment"
    )


def test_sequences_need_a_length(sweep):
    path = write("short.csv", SWEEP.drop(columns="seq_len"))
    assert "  batch_tokens: bs counts sequences; add --set sequence_length=2048\n" in error_of(
        path, "ours", **SAID
    )
    said = {**SAID, "constants": {"optimizer": "adamw", "sequence_length": "256"}}
    assert import_runs(path, "ours", **said)[0]["batch_tokens"].tolist() == [8192, 8192, 16384]


@pytest.mark.parametrize(
    ("columns", "mapping", "name", "expected"),
    [
        ({"n_steps": 5000}, {"steps": "n_steps"}, "tokens", 5000 * 4096),
        ({"tpp": 20}, {"tokens_per_param": "tpp"}, "tokens", 2e7),
        ({"D": 2e7, "warm": 10}, {"warmup_steps": "warm"}, "warmup_tokens", 40960),
        ({"D": 2e7, "min_lr": 1e-4}, {}, "final_lr_ratio", 0.1),
        ({"D": 2e7, "betas": "[0.9, 0.95]"}, {}, "beta2", 0.95),
        ({"D": 2e7, "betas": "(0.9, 0.95)"}, {}, "momentum", 0.9),
        ({"D": 2e7, "beta1": 0.8, "momentum": math.nan}, {}, "momentum", 0.8),
        ({"D": 2e7, "beta1": 0.8, "momentum": 0.95}, {}, "momentum", 0.95),
    ],
)
def test_units_are_converted(sweep, columns, mapping, name, expected):
    path = write("units.csv", SWEEP.drop(columns="D").assign(**columns))
    said = {**SAID, "mapping": {**SAID["mapping"], **mapping}}
    assert import_runs(path, "ours", **said)[0][name].iloc[0] == pytest.approx(expected)


@pytest.mark.parametrize(("column", "value"), [("bits_per_token", 3 / math.log(2)), ("ppl", math.exp(3))])
def test_losses_become_nats(sweep, column, value):
    path = write("units.csv", SWEEP.drop(columns="val_loss").assign(**{column: value}))
    assert import_runs(path, "ours", **SAID)[0]["loss"].tolist() == pytest.approx([3.0] * 3)


def test_embeddings_are_subtracted(sweep):
    path = write("total.csv", SWEEP.assign(embedding_params=3e5))
    mapping = {"batch_sequences": "bs", "params_total": "N"}
    table, _ = import_runs(path, "ours", None, mapping, {"optimizer": "adamw"})
    assert table["params_nonembedding"].tolist() == [7e5] * 3
    assert table["params_embedding"].tolist() == [3e5] * 3


def test_a_value_that_is_no_number_is_named(sweep):
    path = write("text.csv", SWEEP.assign(bs=["32", "many", "64"]))
    assert error_of(path, "ours", **SAID) == (
        "text.csv: row 2: batch_sequences = 'many'; expected a number; "
        "correct it, or map another column with --map batch_sequences=COLUMN"
    )


def test_two_columns_for_one_role_are_asked_about(sweep):
    path = write("two.csv", SWEEP.assign(train_loss=3.0))
    assert error_of(path, "ours", **SAID) == (
        "two.csv: loss could be val_loss or train_loss; expected one; "
        "add --map loss=val_loss or --map loss=train_loss, or --confirm for val_loss"
    )
    said = {**SAID, "mapping": {**SAID["mapping"], "loss": "val_loss"}}
    assert "train_loss" in import_runs(path, "ours", **said)[0]


def test_a_column_that_lost_its_name_to_another_is_kept(sweep):
    path = write("two.csv", SWEEP.assign(loss=2.0))
    said = {**SAID, "mapping": {**SAID["mapping"], "loss": "val_loss"}}
    table, _ = import_runs(path, "ours", **said)
    assert table["loss"].tolist()[:2] == [3.0, 3.1]
    assert table["original_loss"].tolist() == [2.0, 2.0, 2.0]


def test_a_setting_of_another_name_joins_as_an_extra(sweep):
    path = write(
        "shape.csv", SWEEP.assign(**{"decay shape": ["linear", "sqrt", "sqrt"], "decay_fraction": 0.2})
    )
    said = {**SAID, "mapping": {**SAID["mapping"], "extra_decay_shape": "decay shape"}}
    table, _ = import_runs(path, "ours", **said)
    assert table["extra_decay_shape"].tolist() == ["linear", "sqrt", "sqrt"]
    assert "decay shape" not in table
    assert table["decay_share"].tolist() == [0.2] * 3


def test_mapping_mistakes_are_named(sweep):
    assert error_of(sweep, mapping={"loss": "final"}) == (
        "sweep.csv: --map loss=final: no such column; found name, lr, bs, seq_len, N, D, val_loss, comment"
    )
    assert error_of(sweep, mapping={"los": "val_loss"}).startswith(
        "sweep.csv: --map los=val_loss: unknown role; expected one of run_id, "
    )
    assert error_of(sweep, constants={"optimiser": "adamw"}).startswith(
        "sweep.csv: --set optimiser=adamw: unknown column; expected one of run_id, "
    )
    assert error_of(sweep, adapter="marine") == (
        f"--adapter marine: unknown; expected one of {', '.join(LAYOUTS)}; or leave it out and use --map"
    )
    assert error_of(sweep, adapter="steplaw").startswith(
        "adapter steplaw: no column smooth loss, h, numl, numh"
    )


def test_a_name_of_its_own_beats_a_synonym_and_the_whole_beats_the_last_part():
    roles = resolve_roles(["tokens", "D", "config.optim.lr", "config.lr"], {}, "x")
    assert roles == {"tokens": "tokens", "learning_rate": "config.lr"}


@pytest.mark.parametrize(
    "name",
    ["n_params_non_embedding", "config.model.non-embedding_params", "N_nonembed", "num_params_non_emb"],
)
def test_spellings_of_non_embedding(name):
    assert resolve_roles([name], {}, "x") == {"params_nonembedding": name}


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["lr", "optimizer.lr"], "optimizer.lr"),
        (["summary.lr", "config.optimizer.lr"], "config.optimizer.lr"),
        (["summary.learning_rate", "config.lr"], "config.lr"),
        (["train/learning_rate", "lr"], "lr"),
        (["config/lr", "lr"], "config/lr"),
        (["metrics.lr", "params.lr"], "params.lr"),
        (["optimizer.lr", "schedule.max_lr", "lr"], "schedule.max_lr"),
        (["learning_rate", "lr"], "learning_rate"),
        (["train/lr"], None),
        (["train.lr"], None),
        (["train.lr", "config.train.lr"], "config.train.lr"),
        (["summary.train/learning_rate"], None),
    ],
)
def test_the_peak_comes_before_the_last_and_configuration_before_summary(names, taken):
    for order in (names, names[::-1]):
        assert resolve_roles(order, {}, "x").get("learning_rate") == taken


def test_outcomes_are_what_the_run_reported():
    assert resolve_roles(["config.loss", "summary.val/loss"], {}, "x") == {"loss": "summary.val/loss"}
    assert resolve_roles(["config.tokens", "summary.tokens"], {}, "x") == {"tokens": "config.tokens"}


def test_the_rate_that_was_taken_is_said(sweep):
    path = write("rates.csv", SWEEP.assign(**{"optimizer.lr": [1e-2, 2e-2, 4e-2]}))
    table, notes = import_runs(path, "ours", **SAID)
    assert table["learning_rate"].tolist() == [1e-2, 2e-2, 4e-2]
    assert "took optimizer.lr as the peak learning rate, not lr" in notes


def test_a_rate_below_another_is_no_peak(sweep):
    path = write("rates.csv", SWEEP.assign(**{"optimizer.lr": [1e-2, 2e-5, 4e-5]}, learning_rate=1e-4))
    assert error_of(path, "ours", **SAID) == (
        "rates.csv: lr is higher than learning_rate in 3 rows; expected the peak learning rate; "
        "add --map learning_rate=lr, or --map learning_rate=learning_rate if that is the peak"
    )
    said = {**SAID, "mapping": {**SAID["mapping"], "learning_rate": "learning_rate"}}
    assert import_runs(path, "ours", **said)[0]["learning_rate"].tolist() == [1e-4] * 3


def test_a_logged_rate_alone_is_asked_about(sweep):
    path = write("logged.csv", SWEEP.rename(columns={"lr": "train/learning_rate"}))
    assert (
        "  learning_rate: is train/learning_rate the peak, or the last one logged? "
        "add --map learning_rate=train/learning_rate if the peak\n"
    ) in error_of(path, "ours", **SAID)


def test_a_mean_training_loss_is_doubted(sweep):
    path = write("mean.csv", SWEEP.rename(columns={"val_loss": "train/train_loss"}))
    _, notes = import_runs(path, "ours", **SAID)
    doubt = (
        "is train/train_loss the last, or the mean over the run, as the Trainer of transformers reports it? "
        "expected the final loss"
    )
    assert doubt in notes
    said = {**SAID, "mapping": {**SAID["mapping"], "loss": "train/train_loss"}}
    assert doubt not in import_runs(path, "ours", **said)[1]


def test_wandb_json_takes_the_configured_rate(tmp_path):
    run = wandb_run("w1", "finished", 3.0, optimizer={"name": "AdamW", "lr": 1e-2})
    del run["config"]["lr"]
    run["summary"]["lr"] = 1e-3
    path = tmp_path / "export.json"
    path.write_text(json.dumps([run]))
    mapping = {**WANDB_SAID["mapping"], "optimizer": "config.optimizer.name"}
    table, notes = import_runs(path, "ours", "wandb", mapping, WANDB_SAID["constants"])
    assert table["learning_rate"].tolist() == [1e-2]
    assert "took config.optimizer.lr as the peak learning rate, not summary.lr" in notes


def test_copies_are_dropped_and_incomplete_crashes_too(sweep):
    rows = pd.concat([SWEEP, SWEEP.iloc[[0]], SWEEP.iloc[[2]].assign(name="r4", D=None)])
    table, notes = import_runs(write("many.csv", rows), "ours", **SAID)
    assert table["run_id"].tolist() == ["r1", "r2", "r3"]
    assert "dropped exact copies of other rows: 1" in notes
    assert "dropped unfinished runs of incomplete configuration: 1" in notes


def test_bad_rows_keep_the_numbers_of_the_file(sweep):
    rows = pd.concat([SWEEP.iloc[[0, 0, 1]], SWEEP.iloc[[1]].assign(name="r4", lr=-1)])
    assert "  row 4 (run r4): learning_rate = -1; expected > 0" in error_of(
        write("bad.csv", rows), "ours", **SAID
    )


def test_runs_without_ids_get_stable_ones(sweep):
    path = write("anonymous.csv", SWEEP.drop(columns="name"))
    first = import_runs(path, "ours", **SAID)[0]["run_id"]
    path = write("reversed.csv", SWEEP.drop(columns="name").iloc[::-1])
    assert first.is_unique
    assert set(first) == set(import_runs(path, "ours", **SAID)[0]["run_id"])


def test_names_that_repeat_are_told_apart_unless_the_rows_are_copies(sweep):
    rows = pd.concat([SWEEP, SWEEP.iloc[[0]]]).assign(name="happy-dawn")
    table, notes = import_runs(write("names.csv", rows), "ours", **SAID)
    assert len(table) == 3
    assert table["run_id"].str.fullmatch("happy-dawn-[0-9a-f]{8}").all()
    assert "runs that share a name got a hash of their configuration added" in notes
    said = {**SAID, "mapping": {**SAID["mapping"], "run_id": "name"}}
    assert "row 2 (run happy-dawn): run_id repeats an earlier row's" in error_of("names.csv", "ours", **said)


def test_a_known_layout_is_recognised(tmp_path):
    path = write(str(tmp_path / "m.csv"), pd.DataFrame([MARIN]))
    assert "\n  or are they marin's? add --adapter marin\n" in error_of(path)


def test_a_layout_that_cannot_read_the_values_is_not_suggested_and_says_so(tmp_path):
    path = write(str(tmp_path / "m.csv"), pd.DataFrame([{**MARIN, "size": "1b"}]))
    assert "or are they" not in error_of(path)
    path = write(str(tmp_path / "n.csv"), pd.DataFrame([{**MARIN, "chinchilla": "two"}]))
    assert "or are they" not in error_of(path)
    text = error_of(path, adapter="marin")
    assert text.startswith(f"{path}: has the columns of marin, but other values (")
    assert text.endswith("expected the table as published; leave --adapter out and name columns with --map")


def test_diverged_runs_are_marked_and_said(sweep):
    table, notes = import_runs(write("high.csv", SWEEP.assign(val_loss=[3.0, 4.3, math.inf])), "ours", **SAID)
    assert table["status"].tolist() == ["finished", "diverged", "diverged"]
    assert table["loss"].tolist()[:2] == [3.0, 4.3]
    assert (
        "runs counted as diverged: 2 (loss above 1.4 times the smallest of their cell, "
        "far above their study, or infinite)"
    ) in notes


def test_a_loss_too_small_is_set_aside_and_said(sweep):
    rows = pd.concat([SWEEP.iloc[[0]]] * 4).assign(name=list("abcd"), lr=[1e-3, 2e-3, 3e-3, 4e-3])
    path = write("small.csv", rows.assign(val_loss=[3.1, 3.0, 0.3, 3.2]))
    table, notes = import_runs(path, "ours", **SAID)
    assert table["status"].tolist() == ["finished", "finished", "stopped", "finished"]
    assert "losses too small to be true, runs set aside as stopped: 1 (c); correct them" in notes


OPTIMIZERS = ["torch.optim.AdamW", "adamw_torch_fused", "FusedAdam", "MuonWithAuxAdam", "SOAP", "AdamW"]


def test_spellings_of_an_optimizer_are_one_and_said(sweep):
    rows = pd.concat([SWEEP.iloc[[0]]] * 6).assign(name=list("abcdef"), optimizer=OPTIMIZERS)
    path = write("spelt.csv", rows)
    table, notes = import_runs(path, "ours", mapping=SAID["mapping"])
    assert table["optimizer"].tolist() == ["adamw"] * 3 + ["muon", "soape", "adamw"]
    assert (
        "read optimizer torch.optim.AdamW as adamw, adamw_torch_fused as adamw, FusedAdam as adamw, "
        "MuonWithAuxAdam as muon, SOAP as soape (to keep a name: "
        "--rename torch.optim.AdamW=torch.optim.AdamW)"
    ) in notes


def test_an_optimizer_gets_the_name_that_the_user_gives_it(sweep):
    path = write("spelt.csv", SWEEP.assign(optimizer=["SOAP", "ours-v2", "FusedAdam"]))
    rename = {"soap": "soap", "ours-v2": "Ours", "FusedAdam": "adam"}
    table, notes = import_runs(path, "ours", mapping=SAID["mapping"], rename=rename)
    assert table["optimizer"].tolist() == ["soap", "ours", "adam"]
    assert "read optimizer ours-v2 as ours, FusedAdam as adam" in notes


def test_a_rename_of_no_optimizer_is_refused(sweep):
    assert error_of(sweep, "ours", **SAID, rename={"adam": "x"}) == (
        "sweep.csv: --rename adam=x: no such optimizer; expected one of adamw; name one of these"
    )


def test_states_of_optuna_ray_and_slurm(sweep):
    states = [*"TrialState.COMPLETE COMPLETE PRUNED FAIL TERMINATED ERROR NODE_FAIL".split(), "Out of memory"]
    rows = pd.concat([SWEEP.iloc[[0]]] * 8).assign(name=list("abcdefgh"), state=states)
    table, notes = import_runs(write("states.csv", rows), "ours", **SAID)
    assert table["status"].tolist() == (
        "finished finished stopped crashed finished crashed crashed crashed".split()
    )
    assert (
        "runs with state TERMINATED, counted as finished: 1; "
        "Ray says so too where its scheduler stopped a trial early: drop those"
    ) in notes


def test_steplaw_row(tmp_path):
    row = {"h": 960, "ffnh": 9368, "numh": 15, "numl": 7, "lr": 9.766e-4, "bs": 32, "ti": 61035, "loss": 2.6}
    raw = pd.DataFrame([{**row, "smooth loss": 2.5, "exp_name": "e", "D": 4_000_000_000, "N": 214_663_680}])
    table, _ = import_runs(write(str(tmp_path / "s.csv"), raw), adapter="steplaw")
    assert table.iloc[0].to_dict() == {
        "run_id": "steplaw-N214663680-D4000000000-B65536-lr0.0009766",
        "study": "steplaw",
        "optimizer": "adamw",
        "params_nonembedding": 214_663_680,
        "width": 960,
        "depth": 7,
        "heads": 15,
        "parametrization": "standard",
        "tokens": 4e9,
        "batch_tokens": 65536,
        "sequence_length": 2048,
        "learning_rate": 9.766e-4,
        "schedule": "cosine",
        "warmup_tokens": 131_072_000,
        "final_lr_ratio": 1e-5 / 9.766e-4,
        "momentum": 0.9,
        "beta2": 0.95,
        "weight_decay": 0.1,
        "loss": 2.5,
        "loss_kind": "train_smoothed",
        "status": "finished",
        "extra_ffn_width": 9368,
        "loss_unsmoothed": 2.6,
    }


def test_scalebench_makes_the_same_run_id(tmp_path):
    raw = {
        "lr": 9.766e-4,
        "bsz": 32.0,
        "data_size": 4e9,
        "non_embedding_param_size": 214663680.0,
        "lm_loss": 2.5,
    }
    table, _ = import_runs(write(str(tmp_path / "s.csv"), pd.DataFrame([raw])), adapter="scalebench")
    assert table["run_id"].tolist() == ["steplaw-N214663680-D4000000000-B65536-lr0.0009766"]
    assert table["learning_rate"].tolist() == [9.766e-4]


MARIN = {
    **{"optimizer": "muon", "size": "130m", "chinchilla": 2, "learning_rate": 0.016, "weight_decay": 0.1},
    **{"train_batch_size": 128, "warmup": 10, "beta1": 0.8, "beta2": 0.98, "min_lr_ratio": 0.0},
    **{"max_grad_norm": 1.0, "loss": 3.4, "run_name": "m1", "is_baseline": 1},
    "extra": "decay=0.8;epsilon=9.999999999999999e-26;lr_schedule=linear;momentum=0.95",
}
ADAM = {
    **MARIN,
    "optimizer": "adamw",
    "run_name": "a1",
    "beta1": 0.9,
    "extra": "epsilon=1e-20;nesterov=false",
}


def marin(tmp_path: Path, *rows: dict[str, object]) -> tuple[pd.DataFrame, list[str]]:
    return import_runs(write(str(tmp_path / "marin.csv"), pd.DataFrame(list(rows))), adapter="marin")


def test_marin_rows(tmp_path):
    table, _ = marin(tmp_path, MARIN, ADAM)
    muon, adamw = (row.dropna().to_dict() for _, row in table.iterrows())
    assert muon == {
        "run_id": "m1",
        "study": "marin",
        "optimizer": "muon",
        "params_nonembedding": 134_217_728,
        "width": 512,
        "depth": 32,
        "parametrization": "standard",
        "tokens": 40 * 134_217_728,
        "batch_tokens": 128 * 4096,
        "sequence_length": 4096,
        "learning_rate": 0.016,
        "schedule": "linear",
        "warmup_tokens": 10 * 128 * 4096,
        "final_lr_ratio": 0,
        "momentum": 0.95,
        "beta2": 0.98,
        "weight_decay": 0.1,
        "epsilon": 1e-25,
        "grad_clip": 1,
        "loss": 3.4,
        "loss_kind": "val_final",
        "status": "finished",
        "extra_adam_beta1": 0.8,
        "extra_decay": 0.8,
        "is_baseline": 1,
    }
    assert (adamw["momentum"], adamw["schedule"], adamw["epsilon"]) == (0.9, "cosine", 1e-20)
    assert adamw["extra_nesterov"] == "false"
    assert "extra_adam_beta1" not in adamw


SCHAIPP = {
    **{"run": "ann", "optimizer": "adamw", "params_total": 59845120, "params_nonembedding": 34089472},
    **{"width": 512, "depth": 10, "heads": 8, "model": "llama_norm", "dataset": "slimpajama"},
    **{"learning_rate": 1e-3, "schedule": "wsd", "decay_shape": "sqrt", "decay_fraction": 0.2},
    **{"warmup_steps": 300, "cos_final_lr": -1.0, "iterations": 12500, "sequence_length": 512},
    **{"batch_tokens": 102400, "tokens": 1280000000, "beta1": 0.9, "beta2": 0.95, "weight_decay": 0.1},
    **{"grad_clip": 1, "seed": 0, "final_val_loss": 3.3},
}


def test_schaipp_rows(tmp_path):
    cosine = {**SCHAIPP, "run": "cos", "schedule": "cos", "decay_fraction": 0.0, "dataset": "openwebtext2"}
    zero = {**cosine, "run": "zero", "cos_final_lr": 1e-7}
    stable = {**SCHAIPP, "run": "stable", "decay_fraction": 0.0}
    rows = pd.DataFrame([SCHAIPP, cosine, zero, stable])
    table, _ = import_runs(write(str(tmp_path / "s.csv"), rows), adapter="schaipp")
    assert table.iloc[0].to_dict() == {
        "run_id": "ann",
        "study": "schaipp-slimpajama",
        "optimizer": "adamw",
        "params_nonembedding": 34089472,
        "params_embedding": 59845120 - 34089472,
        "width": 512,
        "depth": 10,
        "heads": 8,
        "tokens": 1.28e9,
        "batch_tokens": 102400,
        "sequence_length": 512,
        "learning_rate": 1e-3,
        "schedule": "wsd",
        "warmup_tokens": 300 * 102400,
        "final_lr_ratio": 0,
        "decay_share": 0.2,
        "momentum": 0.9,
        "beta2": 0.95,
        "weight_decay": 0.1,
        "grad_clip": 1,
        "seed": 0,
        "loss": 3.3,
        "loss_kind": "val_final",
        "status": "finished",
        "extra_decay_shape": "sqrt",
        "extra_model": "llama_norm",
    }
    others = table.iloc[1:][["study", "schedule", "final_lr_ratio", "decay_share", "extra_decay_shape"]]
    assert others.astype(object).where(others.notna(), None).to_numpy().tolist() == [
        ["schaipp-openwebtext2", "cosine", 0.1, pytest.approx(1 - 300 / 12500), None],
        ["schaipp-openwebtext2", "cosine", pytest.approx(1e-4), pytest.approx(1 - 300 / 12500), None],
        ["schaipp-slimpajama", "constant", 1.0, 0.0, None],
    ]


def test_the_schedules_of_schaipp_are_no_noise(shared_data):
    source = shared_data / "schaipp_haegele_runs.csv"
    table, notes = import_runs(source, adapter="schaipp")
    assert (len(table), table["study"].nunique(), table["decay_share"].nunique()) == (235, 3, 24)
    assert [note[:43] for note in notes if "repeat" in note] == [
        "runs that repeat a configuration: 36 (ann12"
    ]
    mapping = {"run_id": "run", "loss": "final_val_loss"}
    _, notes = import_runs(source, "plain", mapping=mapping)
    assert any(
        "differ in set, dataset, decay_shape, cos_final_lr, wandb_prefix: a set" in note for note in notes
    )


def test_marin_statuses_and_names(tmp_path):
    lost, high = {**ADAM, "loss": None, "run_name": "lost"}, {**ADAM, "loss": 7.8, "run_name": "high"}
    unnamed = [{**ADAM, "run_name": None}, {**ADAM, "run_name": None, "learning_rate": 0.03}]
    copies = [{**ADAM, "extra": "epsilon=1e-30", "is_baseline": 0}, ADAM]
    table, notes = marin(tmp_path, lost, high, *unnamed, *copies)
    assert table["status"].tolist() == ["crashed", "diverged", "finished", "finished", "finished"]
    assert table["run_id"].is_unique
    assert table.loc[table["run_id"] == "a1", "epsilon"].tolist() == [1e-20]
    assert notes[:2] == [
        "dropped rows that repeat a run_name under another epsilon: 1",
        "rows without a run_name, given ids made of their configuration: 2",
    ]


def test_marin_sizes_are_known_or_refused(tmp_path):
    with pytest.raises(BadInput, match="marin: size = 1b; expected one of 130m, 300m, 520m; drop those rows"):
        marin(tmp_path, {**ADAM, "size": "1b"})


def test_the_public_tables(shared_data):
    counts = {}
    for name, adapter in (
        ("steplaw_dense.csv", "steplaw"),
        ("scalebench_lr_bsz_train.parquet", "scalebench"),
        ("marin_optimizer_sweep.csv", "marin"),
    ):
        table, _ = import_runs(shared_data / name, adapter=adapter)
        counts[adapter] = table["status"].value_counts().to_dict()
    assert counts == {
        "steplaw": {"finished": 1730, "diverged": 181},
        "scalebench": {"finished": 2702},
        "marin": {"finished": 1250, "diverged": 161, "crashed": 58},
    }


WANDB_SAID = {
    "mapping": {"loss": "summary.val/loss", "batch_sequences": "config.batch_size"},
    "constants": {"sequence_length": 128},
}


def wandb_run(run_id: str, state: str, loss: object, **config: object) -> dict[str, object]:
    wrapped = {"lr": {"value": 1e-3}, "optimizer": {"name": "AdamW"}, "batch_size": 32, "betas": [0.9, 0.95]}
    sizes = {"n_params_nonembedding": 1_000_000, "tokens": 20_000_000, "_wandb": {"version": 1}}
    summary = {"val/loss": loss, "train/loss": 2.0, "_runtime": 12.5}
    config = {**wrapped, **sizes, **config}
    return {"id": run_id, "name": "happy", "state": state, "config": config, "summary": summary}


RUNS = [
    wandb_run("w1", "finished", 3.0),
    wandb_run("w2", "crashed", None, lr={"value": 2e-3}),
    wandb_run("w3", "killed", 3.2, lr={"value": 4e-3}),
    wandb_run("w4", "failed", math.nan, lr={"value": 8e-3}),
    wandb_run("w5", "finished", "Infinity", lr={"value": 9e-3}),
]


def check_wandb(table: pd.DataFrame) -> None:
    assert table["run_id"].tolist() == ["w1", "w2", "w3", "w4", "w5"]
    assert table["status"].tolist() == ["finished", "crashed", "stopped", "diverged", "diverged"]
    assert table["learning_rate"].tolist() == [1e-3, 2e-3, 4e-3, 8e-3, 9e-3]
    assert set(table["batch_tokens"]) == {4096}
    assert set(table["optimizer"]) == {"adamw"}
    assert (table["momentum"].iloc[0], table["beta2"].iloc[0]) == (0.9, 0.95)
    assert table["wall_seconds"].iloc[0] == 12.5
    assert table["loss_kind"].iloc[0] == "val_final"


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_wandb_json(tmp_path, suffix):
    path = tmp_path / f"export.{suffix}"
    path.write_text(json.dumps(RUNS) if suffix == "json" else "\n".join(json.dumps(run) for run in RUNS))
    mapping = {**WANDB_SAID["mapping"], "optimizer": "config.optimizer.name"}
    check_wandb(import_runs(path, "ours", "wandb", mapping, WANDB_SAID["constants"])[0])


def test_wandb_json_with_config_as_text(tmp_path):
    path = tmp_path / "export.json"
    texts = [
        {**run, "config": json.dumps(run["config"]), "summary_metrics": json.dumps(run.pop("summary"))}
        for run in [dict(run) for run in RUNS]
    ]
    path.write_text(json.dumps({"runs": texts}))
    mapping = {**WANDB_SAID["mapping"], "optimizer": "config.optimizer.name"}
    check_wandb(import_runs(path, "ours", "wandb", mapping, WANDB_SAID["constants"])[0])


def test_wandb_csv(tmp_path):
    path = tmp_path / "export.csv"
    path.write_text(
        "Name,ID,State,Runtime,val/loss,train/loss,lr,optimizer,batch_size,betas,params_nonembedding,tokens\n"
        'happy,w1,finished,12.5,3.0,2.0,0.001,AdamW,32,"[0.9,0.95]",1000000,20000000\n'
        "happy,w2,crashed,1,,,0.002,AdamW,32,,1000000,20000000\n"
        "happy,w3,killed,2,3.2,2.0,0.004,AdamW,32,,1000000,20000000\n"
        "happy,w4,failed,2,NaN,,0.008,AdamW,32,,1000000,20000000\n"
        "happy,w5,finished,3,Infinity,,0.009,AdamW,32,,1000000,20000000\n"
    )
    mapping = {"loss": "val/loss", "batch_sequences": "batch_size"}
    check_wandb(import_runs(path, "ours", "wandb", mapping, WANDB_SAID["constants"])[0])


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_loss_that_was_recorded_as_nan_diverged_and_one_that_is_missing_crashed(sweep, kind):
    path = Path(f"nan.{kind}")
    if kind == "csv":
        text = SWEEP.assign(grad=["1.5", "nan", ""]).to_csv(index=False)
        path.write_text(text.replace(",3.1,", ",NaN,"))
    else:
        rows = SWEEP.assign(val_loss=[3.0, math.nan, math.nan], grad=[1.5, math.nan, math.nan])
        lines = [json.dumps(row) for row in rows.to_dict("records")]
        path.write_text("\n".join([*lines[:2], lines[2].replace("NaN", "null"), ""]))
    table, notes = import_runs(path, "ours", **SAID)
    assert table["status"].tolist() == ["finished", "diverged", "crashed"]
    assert table["loss"].isna().tolist() == [False, True, True]
    assert "runs with a loss of NaN, counted as diverged: 1" in notes
    assert table["grad"].tolist()[0] == 1.5
    assert table["grad"].dtype == float


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_ids_of_digits_stay_as_they_are_written(sweep, kind):
    path, rows = (
        Path(f"ids.{kind}"),
        SWEEP.rename(columns={"name": "run_id"}).assign(run_id=["001", "01", "1"]),
    )
    lines = [json.dumps(row) for row in rows.fillna({"val_loss": 9.0}).to_dict("records")]
    path.write_text(rows.to_csv(index=False) if kind == "csv" else "\n".join(lines))
    assert import_runs(path, "ours", **SAID)[0]["run_id"].tolist() == ["001", "01", "1"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("cut.json", '[{"id": "a"', "not JSON ("),
        ("list.json", "[1, 2]", "expected a list of runs"),
        ("runs.txt", "", "unknown suffix '.txt'"),
        ("gone.json", None, "does not exist"),
        ("binary.json", b"\x80\x81\x00\x01", "not a readable .json file ("),
        ("binary.csv", b"\x80\x81\x00\x01", "not a readable .csv file ("),
        ("deep.json", "[" * 100_000, "not a readable .json file ("),
        ("empty.csv", "", "not a readable .csv file ("),
        ("empty.jsonl", "", "no rows; expected one row a run"),
        ("other.jsonl", '{"id": 1}', "does not say what these runs are"),
    ],
)
def test_wandb_files_that_are_none(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert words in error_of(tmp_path / name, "ours", "wandb")


@pytest.mark.parametrize("adapter", [None, "marin"])
def test_a_folder_is_called_one(tmp_path, adapter):
    assert error_of(tmp_path, "ours", adapter) == (
        f"{tmp_path}: is a folder; expected a file with one run a row; name the file in it"
    )


@pytest.mark.parametrize("adapter", [None, "wandb"])
def test_a_table_in_utf_16_is_read(sweep, adapter):
    SWEEP.to_csv("wide.csv", index=False, encoding="utf-16")
    assert import_runs("wide.csv", "ours", adapter, **SAID)[0]["run_id"].tolist() == ["r1", "r2", "r3"]
