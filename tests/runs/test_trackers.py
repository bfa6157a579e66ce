"""Runs of trackers and trainers, in files that they wrote themselves (``tests/support/tracker_files.py``)."""

from __future__ import annotations

import io
import json
import math
import pickle
import shutil
import sqlite3
import struct
import threading
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pandas as pd
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.runs.importing import import_runs, imported
from bayeslaw.runs.io import read_runs, write_runs
from bayeslaw.runs.trackers.transformers import _Names
from bayeslaw.runs.trackers.wire import tfrecords
from tests.support.command import run

TRACKED = Path(__file__).parent / "tracked"
EVAL = {"ended": 3.15, "exploded": None, "halved": 3.3}
RATES = {"ended": 0.001, "exploded": 0.5, "halved": 0.002}
ONE_OF_EACH = {"ended": "finished", "exploded": "diverged", "halved": "stopped"}
PLACES = {
    "tensorboard": "tensorboard",
    "tensorboard with settings below": "tensorboard_below",
    "mlflow": "mlflow/mlruns",
    "mlflow store": "mlflow/mlflow.sql",
    "optuna": "optuna/optuna.sql",
    "wandb": "wandb",
    "lightning": "lightning",
    "transformers": "transformers",
}


def place_of(name: str, folder: Path) -> Path:
    """What a tracker left; an SQLite store is made of its SQL."""
    source = TRACKED / PLACES[name]
    if source.suffix != ".sql":
        return source
    with closing(sqlite3.connect(folder / "store.db")) as store:
        store.executescript(source.read_text(encoding="utf-8"))
    return folder / "store.db"


def said(name: str) -> dict[str, object]:
    """What a person has to say: the optimizer has its name, the study where none is recorded."""
    length = {"sequence_length": 64} if name == "transformers" else {}
    return {"study": "tiny", "constants": length, "confirm": True}


def by_run(table: pd.DataFrame, column: str) -> dict[str, object]:
    names = table["name"] if "name" in table else table["run_id"]
    if "name_of_run" in "".join(table.columns):
        names = table["config.name_of_run"]
    return dict(zip(names, table[column], strict=True))


@pytest.mark.parametrize("name", PLACES)
def test_runs_come_in_as_what_they_are(name, tmp_path):
    table, notes = import_runs(place_of(name, tmp_path), **said(name))
    assert notes[0].startswith(f"read as {name.split()[0]}: ")
    assert by_run(table, "learning_rate") == RATES
    assert set(table["optimizer"]) == {"adamw"}
    assert set(table["batch_tokens"]) == {8 * 64}
    assert set(table["tokens"]) == {40 * 8 * 64}
    assert set(table["warmup_tokens"]) == {4 * 8 * 64}
    if name == "optuna":  # which fails a trial that reports NaN, and keeps the objective alone
        assert by_run(table, "status") == ONE_OF_EACH | {"exploded": "crashed"}
    elif (
        name == "transformers"
    ):  # real training: its loss did not become NaN, and half a run has no evaluation
        assert by_run(table, "status") == ONE_OF_EACH | {"exploded": "finished"}
        assert by_run(table, "loss")["ended"] == pytest.approx(3.0934, abs=1e-4)
    else:
        expected = ONE_OF_EACH | ({"halved": "crashed"} if name == "wandb" else {})
        assert by_run(table, "status") == expected
        losses = by_run(table, "loss")
        assert losses["ended"] == pytest.approx(EVAL["ended"])
        assert math.isnan(losses["exploded"])
    if name == "transformers":  # 4 width^2 of attention, 3 x 32 x 64 of a gated feed-forward network
        assert set(table["params_nonembedding"]) == {10_240}
    else:  # within a tenth of 12 width^2 = 12,288, so without embeddings
        assert set(table["params_nonembedding"]) == {13_000}
    write_runs(table, tmp_path / "runs.csv")
    assert len(read_runs(tmp_path / "runs.csv")) == 3


def test_each_role_has_its_reason(tmp_path):
    readings = {each.role: each for each in imported(TRACKED / "wandb", **said("wandb")).readings}
    assert readings["learning_rate"][1:] == ("config.optimizer.lr", "ends in lr, a name of the learning_rate")
    assert readings["batch_sequences"][1:] == (
        "config.global_batch_size",
        "guessed: 8 to 8 are few for tokens; trainers count sequences",
    )
    assert readings["tokens"][1:] == ("steps, batch_tokens", "steps times batch_tokens")
    assert readings["study"].reason == "said"


def test_nothing_is_guessed_without_confirmation():
    with pytest.raises(BadInput) as caught:
        import_runs(TRACKED / "wandb", "tiny", mapping={"loss": "metrics.eval/loss"})
    assert "--confirm would read:\n  config.global_batch_size as batch_sequences: 8 to 8 are few" in str(
        caught.value
    )


