"""Console scripts of the lab: ``bayeslaw-train``, ``bayeslaw-sweep`` and ``bayeslaw-collect``."""

from __future__ import annotations

import sys
from importlib import import_module


def train() -> int:
    """``bayeslaw-train``: one run."""
    return _main("run")


def sweep() -> int:
    """``bayeslaw-sweep``: every run of a plan."""
    return _main("sweep")


def collect() -> int:
    """``bayeslaw-collect``: the run table of a sweep."""
    return _main("collect")


def _main(module: str) -> int:
    """Exit code of the module's ``main``; 2 with one line where a package of the extra is missing."""
    try:
        main = import_module(f"bayeslaw.lab.train.{module}").main
    except ModuleNotFoundError as error:
        print(
            f"Error: the training lab needs {error.name}, which is not installed; expected the extra "
            "[train]; pip install 'bayeslaw[train]'",
            file=sys.stderr,
        )
        return 2
    return int(main())
