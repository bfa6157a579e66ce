"""Target of a recommendation."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bayeslaw.errors import BadInput

NEVER_SEEN = "a set-up never seen"
"""Name of the study None, in texts and among drawn shifts."""


@dataclass(frozen=True)
class Target:
    """Large run to advise on: N, D, optimizer, and settings that are already fixed.

    Attributes:
        params_nonembedding: N, non-embedding parameters [count].
        tokens: D, training tokens, repeats included [count].
        optimizer: lower-case name, such as ``adamw`` or ``muon``.
        study: fitted study that the run belongs to; None means an unseen set-up.
        batch_tokens: batch [tokens] if it is fixed, else None.
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
            if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
                raise BadInput(
                    f"target: {name} = {value!r}; expected a finite number above 0 [count]; give it as 7e9"
                )
        if self.batch_tokens is not None and self.batch_tokens > self.tokens:
            raise BadInput(
                f"target: batch_tokens = {self.batch_tokens:g} exceeds tokens = {self.tokens:g}; "
                "expected a batch in tokens (not sequences) of at most D; lower the batch"
            )
