"""Every shell block of README.md under a ``<!-- tested -->`` mark runs, in order, in one folder."""

from __future__ import annotations

import json
import re

import pytest

from bayeslaw.assets import EXAMPLE_SWEEP
from tests.support.documents import ROOT, shell, workplace

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"<!-- tested -->\n```bash\n(.*?)```", README, re.S)


COMMANDS = ("import", "fit", "predict", "evaluate", "design", "train", "sweep")
OWN_RUNS = COMMANDS.index("train")
"""Number of the first block that trains."""


def ran(blocks, folder):
    """Stdout of each block, in the folder; `bayeslaw` is a quick stand-in for the installed one."""
    env = workplace(folder)
    for block in blocks:
        done = shell(block, folder, env)
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        yield done.stdout


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The folder of the blocks on runs that somebody has, and stdout of each."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "sweep.csv").write_bytes(EXAMPLE_SWEEP.read_bytes())
    return folder, [*ran(BLOCKS[:OWN_RUNS], folder)]


def test_the_blocks_are_those_that_run():
    assert tuple(re.search(r"bayeslaw[ -](\w+)", block)[1] for block in BLOCKS) == COMMANDS


def test_the_commands_of_the_readme_run(outputs):
    folder, said = outputs
    made = {path.name for path in folder.iterdir()}
    assert {"runs.parquet", "posterior.nc", "scores.png", "plan.csv", "report.html"} <= made
    assert all(said)


@pytest.mark.slow
def test_the_commands_that_train_run(tmp_path):
    assert all(ran(BLOCKS[OWN_RUNS:], tmp_path))
    assert (tmp_path / "first.parquet").exists()


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
