"""How the time of a fit grows with rows, on simulated sweeps. Slow, outside CI; run it on an idle machine.

python -m tests.studies.scaling run     # appends to results/scaling.jsonl what is not there
python -m tests.studies.scaling table   # prints its part of docs/benchmarks.md
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bayeslaw.law.simulation import example_design, simulate_runs
from tests.studies.fits import fit_core
from tests.studies.tables import read_rows

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results" / "scaling.jsonl"
ROWS = (1_900, 7_500, 60_000)
PARAMS = (2e7, 6e7, 1.8e8, 5.4e8)
RATIOS = (10.0, 20.0, 50.0, 100.0)


def one(rows: int) -> dict[str, Any]:
    """Fit ``rows`` simulated runs of sixteen cells in this process."""
    runs = simulate_runs(example_design(rows, params=PARAMS, tokens_per_param=RATIOS), seed=1)
    d = fit_core(runs).diagnostics
    kept = (
        "seconds",
        "draws",
        "leapfrog_steps_mean",
        "rhat_max",
        "ess_bulk_min",
        "ess_tail_min",
        "divergences",
    )
    return {
        "rows": rows,
        "cpu_seconds": round(time.process_time(), 1),
        **{name: round(float(d[name]), 4) for name in kept},
    }


def run() -> None:
    """Each size in a process of its own, so that none profits from what another compiled."""
    done = {row["rows"] for row in read_rows(RESULTS)}
    for rows in (rows for rows in ROWS if rows not in done):
        command = [sys.executable, "-m", "tests.studies.scaling", str(rows)]
        line = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
        with RESULTS.open("a") as file:
            file.write(line)
        print(line, end="", flush=True)


def table(rows: list[dict[str, Any]]) -> str:
    """Seconds, and CPU seconds a thousand rows, by number of rows."""
    lines = [
        "**Time of a fit, simulated runs of 16 cells**",
        "",
        "| rows | seconds | CPU s | per 1,000 rows | draws per chain | leapfrog steps "
        "| R-hat | divergences |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        cpu = row["cpu_seconds"]
        lines.append(
            f"| {row['rows']:,} | {row['seconds']:.0f} | {cpu:.0f} | {1000 * cpu / row['rows']:.1f} "
            f"| {row['draws']:.0f} | {row['leapfrog_steps_mean']:.0f} | {row['rhat_max']:.3f} "
            f"| {row['divergences']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    what = sys.argv[1] if len(sys.argv) == 2 else ""
    if what.isdigit():
        print(json.dumps(one(int(what))))
    elif what == "run":
        run()
    elif what == "table":
        print(table(read_rows(RESULTS)))
    else:
        sys.exit(__doc__)
