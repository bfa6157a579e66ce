"""Stages of a run: stretches of one batch and one peak learning rate, in whole steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bayeslaw.schedules.batches import BatchPlan


class Stage(NamedTuple):
    """A stretch of steps that are alike.

    Attributes:
        first_step: from 0.
        first_sequence: place of its first sequence in the order of the run.
        batch_sequences: sequences per step; the last step of a run has what is left.
        learning_rate: peak.
    """

    first_step: int
    first_sequence: int
    batch_sequences: int
    learning_rate: float


def stages(plan: BatchPlan, sequences: int, sequence_length: int) -> tuple[Stage, ...]:
    """The stages of a run; each but the last ends with a whole batch, nearest to where its share ends.

    Args:
        plan: batches in whole sequences.
        sequences: of the run.
        sequence_length: tokens.

    >>> from bayeslaw.schedules.batches import Switch
    >>> stages(BatchPlan(20, 1e-3, (Switch(0.5, 40, 2e-3),)), sequences=9, sequence_length=10)
    (Stage(first_step=0, first_sequence=0, batch_sequences=2, learning_rate=0.001),
     Stage(first_step=2, first_sequence=4, batch_sequences=4, learning_rate=0.002))
    """
    found = [Stage(0, 0, plan.batch_tokens // sequence_length, plan.learning_rate)]
    for share, batch_tokens, rate in plan.switches:
        step, sequence, batch, _ = found[-1]
        steps = round((share * sequences - sequence) / batch)
        found.append(Stage(step + steps, sequence + steps * batch, batch_tokens // sequence_length, rate))
    return tuple(found)


def stage_at(found: Sequence[Stage], step: int) -> Stage:
    """The stage of a step; of two that begin with it, the later one."""
    return next(stage for stage in reversed(found) if stage.first_step <= step)


def sequences_before(found: Sequence[Stage], step: int) -> int:
    """Sequences read before a step, its last batch counted as a whole one."""
    stage = stage_at(found, step)
    return stage.first_sequence + (step - stage.first_step) * stage.batch_sequences
