"""Options that several commands have, and how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bayeslaw.errors import BadInput
from bayeslaw.target import NEVER_SEEN
from bayeslaw.text import parse_size

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Params = Annotated[
    str, typer.Option(metavar="SIZE", help="Number of non-embedding parameters N, such as 7B or 7e9.")
]
Tokens = Annotated[
    str, typer.Option(metavar="SIZE", help="Number of training tokens D, such as 1.4T or 1.4e12.")
]
PosteriorFile = Annotated[
    Path | None, typer.Option(help="Posterior written by `bayeslaw fit`. By default the shipped one.")
]
Targets = Annotated[
    list[str],
    typer.Option(help="N,D,OPTIMIZER[,NAME=VALUE] of the large run, as in 7B,140B,adamw; repeated."),
]
Candidates = Annotated[
    Path | None, typer.Option(help="Table of candidate runs, one per row: .csv, .parquet or .jsonl.")
]
Space = Annotated[Path | None, typer.Option(help="Search space in TOML, in place of --candidates.")]
Tolerance = Annotated[
    float | None, typer.Option(help="Regret small enough to stop at, as a share of the loss, such as 0.001.")
]
OnDevice = Annotated[
    str | None,
    typer.Option("--device", help="Accelerator to count hours and energy on: h100, a100, ..."),
]
Throughput = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Measured FLOP/s of one device. By default 40% of the device's peak."),
]
PricePerHour = Annotated[float | None, typer.Option(help="Price of one device per hour, in any currency.")]
CostOfTarget = Annotated[
    str | None, typer.Option(metavar="SIZE", help="Cost of the target run, in the unit of the budget.")
]


def size(option: str, text: str) -> float:
    """A number above 0, as ``text.parse_size`` reads it.

    >>> size("--params", "7B")
    7000000000.0
    """
    number = parse_size(text)
    if not number > 0:
        raise BadInput(f"{option} {text}: expected a finite number above 0; give it as 7e9, 7B, 500M or 2k")
    return number


def optional_size(option: str, text: str | None) -> float | None:
    """The same, or None where the option is not given."""
    return None if text is None else size(option, text)


def of_schedule(schedule: str | None, decay_share: float | None) -> dict[str, float | str]:
    """The schedule as the law's covariates have it."""
    if decay_share is not None and not 0 <= decay_share <= 1:
        raise BadInput(
            f"--decay-share {decay_share:g}: expected a share from 0 to 1; give 0.2 for the last fifth"
        )
    given = {"schedule": schedule and schedule.strip().lower(), "share": decay_share}
    return {name: value for name, value in given.items() if value is not None}


def check_plot(path: Path | None) -> None:
    """Refuse a figure's place before the work."""
    if path:
        from bayeslaw.plots import check_figure

        check_figure(path)


def offered(command: str, candidates: Path | None, space: Path | None) -> tuple[Any, str]:
    """Candidates and the unit of their cost, read from the file that is given."""
    from bayeslaw.planning.candidates import read_candidates, read_space

    if (candidates is None) == (space is None):
        raise BadInput(f"{command}: expected either --candidates FILE or --space FILE; give one of them")
    return read_candidates(candidates) if candidates is not None else read_space(space or Path())


def named_study(command: str, candidates: Any, study: str | None) -> str | None:
    """The one study that the candidates name, if any. Refuses candidates of another study than --study."""
    named = sorted(set(candidates["study"])) if "study" in candidates else []
    if len(named) > 1 or (named and study is not None and named != [study]):
        raise BadInput(
            f"{command}: the candidates name the study {', '.join(named)}"
            + (f", --study {study}" if study else "")
            + "; expected one set-up for all runs; keep one"
        )
    return named[0] if named else None


def refuse_unknown_study(study: str | None, known: Sequence[str], path: Path) -> None:
    """Refuse a study that the posterior at ``path`` does not know."""
    if study is not None and study not in known:
        raise BadInput(
            f"--study {study}: not in {path}; expected one of {', '.join(known)}; "
            f"leave it out for {NEVER_SEEN}"
        )


def of_file(result: Any, path: Path) -> Any:
    """The result of a posterior that was read from ``path``."""
    from dataclasses import replace

    return replace(result, posterior={"path": str(path)} | result.posterior)
