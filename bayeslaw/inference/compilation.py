"""Compile once for all tables of one shape: numbers become arguments, and numbers of runs are rounded up.

XLA then finds what it compiled before, in this process or another, where JAX has a folder for it
(``JAX_COMPILATION_CACHE_DIR``; the command line has one, ``bayeslaw.compiled``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from bayeslaw.law.observations import Observations

FEW = 384
"""Runs up to which a compilation is shared, and the gradient that the search for the mode calls is compiled
without optimization: beyond, fits take minutes, and constants that XLA knows save a tenth of them."""

FINENESS = 8
"""Numbers of runs that share a power of two; more of them pad less and share less."""


def hoisted(
    f: Callable[..., Any], *example: Any, shared: bool = True
) -> tuple[Callable[..., Any], list[jax.Array]]:
    """The function of (arrays, *arguments) that ``f`` is of its arguments, and the arrays it closes over.

    Compiled as they are, closures have their arrays as constants: another table is another program.

    Args:
        f: traceable by JAX.
        example: arguments, or others of the same shapes and types.
        shared: else ``f`` keeps its arrays as constants, and there are none to give.

    >>> double, arrays = hoisted(lambda x: 2.0 * x * np.arange(3.0), np.ones(3))
    >>> double([np.arange(2.0, 5.0)], np.ones(3)).tolist(), len(arrays)
    ([4.0, 6.0, 8.0], 1)
    """
    if not shared:
        return lambda _, *arguments: f(*arguments), []
    closed, shape = jax.make_jaxpr(f, return_shape=True)(*example)
    form = jax.tree.structure(shape)

    def explicit(arrays: list[jax.Array], *arguments: Any) -> Any:
        found = jax.core.eval_jaxpr(closed.jaxpr, arrays, *jax.tree.leaves(arguments))
        return jax.tree.unflatten(form, found)

    return explicit, closed.consts


def padded(observed: Observations) -> Observations:
    """The same runs, and repetitions of the first without an outcome, which change no density.

    Their number is rounded up to one of ``FINENESS`` per power of two, at least 8, where they are ``FEW``.
    """
    runs = len(observed.cell)
    if runs > FEW:
        return observed
    real = np.arange(rounded_up(runs)) < runs
    take = np.where(real, np.arange(len(real)), 0)
    values = {name: getattr(observed, name)[take] for name in ("log_lr", "log_batch", "log_loss")}
    values |= {name: getattr(observed, name)[take] for name in ("above_best", "off", "cell")}
    values |= {name: getattr(observed, name)[take] & real for name in ("finished", "diverged", "crashed")}
    settings = {name: of_runs[take] for name, of_runs in observed.settings.items()}
    return replace(observed, settings=settings, **values)


def rounded_up(runs: int) -> int:
    """The number of runs that a table is padded to.

    >>> [rounded_up(n) for n in (5, 60, 141, 384)]
    [8, 64, 144, 384]
    """
    step = max(8, 2 ** ((runs - 1).bit_length() - 1) // FINENESS)
    return -(-runs // step) * step
