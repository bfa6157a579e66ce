"""A folder of a sweep as it looks while it runs, without any training."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

RATES = (2e-4, 5e-4, 1e-3, 2e-3, 5e-3)
ODD = "<img src=x onerror=alert(1)>"
"""A study of this name must stay text."""


def running_sweep(folder: Path, study: str = "ours") -> Path:
    """Eleven runs planned: eight ended (one diverged), two begun, one waiting."""
    planned = []
    for n in (1e8, 2e8):
        for rate in RATES:
            run_id = f"n{n / 1e8:.0f}-lr{rate:g}"
            planned.append(
                {
                    "run_id": run_id,
                    "study": study,
                    "optimizer": "adamw",
                    "params_nonembedding": n,
                    "tokens": 20 * n,
                    "batch_tokens": 65536,
                    "learning_rate": rate,
                }
            )
    planned.append(planned[-1] | {"run_id": "last", "learning_rate": 8e-3})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "planned.json").write_text(json.dumps({"runs": planned}))
    for number, run in enumerate(planned[:10]):
        place = folder / "runs" / run["run_id"]
        place.mkdir(parents=True)
        if number >= 8:
            (place / "share.txt").write_text("0.25\n")
            continue
        status = "diverged" if number == 4 else "finished"
        loss = 3.0 + 0.05 * abs(number % 5 - 2) ** 2 - 0.2 * (number // 5)
        ended = {"status": status, "loss": loss if status == "finished" else None, "wall_seconds": 100.0}
        (place / "record.json").write_text(json.dumps(run | ended | {"flops": 1e15, "energy_joules": 7.2e5}))
        lines = [f"{step},{step * 65536},0.001,{loss + 2 / step}" for step in range(1, 20)]
        (place / "curve.csv").write_text("\n".join(["step,tokens,learning_rate,loss", *lines]) + "\n")
    return folder


def aged(folder: Path, seconds: float) -> None:
    """Make every file of the folder older."""
    then = time.time() - seconds
    for path in folder.rglob("*"):
        os.utime(path, (then, then))
