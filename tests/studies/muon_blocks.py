"""Where the sharpness of a run with Muon comes from. Minutes, outside CI, resumable.

    python -m tests.studies.muon_blocks run      # appends to results/muon_blocks.jsonl
    python -m tests.studies.muon_blocks table    # prints its part of docs/benchmarks.md

Muon moves the matrices of the blocks, AdamW the rest. The largest eigenvalue of the preconditioned Hessian of
all weights, and of either part alone, in the runs of ``early_curvature``, beside the best rate of books.csv.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

from bayeslaw.lab.data.tokens import prepare
from bayeslaw.lab.models.families import params_of, size_for
from bayeslaw.spectra import Landscape, NextStep, largest_eigenvalue
from tests.studies.early_curvature import MEASURED, best_rates, places, spec_of
from tests.studies.tables import Row, markdown, read_rows, run_or_print

RESULTS = Path(__file__).parent / "results" / "muon_blocks.jsonl"
CORPUS = "../shared/data/gutenberg"
SIZES = (9.3e3, 24.7e3, 83.3e3)
STEPS = (20, 100, 180)
PARTS = ("all", "matrices", "rest")


def sharpness(here: Landscape, step: NextStep, part: str, vocabulary: int) -> float:
    """Largest eigenvalue of the preconditioned Hessian of all weights, or of a part of ``PARTS``."""
    matrix = [p.ndim == 2 and p.shape[0] != vocabulary for p in here.weights]
    kept = [part == "all" or own == (part == "matrices") for own in matrix]
    mask = torch.cat([torch.full((p.numel(),), float(k)) for p, k in zip(here.weights, kept, strict=True)])

    def masked(v: torch.Tensor) -> torch.Tensor:
        return mask * step.inverse_root(mask * v)

    return largest_eigenvalue(here, masked).value


def run() -> None:
    """Measure what is not there."""
    torch.set_num_threads(1)
    done = {row["params"] for row in read_rows(RESULTS)}
    corpus = prepare(CORPUS)
    for params in SIZES:
        size = params_of(size_for(params))
        if size in done:
            continue
        spec = spec_of("muon", params, CORPUS)
        rows = []
        for number, (here, step) in zip(STEPS, places(spec, corpus, STEPS, MEASURED, first=0), strict=True):
            values = {part: sharpness(here, step, part, spec.vocabulary) for part in PARTS}
            rows.append({"params": size, "step": number, "threshold": step.threshold, **values})
        with RESULTS.open("a") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))


def table(rows: list[Row]) -> str:
    """The best rate times each, by size and step."""
    best = best_rates()
    body = []
    for row in rows:
        rate = best["muon", row["params"]]
        shown = [f"{rate * row[part]:.3g}" for part in PARTS]
        body.append(
            [f"{row['params']:,}", str(row["step"]), f"{rate:.2g}", *shown, f"{row['threshold']:.3g}"]
        )
    head = ["N", "step", "eta*", "all weights", "matrices alone", "the rest alone", "threshold"]
    title = "Muon: eta* x the largest eigenvalue of the preconditioned Hessian, by the weights it is of"
    return markdown(title, head, body)


if __name__ == "__main__":
    run_or_print(__doc__, run, lambda: table(read_rows(RESULTS)))