def test_the_shape_tells_what_a_count_of_parameters_includes(tmp_path):
    rows = pd.DataFrame({"lr": [1e-3], "D": 1e6, "batch_tokens": 512, "val_loss": 3.0, "optimizer": "adamw"})
    shape = {"d_model": 32, "n_layer": 1, "vocab_size": 1000}
    for name, count, extra in [
        ("with", 12_288 + 32_000, {}),
        ("twice", 12_288 + 64_000, {"tie_word_embeddings": False}),
        ("without", 12_300, {}),
    ]:
        rows.assign(**shape, n_params=count, **extra).to_csv(tmp_path / f"{name}.csv", index=False)
        table, _ = import_runs(tmp_path / f"{name}.csv", "ours", confirm=True)
        assert table["params_nonembedding"].tolist() == [12_300 if name == "without" else 12_288]


@pytest.mark.parametrize(
    ("count", "taken", "column"), [(12_300, 12_300, "n_params"), (44_288, 12_288, "blocks by shape")]
)
def test_a_count_above_the_blocks_is_not_one_of_them(tmp_path, count, taken, column):
    rows = pd.DataFrame({"lr": [1e-3], "D": 1e6, "batch_tokens": 512, "val_loss": 3.0, "optimizer": "adamw"})
    rows.assign(d_model=32, n_layer=1, n_params=count).to_csv(tmp_path / "a.csv", index=False)
    found = imported(tmp_path / "a.csv", "ours", confirm=True)
    assert found.table["params_nonembedding"].tolist() == [taken]
    assert column in [each.column for each in found.readings if each.role == "params_nonembedding"]


def test_epochs_sequences_and_warmup_shares_are_converted(tmp_path):
    rows = pd.DataFrame({"lr": [1e-3], "N": 1e4, "val_loss": 3.0, "optimizer": "adamw", "seq_len": 64})
    tellings = [
        {"num_epochs": 2, "dataset_size": 5000, "sequences_per_batch": 8},
        {"num_epochs": 2, "steps_per_epoch": 625, "sequences_per_batch": 8},
        {"train_samples": 10_000, "max_steps": 1250},
        {"max_steps": 1250, "micro_batch_size": 2, "grad_accum_steps": 2, "world_size": 2},
    ]
    for telling in tellings:
        rows.assign(**telling, warmup_ratio=0.1).to_csv(tmp_path / "a.csv", index=False)
        table, _ = import_runs(tmp_path / "a.csv", "ours", mapping={"params_nonembedding": "N"})
        columns = ["tokens", "batch_tokens", "warmup_tokens"]
        assert table.loc[0, columns].tolist() == [640_000, 512, 64_000]


def test_a_folder_of_configurations(tmp_path):
    config = {"optimizer": {"name": "adamw", "lr": 1e-3}, "batch_tokens": 512, "tokens": 20_480, "N": 12_288}
    for name, ending in {"a": {"val_loss": 3.0}, "b": {"val_loss": "NaN"}, "c": {}}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
        (tmp_path / name / "metrics.json").write_text(json.dumps(ending).replace('"NaN"', "NaN"))
    (tmp_path / "d.json").write_text(json.dumps(config | {"max_steps": 40}))
    (tmp_path / "d.jsonl").write_text('{"step": 10, "val_loss": 4.0}\n{"step": 20, "val_loss": 3.5}\n')
    table, notes = import_runs(tmp_path, "ours", mapping={"params_nonembedding": "config.N"})
    assert by_run(table, "status") == {"a": "finished", "b": "diverged", "c": "crashed", "d": "stopped"}
    assert by_run(table, "loss")["d"] == 3.5
    assert "runs that ended before 95% of their steps, counted as stopped: 1 of 4" in notes


def test_runs_that_were_recorded_in_two_ways_are_one_table(tmp_path):
    config = {"lr": 1e-3, "batch_tokens": 512, "tokens": 20_480, "params_nonembedding": 12_288}
    ways: list[tuple[dict, dict]] = [
        ({"optimizer": {"type": "AdamW"}}, {"eval_loss": 3.5, "train_loss": 3.0, "status": "COMPLETED"}),
        ({"optimizer": {"type": "AdamW"}}, {"eval_loss": 3.4, "train_loss": 2.9, "status": "FAILED"}),
        ({"optimizer": "muon"}, {"eval": {"loss": 3.25}, "train_loss": 2.8}),
    ]
    for number, (settings, metrics) in enumerate(ways):
        (tmp_path / f"{number}").mkdir()
        (tmp_path / f"{number}" / "config.json").write_text(json.dumps(config | settings))
        (tmp_path / f"{number}" / "metrics.json").write_text(json.dumps(metrics))
    table, notes = import_runs(tmp_path, "ours", confirm=True)
    assert by_run(table, "loss") == {"0": 3.5, "1": 3.4, "2": 3.25}
    assert by_run(table, "optimizer") == {"0": "adamw", "1": "adamw", "2": "muon"}
    assert by_run(table, "status") == {"0": "finished", "1": "crashed", "2": "finished"}
    assert "took metrics.eval.loss where metrics.eval_loss is missing: 1 run" in notes


