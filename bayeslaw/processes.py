"""How processes end: those that were started die with their parent, and signals wait for a safe moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from types import FrameType


def die_with_parent() -> None:
    """Watch the parent process, and exit at once with code 1 if it is killed.

    Works in a process that ``multiprocessing`` started; does nothing in any other.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


@contextmanager
def delayed_signals() -> Iterator[list[int]]:
    """Hold SIGINT and SIGTERM back until the block ends, which then meets the first of them.

    Yields:
        The signals that came, for the block to look at and end early. The same one twice is not held back: it
        raises KeyboardInterrupt. Outside the main thread, which alone can do this, none ever comes.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def note(number: int, frame: FrameType | None) -> None:
        if number in came:
            raise KeyboardInterrupt
        came.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if came:
        signal.raise_signal(came[0])


def _watch(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
