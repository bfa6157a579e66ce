"""The layers: who may import whom, read from the source; and what a command loads before it works."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "bayeslaw"
LAYERS = (  # lowest first: each imports itself and what stands above it here, and no neighbour
    "errors lazy",
    "text files arrays processes assets intervals space",
    "target results hardware compiled",
    "theory spectra",
    "runs schedules",
    "law",
    "posterior",
    "inference advice",
    "evaluation planning integrations lab",
    "diagnosis rehearsal loop comparison",
    "plots",
    "reporting watching",
    "cli",
    "demo",
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names.split()}
FRAMEWORKS = set("torch accelerate datasets tokenizers transformers lightning optax ray optuna".split())
ADAPTERS = {
    "integrations.for_transformers",
    "integrations.for_lightning",
    "integrations.for_optuna",
    "integrations.for_ray",
    "spectra.for_torch",
    "spectra.for_jax",
}
"""Modules that import another's framework at their top; nothing else imports them."""
LAB = {"train", "models", "data"}
FITS = {"rehearsal", "cli", "demo"}
"""What may start a fit, and so load JAX; the import stands in a function."""
HEAVY = "pandas numpy pyarrow jax numpyro arviz xarray scipy matplotlib torch h5py h5netcdf typer rich"


def module_of(file: Path) -> str:
    """``bayeslaw/sub/x.py`` is ``sub.x``; the package itself is the empty name."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def layer(module: str) -> str:
    """A package within the package is one layer."""
    return module.partition(".")[0]


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of everything imported anywhere below the node."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write absolute imports: they name the layer"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def tops(tree: ast.AST) -> set[str]:
    """Top packages imported anywhere below the node."""
    return {name.partition(".")[0] for name in imported(tree)}


def at_import(tree: ast.Module) -> set[str]:
    """Top packages imported when the module is, outside functions."""
    return set().union(
        *(tops(node) for node in tree.body if not isinstance(node, ast.FunctionDef | ast.ClassDef))
    )


@cache
def own_imports(module: str) -> frozenset[str]:
    """Modules of bayeslaw that a module imports, as ``module_of`` names them."""
    names = [
        name.removeprefix("bayeslaw.")
        for name in imported(parsed(FILES[module]))
        if name.startswith("bayeslaw.")
    ]
    return frozenset(name if name in FILES else name.rpartition(".")[0] for name in names) - {""}


def reached(module: str) -> set[str]:
    """Modules that a module imports, and those that they import, and so on; itself among them."""
    found: set[str] = set()
    waiting = {module}
    while waiting:
        found |= waiting
        waiting = set().union(*(own_imports(name) for name in waiting)) - found
    return found


def statistics() -> list[str]:
    """Modules other than those of the lab."""
    return [module for module in FILES if layer(module) != "lab"]


def listed(offenders: Iterable[str]) -> str:
    """One line per offender; empty, and false, where there is none."""
    return "\n".join(offenders)


def loaded_by(statement: str) -> set[str]:
    """Top packages that a fresh interpreter has loaded after the statement."""
    script = f"import sys; {statement}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    return set(ran.stdout.split())


# ------------------------------------------------------------------------------------------- layers


def test_every_package_has_its_layer():
    assert {layer(module) for module in FILES} - {""} - set(LEVEL) == set()
    assert {"posterior", "law", "target"} <= {layer(name) for name in reached("advice.prediction")}


def test_imports_go_one_way():
    wrong = [
        f"bayeslaw.{module} ({layer(module)}) imports bayeslaw.{other} ({layer(other)})"
        for module in FILES
        if module
        for other in sorted(own_imports(module))
        if layer(other) != layer(module) and LEVEL[layer(other)] >= LEVEL[layer(module)]
    ]
    assert not listed(wrong), listed(wrong)


def test_imports_form_no_cycle():
    try:
        tuple(TopologicalSorter({module: own_imports(module) for module in FILES}).static_order())
    except CycleError as error:
        raise AssertionError(f"import cycle: {' -> '.join(error.args[1])}") from None


def test_only_inference_knows_jax():
    wrong = [
        module
        for module in statistics()
        if tops(parsed(FILES[module])) & {"jax", "numpyro"}
        and layer(module) != "inference"
        and module not in ADAPTERS
    ]
    assert not listed(wrong), listed(wrong)


def test_only_what_fits_reaches_inference():
    wrong = [
        f"{module} reaches {', '.join(sorted(fits))}"
        for module in statistics()
        if (fits := {name for name in reached(module) if layer(name) == "inference"})
        and layer(module) not in {"", "inference", *FITS}
    ]
    assert not listed(wrong), listed(wrong)


def test_only_the_command_line_knows_typer():
    wrong = [module for module in FILES if "typer" in tops(parsed(FILES[module])) and layer(module) != "cli"]
    assert not listed(wrong), listed(wrong)


def test_the_statistics_import_nothing_of_the_training_stack():
    wrong = [
        f"{module} imports {', '.join(sorted(found))}"
        for module in statistics()
        if module not in ADAPTERS
        for tree in [parsed(FILES[module])]
        if (
            found := (at_import(tree) if layer(module) == "integrations" else tops(tree)) & (FRAMEWORKS | LAB)
        )
    ]
    wrong += [
        f"{module} imports the lab" for module in statistics() if "lab" in map(layer, own_imports(module))
    ]
    assert not listed(wrong), listed(wrong)


def test_nothing_rests_on_an_adapter():
    wrong = [
        f"{module} imports {', '.join(bad)}"
        for module in FILES
        if (bad := sorted(own_imports(module) & ADAPTERS))
    ]
    assert not listed(wrong), listed(wrong)


def test_private_names_stay_in_their_package():
    wrong = [
        f"{module} imports {name}"
        for module in FILES
        for name in imported(parsed(FILES[module]))
        if name.startswith("bayeslaw.") and any(part.startswith("_") for part in name.split(".")[1:])
        if name.split(".")[1] != layer(module) and not name.endswith("__")
    ]
    assert not listed(wrong), listed(wrong)


def test_no_test_imports_a_test():
    files = sorted((PACKAGE.parent / "tests").rglob("*.py"))
    wrong = [
        f"{file.name} imports {name}"
        for file in files
        for name in imported(parsed(file))
        if name.startswith("tests.") and any(part.startswith("test_") for part in name.split(".")[:-1])
    ]
    assert not listed(wrong), listed(wrong)


# ------------------------------------------------------------------------------------- what is loaded


def test_help_loads_nothing_heavy():
    assert loaded_by("import bayeslaw.cli.app") & set(HEAVY.split()) <= {"typer"}


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_by("import bayeslaw") & set(HEAVY.split()) == set()


def test_what_reads_a_posterior_loads_neither_pandas_nor_jax():
    modules = "bayeslaw.advice.prediction, bayeslaw.posterior.netcdf, bayeslaw.law.surface, bayeslaw.target"
    assert (
        loaded_by(f"import {modules}") & set("pandas jax numpyro scipy arviz xarray matplotlib".split())
        == set()
    )