def test_a_line_that_is_still_written_is_left_out_and_one_that_is_damaged_is_named(tmp_path):
    config = {"optimizer": "adamw", "lr": 1e-3, "batch_tokens": 512, "tokens": 20_480, "max_steps": 40}
    (tmp_path / "config.json").write_text(json.dumps(config | {"params_nonembedding": 12_288}))
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 10, "val_loss": 4.0}\n{"step": 20, "val_lo')
    table, _ = import_runs(tmp_path, "ours")
    assert table[["loss", "status"]].to_numpy().tolist() == [[4.0, "stopped"]]
    log.write_text('{"step": 10, "val_lo\n{"step": 20, "val_loss": 4.0}\n')
    with pytest.raises(BadInput, match=r"metrics\.jsonl: line 1 is not JSON"):
        import_runs(tmp_path, "ours")


def test_a_run_that_is_still_written_is_read_as_far_as_it_is(tmp_path):
    place = tmp_path / "halved"
    shutil.copytree(TRACKED / "tensorboard" / "halved", place)
    file = next(place.iterdir())
    file.write_bytes(file.read_bytes()[:-20])
    assert import_runs(tmp_path, **said("tensorboard"), mapping={"loss": "metrics.train/loss"})[0][
        "status"
    ].tolist() == ["stopped"]
    wandb = tmp_path / "wandb" / "run-a"
    wandb.mkdir(parents=True)
    whole = (next((TRACKED / "wandb").glob("*ended")) / "run-ended.wandb").read_bytes()
    (wandb / "run-a.wandb").write_bytes(whole[: len(whole) // 2])
    table, _ = import_runs(wandb, **said("wandb"), mapping={"loss": "metrics.train/loss"})
    assert table["status"].tolist() == ["stopped"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("events.out.tfevents.1", struct.pack("<Q", 2**60) + b"0000"),
        ("events.out.tfevents.2", struct.pack("<Q", 4) + b"0000" + b"\xff\xff\xff\xff" + b"0000"),
        ("run-a.wandb", b"nothing of the kind"),
        ("trainer_state.json", b"[1]"),
        ("trainer_state.json", b'{"global_step": "x"}'),
        ("store.db", b"SQLite format 3\x00 and nothing more"),
        ("hparams.yaml", b"a: [1"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    (tmp_path / "metrics.csv").write_text("step,loss\n1,2.0\n")
    with pytest.raises(BadInput, match=name.partition(".")[0]):
        import_runs(tmp_path / name if name.endswith("db") else tmp_path, "ours")


def test_arguments_in_a_pickle_run_nothing():
    class Evil:
        def __reduce__(self):
            return (exec, ("raise SystemExit('ran')",))

    assert _Names(io.BytesIO(pickle.dumps(Evil()))).load().arguments == ("raise SystemExit('ran')",)


def test_objects_in_yaml_are_text(tmp_path):
    (tmp_path / "hparams.yaml").write_text("lr: 0.001\nx: !!python/object/apply:os.system ['exit 1']\n")
    (tmp_path / "metrics.csv").write_text("step,val_loss\n1,2.0\n")
    fixed = {"optimizer": "adamw", "params_nonembedding": "1e6", "tokens": "1e6", "batch_tokens": "1e3"}
    table, _ = import_runs(tmp_path, "ours", constants=fixed)
    assert table["config.x"].tolist() == ["['exit 1']"]


@contextmanager
def server_of(runs):
    """The two calls of MLflow's REST API that an import makes, one run a page."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.endswith("experiments/search"):
                answer = {"experiments": [{"experiment_id": "1", "name": "tiny"}]}
            else:
                at = int(asked.get("page_token", 0))
                following = {"next_page_token": str(at + 1)} if at + 1 < len(runs) else {}
                answer = {"runs": [runs[at]]} | following
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_an_mlflow_server_is_asked_page_by_page(monkeypatch, capsys, tmp_path):
    params = {
        "lr": "0.001",
        "optim": "AdamW",
        "batch_tokens": "512",
        "tokens": "20480",
        "n_nonembedding": "12288",
    }
    runs = [
        {
            "info": {
                "run_id": run_id,
                "experiment_id": "1",
                "status": status,
                "start_time": 1000,
                "end_time": 3000,
            },
            "data": {
                "params": [{"key": key, "value": value} for key, value in params.items()],
                "metrics": [{"key": "val_loss", "value": 3.0, "step": 40}],
            },
        }
        for run_id, status in [("a", "FINISHED"), ("b", "RUNNING")]
    ]
    with server_of(runs) as address:
        code, _, err = run(monkeypatch, capsys, "import", address, "-o", str(tmp_path / "runs.csv"))
    assert code == 0, err
    table = read_runs(tmp_path / "runs.csv")
    assert table[["study", "status", "wall_seconds"]].values.tolist() == [
        ["tiny", "finished", 2.0],
        ["tiny", "stopped", 2.0],
    ]
    assert "config.lr" in err
    assert "ends in" in err or "a name of" in err


def test_records_end_where_the_file_does():
    record = struct.pack("<Q", 2) + b"crc1" + b"hi" + b"crc2"
    assert list(tfrecords(io.BytesIO(record * 2 + record[:-3]))) == [b"hi", b"hi"]
