"""Our own small networks under many schedules: what they were trained with, and their loss curves.

The runs are those of ``train/plans/schedules.toml``. ``own_curves.parquet`` holds the ``curve.csv`` of every
finished run whose peak learning rate is below ``HOT``, with all its points.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslaw.arrays import Floats
from bayeslaw.law.scalars import usual_decay_share
from bayeslaw.runs.io import read_runs
from train.record import CURVE
from train.record import RUNS as FOLDERS
from train.schedules import fraction

RUNS = Path(__file__).parent / "results" / "own_schedules.csv"
CURVES = Path(__file__).parent / "results" / "own_curves.parquet"
SWEEP = Path("out/schedules")
HOT = 0.05
"""Peak learning rate above which runs are there to diverge."""


def own() -> pd.DataFrame:
    """Our runs, with the learning rates of each, and the share of the steps after warm-up in which they fall.

    Records of the first two parts of the plan do not tell this share: it is the usual one.
    """
    runs = read_runs(RUNS)
    usual = runs["schedule"].map(usual_decay_share)
    runs = runs.assign(share=runs["decay_share"].astype(float).fillna(usual))
    return runs.assign(rates=[rates(row) for row in runs.itertuples()])


def rates(row: Any) -> Floats:
    """Learning rates of a run of the lab, at each step."""
    steps, warmup = round(row.tokens / row.batch_tokens), round(row.warmup_tokens / row.batch_tokens)
    final, share = row.final_lr_ratio, row.share
    shape = [fraction(row.schedule, step, steps, warmup, final, share) for step in range(steps)]
    return row.learning_rate * np.array(shape)


def collect_curves(sweep: Path = SWEEP) -> None:
    """Write ``CURVES`` from the folders of a sweep."""
    runs = read_runs(RUNS)
    cool = runs[(runs["learning_rate"] < HOT) & (runs["status"] == "finished")]
    found = [
        pd.read_csv(sweep / FOLDERS / name / CURVE).assign(run_id=name) for name in sorted(cool["run_id"])
    ]
    table = pd.concat(found, ignore_index=True)
    small = {"step": "int32", "tokens": "int32", "learning_rate": "float32", "loss": "float32"}
    table[["run_id", *small]].astype(small).to_parquet(CURVES, index=False, compression="zstd")
    print(f"{CURVES}: {len(table)} points of {len(found)} runs")
