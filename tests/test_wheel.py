"""The wheel in an environment of its own: its commands answer without this checkout and without a network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile

import pytest

from tests.support.documents import ROOT

pytestmark = pytest.mark.slow
NO_NETWORK = """
import socket

def refuse(*_):
    raise OSError("no network here")

socket.socket.connect = socket.create_connection = refuse
"""
LAB = ("bayeslaw-train", "bayeslaw-sweep", "bayeslaw-collect")


def done(*command, folder):
    """What a command prints, in an environment that knows nothing of this checkout."""
    env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    ran = subprocess.run([*map(str, command)], cwd=folder, env=env, capture_output=True, text=True)
    assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling", reason="needs hatchling: pip install 'bayeslaw[dev]'")
    folder = tmp_path_factory.mktemp("wheel")
    done(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, folder=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel):
    """Folder of the programs of an environment with the wheel; its dependencies are those of this one."""
    place = wheel.parent / "venv"
    done(sys.executable, "-m", "venv", "--without-pip", place, folder=wheel.parent)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")))
    (packages / "sitecustomize.py").write_text(NO_NETWORK)
    asked = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", wheel]
    done(sys.executable, "-m", "pip", "--python", place / "bin" / "python", *asked, folder=wheel.parent)
    where = done(place / "bin" / "python", "-c", "import bayeslaw; print(bayeslaw.__file__)", folder=place)
    assert where.startswith(str(packages)), "the checkout answers in place of the wheel"
    return place / "bin"


def test_it_holds_what_the_commands_need_and_no_more(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for each in ("assets/posterior.nc", "reporting/static/page.js", "watching/static/watch.html", "py.typed"):
        assert f"bayeslaw/{each}" in names
    assert "bayeslaw/lab/train/run.py" in names
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"bayeslaw"}


def test_predict_answers(programs, tmp_path):
    assert "0.1.0" in done(programs / "bayeslaw", "--version", folder=tmp_path)
    asked = ["predict", "--params", "1e9", "--tokens", "2e10", "--optimizer", "adamw", "--json"]
    answer = json.loads(done(programs / "bayeslaw", *asked, folder=tmp_path))
    assert 1e-5 < answer["recommendation"]["learning_rate"] < 1e-1


@pytest.mark.parametrize("program", LAB)
def test_the_lab_s_programs_start(programs, tmp_path, program):
    assert "usage" in done(programs / program, "--help", folder=tmp_path).lower()
