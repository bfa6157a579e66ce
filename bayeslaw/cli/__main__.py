"""``python -m bayeslaw.cli``: the same as ``bayeslaw``."""

from bayeslaw.cli.app import main

main()
