"""Known layouts of tables of runs. The function of each states the conventions that it fixes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pandas as pd

from bayeslaw.errors import BadInput
from bayeslaw.runs.architecture_layouts import olmo_ladder, openlm
from bayeslaw.runs.io import PathLike, narrow, read_table
from bayeslaw.runs.trackers.folders import read_folders
from bayeslaw.runs.trackers.lightning import read_lightning
from bayeslaw.runs.trackers.mlflow import read_mlflow
from bayeslaw.runs.trackers.optuna import read_optuna
from bayeslaw.runs.trackers.sqlite import tables_of
from bayeslaw.runs.trackers.tensorboard import read_tensorboard
from bayeslaw.runs.trackers.transformers import read_transformers
from bayeslaw.runs.trackers.wandb_api import SCHEME
from bayeslaw.runs.wandb import read_wandb

Convert = Callable[[pd.DataFrame, str | None], tuple[pd.DataFrame, list[str]]]


@dataclass(frozen=True)
class Layout:
    """A known layout of a table of runs.

    Attributes:
        name: as ``--adapter`` takes it.
        needed_columns: those that it cannot do without; by them an import suggests it.
        convert: the table and the study's name -> a run table, not yet checked, and notes; None for a layout
            whose columns are found by their names.
        help: what it is, in a few words.
        read: the file or folder as a table.
        pattern: of names of the files that it is found by, in a folder or alone; empty for none.
        table: that an SQLite store of it has; empty for none.
    """

    name: str
    needed_columns: tuple[str, ...]
    convert: Convert | None
    help: str
    read: Callable[[PathLike], pd.DataFrame] = read_table
    pattern: str = ""
    table: str = ""


STEP_LAW_SEQUENCE = 2048
MARIN_SEQUENCE = 4096
MARIN_SIZES = {  # size: (non-embedding N, width); 32 layers, feed-forward 4 x width, gated
    "130m": (134_217_728, 512),
    "300m": (301_989_888, 768),
    "520m": (536_870_912, 1024),
}
MARIN_DIVERGED_LOSS = 5.0


def steplaw(raw: pd.DataFrame, study: str | None = None) -> tuple[pd.DataFrame, list[str]]:
    """Step Law's own table (arXiv 2503.04715): lr, bs in sequences of 2,048, D, N, ``smooth loss``.

    N excludes embeddings; the loss is the smoothed training loss; see `_step_law` for the rest.
    """
    table = _step_law(raw["N"], raw["D"], raw["bs"], raw["lr"], raw["smooth loss"], study or "steplaw")
    shape = {"width": raw["h"], "depth": raw["numl"], "heads": raw["numh"]}
    optional = {"ffnh": "extra_ffn_width", "loss": "loss_unsmoothed"}
    kept = {new: raw[old] for old, new in optional.items() if old in raw}
    return table.assign(**shape, **kept), [STEP_LAW_NOTE]


def scalebench(raw: pd.DataFrame, study: str | None = None) -> tuple[pd.DataFrame, list[str]]:
    """ScaleBench's ``lr & bsz`` table (arXiv 2604.22753): the same study as `steplaw`, more cells.

    Run ids are derived as in `steplaw`, so reading both tables keeps each run once.
    """
    params, tokens = raw["non_embedding_param_size"], raw["data_size"]
    table = _step_law(params, tokens, raw["bsz"], raw["lr"], raw["lm_loss"], study or "steplaw")
    return table, [STEP_LAW_NOTE]


STEP_LAW_NOTE = (
    "Step Law conventions: N without embeddings, batch in sequences of 2,048 tokens, AdamW (0.9, 0.95), "
    "weight decay 0.1, cosine to a fixed 1e-5 after 2,000 steps; loss is the smoothed training loss"
)


def _step_law(
    params: pd.Series, tokens: pd.Series, sequences: pd.Series, lr: pd.Series, loss: pd.Series, study: str
) -> pd.DataFrame:
    """Apply the conventions of the Step Law study, with run ids derived from the configuration."""
    batch = sequences * STEP_LAW_SEQUENCE
    ids = [
        f"{study}-N{n:.0f}-D{d:.0f}-B{b:.0f}-lr{eta:.6g}" for n, d, b, eta in zip(params, tokens, batch, lr)
    ]
    return pd.DataFrame(
        {
            "run_id": ids,
            "study": study,
            "optimizer": "adamw",
            "params_nonembedding": params,
            "parametrization": "standard",
            "tokens": tokens,
            "batch_tokens": batch,
            "sequence_length": STEP_LAW_SEQUENCE,
            "learning_rate": lr,
            "schedule": "cosine",
            "warmup_tokens": 2000 * batch,
            "final_lr_ratio": 1e-5 / lr,
            "momentum": 0.9,
            "beta2": 0.95,
            "weight_decay": 0.1,
            "loss": loss,
            "loss_kind": "train_smoothed",
            "status": np.where(loss.isna(), "crashed", "finished"),
        }
    )


def marin(raw: pd.DataFrame, study: str | None = None) -> tuple[pd.DataFrame, list[str]]:
    """Marin's optimizer sweep (arXiv 2509.02046): nine optimizers, one hyperparameter varied at a time.

    Tokens are 20 N chinchilla; batches count sequences of 4,096; warm-up is in steps. Muon's momentum is
    its own, and its beta1 and beta2 belong to the AdamW part (``extra_adam_beta1``, ``beta2``).
    """
    unknown = sorted(set(raw["size"]) - set(MARIN_SIZES))
    if unknown:
        raise BadInput(
            f"marin: size = {unknown[0]}; expected one of {', '.join(MARIN_SIZES)}; drop those rows"
        )
    study = study or "marin"
    raw, notes = _marin_once(raw)
    extra = _marin_extra(raw["extra"])
    params = raw["size"].map({size: n for size, (n, _) in MARIN_SIZES.items()})
    batch = raw["train_batch_size"] * MARIN_SEQUENCE
    known = {
        "run_id": _marin_ids(raw, study),
        "study": study,
        "optimizer": raw["optimizer"],
        "params_nonembedding": params,
        "width": raw["size"].map({size: width for size, (_, width) in MARIN_SIZES.items()}),
        "depth": 32,
        "parametrization": "standard",
        "tokens": 20.0 * params * raw["chinchilla"],
        "batch_tokens": batch,
        "sequence_length": MARIN_SEQUENCE,
        "learning_rate": raw["learning_rate"],
        "schedule": _taken(extra, "lr_schedule").fillna("cosine"),
        "warmup_tokens": raw["warmup"] * batch,
        "momentum": _floats(_taken(extra, "momentum")).fillna(raw["beta1"]),
        "epsilon": _floats(_taken(extra, "epsilon")),
        "loss": raw["loss"],
        "loss_kind": "val_final",
        "status": _marin_status(raw["loss"]),
        "extra_adam_beta1": raw["beta1"].where(_taken(extra, "momentum").notna()),
    }
    names = {"beta2": "beta2", "weight_decay": "weight_decay", "min_lr_ratio": "final_lr_ratio"}
    names |= {"max_grad_norm": "grad_clip", "is_baseline": "is_baseline"}
    plain = {new: raw[old] for old, new in names.items() if old in raw}
    others = extra.drop(columns=["lr_schedule", "momentum", "epsilon"], errors="ignore").add_prefix("extra_")
    return pd.DataFrame({**known, **plain}).join(others), [*notes, MARIN_NOTE]


MARIN_NOTE = (
    "Marin conventions: N without embeddings, batch in sequences of 4,096 tokens, tokens = 20 N chinchilla; "
    "loss is the C4-en evaluation, not the training mix; schedule cosine unless stated (Muon: linear)"
)


def _marin_once(raw: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Keep one row per run_name, the baseline's if there is one; rows without a name are all kept."""
    order = raw.get("is_baseline", pd.Series(0, index=raw.index)).rank(method="first", ascending=False)
    repeated = raw["run_name"].notna() & raw.loc[order.sort_values().index, "run_name"].duplicated()
    unnamed = raw["run_name"].isna().sum()
    notes = []
    if repeated.any():
        notes.append(f"dropped rows that repeat a run_name under another epsilon: {repeated.sum()}")
    if unnamed:
        notes.append(f"rows without a run_name, given ids made of their configuration: {unnamed}")
    return raw[~repeated].reset_index(drop=True), notes


