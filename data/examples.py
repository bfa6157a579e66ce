"""What a run reads, of text or of images alike: rows of whole numbers, whose last ones are to be guessed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bayeslaw.errors import BadInput
from bayeslaw.lab.data.images import as_rows, cropped, image_order, prepare_images, shifts
from bayeslaw.lab.data.order import available, batch, sequence_order, validation_batches
from bayeslaw.lab.data.tasks import TaskSequences
from bayeslaw.lab.data.tokens import Corpus, prepare

VALIDATION_SEQUENCES = 1024
"""The loss of a run is over this many fixed sequences, or as many as the corpus sets apart."""


@dataclass(frozen=True)
class Examples:
    """Sequences of one run, in order; a pure function of the position, so that a resumed run goes on exactly.

    Attributes:
        rows: of so many sequences from a first one on, int64 (sequence, value): tokens and the one that
            follows them, or pixels and the class.
        validation: the same for every run, int64 (sequence, value).
        digest: of the data.
        classes: number of classes of a task with classes, else 0.
    """

    rows: Callable[[int, int], np.ndarray]
    validation: np.ndarray
    digest: str
    classes: int = 0


def text_examples(
    source: str,
    vocabulary: int,
    tokens: int,
    sequence_length: int,
    seed: int,
    epochs: int = 1,
    cache: Path | None = None,
) -> Examples:
    """Sequences of a corpus.

    Args:
        source, vocabulary, cache: as of ``tokens.prepare``.
        tokens, sequence_length, seed, epochs: as of ``order.sequence_order``.

    Raises:
        BadInput: as these.
    """
    corpus = prepare(source, vocabulary, cache)
    return _in_order(corpus, tokens, sequence_length, seed, epochs)


def task_examples(
    found: TaskSequences, tokens: int, sequence_length: int, seed: int, epochs: int
) -> Examples:
    """Sequences of a task; arguments as of ``order.sequence_order``."""
    return replace(_in_order(found, tokens, sequence_length, seed, epochs), classes=len(found.classes))


def _in_order(found: Corpus | TaskSequences, tokens: int, length: int, seed: int, epochs: int) -> Examples:
    order = sequence_order(available(found.train, length), tokens, length, seed, epochs)
    rows = functools.partial(batch, found.train, order, sequence_length=length)
    validation = validation_batches(found.validation, length, VALIDATION_SEQUENCES)
    return Examples(rows, validation, found.digest)


def image_examples(
    source: str, classes: int, images: int, side: int, channels: int, seed: int, cache: Path | None = None
) -> Examples:
    """Images, as often as it takes, each time cropped anew.

    Args:
        source, side, channels, cache: as of ``images.prepare_images``.
        classes: number that the network tells apart.
        images: seen in the run.
        seed: of order and crops.

    Raises:
        BadInput: as ``images.prepare_images``; another number of classes.
    """
    found = prepare_images(source, side, channels, cache)
    if len(found.classes) != classes:
        raise BadInput(
            f"images {source!r}: {len(found.classes)} classes and vocabulary = {classes}; expected as many; "
            f"give vocabulary = {len(found.classes)}"
        )
    order, shift = image_order(len(found.train), images, seed), shifts(images, side, seed)

    def rows(first: int, count: int) -> np.ndarray:
        mine = order[first : first + count]
        return as_rows(cropped(found.train[mine], shift[first : first + count]), found.train_class[mine])

    apart = len(found.validation)
    spread = np.arange(min(apart, VALIDATION_SEQUENCES)) * apart // min(apart, VALIDATION_SEQUENCES)
    return Examples(rows, as_rows(found.validation[spread], found.validation_class[spread]), found.digest)
