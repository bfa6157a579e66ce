"""Curvature and noise at steps of a run: ``bayeslaw.spectra`` on the run's own model, optimizers and data."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from bayeslaw.errors import BadInput
from bayeslaw.files import write_atomically
from bayeslaw.lab.train.objective import cross_entropy
from bayeslaw.lab.train.spec import RunSpec
from bayeslaw.spectra import Curvature, Landscape, NextStep, measure, measure_first_order
from bayeslaw.spectra.for_torch import landscape, next_step
from bayeslaw.spectra.landscape import finite

ROWS = "curvature.csv"
NUMBERS = (
    *("lambda_max", "lambda_max_residual", "lambda_preconditioned", "lambda_preconditioned_residual"),
    *("threshold", "directional_sharpness", "critical_learning_rate", "hessian_trace"),
    *("hessian_trace_error", "noise_scale", "noise_scale_preconditioned"),
)
COLUMNS = ("step", "tokens", "learning_rate", *NUMBERS, "gradients", "seconds", "note")
SUMMARISED = (
    *("lambda_max", "lambda_preconditioned", "directional_sharpness", "critical_learning_rate"),
    *("hessian_trace", "noise_scale"),
)

Row = dict[str, Any]
"""Numbers or None by column; ``note`` says why some are None, and is empty where none is."""


def measured(
    model: nn.Module,
    steppers: Sequence[Any],
    rows: Tensor,
    spec: RunSpec,
    step: int,
    total: Callable[[Tensor], Tensor] = lambda t: t,
) -> Row:
    """One row of ``curvature.csv``.

    Where the Hessian cannot be had (a fused kernel, a graph beyond the memory), the critical learning rate
    and the noise scale are still measured. Where the weights allow nothing, all numbers are None. In 32 bits
    whatever the run's precision, for products with the Hessian in 16 bits are off by about 1%.

    Args:
        model: not wrapped.
        steppers: its optimizers, whose next step is that of the learning rate in use.
        rows: (sequence, value), this process's part of the measured sequences.
        spec: of the run.
        step: steps done.
        total: sum of a tensor over processes.
    """
    rate = spec.learning_rate_at(min(step, spec.steps - 1))
    for stepper in steppers:
        for group in stepper.param_groups:
            group["lr"] = rate
    micro = max(1, spec.micro_batch_tokens // spec.sequence_length)
    at_once = micro if len(rows) > micro else None
    place: Row = {"step": step, "tokens": spec.tokens_before(step), "learning_rate": rate}
    try:
        here = landscape(_loss_of(spec), model, rows, at_once, total)
        finite(here.loss(None), "loss")  # the same on all processes: none goes on alone
        found, note = _measured(here, next_step(here, steppers, spec.grad_clip), spec.learning_rate)
    except BadInput as error:
        return {**place, **dict.fromkeys(NUMBERS), "gradients": None, "seconds": 0.0, "note": str(error)}
    return {**place, **_numbers(found, spec.sequence_length), "note": note}


def _measured(here: Landscape, step: NextStep, learning_rate: float) -> tuple[Curvature, str]:
    """All numbers, or those without second derivatives and the reason."""
    try:
        return measure(here, step, learning_rate), ""
    except BadInput as error:
        found = measure_first_order(here, step, learning_rate)
        return found, f"critical learning rate and noise scale alone: {error}"


def write(folder: Path, rows: Sequence[Row]) -> None:
    """The rows so far, in one file; numbers that are missing are empty."""
    with (
        write_atomically(folder / ROWS) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *map(_texts, rows)])


def _texts(row: Row) -> list[str]:
    values = (row.get(name) for name in COLUMNS)
    return [f"{v:.8g}" if isinstance(v, (int, float)) else " ".join((v or "").split()) for v in values]


def summary(spec: RunSpec, rows: Sequence[Row], train_seconds: float) -> dict[str, Any]:
    """Columns of the run's record: numbers at each share of the run, those after the last step, what it cost.

    ``curvature_note`` is there where something could not be measured.

    Args:
        spec: of the run.
        rows: of the steps that were reached.
        train_seconds: of the run without its measurements.
    """
    if not rows:
        return {}
    by_step = {row["step"]: row for row in rows}
    columns: dict[str, Any] = {}
    for share, step in spec.curvature_steps.items():
        if spec.curvature_at and step in by_step:
            columns |= {f"{name}_at_{share}": by_step[step][name] for name in SUMMARISED}
    if spec.steps in by_step:
        last = by_step[spec.steps]
        columns |= {"lambda_max": last["lambda_max"], "hessian_trace": last["hessian_trace"]}
    if said := notes(rows):
        columns["curvature_note"] = said[0]
    seconds = sum(row["seconds"] or 0.0 for row in rows)
    return {
        **columns,
        "curvature_gradients": sum(row["gradients"] or 0.0 for row in rows),
        "curvature_seconds": seconds,
        "curvature_overhead": seconds / train_seconds if train_seconds else None,
    }


def notes(rows: Sequence[Row]) -> list[str]:
    """The different notes of some rows, in order."""
    return list(dict.fromkeys(note for row in rows if (note := row.get("note"))))


def _loss_of(spec: RunSpec) -> Callable[[nn.Module, Tensor], Tensor]:
    """Mean cross-entropy [nats/guess]; past what Accelerate puts around ``forward``, hence in 32 bits."""

    def loss(model: nn.Module, rows: Tensor) -> Tensor:
        return cross_entropy(type(model).forward(model, rows[:, :-1]), rows, spec.network.label_smoothing)

    return loss


def _numbers(found: Curvature, sequence_length: int) -> Row:
    """Finite numbers, noise scales in tokens."""
    values = {**asdict(found), **asdict(found)["cost"]}
    for name in ("noise_scale", "noise_scale_preconditioned"):
        if values[name] is not None:
            values[name] *= sequence_length
    return {
        name: values[name] if values[name] is not None and math.isfinite(values[name]) else None
        for name in (*NUMBERS, "gradients", "seconds")
    }
