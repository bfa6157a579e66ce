"""The theory stands alone: NumPy, and nothing that takes time to load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bayeslaw.theory

FOLDER = Path(bayeslaw.theory.__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
STATUS = ("found in a source", "found in a secondary source", "derived here", "from memory")


def test_importing_all_of_it_loads_nothing_heavy():
    script = f"import sys\nfor name in {MODULES}: __import__('bayeslaw.theory.' + name)\nprint(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in ran.stdout.split()}
    assert "numpy" in loaded
    assert loaded & {"jax", "numpyro", "pandas", "matplotlib", "scipy", "torch", "h5py"} == set()


@pytest.mark.parametrize("name", [name for name in MODULES if name not in ("checks", "measured")])
def test_every_module_says_where_its_formulas_are_from(name):
    text = (FOLDER / f"{name}.py").read_text()
    assert any(status in text.lower() for status in STATUS)
    public = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    public = [node for node in public if not node.name.startswith(("_", "checked"))]
    bare = [node.name for node in public if ">>> " not in (ast.get_docstring(node) or "")]
    assert bare == []


def test_every_module_is_listed():
    listed = bayeslaw.theory.__doc__ or ""
    assert {name for name in MODULES if f"``{name}``" not in listed} == {"checks"}