def _marin_ids(raw: pd.DataFrame, study: str) -> pd.Series:
    configuration = raw.drop(columns=["loss", "run_name", "is_baseline"], errors="ignore").astype(str)
    hashes = pd.util.hash_pandas_object(configuration, index=False)
    made = [
        f"{study}-{optimizer}-{size}-{chinchilla}x-{value % 16**8:08x}"
        for optimizer, size, chinchilla, value in zip(
            raw["optimizer"], raw["size"], raw["chinchilla"], hashes
        )
    ]
    return raw["run_name"].astype("object").fillna(pd.Series(made, index=raw.index))


def _marin_status(loss: pd.Series) -> np.ndarray:
    """Status by loss: nan means none was recorded; above 5 the run diverged or nearly did."""
    return np.where(loss.isna(), "crashed", np.where(loss > MARIN_DIVERGED_LOSS, "diverged", "finished"))


def _marin_extra(texts: pd.Series) -> pd.DataFrame:
    """Split a ``key=value;key=value`` field into columns; columns of numbers become numeric."""
    pairs = [
        dict(pair.partition("=")[::2] for pair in text.split(";")) if isinstance(text, str) else {}
        for text in texts
    ]
    return narrow(pd.DataFrame(pairs, index=texts.index))


def schaipp(raw: pd.DataFrame, study: str | None = None) -> tuple[pd.DataFrame, list[str]]:
    """Runs of fabian-sp/lr-scheduling (arXiv 2501.18965 and 2405.18392): AdamW, schedules and decay shares.

    N counts no embeddings, the loss is the final validation loss. Each corpus is a study of its own, since
    losses on different corpora do not compare. The rate of ``wsd`` falls to 0 over the last
    ``decay_fraction`` of the steps; without a decay it is ``constant``. That of ``cos`` falls over all steps
    after the warm-up, to ``cos_final_lr``, or to a tenth of the peak where this is -1 or missing, as in
    epfml/schedules-and-scaling.
    """
    cosine = raw["schedule"] == "cos"
    constant = (raw["schedule"] == "wsd") & (raw["decay_fraction"] == 0)
    last = (raw["cos_final_lr"].where(raw["cos_final_lr"] > 0) / raw["learning_rate"]).fillna(0.1)
    after_warmup = 1 - raw["warmup_steps"] / raw["iterations"]
    same = (
        *("optimizer", "params_nonembedding", "width", "depth", "heads", "tokens", "batch_tokens"),
        *("sequence_length", "learning_rate", "beta2", "weight_decay", "grad_clip", "seed"),
    )
    table = raw[list(same)].assign(
        run_id=raw["run"],
        study=(study or "schaipp") + "-" + raw["dataset"],
        params_embedding=raw["params_total"] - raw["params_nonembedding"],
        schedule=raw["schedule"].mask(cosine, "cosine").mask(constant, "constant"),
        warmup_tokens=raw["warmup_steps"] * raw["batch_tokens"],
        final_lr_ratio=last.where(cosine, 0.0).mask(constant, 1.0),
        decay_share=after_warmup.where(cosine, raw["decay_fraction"]),
        momentum=raw["beta1"],
        loss=raw["final_val_loss"],
        loss_kind="val_final",
        status=np.where(raw["final_val_loss"].isna(), "crashed", "finished"),
        extra_decay_shape=raw["decay_shape"].mask(cosine | constant),
        extra_model=raw["model"],
    )
    return table, [SCHAIPP_NOTE]


