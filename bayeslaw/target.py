"""What a recommendation is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bayeslaw.errors import BadInput

NEVER_SEEN = "a set-up never seen"
"""What a study of None is called, for people and among draws that are fixed."""


@dataclass(frozen=True)
class Target:
    """The large run to advise on: N, D, optimizer, and what is already decided.

    Attributes:
        params_nonembedding: N, non-embedding parameters [count].
        tokens: D, training tokens, repeats included [count].
        optimizer: lower-case name, such as ``adamw`` or ``muon``.
        study: whose set-up; None means a set-up never seen.
        batch_tokens: the batch [tokens] where it is fixed, else None.
    """

    params_nonembedding: float
    tokens: float
    optimizer: str = "adamw"
    study: str | None = None
    batch_tokens: float | None = None

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
