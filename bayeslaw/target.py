"""Target of a recommendation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from bayeslaw.errors import BadInput
from bayeslaw.text import parse_size

NEVER_SEEN = "a set-up never seen"
"""Name of the study None, in texts and among drawn shifts."""

SIZE = ("params_nonembedding", "tokens")
"""Columns that tell the cells of one study and optimizer apart."""

CELL = ("study", "optimizer", *SIZE)
"""Columns that tell cells apart, without further covariates."""


class Cell(NamedTuple):
    """What the runs of one cell share; N and D are counts.

    Attributes:
        others: (name, value) of each further covariate (its natural value) and factor (its column's value).
    """

    study: str
    optimizer: str
    params_nonembedding: float
    tokens: float
    others: tuple[tuple[str, float | str], ...] = ()

    @property
    def group(self) -> tuple[str, str]:
        """Study and optimizer."""
        return self.study, self.optimizer

    @property
    def columns(self) -> dict[str, Any]:
        """Its covariates and factors by column, as ``law.terms.coordinates`` takes them."""
        return {"params_nonembedding": self.params_nonembedding, "tokens": self.tokens, **dict(self.others)}

    def to_json(self) -> dict[str, Any]:
        """Its columns, study and optimizer."""
        return {"study": self.study, "optimizer": self.optimizer, **self.columns}


@dataclass(frozen=True)
class Target:
    """Large run to advise on: N, D, optimizer, and settings that are already fixed.

    Attributes:
        params_nonembedding: N, non-embedding parameters [count].
        tokens: D, training tokens, repeats included [count].
        optimizer: lower-case name, such as ``adamw`` or ``muon``.
        study: whose set-up; None means a set-up never seen.
        batch_tokens: the batch [tokens] where it is fixed, else None.
        covariates: natural values of further covariates of the law, and columns of its factors, by name;
            the reference or usual value holds for those that are missing.
    """

    params_nonembedding: float
    tokens: float
    optimizer: str = "adamw"
    study: str | None = None
    batch_tokens: float | None = None
    covariates: Mapping[str, float | str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for name in ("params_nonembedding", "tokens", "batch_tokens"):
            value = getattr(self, name)
            if value is None and name == "batch_tokens":
                continue
            if not (isinstance(value, (int, float)) and 1 <= value < math.inf):
                raise BadInput(
                    f"target: {name} = {value!r}; expected a number of at least 1 [count]; give it as 7e9"
                )
        if self.batch_tokens is not None and self.batch_tokens > self.tokens:
            raise BadInput(
                f"target: batch_tokens = {self.batch_tokens:g} exceeds tokens = {self.tokens:g}; "
                "expected a batch in tokens (not sequences) of at most D; lower the batch"
            )
        for name, value in self.covariates.items():
            if not isinstance(value, str) and not (math.isfinite(value) and value >= 0):
                raise BadInput(
                    f"target: {name} = {value!r}; expected a finite number of at least 0 or a word"
                )

    @property
    def columns(self) -> dict[str, Any]:
        """Its covariates and factors by column, as ``law.terms.coordinates`` takes them."""
        return {"params_nonembedding": self.params_nonembedding, "tokens": self.tokens, **self.covariates}

    @classmethod
    def of_cell(
        cls, cell: Cell, batch_tokens: float | None = None, measured: Mapping[str, float] | None = None
    ) -> Target:
        """A run in a cell; ``measured`` are covariates of its runs that do not name the cell."""
        n, d, others = cell.params_nonembedding, cell.tokens, {**dict(cell.others), **(measured or {})}
        return cls(n, d, cell.optimizer, cell.study, batch_tokens, others)


def parse_target(text: str, study: str | None = None) -> Target:
    """A target from ``N,D,OPTIMIZER[,NAME=VALUE]``; N and D as ``text.parse_size`` reads them.

    >>> parse_target("7B, 1.4e11, AdamW").optimizer, parse_target("7e9,1.4e11,adamw,shape=64").covariates
    ('adamw', {'shape': 64.0})

    Raises:
        BadInput: for anything else.
    """
    first, *others = (part.strip() for part in text.split(","))
    try:
        n, d, optimizer = parse_size(first), parse_size(others[0]), others[1]
    except IndexError:
        n = d = math.nan
    if math.isnan(n + d) or not optimizer or "=" in optimizer or not all("=" in text for text in others[2:]):
        raise BadInput(
            f"--target {text}: expected N,D,OPTIMIZER; give it as 7e9,1.4e11,adamw or 7B,140B,adamw"
        )
    return Target(n, d, optimizer.lower(), study, covariates=parse_covariates(f"--target {text}", others[2:]))


def parse_covariates(place: str, texts: Iterable[str]) -> dict[str, float | str]:
    """Covariates from ``NAME=VALUE``; a value that is no number is a word.

    >>> parse_covariates("--covariate", ["shape=64", "schedule=wsd"])
    {'shape': 64.0, 'schedule': 'wsd'}

    Raises:
        BadInput: for a text of another form.
    """
    found: dict[str, float | str] = {}
    for text in texts:
        name, _, value = (part.strip() for part in text.partition("="))
        if not (name and value):
            raise BadInput(f"{place}: {text!r}; expected NAME=VALUE; give it as shape=64")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = value
    return found
