"""Order of sequences: nested in D, shuffled by the seed, a pure function of the index."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayeslaw.errors import BadInput
from bayeslaw.lab.data.order import batch, sequence_order, validation_batches

LENGTH = 16


@st.composite
def requests(draw: st.DrawFn) -> tuple[int, int, int]:
    """(tokens available, sequence length, sequences wanted) that the corpus can give."""
    length, total = draw(st.integers(1, 40)), draw(st.integers(1, 300))
    available = total * length + 1 + draw(st.integers(0, length - 1))
    return available, length, draw(st.integers(1, total))


@given(requests(), st.integers(0, 2**40), st.data())
def test_fewer_tokens_are_a_subset_of_more_whatever_the_seeds(request_, seed, data):
    available, length, wanted = request_
    fewer = data.draw(st.integers(1, wanted))
    large = sequence_order(available, wanted * length, length, seed)
    small = sequence_order(available, fewer * length, length, data.draw(st.integers(0, 2**40)))
    assert set(small.tolist()) <= set(large.tolist())


@given(requests(), st.integers(0, 2**40))
def test_an_order_has_each_sequence_once_within_the_corpus(request_, seed):
    available, length, wanted = request_
    order = sequence_order(available, wanted * length, length, seed)
    assert order.dtype == np.int64
    assert len(set(order.tolist())) == len(order) == wanted
    assert order.min() >= 0
    assert (order.max() + 1) * length < available  # the last target is there


def test_seeds_change_the_order_and_not_the_choice():
    first, second = (sequence_order(10_000, 3_200, LENGTH, seed) for seed in (0, 1))
    assert first.tolist() != second.tolist()
    assert sorted(first) == sorted(second)
    assert sequence_order(10_000, 3_200, LENGTH, 0).tolist() == first.tolist()


def test_the_choice_is_spread_over_the_corpus():
    order = sequence_order(100_001, 20_000, 10, 0)
    assert abs(order.mean() / 10_000 - 0.5) < 0.03


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12))
def test_resuming_or_sharding_anywhere_reads_the_same(counts):
    train = np.arange(10_000, dtype=np.uint16)
    order = sequence_order(len(train), sum(counts) * LENGTH, LENGTH, 3)
    starts = np.cumsum([0, *counts[:-1]])
    parts = [batch(train, order, int(first), count, LENGTH) for first, count in zip(starts, counts)]
    np.testing.assert_array_equal(np.concatenate(parts), batch(train, order, 0, sum(counts), LENGTH))


def test_a_batch_holds_the_sequences_and_their_next_tokens():
    train = np.arange(60_000, 65_000, dtype=np.uint16)
    order = np.array([3, 0, 7])
    read = batch(train, order, 1, 2, LENGTH)
    assert read.dtype == np.int64
    np.testing.assert_array_equal(read[0], np.arange(60_000, 60_000 + LENGTH + 1))
    np.testing.assert_array_equal(read[1], 60_000 + 7 * LENGTH + np.arange(LENGTH + 1))


def test_batches_read_from_a_mapped_file_as_from_memory(tmp_path):
    train = np.arange(5_000, dtype="<u2")
    train.tofile(tmp_path / "train.bin")
    mapped = np.memmap(tmp_path / "train.bin", dtype="<u2", mode="r")
    order = sequence_order(5_000, 640, LENGTH, 0)
    read = batch(mapped, order, 0, 40, LENGTH)
    assert type(read) is np.ndarray
    np.testing.assert_array_equal(read, batch(train, order, 0, 40, LENGTH))


def test_validation_is_spread_evenly_and_never_changes():
    read = validation_batches(np.arange(1_001, dtype=np.uint16), 10, 4)
    np.testing.assert_array_equal(read[:, 0], [0, 250, 500, 750])
    np.testing.assert_array_equal(read - read[:, :1], np.tile(np.arange(11), (4, 1)))


def test_validation_takes_what_there_is():
    tokens = np.arange(41, dtype=np.uint16)
    np.testing.assert_array_equal(validation_batches(tokens, 10, 99)[:, 0], [0, 10, 20, 30])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: sequence_order(10_000, 10_240, 128, 0),
            "tokens 10,240: the corpus has 9,984 for training, in sequences of 128; "
            "train on fewer tokens or in more epochs, or choose a larger corpus or a smaller vocabulary",
        ),
        (
            lambda: sequence_order(10_000, 127, 128, 0),
            "tokens 127: less than one sequence of 128; train on more tokens",
        ),
        (lambda: sequence_order(10_000, 128, 0, 0), "sequence_length 0: expected 1 or more tokens"),
        (lambda: sequence_order(10_000, 128, 128, -1), "seed -1: expected 0 or above"),
        (
            lambda: batch(np.zeros(99, np.uint16), np.arange(4), 3, 2, 8),
            "sequences 3 to 5: the order has 4; read within it",
        ),
        (
            lambda: validation_batches(np.zeros(8, np.uint16), 8, 2),
            "validation: 8 tokens, less than 8 and one more; choose a larger corpus or shorter sequences",
        ),
        (
            lambda: validation_batches(np.zeros(80, np.uint16), 8, 0),
            "validation sequences 0: expected 1 or more",
        ),
    ],
)
def test_what_cannot_be_read_is_said(call, message):
    with pytest.raises(BadInput) as caught:
        call()
    assert str(caught.value) == message
