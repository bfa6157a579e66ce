"""A folder for what JAX compiles, so that the next fit of a table of the same shape begins sooner."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

from bayeslaw.files import cache_folder

FOLDER, SIZE = "JAX_COMPILATION_CACHE_DIR", "JAX_COMPILATION_CACHE_MAX_SIZE"
"""Environment variables that JAX reads when it is loaded."""

LIMIT = 256 * 2**20
"""Size of the folder [bytes]; beyond it JAX deletes what was not used for longest."""


def keep_compiled() -> None:
    """Let this process and its children keep what they compile in ``folder()``.

    Whoever sets the variable keeps it; without a folder that can be written nothing is kept.
    """
    found = folder()
    if FOLDER not in os.environ and found is not None and _writable(found):
        os.environ[FOLDER] = str(found)
        os.environ.setdefault(SIZE, str(LIMIT))


def folder() -> Path | None:
    """jax/MACHINE in $BAYESLAW_CACHE or ~/.cache/bayeslaw; None for a user without a home.

    A cluster's nodes may share a home, but not code for their processors.
    """
    try:
        home = cache_folder()
    except RuntimeError:
        return None
    return home / "jax" / hashlib.sha256(_processor().encode()).hexdigest()[:12]


def _processor() -> str:
    """What code is compiled for: the instructions that the processor knows, where the system tells."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    known = sorted({line for line in lines if line.lower().startswith(("flags", "features", "model name"))})
    return "\n".join([platform.machine(), platform.processor(), *known])


def _writable(path: Path) -> bool:
    there = next(each for each in (path, *path.parents) if each.exists())
    return there.is_dir() and os.access(there, os.W_OK)
