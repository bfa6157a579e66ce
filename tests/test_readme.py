"""Every shell block of README.md under a ``<!-- tested -->`` mark runs, in order, in one folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bayeslaw.example import SWEEP

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"<!-- tested -->\n```bash\n(.*?)```", README, re.S)
SHIM = '#!/bin/sh\nPYTHONPATH="{root}" exec "{python}" -m tests.quick_cli "$@"\n'


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The folder, and stdout of each block; `bayeslaw` is a quick stand-in for the installed one."""
    folder = tmp_path_factory.mktemp("readme")
    shim = folder / "bin" / "bayeslaw"
    shim.parent.mkdir()
    shim.write_text(SHIM.format(root=ROOT, python=sys.executable))
    shim.chmod(0o755)
    (folder / "sweep.csv").write_bytes(SWEEP.read_bytes())
    programs = f"{shim.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = os.environ | {"PATH": programs, "PYTHONPATH": str(ROOT), "BAYESLAW_CACHE": str(folder / "cache")}
    said = []
    for block in BLOCKS:
        ran = subprocess.run(["sh", "-ec", block], cwd=folder, env=env, capture_output=True, text=True)
        assert ran.returncode == 0, f"{block}\n{ran.stdout}\n{ran.stderr}"
        said.append(ran.stdout)
    return folder, said


def test_the_commands_of_the_readme_run(outputs):
    folder, said = outputs
    assert [re.search(r"(?:bayeslaw |-m train\.)(\w+)", block)[1] for block in BLOCKS] == [
        *("import", "fit", "predict", "predict", "evaluate", "design", "run", "sweep"),
    ]
    made = {path.name for path in folder.iterdir()}
    assert {"runs.parquet", "posterior.nc", "scores.png", "first.parquet"} <= made
    assert all(said)


def test_the_json_of_the_readme_has_the_keys_that_predict_prints(outputs):
    (sample,) = re.findall(r"```json\n(.*?)```", README, re.S)
    shown, printed = json.loads(sample), json.loads(outputs[1][3])
    assert list(shown) == list(printed)
    for part in ("inputs", "recommendation", "optimum", "loss_nats_per_token", "regret", "extrapolation"):
        assert list(shown[part]) == list(printed[part]), part


def test_every_module_has_its_line_in_the_tree():
    named = set(re.findall(r"^ +(\w+\.py) ", README, re.M))
    packages = ("bayeslaw", "models", "data", "train")
    assert named == {path.name for package in packages for path in (ROOT / package).glob("*.py")}


def test_links_within_the_repository_lead_somewhere():
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link


def test_the_benchmark_has_its_place():
    assert README.index("<!-- benchmark:start -->") < README.index("<!-- benchmark:end -->")
