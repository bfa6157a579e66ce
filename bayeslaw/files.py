"""Files that are whole or absent, written beside their place and then renamed; and what JSON can hold."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bayeslaw.errors import BadInput


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Provide a temporary path that becomes ``path`` when the block ends, and is removed if it fails.

    Raises:
        BadInput: the folder does not exist, or the file cannot be written.
    """
    if not path.parent.is_dir():
        raise BadInput(f"{path}: cannot be written, {path.parent} is no folder; create it or choose another")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise BadInput(
            f"{path}: cannot be written ({error.strerror or error}); choose another place"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


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
