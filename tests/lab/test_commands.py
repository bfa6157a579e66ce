"""Console scripts of the lab."""

from __future__ import annotations

import sys
import tomllib

import pytest

from bayeslaw.lab import commands
from tests.support.documents import PROGRAMS, ROOT


@pytest.mark.parametrize("name", ["train", "sweep", "collect"])
def test_a_script_is_the_main_of_its_module(name, monkeypatch, capsys):
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    program = f"bayeslaw-{name}"
    assert scripts[program] == f"bayeslaw.lab.commands:{name}"
    monkeypatch.setattr(sys, "argv", [program, "--help"])
    with pytest.raises(SystemExit) as ended:
        getattr(commands, name)()
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: {program} ")
    monkeypatch.setattr(sys, "argv", ["x", "--help"])
    with pytest.raises(SystemExit):
        sys.modules[PROGRAMS[program]].main()
    assert capsys.readouterr().out == shown


def test_without_the_extra_a_script_says_what_to_install(monkeypatch, capsys):
    for module in [name for name in sys.modules if name.startswith("bayeslaw.lab.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert commands.train() == 2
    assert capsys.readouterr().err == (
        "Error: the training lab needs torch, which is not installed; expected the extra [train]; "
        "pip install 'bayeslaw[train]'\n"
    )
