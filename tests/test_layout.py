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
TRAINING = set("torch accelerate datasets transformers lightning optax".split())
ENTRY = ("printing", "cli", "demo", "example")
ACTIVE = ("finished_sweep", "replay", "replays", "loop", "loop_folder")
HEALTH = ("likelihood", "sensitivity", "cell_fit", "influence", "findings", "health", "health_text")
USES = (
    "compare",
    "fit_summary",
    "plots",
    "predict",
    "evaluate",
    "design",
    *ACTIVE,
    *HEALTH,
    "report",
    *ENTRY,
)
JAX = ("model", "whiten", "draw", "fit")
FITTING = ("sweep", "model", "whiten", "draw", "fit")
ABOVE = {  # a module, and what lies above it: never imported by it
    "errors": ("schema", "cells", "surface", "posterior", "pooling", "basin", *FITTING, *USES),
    "atomic": ("runs", "schema", "surface", "posterior", "pooling", "basin", *FITTING, *USES),
    "target": ("runs", "surface", "posterior", "pooling", "basin", *FITTING, *USES),
    "schema": ("runs", "importers", "surface", "posterior", "pooling", "basin", *FITTING, *USES),
    "runs": ("importers", "surface", "simulate", "posterior", "pooling", "basin", *FITTING, *USES),
    "fit_doubts": ("posterior", "pooling", "basin", *FITTING, *USES),
    "priors": ("runs", "schema", "posterior", "pooling", "basin", *FITTING, *USES),
    "surface": ("runs", "schema", "posterior", "pooling", "basin", "simulate", *FITTING, *USES),
    "simulate": ("posterior", "pooling", "basin", *FITTING, *USES),
    "sweep": ("posterior", "pooling", "basin", "model", "whiten", "draw", "fit", *USES),
    "model": ("posterior", "pooling", "basin", "whiten", "draw", "fit", *USES),
    "whiten": ("posterior", "pooling", "basin", "draw", "fit", *USES),
    "draw": ("posterior", "pooling", "basin", "fit", *USES),
    "diagnose": ("posterior", "pooling", "basin", "whiten", "draw", "fit", *USES),
    "posterior": ("pooling", "basin", *FITTING, *USES),
    "pooling": ("basin", "advisor", *FITTING, *USES),
    "basin": ("advisor", "joint", "acquisition", "reweight", *FITTING, *USES),
    "fit": ("advisor", *USES),
    "predict": (*FITTING, "advisor", "plots", "evaluate", "design", "replay", "report", *ENTRY),
    "advisor": ("evaluate", "design", "replay", "report", "model", "whiten", "draw", "fit", *ENTRY),
    "compare": (*FITTING, "predict", "evaluate", *ENTRY),
    "inference_data": ("advisor", *FITTING, *USES),
    "plots": (*FITTING, "design", "replay", "report", *ENTRY),
    "fit_summary": (*FITTING, "predict", "evaluate", *ENTRY),
    "report_data": (*FITTING, "plots", "report", "report_parts", "report_figures", *ENTRY),
    "report_parts": ("report", "report_data", "report_figures", *ENTRY),
    "report_figures": (*FITTING, "report", "report_data", "report_parts", *ENTRY),
    "evaluate": (*FITTING, "design", "replay", "report", *ENTRY),
    "candidates": (*FITTING, "joint", "acquisition", "reweight", *USES),
    "linearise": (*FITTING, "joint", "acquisition", "reweight", "stopping", *USES),
    "stopping": (*FITTING, "joint", "acquisition", "reweight", *USES),
    "joint": (*FITTING, "acquisition", "reweight", *USES),
    "acquisition": (*FITTING, "reweight", *USES),
    "reweight": (*FITTING, *USES),
    "design": (*FITTING, "plots", *ACTIVE, "report", *ENTRY),
    "likelihood": (*JAX, "predict", "joint", "design", *HEALTH[1:], *ENTRY),
    "sensitivity": (*FITTING, "predict", "joint", "design", *HEALTH[2:], *ENTRY),
    "cell_fit": (*JAX, "predict", "joint", "design", *HEALTH[3:], *ENTRY),
    "influence": (*FITTING, "predict", "joint", "design", *HEALTH[4:], *ENTRY),
    "findings": (*JAX, "predict", "joint", "design", *HEALTH[5:], *ENTRY),
    "health": (*JAX, "predict", "joint", "design", "health_text", *ENTRY),
    "health_text": (*JAX, "predict", "joint", "design", "cli", "demo", "example"),
    "prior_posterior": (*FITTING, "basin", "joint", "acquisition", *USES),
    "finished_sweep": (*FITTING, "joint", "plots", "replay", "replays", "loop", "loop_folder", *ENTRY),
    "replay": ("plots", "replays", "loop", "loop_folder", "report", *ENTRY),
    "replays": (*FITTING, "plots", "loop", "loop_folder", "report", *ENTRY),
    "journal": ("posterior", "basin", "joint", "runner", *FITTING, *USES),
    "runner": ("posterior", "basin", "joint", *FITTING, *USES),
    "loop_folder": (*FITTING, "plots", "replay", "replays", "loop", "report", *ENTRY),
    "loop": (*FITTING, "plots", "replay", "replays", "report", *ENTRY),
    "words": ("surface", "posterior", "pooling", "basin", *FITTING, *USES),
    "printing": ("health_text", "cli", "demo", "example"),
    "cli": ("demo", "example"),
}
WITHOUT_JAX = (
    "health_text",
    "predict",
    "fit_summary",
    "simulate",
    "evaluate",
    "plots",
    "design",
    "reweight",
    "loop",
    "report",
)


