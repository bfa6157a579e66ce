"""The command ``compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bayeslaw.cli.options import AsJson
from bayeslaw.cli.tables import print_json, print_table, say
from bayeslaw.errors import BadInput

DIRECTIONS = ("params", "tokens")


def compare_(
    runs: Annotated[list[Path], typer.Argument(help="Run tables: .parquet, .csv or .jsonl.")],
    structures: Annotated[
        str,
        typer.Option(
            help="Structures, joined by commas: core, or parts of the law joined by +, such as drift+second."
        ),
    ] = "core,drift,drift+second,smooth,drift+second+smooth",
    along: Annotated[
        str, typer.Option(help="Directions in which larger cells are left out: params, tokens, or both.")
    ] = "params,tokens",
    as_json: AsJson = False,
) -> None:
    """Compare structures of the law by their predictions of cells larger than those fitted.

    Example:

      bayeslaw compare runs.parquet --structures core,drift+second+smooth

    Each structure is fitted to the smaller cells by a Gaussian approximation, in seconds, and scored on
    the next larger N, and on the next larger D. The gain is the ln density of the measured optima over
    that of the first structure; cells of one size count as one. The winner is a suggestion:
    confirm it with a full fit (`bayeslaw fit --parts`).

    lmo is a rival, not a part to add: the exponents of convergence bounds, tied by one latent q, as the law.
    theory has them as the prior.
    """
    from bayeslaw.comparison.structures import compare, structure_named, summarise
    from bayeslaw.inference.approximation import approximate
    from bayeslaw.runs.io import read_runs

    asked = [text.strip() for text in structures.split(",")]
    directions = [text.strip() for text in along.split(",")]
    for text in asked:
        structure_named(text)
    for text in directions:
        if text not in DIRECTIONS:
            raise BadInput(f"--along {along}: expected params, tokens or params,tokens; correct it")
    rows = list(compare(read_runs(*runs), asked, approximate, directions, say))
    summary = summarise(rows)
    if as_json:
        print_json({"structures": summary, "folds": rows})
    else:
        print_structures(summary)


def print_structures(summary: list[dict[str, Any]]) -> None:
    """One row per structure."""
    header = [
        *("structure", "folds", "gain, nats", "won", "R2 in cells", "50%", "90%"),
        *("optima in 90%", "factor", "regret", "largest"),
    ]
    rows = [
        [
            row["structure"],
            row["folds"],
            f"{row['gain']:+.1f} +- {row['gain_sd']:.1f}",
            row["folds_won"],
            f"{row['r2_within_cells']:.3f}",
            f"{row['coverage_50']:.0%}",
            f"{row['coverage_90']:.0%}",
            f"{row['optimum_coverage_90']:.0%}",
            f"{row['optimum_factor']:.2f}",
            f"{row['regret_mean']:.3%}",
            f"{row['regret_max']:.3%}",
        ]
        for row in summary
    ]
    print_table(header, rows, title="Predictions of larger cells, by structure of the law")
