"""Speed of the training lab, as ratios within one run. Slow, outside CI, resumable.

    python -m tests.studies.training_speed run      # appends to results/training_speed.jsonl
    python -m tests.studies.training_speed table    # prints its part of docs/benchmarks.md

A plain loop of the same network, optimizer and batches, written out by hand below, is the measure. Runs of
both alternate, and medians are compared, as the machine is shared and noisy.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as F

from bayeslaw.lab.data.tokens import prepare
from bayeslaw.lab.models.families import params_of, size_for
from bayeslaw.lab.models.transformer import build
from bayeslaw.lab.train.executor_local import run as run_pool
from bayeslaw.lab.train.run import execute
from bayeslaw.lab.train.schedules import fraction
from bayeslaw.lab.train.spec import RunSpec, checked
from tests.studies.tables import read_rows

RESULTS = Path(__file__).parent / "results" / "training_speed.jsonl"
REPEATS, RUNS = 5, 4
SIZES = {25e3: 300_032, 332e3: 100_096}
"""Non-embedding parameters, and training tokens of one run: some four seconds."""


def spec_of(params: float, tokens: int, name: str = "speed") -> RunSpec:
    width, depth, heads = size_for(params)
    return checked(RunSpec(name, "speed", "stdlib", "adamw", width, depth, heads, tokens, 4096, 1e-3))


def plain_loop(spec: RunSpec) -> float:
    """Seconds to train by hand: batches sliced from memory, fused AdamW, clipping, a cosine."""
    corpus = prepare(spec.corpus, spec.vocabulary)
    model = build(spec.shape, spec.sequence_length, spec.seed)
    s = spec.settings
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=s.learning_rate, betas=(s.momentum, s.beta2), weight_decay=0.1, fused=True
    )
    tokens = torch.from_numpy(np.asarray(corpus.train[: spec.tokens + 1]).astype(np.int64))
    inputs = tokens[: spec.sequences * 128].view(-1, 128)
    targets = tokens[1 : spec.sequences * 128 + 1].view(-1, 128)
    began = time.perf_counter()
    for step in range(spec.steps):
        rows = slice(step * spec.batch_sequences, (step + 1) * spec.batch_sequences)
        for group in optimizer.param_groups:
            group["lr"] = spec.learning_rate * fraction("cosine", step, spec.steps, 0, 0.1)
        loss = F.cross_entropy(model(inputs[rows]).flatten(0, 1), targets[rows].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    loss.item()
    return time.perf_counter() - began


def ours(spec: RunSpec) -> tuple[float, float]:
    """Seconds from the first step to the last, and of what surrounds training and validation."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        record = execute(spec, Path(folder))
        return record["train_seconds"], time.perf_counter() - began - record["wall_seconds"]


def one_run(params: float, tokens: int) -> dict[str, Any]:
    spec = spec_of(params, tokens)
    pairs = [(plain_loop(spec), ours(spec)[0]) for _ in range(REPEATS + 1)][1:]  # the first warms up
    ratios = [plain / lab for plain, lab in pairs]
    return {"value": statistics.median(ratios), "asked": "at least 0.95", "detail": pairs}


def two_workers(params: float, tokens: int) -> dict[str, Any]:
    """Time of the same runs by one worker over that by two, start of the workers apart."""
    pairs = [[pool_seconds(params, tokens, RUNS, workers) for workers in (1, 2)] for _ in range(REPEATS)]
    ratios = [one / two for one, two in pairs]
    return {"value": statistics.median(ratios), "asked": "at least 1.8", "detail": pairs}


def start_up() -> dict[str, Any]:
    spec = spec_of(25e3, 8192)
    seconds = [ours(spec)[1] for _ in range(REPEATS + 1)][1:]
    return {"value": statistics.median(seconds), "asked": "under 0.2", "detail": seconds}


def pool_seconds(params: float, tokens: int, runs: int, workers: int) -> float:
    """Seconds for all runs, counted from when each worker has trained one tiny run."""
    with tempfile.TemporaryDirectory() as folder:
        tiny = [spec_of(params, 8192, f"tiny{i}") for i in range(workers)]
        specs = tiny + [spec_of(params, tokens, f"run{i}") for i in range(runs)]
        outcomes = run_pool(execute, [(spec, Path(folder) / spec.run_id) for spec in specs], workers)
        ends = []
        for outcome in outcomes:
            assert outcome.kind == "done", outcome.value
            ends.append(time.perf_counter())
        return ends[-1] - ends[workers - 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["run", "table"])
    if parser.parse_args().what == "table":
        print(table())
        return
    torch.set_num_threads(1)
    done = {row["what"] for row in read_rows(RESULTS)}
    for what, measure in measures():
        if what not in done:
            row = {"what": what, **measure()}
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(what, row["value"], flush=True)


def measures() -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """What is measured, and how; some ten minutes in all."""
    for params, tokens in SIZES.items():
        size = f"N = {params_of(size_for(params)):,}"
        yield f"speed over a plain loop's, {size}", partial(one_run, params, tokens)
        yield f"speed of two workers over one, {size}", partial(two_workers, params, tokens)
    yield "seconds to start a run after the first", start_up


def table() -> str:
    rows = [f"| {r['what']} | {r['value']:.3f} | {r['asked']} |" for r in read_rows(RESULTS)]
    return "\n".join(["| | measured | asked |", "| --- | --- | --- |", *rows])


if __name__ == "__main__":
    main()
