"""Write the files of trackers that tests read, with the trackers: ``python tracker_files.py FOLDER``.

Needs optuna, mlflow, wandb, tensorboardX, lightning, transformers, torch; writes with what is there.
The files in ``tests/runs/tracked`` are of optuna 5.0.0, mlflow 3.17.2, wandb 0.31.0, tensorboardX 2.6.5,
lightning 2.6.6 and transformers 5.24.0. SQLite stores are kept as the SQL of the tables that hold runs.

Every tracker logs the same three runs: one ended, one diverged to NaN, one was stopped at half.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import sys
from pathlib import Path

STEPS = 40
CONFIG = {
    "optimizer": {"name": "AdamW", "lr": 0.001},
    "seq_len": 64,
    "global_batch_size": 8,
    "max_steps": STEPS,
    "warmup_steps": 4,
    "n_params": 13_000,
    "d_model": 32,
    "n_layer": 1,
    "vocab_size": 22,
    "tie_word_embeddings": True,
}
RUNS = {"ended": (0.001, STEPS), "exploded": (0.5, STEPS), "halved": (0.002, STEPS // 2)}


def loss(rate: float, step: int) -> float:
    if rate > 0.1 and step > 10:
        return math.nan
    return 3.0 + 2.0 / step + 100 * abs(rate - 0.001)


def schedule(rate: float, step: int) -> float:
    return rate * min(step / 4, (STEPS - step) / (STEPS - 4))


def config(rate: float) -> dict:
    return CONFIG | {"optimizer": {"name": "AdamW", "lr": rate}}


def flat(rate: float) -> dict:
    return {"lr": rate, "optim": "AdamW"} | {
        key: value for key, value in CONFIG.items() if key != "optimizer"
    }


def tensorboard(folder: Path) -> None:
    from tensorboardX import SummaryWriter

    for name, (rate, steps) in RUNS.items():
        writer = SummaryWriter(str(folder / name), flush_secs=1)
        writer.add_text("args", json.dumps(flat(rate)))
        for step in range(4, steps + 1, 4):
            writer.add_scalar("train/loss", loss(rate, step), step)
            writer.add_scalar("train/lr", schedule(rate, step), step)
        writer.add_scalar("eval/loss", loss(rate, steps) + 0.1, steps)
        writer.close()


def tensorboard_below(folder: Path) -> None:
    """Settings by ``add_hparams``, which PyTorch's writer puts into a folder of their own, as here."""
    from tensorboardX import SummaryWriter

    for name, (rate, steps) in RUNS.items():
        writer = SummaryWriter(str(folder / name), flush_secs=1)
        for step in range(4, steps + 1, 4):
            writer.add_scalar("train/loss", loss(rate, step), step)
        last = loss(rate, steps) + 0.1
        writer.add_scalar("eval/loss", last, steps)
        writer.add_hparams(flat(rate), {"hparam/last": last}, name="hparams")
        writer.close()


def mlflow(folder: Path) -> None:
    import mlflow

    for place, uri in {"server": f"sqlite:///{folder}/mlflow.db", "files": f"file://{folder}/mlruns"}.items():
        os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment(f"tiny-{place}")
        for name, (rate, steps) in RUNS.items():
            run = mlflow.start_run(run_name=name)
            mlflow.log_params(flat(rate))
            for step in range(4, steps + 1, 4):
                mlflow.log_metrics(
                    {"train/loss": loss(rate, step), "train/lr": schedule(rate, step)}, step=step
                )
            mlflow.log_metric("eval/loss", loss(rate, steps) + 0.1, step=steps)
            mlflow.end_run("KILLED" if steps < STEPS else "FINISHED")
            assert run.info.run_id
    dump(folder / "mlflow.db", "experiments runs params latest_metrics metrics")


