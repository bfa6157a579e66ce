"""The public face of the package: what a notebook user guesses, loaded when it is used."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import bayeslaw

ROOT = Path(bayeslaw.__file__).parents[1]
PACKAGES = sorted(
    file.parent.name
    for file in (ROOT / "bayeslaw").glob("*/__init__.py")
    if "face(" in file.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", bayeslaw.__all__)
def test_every_name_is_there_and_no_package_hides_it(name):
    assert callable(getattr(bayeslaw, name))
    assert name in dir(bayeslaw)
    assert not (ROOT / "bayeslaw" / name).exists()


def test_an_unknown_name_is_no_attribute():
    with pytest.raises(AttributeError, match="module 'bayeslaw' has no attribute 'magic'"):
        bayeslaw.magic  # noqa: B018


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_shows_its_public_names(package):
    face = import_module(f"bayeslaw.{package}")
    for name in face.__all__:
        assert getattr(face, name) is not None
        assert not (ROOT / "bayeslaw" / package / f"{name}.py").exists(), "a module hides the function"


def test_the_package_alone_loads_none_of_its_modules():
    code = "import sys, bayeslaw; print(sorted(m for m in sys.modules if m.startswith('bayeslaw')))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "['bayeslaw', 'bayeslaw.lazy']"


def test_a_function_used_does_not_disappear_behind_its_package():
    import bayeslaw.diagnosis.diagnosis
    import bayeslaw.inference.fitting

    assert bayeslaw.fit.__name__ == "fit"
    assert bayeslaw.diagnose.__module__ == "bayeslaw.diagnosis.diagnosis"


def test_types_are_published():
    assert (ROOT / "bayeslaw" / "py.typed").exists()
