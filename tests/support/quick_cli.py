"""The command line with the shortest fit that still runs every step: ``python -m tests.support.quick_cli
fit ...``.

Tests of files, texts and exit codes use it; nobody should believe its intervals.
"""

from __future__ import annotations

import os
import sys

os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"  # compiling takes most of a small fit

from bayeslaw.cli import app


def hurry() -> None:
    """From now on fits have one round of scales, a short warm-up, short paths and one block of draws."""
    from bayeslaw.inference import laplace, nuts

    laplace.EM_STEPS = 1
    nuts.BLOCK, nuts.WARM_BLOCKS, nuts.TREE_DEPTH, nuts.MAX_DRAWS = 10, 6, 4, 1


def main() -> None:
    """As ``bayeslaw``, in a hurry."""
    if {"fit", "loop"} & set(sys.argv):
        hurry()
    app.main()


if __name__ == "__main__":
    main()
