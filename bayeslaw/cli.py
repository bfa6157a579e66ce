"""The command line: files, printing and exit codes; every computation lives in another module.

Heavy packages are imported inside the commands, so that ``bayeslaw --help`` is instant.
Results go to stdout, messages to stderr; bad input exits with code 2, as misuse does.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bayeslaw.errors import BadInput

app = typer.Typer(
    name="bayeslaw",
    help="Bayesian hierarchical scaling laws of optimizer hyperparameters.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.callback()
def _commands() -> None:
    """Bayesian hierarchical scaling laws of optimizer hyperparameters."""


def main() -> None:
    """Entry point: a BadInput becomes its message on stderr and exit code 2, never a traceback."""
    try:
        app()
    except BadInput as error:
        say(f"error: {error}")
        sys.exit(2)


def say(message: str) -> None:
    """Print a message for a person, on stderr."""
    typer.echo(message, err=True)


def print_json(result: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout; a number that is not finite becomes null."""
    typer.echo(json.dumps(_plain(result), allow_nan=False, ensure_ascii=False))


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None) -> None:
    """Print a table for a person, on stdout; numbers are given as finished text."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row))
    console = Console()
    if not console.is_terminal:
        console.width = 200  # a file or pipe has no width to fit
    if title:
        typer.echo(title)
    console.print(table)


def _plain(value: Any) -> Any:
    """Turn mappings, sequences and numpy scalars into what json can write."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Split repeated ``NAME=VALUE`` options."""
    pairs = dict(text.partition("=")[::2] for text in texts)
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise BadInput(f"{option} {text}: expected NAME=VALUE; give it as {option} learning_rate=lr")
    return pairs


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="CSV, Parquet, JSONL, or a W&B export.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Run table: .parquet, .csv or .jsonl.")],
    study: Annotated[str | None, typer.Option(help="Name of the set-up these runs share.")] = None,
    adapter: Annotated[
        str | None, typer.Option(help="A known layout: steplaw, scalebench, marin or wandb.")
    ] = None,
    map_: Annotated[
        list[str] | None, typer.Option("--map", help="ROLE=COLUMN, repeated: what a column means.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="COLUMN=VALUE, repeated: the same for all runs.")
    ] = None,
    diverged_ratio: Annotated[
        float, typer.Option(help="A loss above this many times its cell's smallest counts as diverged.")
    ] = 1.4,
    as_json: AsJson = False,
) -> None:
    """Turn a pile of runs into a checked run table.

    Example:

      bayeslaw import sweep.csv -o runs.parquet --study ours --map loss=final_loss
      --map batch_sequences=bs --set sequence_length=2048 --set optimizer=adamw

    Roles that carry a unit: batch_tokens or batch_sequences (needs sequence_length); tokens,
    tokens_per_param or steps; params_nonembedding or params_total (needs params_embedding);
    warmup_tokens or warmup_steps; final_lr_ratio or final_learning_rate; loss (nats), loss_bits
    or perplexity.
    """
    from bayeslaw.importers import import_runs
    from bayeslaw.runs import write_runs

    if source.exists() and output.exists() and source.samefile(output):
        raise BadInput(f"{source}: is the source and the output; expected another output; name one with -o")
    table, notes = import_runs(
        source,
        study=study,
        adapter=adapter,
        mapping=_pairs("--map", map_ or []),
        constants=_pairs("--set", set_ or []),
        diverged_ratio=diverged_ratio,
    )
    write_runs(table, output)
    for note in notes:
        say(f"note: {note}")
    if as_json:
        print_json(_import_summary(table, output, notes))
    else:
        _print_import(table, output)


def _import_summary(table: Any, output: Path, notes: Sequence[str]) -> dict[str, Any]:
    """What ``import --json`` says: where the runs went, how many, of which kind."""
    return {
        "output": output,
        "runs": len(table),
        "status": table["status"].value_counts().to_dict(),
        "studies": sorted(table["study"].unique()),
        "optimizers": sorted(table["optimizer"].unique()),
        "cells": int(table.groupby(["study", "optimizer", "params_nonembedding", "tokens"]).ngroups),
        "notes": list(notes),
    }


def _print_import(table: Any, output: Path) -> None:
    """One row an optimizer: what a person checks after an import."""
    rows = []
    for (study, optimizer), runs in table.groupby(["study", "optimizer"]):
        finished = runs[runs["status"] == "finished"]
        spans = [_span(runs[name], short) for name in ("params_nonembedding", "tokens", "batch_tokens")]
        rates, losses = _span(runs["learning_rate"], _three_digits), _span(finished["loss"], _three_digits)
        rows.append([study, optimizer, len(runs), len(finished), *spans, rates, losses])
    header = [
        "study",
        "optimizer",
        "runs",
        "finished",
        "N",
        "tokens",
        "batch, tokens",
        "peak lr",
        "loss, nats",
    ]
    print_table(header, rows, title=f"{len(table)} runs written to {output}")


def _span(values: Any, show: Callable[[float], str]) -> str:
    """Smallest to largest value of a column."""
    if values.notna().sum() == 0:
        return "-"
    low, high = show(values.min()), show(values.max())
    return low if low == high else f"{low} to {high}"


def _three_digits(value: float) -> str:
    return f"{value:.3g}"


def short(value: float) -> str:
    """A count for a person, three digits.

    >>> short(214_663_680), short(1e11), short(512)
    ('215M', '100B', '512')
    """
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:
            scaled = value / size
            return f"{scaled:.0f}{letter}" if scaled >= 99.95 else f"{scaled:.3g}{letter}"
    return f"{value:.3g}"


if __name__ == "__main__":
    main()
