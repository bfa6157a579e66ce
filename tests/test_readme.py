"""Every shell block of README.md under a ``<!-- tested -->`` mark runs, in order, in one folder."""

from __future__ import annotations

import json
import re

import pytest

from bayeslaw.assets import EXAMPLE_SWEEP
from tests.support.documents import ROOT, shell, workplace

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"<!-- tested -->\n```bash\n(.*?)```", README, re.S)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The folder, and stdout of each block; `bayeslaw` is a quick stand-in for the installed one."""
    folder = tmp_path_factory.mktemp("readme")
    env = workplace(folder)
    (folder / "sweep.csv").write_bytes(EXAMPLE_SWEEP.read_bytes())
    said = []
    for block in BLOCKS:
        ran = shell(block, folder, env)
        assert ran.returncode == 0, f"{block}\n{ran.stdout}\n{ran.stderr}"
        said.append(ran.stdout)
    return folder, said


def test_the_commands_of_the_readme_run(outputs):
    folder, said = outputs
    assert [re.search(r"(?:bayeslaw |-m train\.)(\w+)", block)[1] for block in BLOCKS] == [
        *("import", "fit", "predict", "predict", "evaluate", "diagnose", "design", "report", "run", "sweep"),
    ]
    made = {path.name for path in folder.iterdir()}
    assert {"runs.parquet", "posterior.nc", "scores.png", "report.html", "first.parquet"} <= made
    assert all(said)


def test_the_json_of_the_readme_has_the_keys_that_predict_prints(outputs):
    (sample,) = re.findall(r"```json\n(.*?)```", README, re.S)
    shown, printed = json.loads(sample), json.loads(outputs[1][3])
    assert list(shown) == list(printed)
    for part in ("inputs", "recommendation", "optimum", "loss_nats_per_token", "regret", "extrapolation"):
        assert list(shown[part]) == list(printed[part]), part


def test_every_module_has_its_line_in_the_tree():
    named = set(re.findall(r"^ +(\w+\.py) ", README, re.M))
    packages = ("bayeslaw", "bayeslaw/plots", "models", "data", "train")
    assert named == {path.name for package in packages for path in (ROOT / package).glob("*.py")}


def test_links_within_the_repository_lead_somewhere():
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link


def test_the_benchmark_has_its_place():
    assert README.index("<!-- benchmark:start -->") < README.index("<!-- benchmark:end -->")
