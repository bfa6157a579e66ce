"""Files that are whole or absent, checks and locks of their places, and what JSON can hold."""

from __future__ import annotations

import fcntl
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import IO, Any

from bayeslaw.errors import BadInput


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """A temporary path to write to; it becomes ``path`` when the block ends, and vanishes when it fails.

    Raises:
        BadInput: ``path`` is no ordinary file, its folder does not exist, or the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp") if path.name else path
    try:
        _check_place(path)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be written ({error.strerror or error}); choose another place"
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def cache_folder(given: Path | None = None) -> Path:
    """The folder given, or $BAYESLAW_CACHE, or ~/.cache/bayeslaw.

    Raises:
        RuntimeError: the user has no home.
    """
    return given or Path(os.environ.get("BAYESLAW_CACHE") or "~/.cache/bayeslaw").expanduser()


@lru_cache
def static_text(package: str, name: str) -> str:
    """Text of a file in the folder ``static`` of a package within bayeslaw.

    >>> static_text("reporting", "shared.css").splitlines()[0]
    ':root {'
    """
    return (resources.files("bayeslaw") / package / "static" / name).read_text(encoding="utf-8")


def check_writable(path: Path) -> None:
    """Check that ``write_atomically`` can write a file, before the work whose result goes there.

    Raises:
        BadInput: as ``write_atomically``; its temporary file is made and removed, ``path`` is left as it is.
    """
    with suppress(_Tried), write_atomically(path) as temporary:
        temporary.touch()
        raise _Tried


def make_folder(folder: Path) -> None:
    """Make a folder, parents included, and check that files can be written in it.

    Raises:
        BadInput: it cannot be made, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}.tmp"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise BadInput(
            f"{folder}: cannot be made or written to ({error.strerror}); "
            "expected a place to write to; choose another folder"
        ) from None


@contextmanager
def alone(lock: Path, work: str, place: str) -> Iterator[None]:
    """Hold a lock file, removed in the end; the kernel frees it when the process is killed.

    Args:
        lock: the file.
        work: what is done, for the message: ``loop``.
        place: where, for the message: its folder or file.

    Raises:
        BadInput: another process holds it, or it cannot be made.
    """
    with _locked(lock, work, place):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _locked(lock: Path, work: str, place: str) -> IO[str]:
    while True:
        try:
            file = lock.open("a")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise BadInput(
                f"{place}: another {work} is at work there; expected one at a time; "
                "wait for it, stop it, or choose another place"
            ) from None
        except OSError as error:
            raise BadInput(f"{place}: cannot be locked ({error.strerror}); choose another place") from None
        if lock.exists() and os.path.samestat(os.fstat(file.fileno()), lock.stat()):
            return file
        file.close()  # its holder removed it between the two steps


class _Tried(Exception):
    """Ends the block of ``write_atomically`` before it replaces anything."""


def _check_place(path: Path) -> None:
    if not path.parent.is_dir():
        raise BadInput(f"{path}: cannot be written, {path.parent} is no folder; create it or choose another")
    if path.exists() and not path.is_file():
        kind = "is a folder" if path.is_dir() else "is no ordinary file"
        raise BadInput(f"{path}: cannot be written, it {kind}; expected a file; choose another")


def plain_json(value: Any) -> Any:
    """A value as JSON can hold it.

    NumPy scalars and arrays become numbers and lists, numbers that are not finite None, and other objects,
    such as paths, text.

    >>> plain_json({1: (float("inf"), 2.5), "path": Path("a/b")})
    {'1': [None, 2.5], 'path': 'a/b'}
    """
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_json(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return plain_json(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int)) else str(value)
