"""The validation study, replayed: one table of trials, from which every table and figure comes.

    pip install -e .[validation]
    python -m tests.studies.validation [--table FILE ...] [--workers 2] [--method NAME ...]
    python -m tests.studies.validation run|table|figures [the same options]

Without a step it appends what the table of trials lacks, prints the tables and draws the figure; ``run``,
``table`` and ``figures`` do one of these. ``run`` resumes after a kill. ``--table`` takes other sweeps (a run
table or a published layout) or another model's fine-tuning runs (columns as those of
../shared/data/opda_*.csv) in place of those in ../shared/data, and keeps their results apart, the figure
beside them.

Protein (``pip install --no-deps pufferlib-core==3.0.23``) takes minutes a search and is not in the default
run: ``--method "Protein, multi-fidelity"`` adds it.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from bayeslaw.errors import BadInput
from bayeslaw.files import check_writable
from bayeslaw.plots import save_figure
from tests.studies.validation import report
from tests.studies.validation.figures import pareto
from tests.studies.validation.methods import METHODS, MOST, USUAL
from tests.studies.validation.sources import DATA, FILES
from tests.studies.validation.trials import RESULTS, of_tables, read, run

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
    parser.add_argument("what", nargs="?", choices=["all", "run", "table", "figures"], default="all")
    parser.add_argument("--table", type=Path, action="append", help="other runs; repeated")
    parser.add_argument("--results", type=Path, help="the table of trials")
    parser.add_argument(
        "--method", action="append", choices=METHODS, metavar="NAME", help="repeated; all but Protein"
    )
    parser.add_argument("--seeds", type=int, default=MOST)
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 4), help="processes")
    given = parser.parse_args(arguments)
    results, paths = results_of(given), given.table or [DATA / name for name in FILES]
    if given.what in ("all", "run"):
        check_writable(results)
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        run(paths, results, given.method or USUAL, given.seeds, given.workers)
    if given.what == "run":
        return
    rows = of_tables(read(results), paths)
    if not rows:
        raise BadInput(f"{results}: no trials; expected the table that `run` writes; run it first")
    if given.what in ("all", "table"):
        print(report.tables(rows))
    if given.what in ("all", "figures"):
        path = results.with_suffix(".png") if given.table or given.results else FIGURE
        save_figure(pareto(rows), path)
        print(path)


if __name__ == "__main__":
    try:
        main()
    except BadInput as error:
        print(error, file=sys.stderr)
        sys.exit(2)