SCHAIPP_NOTE = (
    "Schaipp and Haegele conventions: N without embeddings, each corpus a study of its own; "
    "wsd falls to 0, cosine to a tenth of the peak unless stated; loss is the final validation loss"
)


def _taken(table: pd.DataFrame, name: str) -> pd.Series:
    return table[name] if name in table else pd.Series(None, index=table.index, dtype="object")


def _floats(values: pd.Series) -> pd.Series:
    """Convert to float64 and mend the last digits of decimal powers (9.999999999999999e-26 is 1e-25)."""
    return pd.to_numeric(values).astype("float64").map(lambda value: float(f"{value:.10g}"))


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            "steplaw",
            ("lr", "bs", "D", "N", "smooth loss", "h", "numl", "numh"),
            steplaw,
            "Step Law's table of dense runs (arXiv 2503.04715)",
        ),
        Layout(
            "scalebench",
            ("lr", "bsz", "data_size", "non_embedding_param_size", "lm_loss"),
            scalebench,
            "ScaleBench's learning rates and batches (arXiv 2604.22753)",
        ),
        Layout(
            "marin",
            (
                *("optimizer", "size", "chinchilla", "learning_rate", "train_batch_size", "warmup", "beta1"),
                *("extra", "loss", "run_name"),
            ),
            marin,
            "Marin's sweep of optimizers (arXiv 2509.02046)",
        ),
        Layout(
            "schaipp",
            (
                *(
                    "run",
                    "optimizer",
                    "params_total",
                    "params_nonembedding",
                    "width",
                    "depth",
                    "heads",
                    "model",
                ),
                *("dataset", "learning_rate", "schedule", "decay_shape", "decay_fraction", "warmup_steps"),
                *(
                    "cos_final_lr",
                    "iterations",
                    "sequence_length",
                    "batch_tokens",
                    "tokens",
                    "beta1",
                    "beta2",
                ),
                *("weight_decay", "grad_clip", "seed", "final_val_loss"),
            ),
            schaipp,
            "Schaipp's and Haegele's schedules and decay shares (arXiv 2501.18965, 2405.18392)",
        ),
        Layout(
            "openlm",
            ("key", "width", "depth", "heads", "f4", "lr", "wd", "tokens", "warmup", "cd", "loss"),
            openlm,
            "OpenLM's grid of widths, depths, heads and warm-ups (arXiv 2403.08540)",
        ),
        Layout(
            "olmo-ladder",
            (
                *("run", "_step", "learning_rate_peak", "batch_size_in_tokens"),
                "eval/c4_en-validation/CrossEntropyLoss",
            ),
            olmo_ladder,
            "last points of the OLMo ladder's curves (arXiv 2412.04403)",
        ),
        Layout(
            "wandb",
            (),
            None,
            "Weights & Biases: the runs page as CSV, JSON with config and summary, run folders, or "
            "wandb://ENTITY/PROJECT",
            read_wandb,
            "*.wandb",
        ),
        Layout(
            "transformers",
            (),
            None,
            "a folder with trainer_state.json per run, arguments beside it",
            read_transformers,
            "trainer_state.json",
        ),
        Layout(
            "tensorboard",
            (),
            None,
            "a folder of TensorBoard event files, one subfolder per run",
            read_tensorboard,
            "*tfevents*",
        ),
        Layout(
            "mlflow",
            (),
            None,
            "an MLflow store: its folder, SQLite file or server",
            read_mlflow,
            "meta.yaml",
            "latest_metrics",
        ),
        Layout("optuna", (), None, "an Optuna storage in SQLite", read_optuna, "", "trial_params"),
        Layout(
            "lightning",
            (),
            None,
            "a folder of Lightning's CSV logs, hparams.yaml beside them",
            read_lightning,
            "hparams.yaml",
        ),
        Layout(
            "folders",
            (),
            None,
            "a folder of JSON or YAML settings with metrics beside them",
            read_folders,
            "*.json",
        ),
    )
}


