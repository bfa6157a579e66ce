"""Examples of a task, a text and its answer each, as sequences of which the answer alone is to be predicted.

A token that is only read is kept as -1 - token, so that one array says what is read and what is predicted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from bayeslaw.errors import BadInput
from bayeslaw.lab.data.corpus import HUB, VALIDATION_SHARE, known_source, local_files

CLASSIFY, WRITE = "classify", "write"
TASKS = (CLASSIFY, WRITE)
HELD_OUT = ("validation", "validation_matched")
"""Splits of a data set that are set apart, the first that is there; GLUE names MNLI's by their genres."""
LARGEST = 256
"""Classes: each has a token of its own, and the smallest vocabulary has a few more."""

Pair = tuple[str, str]


class TaskSequences(NamedTuple):
    """Sequences of a task.

    Attributes:
        train: (example, time + 1), int32; -1 - token where a token is only read.
        validation: the same, of examples set apart.
        classes: answers of "classify" in order; answer i is token i. None of "write".
        digest: of examples and task.
    """

    train: np.ndarray
    validation: np.ndarray
    classes: tuple[str, ...]
    digest: str


def prepare(
    source: str, columns: str, task: str, encode: Callable[[str], list[int]], end: int, length: int
) -> TaskSequences:
    """Read the examples of a task, and make a sequence of each.

    Args:
        source: .jsonl file, folder with train.jsonl and validation.jsonl, or "hub:NAME[:CONFIG]". Without a
            split of ``HELD_OUT`` one example in 20 is set apart by a hash of its text, so that copies of a
            text fall into one split.
        columns: "TEXT,ANSWER"; several columns of a text as "premise+hypothesis,label".
        task: "classify", with few different answers, or "write".
        encode: text -> tokens.
        end: token between text and answer, after an answer that is written, and of the padding.
        length: T, tokens.

    Raises:
        BadInput: a source or columns that cannot be read, no example, or too many classes.
    """
    names, _, answer = columns.rpartition(",")
    if not names or not answer:
        raise BadInput(f"columns = {columns}; expected TEXT,ANSWER; give them as text,label")
    splits = _splits(source)
    pairs = {
        name: [_pair(row, names.split("+"), answer, source) for row in rows] for name, rows in splits.items()
    }
    train, validation = _apart(pairs)
    if not train or not validation:
        raise BadInput(
            f"examples {source!r}: {len(train)} to train on and {len(validation)} set apart; expected "
            "some of both; give more examples"
        )
    classes = tuple(sorted({answer for _, answer in train})) if task == CLASSIFY else ()
    if len(classes) > min(LARGEST, end) or (task == CLASSIFY and len(classes) < 2):
        raise BadInput(
            f"examples {source!r}: {len(classes)} different answers; expected 2 to {LARGEST} classes; "
            f"choose the task {WRITE}, or another column"
        )
    known = [pair for pair in validation if not classes or pair[1] in classes]

    def made(chosen: Iterable[Pair]) -> np.ndarray:
        def target(answer: str) -> list[int]:
            return [classes.index(answer)] if classes else [*encode(answer)[: length // 2 - 1], end]

        return np.array(
            [sequence(encode(text), target(answer), end, length) for text, answer in chosen], np.int32
        )

    text = repr((task, end, length, train, known))
    return TaskSequences(made(train), made(known), classes, hashlib.sha256(text.encode()).hexdigest()[:16])


def sequence(text: Sequence[int], answer: Sequence[int], end: int, length: int) -> list[int]:
    """Text, ``end``, answer and padding in length + 1 tokens; a long text loses its end.

    >>> sequence([5, 6, 7], [2], end=9, length=4)  # 5, 6 and 7 are read, then the end, then 2 is predicted
    [-6, -7, -8, -10, 2]
    >>> sequence([5], [2, 9], end=9, length=5)
    [-6, -10, 2, 9, -10, -10]
    """
    read = [*text[: length - len(answer)], end]
    padding = [end] * (length + 1 - len(read) - len(answer))
    return [*(-1 - token for token in read), *answer, *(-1 - token for token in padding)]


def _apart(pairs: dict[str, list[Pair]]) -> tuple[list[Pair], list[Pair]]:
    """Examples to train on and examples set apart; no text is in both."""
    if "validation" in pairs:
        texts = {text for text, _ in pairs["validation"]}
        return [pair for pair in pairs["train"] if pair[0] not in texts], pairs["validation"]
    apart = [
        int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big") % VALIDATION_SHARE == 0
        for text, _ in pairs["train"]
    ]
    both = [
        [pair for pair, is_apart in zip(pairs["train"], apart) if is_apart == side] for side in (False, True)
    ]
    return both[0], both[1]


def _splits(source: str) -> dict[str, Any]:
    """Rows of the splits "train" and, if there is one, "validation", through `datasets`."""
    from datasets import Dataset, load_dataset

    known_source(source)
    try:
        if source.startswith(HUB):
            name, _, config = source.removeprefix(HUB).partition(":")
            found = load_dataset(name, config or None)
            apart = next((found[split] for split in HELD_OUT if split in found), None)
            both = {"train": found.get("train"), "validation": apart}
            splits = {split: rows for split, rows in both.items() if rows is not None}
        else:
            files = local_files(source)
            by_split = {"train": files.training, "validation": files.validation}
            splits = {
                name: Dataset.from_json([str(file.absolute()) for file in paths])
                for name, paths in by_split.items()
                if paths
            }
    except BadInput:
        raise
    except Exception as error:  # of a dozen types: no network, unknown name, broken JSON, ...
        first = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise BadInput(
            f"examples {source!r}: cannot be read ({first}); expected .jsonl with one example a line, or "
            f"{HUB}NAME[:CONFIG]; check the file, the name and the network"
        ) from None
    if "train" not in splits:
        raise BadInput(f'examples {source!r}: no split "train"; choose another')
    return splits


def _pair(row: dict[str, Any], names: Sequence[str], answer: str, source: str) -> Pair:
    if lacking := [name for name in (*names, answer) if row.get(name) is None]:
        raise BadInput(
            f"examples {source!r}: no {lacking[0]} in an example (it has {', '.join(row)}); expected "
            "columns as TEXT,ANSWER; name those of this source"
        )
    return "\n".join(str(row[name]) for name in names), str(row[answer])
