"""Files of a run: ``record.json`` (a row of the run table and more) and ``curve.csv``.

While it runs, ``share.txt`` holds its progress.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bayeslaw.errors import BadInput
from bayeslaw.files import write_atomically
from bayeslaw.lab.models.counts import flops_per_token, params_embedding, params_nonembedding
from bayeslaw.lab.train.energy import co2e_grams
from bayeslaw.lab.train.spec import USUAL, RunSpec, digest

RECORD, CURVE, SHARE = "record.json", "curve.csv", "share.txt"
RUNS, FAILURE, PLANNED = "runs", "failure.json", "planned.json"
"""In the folder of a sweep: that of the run folders; what a run that it gave up leaves in its own; the runs
that are wanted."""

CURVE_COLUMNS = ("step", "tokens", "learning_rate", "loss")
VERSIONS = ("torch", "accelerate", "datasets", "tokenizers", "numpy")
COPIED = (
    *("run_id", "study", "optimizer", "width", "depth", "heads", "parametrization", "tokens", "batch_tokens"),
    *("sequence_length", "learning_rate", "schedule", "warmup_tokens", "momentum", "beta2", "weight_decay"),
    *("epsilon", "grad_clip", "seed", "corpus", "vocabulary", "norm", "activation", "tied", "precision"),
    "model",
    "dropout",
)
OUTSIDE = ("batch_schedule", "lr_dropout", "epochs", "init", "task")
"""Choices that no law knows. They are told only where they are made, as ``extra_NAME``: a fit then sets the
run apart."""


def row(
    spec: RunSpec, status: str, loss_val: float | None, loss_smoothed: float | None, tokens_seen: int
) -> dict[str, Any]:
    """Columns of the run table and of the lab that follow from spec and outcome.

    Args:
        spec: checked spec.
        status: one of ``bayeslaw.runs.schema.STATUSES``.
        loss_val: nats per validation token, or image, after the last step; None when there is none.
        loss_smoothed: training loss, mean of the last tenth of the steps.
        tokens_seen: tokens trained on until the run ended.
    """
    shape = spec.shape
    return {
        **{name: getattr(spec, name) for name in COPIED},
        "params_nonembedding": params_nonembedding(shape),
        "params_embedding": params_embedding(shape),
        **{f"extra_{name}": value for name in OUTSIDE if (value := getattr(spec, name)) != USUAL[name]},
        "steps": spec.steps,
        "final_lr_ratio": spec.fraction_at(spec.steps - 1),
        "decay_share": spec.falling_share,
        "normalization": spec.norm,
        "loss": loss_val if status == "finished" else None,
        "loss_kind": "val_final",
        "loss_train_smoothed": loss_smoothed,
        "status": status,
        "tokens_seen": tokens_seen,
        "flops": float(tokens_seen * flops_per_token(shape, spec.sequence_length)) or None,
        "spec_digest": digest(spec),
        **(_in_images(spec) if spec.network.images else {}),
    }


def _in_images(spec: RunSpec) -> dict[str, Any]:
    """D and B in images, and what the run table's tokens are: patches."""
    return {
        "images": spec.sequences,
        "batch_images": spec.batch_sequences,
        "patches_per_image": spec.sequence_length,
        "patch": spec.patch,
        "channels": spec.channels,
    }


def cost(wall_seconds: float, cpu_seconds: float, energy: tuple[float, str], device: str) -> dict[str, Any]:
    """Cost of the run over all its sessions: seconds, joules and their origin, CO2e."""
    return {
        "wall_seconds": wall_seconds,
        "cpu_seconds": cpu_seconds,
        "energy_joules": energy[0],
        "energy_kind": energy[1],
        "co2e_grams": co2e_grams(energy[0]),
        "device": device,
        "host": platform.node(),
    }


@functools.cache
def provenance() -> dict[str, str]:
    """Versions and commit, the same for every run of one process."""
    versions = {name: importlib.metadata.version(name) for name in VERSIONS}
    return {"versions": json.dumps({"python": platform.python_version(), **versions}), "commit": _commit()}


def write(folder: Path, record: dict[str, Any], curve: Sequence[Sequence[float]]) -> None:
    """Write the curve, then the record, so that a run with a record is complete."""
    with write_atomically(folder / CURVE) as temporary:
        lines = [",".join(CURVE_COLUMNS), *(",".join(f"{v:.8g}" for v in point) for point in curve)]
        temporary.write_text("\n".join(lines) + "\n")
    with write_atomically(folder / RECORD) as temporary:
        stamped = {**record, **provenance(), "created": datetime.now(UTC).isoformat(timespec="seconds")}
        temporary.write_text(json.dumps(stamped, indent=1) + "\n")


def mark(folder: Path, share: float) -> None:
    """Write the share of the run that its checkpoint holds, from 0 to 1."""
    with write_atomically(folder / SHARE) as temporary:
        temporary.write_text(f"{share:.4f}\n")


def share(folder: Path) -> float:
    """Share that ``mark`` wrote last; 0 without one or if the run has ended."""
    try:
        return float((folder / SHARE).read_text())
    except (OSError, ValueError):
        return 0.0


def read(folder: Path) -> dict[str, Any] | None:
    """Read the record of a run folder; None if the run has not ended.

    Raises:
        BadInput: as ``read_row``.
    """
    return read_row(folder / RECORD)


def read_row(path: Path) -> dict[str, Any] | None:
    """A row that a run left, in a file of its own; None where there is no such file.

    Raises:
        BadInput: a file that cannot be read, or no JSON object with a run_id, a status and, of a finished
            run, a loss.
    """
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: not a record ({error}); delete it to train this run anew") from None
    known = row if isinstance(row, dict) else {}
    needed: dict[str, Any] = {"run_id": str, "status": str}
    if known.get("status") == "finished":
        needed["loss"] = (int, float)
    if lacking := [name for name, kind in needed.items() if not isinstance(known.get(name), kind)]:
        raise BadInput(
            f"{path}: not a record (no {lacking[0]}); expected a JSON object with {', '.join(needed)}; "
            "delete it to train this run anew"
        )
    return known


def _commit() -> str:
    """Commit of this code, with "+" if files differ from it; empty outside a repository."""
    here = Path(__file__).parent
    try:
        run = functools.partial(subprocess.run, cwd=here, capture_output=True, text=True, check=True)
        commit = run(["git", "rev-parse", "--short=12", "HEAD"]).stdout.strip()
        return commit + "+" * bool(run(["git", "status", "--porcelain", "--", "."]).stdout.strip())
    except (OSError, subprocess.CalledProcessError):
        return ""
