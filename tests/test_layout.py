"""The layers: who may import whom, read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "bayeslaw"
FILES = sorted(PACKAGE.rglob("*.py"))
TRAINING = {"train", "models", "data", "torch", "accelerate", "datasets", "transformers"}
USES = ("predict", "evaluate", "design", "replay", "report")
ABOVE = {  # a module, and what lies above it: never imported by it
    "errors": ("schema", "cells", "surface", "model", "posterior", "fit", *USES, "cli"),
    "schema": ("runs", "importers", "surface", "model", "posterior", "fit", *USES, "cli"),
    "runs": ("importers", "surface", "model", "posterior", "fit", *USES, "cli"),
    "surface": ("model", "posterior", "fit", *USES, "cli"),
    "model": ("posterior", "fit", *USES, "cli"),
    "posterior": ("fit", *USES, "cli"),
    "fit": (*USES, "cli"),
    "predict": ("fit", "model", "design", "replay", "report", "cli"),
    "evaluate": ("fit", "model", "design", "replay", "report", "cli"),
    "design": ("replay", "report", "cli"),
}


def module_of(file: Path) -> str:
    """``bayeslaw/sub/x.py`` is ``sub.x``; the package itself is the empty name."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of everything imported anywhere below the node."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "write absolute imports: they name the layer"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def own_imports(file: Path) -> set[str]:
    """Modules of bayeslaw that the file imports, as `module_of` names them."""
    known = {module_of(other) for other in FILES}
    inner = [
        name.removeprefix("bayeslaw.") for name in imported(parsed(file)) if name.startswith("bayeslaw.")
    ]
    return {name if name in known else name.rpartition(".")[0] for name in inner} - {""}


def at_import(tree: ast.Module) -> set[str]:
    """Top packages imported when the module is, outside functions."""
    bodies = [node for node in tree.body if not isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    return {name.partition(".")[0] for node in bodies for name in imported(node)}


def test_the_scan_sees_this_package():
    assert {"schema", "runs", "importers", "cli"} <= {module_of(file) for file in FILES}
    assert {"errors", "doubts"} <= own_imports(PACKAGE / "schema.py")


@pytest.mark.parametrize("module", [module for module in ABOVE if (PACKAGE / f"{module}.py").exists()])
def test_no_module_imports_what_lies_above_it(module):
    assert own_imports(PACKAGE / f"{module}.py") & set(ABOVE[module]) == set()


def test_imports_form_no_cycle():
    graph = {module_of(file): own_imports(file) for file in FILES}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_the_statistics_import_nothing_of_the_training_half(file):
    tree = parsed(file)
    found = {name.partition(".")[0] for name in imported(tree)} & TRAINING
    lazily = module_of(file).startswith("integrations") and not at_import(tree) & TRAINING
    assert lazily or found == set()


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_only_the_command_line_knows_typer(file):
    tops = {name.partition(".")[0] for name in imported(parsed(file))}
    assert module_of(file) == "cli" or "typer" not in tops


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_only_entry_points_import_the_command_line(file):
    assert module_of(file) in ("demo", "__main__") or "cli" not in own_imports(file)


def test_help_loads_nothing_heavy():
    script = "import sys, bayeslaw.cli; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    heavy = {
        "pandas",
        "numpy",
        "pyarrow",
        "jax",
        "numpyro",
        "arviz",
        "xarray",
        "scipy",
        "matplotlib",
        "torch",
    }
    assert heavy & set(result.stdout.split()) == set()
