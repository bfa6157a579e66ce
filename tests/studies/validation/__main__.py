"""The validation study, replayed: one table of trials, from which every table and figure comes.

    pip install -e .[validation]; pip install --no-deps pufferlib-core==3.0.23
    python -m tests.studies.validation run [--workers 2] [--table FILE ...] [--method NAME ...]
    python -m tests.studies.validation table
    python -m tests.studies.validation figures

``run`` appends what the table lacks and resumes after a kill. ``--table`` takes other sweeps (a run table or
a published layout) or another model's fine-tuning runs (columns as those of ../shared/data/opda_*.csv) in
place of those in ../shared/data, and keeps their results apart.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from bayeslaw.errors import BadInput
from bayeslaw.plots import save_figure
from tests.studies.validation import report
from tests.studies.validation.figures import pareto
from tests.studies.validation.methods import METHODS, MOST
from tests.studies.validation.trials import RESULTS, read, run
from tests.studies.validation.worlds import DATA, FILES

FIGURE = Path(__file__).parents[3] / "docs" / "validation.png"


def results_of(given: argparse.Namespace) -> Path:
    """The table of trials: the given one, or one named after the tables that are replayed."""
    names = "-".join(path.stem for path in given.table or [])
    return given.results or (RESULTS.with_name(f"validation-{names}.jsonl") if names else RESULTS)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.studies.validation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=["run", "table", "figures"])
    parser.add_argument("--table", type=Path, action="append", help="other runs; repeated")
    parser.add_argument("--results", type=Path, help="the table of trials")
    parser.add_argument("--method", action="append", choices=METHODS, metavar="NAME", help="repeated; all")
    parser.add_argument("--seeds", type=int, default=MOST)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args(arguments)
    results, paths = results_of(given), given.table or [DATA / name for name in FILES]
    if given.what == "run":
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        run(paths, results, given.method or list(METHODS), given.seeds, given.workers)
        return
    rows = read(results)
    if not rows:
        raise BadInput(f"{results}: no trials; expected the table that `run` writes; run it first")
    if given.what == "table":
        print(report.tables(rows))
    else:
        path = results.with_suffix(".png") if given.table or given.results else FIGURE
        save_figure(pareto(rows), path)
        print(path)


if __name__ == "__main__":
    try:
        main()
    except BadInput as error:
        print(error, file=sys.stderr)
        sys.exit(2)
