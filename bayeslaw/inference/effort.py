"""How much work a fit does, and how JAX runs during it, without a change to the process around it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax

from bayeslaw.errors import BadInput

VARIABLE = "BAYESLAW_EFFORT"
"""Environment variable that names the effort of fits not told their own: a whole loop, a notebook."""

QUICK = "quick fit: every step ran, but too briefly to believe its intervals; fit again with effort full"
"""What every quick fit says, in its messages and its diagnostics."""


@dataclass(frozen=True)
class Effort:
    """Sizes of the steps of a fit.

    Attributes:
        em_steps: rounds of EM for the scales (``laplace.whitening``).
        warm_blocks: blocks of warm-up, at least; large posteriors take more (``nuts``).
        block: draws of a chain in one compiled call.
        tree_depth: a NUTS path has at most 2^tree_depth - 1 steps.
        max_draws: draws of a chain after which it stops, converged or not.
        optimization: level of XLA's backend, 0 to 3: a low one compiles sooner and runs slower.
    """

    em_steps: int = 3
    warm_blocks: int = 7
    block: int = 50
    tree_depth: int = 8
    max_draws: int = 3200
    optimization: int = 3

    @property
    def compiler_options(self) -> dict[str, Any]:
        """Options for ``jax.jit`` and ``Lowered.compile``.

        The older emitters compile in 0.6 of the time, and their code runs as fast; the chains have the cores
        already, so no operation takes threads of its own.
        """
        return {
            "xla_cpu_use_fusion_emitters": False,
            "xla_cpu_multi_thread_eigen": False,
            "xla_backend_optimization_level": self.optimization,
        }


FULL = Effort()
EFFORTS = {
    "full": FULL,
    "quick": Effort(em_steps=1, warm_blocks=6, block=10, tree_depth=4, max_draws=60, optimization=0),
}


def effort_named(name: str | None = None) -> Effort:
    """The effort of that name; by default the one that ``BAYESLAW_EFFORT`` names in the environment, or full.

    >>> effort_named("quick").em_steps
    1

    Raises:
        BadInput: for a name that is none.
    """
    asked, place = (name, "effort") if name else (os.environ.get(VARIABLE) or "full", VARIABLE)
    if asked not in EFFORTS:
        raise BadInput(f"{place} = {asked!r}; expected one of {', '.join(EFFORTS)}; leave it out for full")
    return EFFORTS[asked]


@contextmanager
def double_precision() -> Iterator[None]:
    """JAX in 64 bits and without its note on missing accelerators, in this thread and until the block ends.

    >>> with double_precision():
    ...     print(jax.numpy.ones(1).dtype)
    float64
    """
    log = logging.getLogger("jax._src.xla_bridge")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with jax.enable_x64(True):
            yield
    finally:
        log.setLevel(level)