def module_of(file: Path) -> str:
    """``bayeslaw/sub/x.py`` is ``sub.x``; the package itself is the empty name."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer(file: Path) -> str:
    """A package within the package is one layer."""
    return module_of(file).partition(".")[0]


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


def test_every_module_of_the_layers_exists():
    assert set(ABOVE) <= {layer(file) for file in FILES}


@pytest.mark.parametrize("file", [file for file in FILES if layer(file) in ABOVE], ids=module_of)
def test_no_module_imports_what_lies_above_it(file):
    layers = {name.partition(".")[0] for name in own_imports(file)}
    assert layers & set(ABOVE[layer(file)]) == set()


def test_imports_form_no_cycle():
    graph = {module_of(file): own_imports(file) for file in FILES}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_the_statistics_import_nothing_of_the_training_half(file):
    tree = parsed(file)
    found = {name for name in imported(tree) if name.startswith("bayeslaw.lab")}
    found |= {name.partition(".")[0] for name in imported(tree)} & TRAINING
    lazily = module_of(file).startswith("integrations") and not at_import(tree) & TRAINING
    callback = module_of(file).startswith("integrations.for_")
    assert lazily or callback or found == set()


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_nothing_rests_on_the_integrations(file):
    integrations = [name for name in own_imports(file) if name.startswith("integrations")]
    assert integrations == [] or module_of(file).startswith("integrations")
    assert not any(name.startswith("integrations.for_") for name in integrations)


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_only_the_command_line_knows_typer(file):
    tops = {name.partition(".")[0] for name in imported(parsed(file))}
    assert module_of(file) == "cli" or "typer" not in tops


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_only_entry_points_import_the_command_line(file):
    assert module_of(file) in ("demo", "example", "__main__") or "cli" not in own_imports(file)


def test_help_loads_nothing_heavy():
    script = "import sys, bayeslaw.cli; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    heavy = set("pandas numpy pyarrow jax numpyro arviz xarray scipy matplotlib torch".split())
    assert heavy & set(result.stdout.split()) == set()


@pytest.mark.parametrize("module", WITHOUT_JAX)
def test_what_reads_a_posterior_or_a_table_needs_no_jax(module):
    graph = {module_of(file): own_imports(file) for file in FILES}
    reached, waiting = set(), {module}
    while waiting:
        reached |= waiting
        waiting = set().union(*(graph[name] for name in waiting)) - reached
    assert reached & {"model", "whiten", "draw", "fit"} == set()


def test_the_lab_is_reached_under_the_name_of_the_package_only():
    links = {path.name: path.resolve() for path in (PACKAGE / "lab").iterdir() if path.is_symlink()}
    assert links == {name: PACKAGE.parent / name for name in ("train", "models", "data")}
    files = [file for folder in links.values() for file in folder.glob("*.py")]
    tops = {name.partition(".")[0] for file in files for name in imported(parsed(file))}
    assert tops & {*links, "tests"} == set()
