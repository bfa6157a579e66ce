"""Files that are whole or absent: written under a temporary name, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
