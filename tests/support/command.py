"""The command line, run in this process."""

from __future__ import annotations

import sys

import pytest

from bayeslaw.cli import app


def run(monkeypatch, capsys, *arguments):
    """Exit code, stdout and stderr of ``bayeslaw ARGUMENTS``."""
    monkeypatch.setattr(sys, "argv", ["bayeslaw", *arguments])
    with pytest.raises(SystemExit) as caught:
        app.main()
    out, err = capsys.readouterr()
    return int(caught.value.code or 0), out, err
