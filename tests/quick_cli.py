"""The command line with the shortest fit that still runs every step: ``python -m tests.quick_cli fit ...``.

Tests of files, texts and exit codes use it; nobody should believe its intervals.
"""

from __future__ import annotations

from bayeslaw import cli


def main() -> None:
    """As ``bayeslaw``, but one round of scales, one block of draws and a short warm-up."""
    from bayeslaw import fit, whiten

    whiten.EM_STEPS = 1
    fit.WARMUP, fit.MAX_BLOCKS = 60, 1
    cli.main()


if __name__ == "__main__":
    main()