def layouts_help() -> str:
    """The known layouts as the command line explains them."""
    return "A known layout: " + "; ".join(f"{each.name}, {each.help}" for each in LAYOUTS.values()) + "."


def found_at(source: PathLike) -> Layout | None:
    """The tracker whose files a folder, store or address holds; None for a table or what is none.

    A folder is the first layout's whose files are there, in the order of `LAYOUTS`.
    """
    if str(source).startswith(SCHEME):
        return LAYOUTS["wandb"]
    if str(source).startswith(("http://", "https://")):
        return LAYOUTS["mlflow"]
    path = Path(str(source).removeprefix("sqlite:///"))
    layouts = [layout for layout in LAYOUTS.values() if layout.pattern]
    if path.is_dir():
        return next((layout for layout in layouts if next(path.rglob(layout.pattern), None)), None)
    if path.is_file() and path.suffix not in (".json", ".csv"):
        stored = tables_of(path)
        by_table = next(
            (layout for layout in LAYOUTS.values() if layout.table in stored and layout.table), None
        )
        return by_table or next((layout for layout in layouts if fnmatch(path.name, layout.pattern)), None)
    return LAYOUTS["transformers"] if path.name == "trainer_state.json" else None


def fitting(raw: pd.DataFrame) -> list[str]:
    """Layouts that can read the table: their columns are there, and the conversion works."""
    return [layout.name for layout in LAYOUTS.values() if layout.needed_columns and _works(layout, raw)]


def _works(layout: Layout, raw: pd.DataFrame) -> bool:
    try:
        converted(layout, raw, None, "")
    except BadInput:
        return False
    return True


def converted(
    layout: Layout, raw: pd.DataFrame, study: str | None, source: str
) -> tuple[pd.DataFrame, list[str]]:
    """A table in a known layout as a run table, not yet checked, and notes.

    Args:
        layout: one with a conversion.
        raw: the table, as ``layout.read`` gives it.
        study: names the set-up; None for the layout's own name.
        source: the file, for messages.

    Raises:
        BadInput: for missing columns, and for values that the layout does not have.
    """
    assert layout.convert is not None
    missing = [name for name in layout.needed_columns if name not in raw]
    if missing:
        found = ", ".join(map(str, raw.columns[:40]))
        raise BadInput(
            f"adapter {layout.name}: no column {', '.join(missing)}; found {found}; "
            "leave --adapter out and name columns with --map"
        )
    try:
        return layout.convert(raw, study)
    except BadInput:
        raise
    except Exception as error:  # whatever pandas raises for text where numbers belong
        reason = " ".join(str(error).split())[:200]
        raise BadInput(
            f"{source}: has the columns of {layout.name}, but other values ({reason}); "
            "expected the table as published; leave --adapter out and name columns with --map"
        ) from None
