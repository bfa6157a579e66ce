"""Draws of an unfinished fit, kept beside its output, so that a fit that was killed goes on where it was."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bayeslaw.files import alone, write_atomically

EVERY = 60.0
"""Seconds between two writings."""

KEY = "key"
"""Name of the array that says of which fit a checkpoint is."""

Arrays = dict[str, np.ndarray]
Keep = Callable[[Callable[[], Arrays]], None]
"""Called after each block with what packs the state of the fit."""


class Stopped(Exception):
    """A signal ended the fit; its state is kept."""


@contextmanager
def unfinished(output: Path) -> Iterator[Path]:
    """The checkpoint of the fit that writes ``output``: locked, and removed once the block ends well.

    Raises:
        BadInput: another fit is at work on the same output.
    """
    path = output.with_name(f"{output.name}.unfinished")
    with alone(output.with_name(f".{output.name}.lock"), "fit", str(output)):
        yield path
        path.unlink(missing_ok=True)


def key_of(facts: Mapping[str, Any], arrays: Sequence[np.ndarray]) -> str:
    """Digest of everything that determines the draws of a fit.

    >>> key_of({"seed": 0}, []) == key_of({"seed": 1}, [])
    False
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def read_checkpoint(path: Path, key: str, say: Callable[[str], None] = lambda message: None) -> Arrays:
    """The state that was kept; empty where there is none of this fit, which ``say`` is told of."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except FileNotFoundError:
        return {}
    except Exception as error:  # a damaged archive raises what its first wrong byte leads to
        say(f"note: {path}: not readable ({error}); the fit begins anew")
        return {}
    if str(found.pop(KEY, "")) != key:
        say(f"note: {path}: of another fit (runs, options or versions differ); this one begins anew")
        return {}
    return found


def write_checkpoint(path: Path, key: str, arrays: Arrays) -> None:
    """Keep a state, whole or not at all.

    Raises:
        BadInput: the file cannot be written.
    """
    with write_atomically(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays, **{KEY: np.array(key)})


def keeper(path: Path, key: str, before: Arrays, came: Sequence[int]) -> Keep:
    """What keeps the state of a fit every ``EVERY`` seconds, and at a signal.

    Args:
        path: of the checkpoint.
        key: of the fit.
        before: what was found ahead of the blocks, kept with them.
        came: grows by the signals that come (``processes.delayed_signals``).

    Raises:
        Stopped: by the function returned, once the state is kept after a signal.
    """
    last = time.monotonic()

    def keep(pack: Callable[[], Arrays]) -> None:
        nonlocal last
        if came or time.monotonic() - last >= EVERY:
            write_checkpoint(path, key, before | pack())
            last = time.monotonic()
        if came:
            raise Stopped

    return keep
