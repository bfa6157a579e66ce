"""Look-up worlds: cells of a published sweep that answer any learning rate and batch, with noise.

A **world** is one cell (N, D, optimizer). Its loss is the smoothed surface of the cell's runs; a run's ln
loss scatters about it by the surface's leave-one-out error near the minimum. Beyond the runs the surface is
their nearest edge, and the answer says so. A **family** is a sweep in two parts: cheap worlds
from which methods buy runs, and costly ones that are the tasks. ``pretraining`` and ``finetuning`` make them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bayeslaw.target import Target

FINE_TUNED_PARAMS, EXAMPLES, EXAMPLE_TOKENS = 1.0e8, 392_702, 128
"""Of fine-tuning: DeBERTa-base without embeddings; MNLI's training examples; padded length. Assumed: they set
the unit of FLOPs, which cancels in every comparison of costs."""


@dataclass(frozen=True)
class Box:
    """Natural logarithms of the settings that the sweep tried; a batch that it did not vary has no width."""

    rate: tuple[float, float]
    batch: tuple[float, float]

    @property
    def dimensions(self) -> int:
        """1 where the batch is fixed, else 2."""
        return 1 if self.batch[0] == self.batch[1] else 2

    def at(self, place: Sequence[float]) -> tuple[float, float]:
        """Learning rate and batch [tokens] of a place in the unit cube, (dimension,).

        >>> Box((0.0, 0.0), (np.log(8.0), np.log(8.0))).at([0.3])[1].round(6)
        np.float64(8.0)
        """
        share = [*place, 0.0][:2]
        ends = (self.rate, self.batch)
        return tuple(np.exp(low + u * (high - low)) for u, (low, high) in zip(share, ends, strict=True))


@dataclass(frozen=True)
class World:
    """A cell that answers.

    Attributes:
        target: its N, D, optimizer and study, with the batch where the sweep fixed it.
        box: settings that were tried.
        surface: (learning rate, batch) -> loss, and whether runs surround it.
        chance_failed: (learning rate, batch) -> probability that the run fails.
        best: loss at the smoothed minimum; ``optimum``: learning rate and batch there.
        noise: sd of ln loss of one run about the surface.
        failed: loss of a failed run.
        judged: whether the minimum lies among the runs, so that it can score advice.
        name: of the cell, within its family.
    """

    target: Target
    box: Box
    surface: Callable[[float, float], tuple[float, bool]] = field(repr=False)
    chance_failed: Callable[[float, float], float] = field(repr=False)
    best: float
    optimum: tuple[float, float]
    noise: float
    failed: float
    judged: bool = True
    name: str = ""

    @property
    def cost(self) -> float:
        """FLOPs of a run, 6 N D."""
        return 6.0 * self.target.params_nonembedding * self.target.tokens


@dataclass(frozen=True)
class Family:
    """A sweep.

    Attributes:
        name: in tables; no two families of a study have one.
        pool, targets: worlds to buy runs from, and tasks.
        runs, every: the published runs of the pool, and all of them.
        kind: pre-training or fine-tuning; tables are by kind.
        table: digest of the file.
        known_study: the study of the shipped posterior that has these cells; empty for none.
    """

    name: str
    pool: tuple[World, ...]
    targets: tuple[World, ...]
    runs: pd.DataFrame = field(repr=False)
    every: pd.DataFrame = field(repr=False)
    kind: str = "pre-training"
    table: str = ""
    known_study: str = ""

    @property
    def optimizer(self) -> str:
        """Of all its worlds."""
        return self.targets[0].target.optimizer


@dataclass(frozen=True)
class Setting:
    """What a method asks for."""

    world: World
    learning_rate: float
    batch_tokens: float


@dataclass(frozen=True)
class Outcome:
    """What it is told: the loss (of failure where it failed), the cost [FLOP] and the optimizer's steps."""

    loss: float
    failed: bool
    cost: float
    steps: float


def answer(setting: Setting, seed: int, number: int) -> Outcome:
    """Result of a run; the same for the same world, seed and number of the run in its search."""
    world = setting.world
    key = zlib.crc32(repr(world.target).encode())
    rng = np.random.default_rng([seed, key, number])
    failed = bool(rng.random() < world.chance_failed(setting.learning_rate, setting.batch_tokens))
    loss, _ = world.surface(setting.learning_rate, setting.batch_tokens)
    noisy = float(loss * np.exp(world.noise * rng.standard_normal()))
    steps = world.target.tokens / setting.batch_tokens
    return Outcome(world.failed if failed else noisy, failed, world.cost, steps)