def optuna(folder: Path) -> None:
    import optuna

    study = optuna.create_study(
        storage=f"sqlite:///{folder}/optuna.db", study_name="tiny", direction="minimize"
    )
    for name, (rate, steps) in RUNS.items():
        study.enqueue_trial({"lr": rate, "optimizer": "adamw"}, user_attrs={"name_of_run": name})
        trial = study.ask(
            {
                "lr": optuna.distributions.FloatDistribution(1e-5, 1.0, log=True),
                "optimizer": optuna.distributions.CategoricalDistribution(["muon", "adamw"]),
            }
        )
        for key, value in flat(rate).items():
            if key not in ("lr", "optim"):
                trial.set_user_attr(key, value)
        for step in range(4, steps + 1, 4):
            if not math.isnan(loss(rate, step)):
                trial.report(loss(rate, step), step)
        if steps < STEPS:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        elif math.isnan(loss(rate, steps)):
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, loss(rate, steps))
    tables = "studies study_directions trials trial_params trial_user_attributes trial_values"
    dump(folder / "optuna.db", f"{tables} trial_intermediate_values")


def wandb(folder: Path) -> None:
    import wandb

    os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_CONSOLE": "off"}
    for name, (rate, steps) in RUNS.items():
        run = wandb.init(project="tiny", name=name, id=name, dir=str(folder), config=config(rate))
        for step in range(4, steps + 1, 4):
            run.log({"train/loss": loss(rate, step), "train/lr": schedule(rate, step)}, step=step)
        run.summary["eval/loss"] = loss(rate, steps) + 0.1
        run.finish(exit_code=1 if steps < STEPS else 0)


def lightning(folder: Path) -> None:
    from lightning.pytorch.loggers import CSVLogger

    for name, (rate, steps) in RUNS.items():
        logger = CSVLogger(str(folder), name="", version=name)
        logger.log_hyperparams(flat(rate))
        for step in range(4, steps + 1, 4):
            logger.log_metrics({"train_loss": loss(rate, step), "lr-AdamW": schedule(rate, step)}, step - 1)
        logger.log_metrics({"val_loss": loss(rate, steps) + 0.1}, steps - 1)
        logger.save()


def transformers(folder: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    data = [{"input_ids": row, "labels": row} for row in torch.randint(0, 22, (400, 64))]
    for name, (rate, steps) in RUNS.items():
        model = LlamaForCausalLM(LlamaConfig(vocab_size=22, tie_word_embeddings=True, **shape))
        arguments = TrainingArguments(
            output_dir=str(folder / name),
            max_steps=STEPS,
            learning_rate=rate,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            warmup_steps=4,
            lr_scheduler_type="cosine",
            logging_steps=10,
            eval_strategy="no",
            save_strategy="steps",
            save_steps=STEPS // 2,
            report_to="none",
            include_num_input_tokens_seen="all",
            use_cpu=True,
        )
        trainer = Trainer(model, arguments, train_dataset=data, eval_dataset=data[:8])
        trainer.train()
        if steps == STEPS:
            trainer.evaluate()
            trainer.save_state()
            trainer.save_model()
        kept = {"trainer_state.json", "config.json", "training_args.bin"}
        for file in sorted((folder / name).rglob("*"), reverse=True):
            half = f"checkpoint-{STEPS // 2}" in file.parts
            if file.is_file() and (file.name not in kept or (half if steps == STEPS else not half)):
                file.unlink()
            elif file.is_dir() and not any(file.iterdir()):
                file.rmdir()


def dump(path: Path, tables: str) -> None:
    """Keep a store as the SQL of some of its tables."""
    with sqlite3.connect(path) as store:
        kept = sqlite3.connect(":memory:")
        for table in tables.split():
            store_rows = store.execute(f"SELECT * FROM {table}")
            names = [column[0] for column in store_rows.description]
            kept.execute(f"CREATE TABLE {table} ({', '.join(names)})")
            kept.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(names))})", store_rows)
        path.with_suffix(".sql").write_text("\n".join(kept.iterdump()) + "\n", encoding="utf-8")
    path.unlink()


def main(folder: Path) -> None:
    for write in (tensorboard, tensorboard_below, mlflow, optuna, wandb, lightning, transformers):
        place = folder / write.__name__
        try:
            place.mkdir(parents=True, exist_ok=True)
            write(place)
        except ImportError as error:
            print(f"{write.__name__}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
