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
    assert [re.search(r"bayeslaw[ -](\w+)", block)[1] for block in BLOCKS] == [
        *("import", "fit", "predict", "evaluate", "design", "train", "sweep"),
    ]
    made = {path.name for path in folder.iterdir()}
    assert {"runs.parquet", "posterior.nc", "scores.png", "plan.csv", "report.html", "first.parquet"} <= made
    assert all(said)


def test_the_sample_of_the_json_contract_has_the_keys_that_predict_prints(outputs):
    (sample,) = re.findall(r"```json\n(.*?)```", (ROOT / "docs" / "command-line.md").read_text(), re.S)
    shown, printed = json.loads(sample), json.loads((outputs[0] / "advice.json").read_text())
    assert list(shown) == list(printed)
    for part in ("inputs", "recommendation", "optimum", "loss_nats_per_token", "regret", "extrapolation"):
        assert list(shown[part]) == list(printed[part]), part


def test_the_readme_stays_short():
    assert len(README.splitlines()) <= 200


def test_the_tree_names_the_folders():
    tree = README[README.index("## Files") : README.index("## Data and licences")]
    named = set(re.findall(r"^ {4}(\w+)/", tree, re.M))
    assert named == {"bayeslaw", "models", "data", "train", "notebooks", "tests", "docs"}


def test_links_within_the_repository_lead_somewhere():
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
