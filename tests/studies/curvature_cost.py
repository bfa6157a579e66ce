"""What measurements of curvature cost, in gradients and in time. Minutes, outside CI, resumable.

    python -m tests.studies.curvature_cost run      # appends to results/curvature_cost.jsonl
    python -m tests.studies.curvature_cost table    # prints its part of docs/benchmarks.md

Gradients are counted by the meter of ``bayeslaw.spectra``. Times are ratios within one session: seconds of a
measurement over seconds of the training steps just before it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from bayeslaw.lab.data.tokens import prepare
from bayeslaw.lab.models.families import params_of, size_for
from bayeslaw.lab.train.run import execute
from bayeslaw.lab.train.spec import RunSpec, checked
from bayeslaw.spectra import (
    critical_learning_rate,
    directional_sharpness,
    hutchinson,
    largest_eigenvalue,
    noise_scale,
    spectral_density,
)
from tests.studies.early_curvature import place
from tests.studies.tables import Row, markdown, read_rows

RESULTS = Path(__file__).parent / "results" / "curvature_cost.jsonl"
SIZES = (25e3, 332e3)
TOKENS_PER_PARAM = 20
STEPS, WARMED = 48, 20
MEASURED = 16
"""Sequences."""


def spec_of(params: float, tokens: int) -> RunSpec:
    """AdamW at the usual settings."""
    width, depth, heads = size_for(params)
    plain = RunSpec("cost", "cost", "stdlib", "adamw", width, depth, heads, tokens, 4096, 3e-3)
    return checked(replace(plain, warmup_tokens=tokens // 10))


def measurements(params: float) -> Row:
    """Gradients and seconds of each measurement after ``WARMED`` steps."""
    spec = spec_of(params, STEPS * 4096)
    corpus = prepare(spec.corpus)
    here, step = place(spec, corpus, WARMED, MEASURED)
    raw = largest_eigenvalue(here)
    return {
        "what": "measurements",
        "params": params_of(size_for(params)),
        "eigenvalue": cost_of(raw),
        "residual": raw.residual / raw.value,
        "eigenvalue, preconditioned": cost_of(largest_eigenvalue(here, step.inverse_root)),
        "trace, 16 probes": cost_of(hutchinson(here, None, 16)),
        "directional sharpness": cost_of(directional_sharpness(here, step)),
        "critical learning rate": cost_of(critical_learning_rate(here, step, spec.learning_rate)),
        "noise scale": cost_of(noise_scale(here)),
        "spectral density": cost_of(spectral_density(here)),
    }


def cost_of(found) -> list[float]:
    """Gradients and seconds."""
    return [found.cost.gradients, found.cost.seconds]


def overhead(params: float) -> Row:
    """Share of a run's time at 20 tokens a parameter that four measurements with the usual settings take."""
    short = replace(spec_of(params, STEPS * 4096), curvature_at="0.25,0.5,0.75,1")
    with tempfile.TemporaryDirectory() as folder:
        record = execute(short, Path(folder))
    whole = TOKENS_PER_PARAM * params_of(size_for(params)) / record["tokens_per_second"]
    return {
        "what": "overhead",
        "params": params_of(size_for(params)),
        "sequences": checked(short).curvature_sequences,
        "gradients": record["curvature_gradients"],
        "share": record["curvature_seconds"] / whole,
    }


def run() -> None:
    """Measure what is not there."""
    torch.set_num_threads(1)
    done = {(row["what"], row["params"]) for row in read_rows(RESULTS)}
    parts = [("measurements", measurements, SIZES[0]), *(("overhead", overhead, size) for size in SIZES)]
    for what, part, params in parts:
        if (what, params_of(size_for(params))) not in done:
            row = part(params)
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(row, flush=True)


def table(found: list[Row]) -> str:
    """Gradients and times of each measurement, and the overhead in a run."""
    (measured,) = (row for row in found if row["what"] == "measurements")
    body = [
        [name, f"{cost[0]:.1f}", f"{cost[1]:.2f}"]
        for name, cost in measured.items()
        if isinstance(cost, list)
    ]
    first = markdown(
        f"N = {measured['params']:,}, {MEASURED} sequences of 128, after {WARMED} steps",
        ["measurement", "gradient evaluations", "seconds"],
        body,
    )
    first += f"\n\nThe eigenvalue's strict bound of its relative error: {measured['residual']:.1g}."
    shares = [
        [f"{row['params']:,}", str(row["sequences"]), f"{row['gradients']:.0f}", f"{row['share']:.1%}"]
        for row in found
        if row["what"] == "overhead"
    ]
    head = ["N", "sequences", "gradients on them", "share of the time of a run of D = 20 N"]
    return first + "\n\n" + markdown("Four measurements in a run", head, shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["run", "table"])
    if parser.parse_args().what == "table":
        print(table(read_rows(RESULTS)))
        return
    run()


if __name__ == "__main__":
    main()
