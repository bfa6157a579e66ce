"""The batch over a run: growing with its running optimum, or growing where the learning rate would fall.

**Running optimum.** Let the best fixed batch of a run of D tokens be B*(D) = c D^p, and let it be the
geometric mean over the run of a best batch at each moment. Then the best batch after x tokens is e^p B*(x),
since the mean of ln x^p up to D lies p below its end. Derived here.

**Seesaw.** Where a schedule would cut the learning rate by a, the batch grows by a instead, and the rate
falls by sqrt(a) with Adam, not at all with SGD (arXiv 2510.14717, read second hand). Both are one rule: the
rate over the best one at its batch falls by a. Here the best one is that of a fitted ridge, which stops
rising above the best batch; from there on the cut is all the learning rate's. This general form is derived
here.

Tokens stay what they are: a batch that grows changes how many steps they take.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bayeslaw.errors import BadInput
from bayeslaw.text import short
from bayeslaw.theory.schedule_bounds import schedule_shape

SWITCHES = 3
"""Switches of a plan at most; of a running optimum the last ones, since early stages are short."""

CUT = 2
"""Factor of the learning rate at which Seesaw acts, and of each growth of the batch."""

RESOLUTION = 10_000
"""Steps by which a decay is described."""


class Switch(NamedTuple):
    """A change within a run.

    Attributes:
        share: of the run's tokens that are seen by then, above 0 and below 1.
        batch_tokens: from here on [tokens].
        learning_rate: peak from here on; the schedule of the run multiplies it.
    """

    share: float
    batch_tokens: int
    learning_rate: float


class BatchPlan(NamedTuple):
    """Batch and peak learning rate at the beginning of a run, and their switches in order."""

    batch_tokens: int
    learning_rate: float
    switches: tuple[Switch, ...] = ()


class Growth(NamedTuple):
    """A batch from some share of the tokens on.

    Attributes:
        share: of the run's tokens seen by then; 0 for the first.
        batch_tokens: [tokens].
        cut: factor by which a schedule would have cut the learning rate until then.
    """

    share: float
    batch_tokens: int
    cut: float = 1.0


def running_optimum(
    best_batch_tokens: float, exponent: float, lowest: float = 1, highest: float = math.inf, until: float = 1
) -> tuple[Growth, ...]:
    """The running optimum, rounded down to powers of 2, with ``SWITCHES`` doublings at most.

    Args:
        best_batch_tokens: B*(D), best fixed batch of the whole run [tokens].
        exponent: p of B*(D) = c D^p; where it is not above 0, the batch stays at the power of 2 next to B*.
        lowest, highest: bounds of the batch [tokens].
        until: share of the tokens after which no switch comes, such as the beginning of a last decay.

    Raises:
        BadInput: bounds without a power of 2 between them, a batch that is no number above 0, or a share
            outside 0 to 1.

    >>> [(round(at.share, 3), at.batch_tokens) for at in running_optimum(1000, 0.5)]
    [(0, 128), (0.024, 256), (0.096, 512), (0.386, 1024)]
    """
    if not (math.isfinite(best_batch_tokens) and best_batch_tokens > 0 and math.isfinite(exponent)):
        raise BadInput(
            f"batch plan: best batch {best_batch_tokens:g}, exponent {exponent:g}; expected a finite batch "
            "above 0 and a finite exponent; fit a posterior that knows this target"
        )
    if not 0 < until <= 1:
        raise BadInput(f"batch plan: until = {until:g}; expected a share above 0 and at most 1; correct it")
    low, high = math.ceil(math.log2(max(lowest, 1))), _log2_below(highest)
    if low > high:
        raise BadInput(
            f"batch plan: no power of 2 from {short(lowest)} to {short(highest)} tokens; expected one, since "
            "batches are rounded to them; widen the bounds"
        )
    if exponent <= 0:
        return (Growth(0, _power(round(math.log2(best_batch_tokens)), low, high)),)
    end = math.exp(exponent) * best_batch_tokens
    top = min(max(_log2_below(end * until**exponent), low), high)
    batches = [2**k for k in range(max(low, int(top) - SWITCHES), int(top) + 1)]
    shares = [0, *((batch / end) ** (1 / exponent) for batch in batches[1:])]
    return tuple(map(Growth, shares, batches))


def seesaw(
    batch_tokens: int, decay: str = "cosine", final: float = 0.1, highest: float = math.inf
) -> tuple[Growth, ...]:
    """Double the batch wherever a decay over the whole run would have halved the learning rate once more.

    Above ``highest`` the batch rests, and the cut is all the learning rate's.

    Args:
        batch_tokens: at the beginning [tokens].
        decay: a key of ``theory.schedule_bounds.DECAYS``.
        final: last rate of the decay over its peak.
        highest: largest batch [tokens].

    Raises:
        BadInput: an unknown decay, or a final ratio outside 0 to 1.

    >>> [(round(at.share, 2), at.batch_tokens, at.cut) for at in seesaw(512, "linear", highest=1024)]
    [(0, 512, 1.0), (0.56, 1024, 2), (0.83, 1024, 4), (0.97, 1024, 8)]
    """
    rates = schedule_shape(RESOLUTION, decay, final=final)
    found = [Growth(0, batch_tokens)]
    for k in range(1, SWITCHES + 1):
        reached = np.flatnonzero(rates <= CUT**-k)
        if not len(reached):
            break
        grown = found[-1].batch_tokens * CUT
        batch = grown if grown <= highest else found[-1].batch_tokens
        found.append(Growth(float(reached[0]) / RESOLUTION, batch, CUT**k))
    return tuple(found)


def plan_with_rates(growths: Sequence[Growth], best_rate: Callable[[float], float]) -> BatchPlan:
    """A plan whose learning rate moves with the best one at each batch, over the cuts.

    Args:
        growths: in order, the first from share 0.
        best_rate: batch [tokens] -> best peak learning rate of a whole run with it.

    >>> plan = plan_with_rates(seesaw(512, "linear", 0.4), lambda batch: 1e-4 * batch**0.5)
    >>> round(plan.switches[0].learning_rate / plan.learning_rate, 4)  # Adam: by sqrt(2)
    0.7071
    """
    begin, *later = growths
    switches = (Switch(at.share, at.batch_tokens, best_rate(at.batch_tokens) / at.cut) for at in later)
    return BatchPlan(begin.batch_tokens, best_rate(begin.batch_tokens) / begin.cut, tuple(switches))


def serial_steps(plan: BatchPlan, tokens: float) -> float:
    """Optimizer steps of a run of so many tokens, one after the other.

    >>> serial_steps(BatchPlan(100, 1e-3, (Switch(0.5, 200, 1e-3),)), 1000)
    7.5
    """
    shares = [0, *(switch.share for switch in plan.switches), 1]
    batches = [plan.batch_tokens, *(switch.batch_tokens for switch in plan.switches)]
    return sum(tokens * (b - a) / batch for (a, b), batch in zip(itertools.pairwise(shares), batches))


# ------------------------------------------------------------------------------------- text and JSON


def text_of(switches: Sequence[Switch]) -> str:
    """Switches as ``SHARE:BATCH:RATE``, joined by commas: what a plan of the lab and a run table hold.

    >>> text_of([Switch(0.25, 1024, 4e-3), Switch(0.5, 2048, 5e-3)])
    '0.25:1024:0.004,0.5:2048:0.005'
    """
    return ",".join(f"{s.share:.6g}:{s.batch_tokens:d}:{s.learning_rate:.6g}" for s in switches)


def parse_switches(text: str) -> tuple[Switch, ...]:
    """The switches that ``text_of`` wrote; none of an empty text.

    Raises:
        BadInput: another form, shares that do not rise from 0 to 1, or a batch or rate not above 0.

    >>> parse_switches("0.25:1024:0.004")
    (Switch(share=0.25, batch_tokens=1024, learning_rate=0.004),)
    """
    try:
        parts = [part.split(":") for part in text.split(",")] if text.strip() else []
        found = tuple(Switch(float(share), int(batch), float(rate)) for share, batch, rate in parts)
    except ValueError:
        found = (Switch(math.nan, 0, 0.0),)
    return _checked(found, text)


def plan_from(content: Mapping[str, Any], place: str) -> BatchPlan:
    """A plan from JSON, as ``bayeslaw schedule batch`` writes it; other keys are left alone.

    Args:
        content: with ``batch_tokens``, ``learning_rate`` and ``switches``, each of which has these and a
            ``share``.
        place: of the plan in messages, such as its file.

    Raises:
        BadInput: no such plan.
    """
    try:
        begin = int(content["batch_tokens"]), float(content["learning_rate"])
        switches = tuple(
            Switch(float(each["share"]), int(each["batch_tokens"]), float(each["learning_rate"]))
            for each in content["switches"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{place}: not a batch plan ({type(error).__name__}: {error}); expected batch_tokens, "
            "learning_rate and switches; write one with `bayeslaw schedule batch`"
        ) from None
    return BatchPlan(*begin, _checked(switches, place))


def _checked(switches: tuple[Switch, ...], place: str) -> tuple[Switch, ...]:
    shares = [0.0, *(switch.share for switch in switches), 1.0]
    rising = all(a < b for a, b in itertools.pairwise(shares))
    if not rising or not all(s.batch_tokens > 0 and 0 < s.learning_rate < math.inf for s in switches):
        raise BadInput(
            f"batch schedule {place}: expected switches as SHARE:BATCH:RATE, shares rising from above 0 to "
            "below 1, batch and rate above 0; give them as 0.25:1024:0.004,0.5:2048:0.005"
        )
    return switches


def _log2_below(value: float) -> float:
    """The exponent of the largest power of 2 that is not above ``value``."""
    return math.floor(math.log2(value)) if math.isfinite(value) else math.inf


def _power(log2: float, low: float, high: float) -> int:
    return 2 ** int(min(max(log2, low), high))
