"""Tables to replay: what a file is, its families under names of their own, its digest, and what was read."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from bayeslaw.assets import POSTERIOR
from bayeslaw.errors import BadInput
from bayeslaw.posterior.netcdf import read_posterior
from bayeslaw.runs.importing import import_runs
from bayeslaw.runs.io import read_runs, read_table
from bayeslaw.runs.layouts import fitting
from bayeslaw.runs.schema import REQUIRED
from bayeslaw.target import Cell
from tests.studies.validation.finetuning import FINE_TUNED, fine_tuned
from tests.studies.validation.pretraining import pre_trained
from tests.studies.validation.worlds import Family, World

DATA = Path(__file__).parents[4] / "shared" / "data"
FILES = {
    "scalebench_lr_bsz_train.parquet": "scalebench",
    "marin_optimizer_sweep.csv": "marin",
    "opda_deberta_base_mnli.csv": "opda_deberta_base_mnli",
}
"""The tables that are replayed by default, and what their families' names begin with."""


class Source(NamedTuple):
    """The families of a table, and what was read and assumed, in plain words."""

    families: list[Family]
    notes: list[str]


def digest(path: Path) -> str:
    """Of a file's bytes: rows of another file of the same name must not be taken for its own."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be read ({error.strerror or error}); expected a table of runs; correct the path"
        ) from None


def sources(paths: Sequence[Path]) -> list[Source]:
    """All tables.

    Raises:
        BadInput: of any table, or two families of one name.
    """
    found = [source(path) for path in paths]
    names: dict[str, Path] = {}
    for path, each in zip(paths, found, strict=True):
        for family in each.families:
            if family.name in names:
                raise BadInput(
                    f"{path}: its family {family.name} has the name of one of {names[family.name]}; expected "
                    "tables of different names; rename the file"
                )
            names[family.name] = path
    return found


def source(path: Path) -> Source:
    """All families of a table: fine-tuning runs, a run table, or a sweep in a known layout.

    Raises:
        BadInput: a table of none of these kinds, or one without a pool and a target.
    """
    read_table(path)  # its errors are the better ones
    return _source(path, digest(path))


@functools.lru_cache(maxsize=8)
def _source(path: Path, table: str) -> Source:
    raw = read_table(path)
    stem = FILES[path.name] if path.parent == DATA and path.name in FILES else path.stem
    if set(raw.columns) >= FINE_TUNED:
        families, notes = fine_tuned(raw, stem)
    else:
        runs, notes = _run_table(raw, path)
        families, without = pre_trained(runs, stem)
        if not families:
            raise BadInput(
                f"{path}: no study and optimizer has a target and cheaper cells whose optimum can be "
                "smoothed; expected at least two cells (N, D), one at most a quarter as costly as the other, "
                "with four learning rates each at one batch; name another sweep\n  " + "\n  ".join(without)
            )
        notes += [f"left out, too few cells can be smoothed: {line}" for line in without]
    return Source([replace(f, table=table, known_study=known_study(f)) for f in families], notes)


def _run_table(raw: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, list[str]]:
    """A run table, with notes: as it is, by a known layout, or by columns' names where they say enough."""
    if set(raw.columns) >= set(REQUIRED):
        return read_runs(path), []
    layouts = fitting(raw)
    if layouts:
        return import_runs(path, adapter=layouts[0])
    try:
        return import_runs(path, study=path.stem)
    except BadInput as error:
        raise BadInput(_how_to_import(path, str(error))) from None


def _how_to_import(path: Path, said: str) -> str:
    """What the importer said of a table, with a command made of its first suggestions.

    >>> said = _how_to_import(Path("a.csv"), "lr: add --map learning_rate=lr, or not")
    >>> print(said.splitlines()[-3].strip())
    bayeslaw import a.csv --study a --map learning_rate=lr -o runs.parquet
    """
    options = re.findall(r"add (--\w+ [^\s,]+(?: with --\w+ [^\s,]+)?)", said)
    given = " ".join(dict.fromkeys(option.replace(" with ", " ") for option in options))
    command = " ".join(part for part in (f"bayeslaw import {path} --study {path.stem}", given) if part)
    return (
        f"{said}\nimport it first; where these first suggestions are right:\n  {command} -o runs.parquet\n"
        "  python -m tests.studies.validation --table runs.parquet\n"
        f"fine-tuning runs need no import but the columns {', '.join(sorted(FINE_TUNED))}"
    )


# ------------------------------------------------------------------------------------------ seen before


@functools.cache
def _known_cells() -> tuple[Cell, ...]:
    return read_posterior(POSTERIOR).cells


def known_study(family: Family) -> str:
    """The study of the shipped posterior that has at least half of the family's cells; empty for none.

    Sizes decide, not names: a published sweep is recognised under any name.
    """
    if family.kind.startswith("fine-tuning"):
        return ""
    worlds = (*family.pool, *family.targets)
    for study in dict.fromkeys(cell.study for cell in _known_cells()):
        cells = [cell for cell in _known_cells() if cell.study == study]
        if 2 * sum(_among(world, cells) for world in worlds) >= len(worlds):
            return study
    return ""


def _among(world: World, cells: Iterable[Cell]) -> bool:
    at = world.target
    return any(
        abs(cell.params_nonembedding / at.params_nonembedding - 1) < 1e-3
        and abs(cell.tokens / at.tokens - 1) < 1e-3
        for cell in cells
    )
