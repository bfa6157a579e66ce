"""Signals wait for the end of a block."""

from __future__ import annotations

import signal
import threading

import pytest

from bayeslaw.processes import delayed_signals


class Ended(Exception):
    pass


@pytest.fixture
def ending():
    """A handler of SIGTERM that raises."""

    def end(*_):
        raise Ended

    before = signal.signal(signal.SIGTERM, end)
    yield end
    signal.signal(signal.SIGTERM, before)


def block(reached, *numbers, error=None):
    """Raise signals in a block, noting after each which have come, and then an error."""
    with delayed_signals() as came:
        for number in numbers:
            signal.raise_signal(number)
            reached.append(list(came))
        if error:
            raise error


def test_a_signal_is_met_when_the_block_ends(ending):
    reached = []
    with pytest.raises(Ended):
        block(reached, signal.SIGTERM)
    assert reached == [[signal.SIGTERM]]
    assert signal.getsignal(signal.SIGTERM) is ending


def test_the_same_signal_twice_is_met_at_once_and_another_waits(ending):
    reached = []
    with pytest.raises(KeyboardInterrupt):
        block(reached, signal.SIGTERM, signal.SIGINT, signal.SIGTERM)
    assert reached == [[signal.SIGTERM], [signal.SIGTERM, signal.SIGINT]]
    assert signal.getsignal(signal.SIGTERM) is ending


def test_an_error_in_the_block_is_raised_and_handlers_return(ending):
    with pytest.raises(ZeroDivisionError):
        block([], signal.SIGTERM, error=ZeroDivisionError)
    assert signal.getsignal(signal.SIGTERM) is ending


def test_other_threads_hold_nothing_back(ending):
    found = []

    def hold():
        with delayed_signals() as came:
            found.append((came, signal.getsignal(signal.SIGTERM) is ending))

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    assert found == [([], True)]
