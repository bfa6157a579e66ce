"""The command ``import``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bayeslaw.cli.options import AsJson
from bayeslaw.cli.tables import print_import, print_json, print_readings, say
from bayeslaw.errors import BadInput


def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="Table of runs (CSV, Parquet, JSON lines), or what a tracker or trainer left: a folder, an "
            "SQLite store, the address of an MLflow server, wandb://ENTITY/PROJECT."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Run table to write: .parquet, .csv or .jsonl.")
    ],
    study: Annotated[str | None, typer.Option(help="Name of the set-up that these runs share.")] = None,
    adapter: Annotated[
        str | None, typer.Option(help="A known layout of published runs, or of a tracker or trainer.")
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", help="ROLE=COLUMN: the column that holds a role. May be repeated."),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="COLUMN=VALUE: one value for all runs. May be repeated.")
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(help="OLD=NEW, repeated: another name for an optimizer, as in soap=ours."),
    ] = None,
    confirm: Annotated[
        bool, typer.Option("--confirm", help="Take the guesses that the error without it lists.")
    ] = False,
    diverged_ratio: Annotated[
        float,
        typer.Option(
            help="A run counts as diverged if its loss exceeds this multiple of its cell's smallest loss."
        ),
    ] = 1.4,
    as_json: AsJson = False,
) -> None:
    """Convert runs from any tool, where it left them, into a checked run table.

    Examples:

      bayeslaw import mlflow.db -o runs.parquet

      bayeslaw import sweep.csv -o runs.parquet --study ours --map loss=final_loss
      --map batch_sequences=bs --set sequence_length=2048 --set optimizer=adamw

    Roles that carry a unit: batch_tokens or batch_sequences (needs sequence_length); tokens,
    tokens_per_param or steps; params_nonembedding or params_total (needs params_embedding);
    warmup_tokens or warmup_steps; final_lr_ratio or final_learning_rate; loss (nats), loss_bits
    or perplexity.
    """
    from bayeslaw.runs.importing import imported
    from bayeslaw.runs.io import check_output, write_runs

    check_output(output)
    place = Path(source)
    if place.exists() and output.exists() and place.samefile(output):
        raise BadInput(f"{source}: is the source and the output; expected another output; name one with -o")
    table, notes, readings = imported(
        source,
        study=study,
        adapter=adapter,
        mapping=_pairs("--map", map_ or []),
        constants=_pairs("--set", set_ or []),
        diverged_ratio=diverged_ratio,
        rename=_pairs("--rename", rename or []),
        confirm=confirm,
    )
    write_runs(table, output)
    if not as_json:
        print_readings(readings)
    for note in notes:
        say(f"note: {note}")
    if as_json:
        columns = [each._asdict() for each in readings]
        print_json(_import_summary(table, output, notes) | {"columns": columns})
    else:
        print_import(table, output)


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Split repeated ``NAME=VALUE`` options."""
    pairs = dict(text.partition("=")[::2] for text in texts)
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            example = "soap=ours" if option == "--rename" else "learning_rate=lr"
            raise BadInput(f"{option} {text}: expected NAME=VALUE; give it as {option} {example}")
    return pairs


def _import_summary(table: Any, output: Path, notes: Sequence[str]) -> dict[str, Any]:
    """Summary for ``import --json``: where the runs went, how many there are, and of which kind."""
    from bayeslaw.target import CELL

    return {
        "output": output,
        "runs": len(table),
        "status": table["status"].value_counts().to_dict(),
        "studies": sorted(table["study"].unique()),
        "optimizers": sorted(table["optimizer"].unique()),
        "cells": int(table.groupby(list(CELL)).ngroups),
        "notes": list(notes),
    }
