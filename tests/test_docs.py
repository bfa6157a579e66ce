"""The pages of docs: blocks run, generated parts and samples are current, links lead somewhere."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from types import SimpleNamespace

import h5py
import pytest

from bayeslaw.assets import EXAMPLE_SWEEP, POSTERIOR
from bayeslaw.cli.app import app
from bayeslaw.law.parameters import PARAMETERS
from bayeslaw.law.terms import FACTORS
from bayeslaw.loop import rounds
from bayeslaw.posterior.netcdf import write_posterior
from bayeslaw.posterior.prior import prior_posterior
from bayeslaw.rehearsal import many
from bayeslaw.rehearsal.task import study_of
from bayeslaw.runs.io import read_runs
from bayeslaw.runs.schema import BY_NAME
from bayeslaw.target import parse_target
from docs import generate
from tests.studies import publish
from tests.support import command
from tests.support.documents import RAN, ROOT, blocks, prose, workplace
from tests.support.fakes import fake_posterior
from tests.support.loops import surer, task_in

PAGES = sorted((ROOT / "docs").glob("*.md"))
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *PAGES, ROOT / "bayeslaw" / "assets" / "README.md"]
TEXT = {page.stem: page.read_text(encoding="utf-8") for page in PAGES}
LONG = ("curvature", "extending", "files", "integrations", "schedules")
"""Pages whose blocks take more than about 8 s, for `make test-all`."""
RUNNING = [
    pytest.param(name, marks=[pytest.mark.slow] if name in LONG else [])
    for name, text in TEXT.items()
    if any(block.language in RAN for block in blocks(text))
]


@pytest.fixture(scope="module")
def page_run(tmp_path_factory):
    """Run a page once: its folder, and what came of it."""

    @functools.cache
    def run(name):
        folder = tmp_path_factory.mktemp(name)
        env = workplace(folder)
        (folder / "sweep.csv").write_bytes(EXAMPLE_SWEEP.read_bytes())
        (folder / "posterior.nc").write_bytes(POSTERIOR.read_bytes())
        program = [sys.executable, "-m", "tests.support.documents", str(ROOT / "docs" / f"{name}.md")]
        return folder, subprocess.run(program, cwd=folder, env=env, capture_output=True, text=True)

    return run


# ------------------------------------------------------------------------------------------ blocks


@pytest.mark.parametrize("name", RUNNING)
def test_the_blocks_of_a_page_run(page_run, name):
    _, ran = page_run(name)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_generated_parts_are_current(page):
    text = page.read_text()
    assert generate.filled(text) == text, "run python docs/generate.py"


def test_the_tables_of_the_studies_are_those_of_the_results():
    texts = [page.read_text() for page in publish.PAGES]
    marked = [name for text in texts for name in re.findall(r"<!-- study: (\w+) -->", text)]
    assert sorted(marked) == sorted(publish.TABLES)
    assert [publish.filled(text) for text in texts] == texts, "run python -m tests.studies.publish"


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_json_and_toml_can_be_read(page):
    for block in blocks(page.read_text()):
        if block.language == "json":
            json.loads(block.text)
        if block.language == "toml":
            tomllib.loads(block.text)


def test_the_readme_leaves_no_block_untested():
    text = (ROOT / "README.md").read_text()
    found = [(block.language, block.text) for block in blocks(text)]
    shell = [text for language, text in found if language == "bash"]
    assert shell == re.findall(r"<!-- tested -->\n```bash\n(.*?)```", text, re.S)  # run by test_readme
    others = [language for language, _ in found if language != "bash"]
    assert others == ["python"]  # run by tests/integrations/test_torch.py


# ------------------------------------------------------------------------------------------- links


def anchors(document):
    """What GitHub makes of headings: lower case, punctuation dropped, spaces as hyphens."""
    heads = re.findall(r"^#+ +(.*?) *$", prose(document), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_anchors_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text())):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        there = (page.parent / path) if path else page
        assert there.exists(), link
        assert not anchor or anchor in anchors(there.read_text()), link


# ----------------------------------------------------------------------------------------- contents


def in_code(text):
    return set(re.findall(r"`([^`\s]+)`", text))


def between(page, start, end):
    text = TEXT[page]
    return text[text.index(start) : text.index(end)]


def test_every_parameter_is_in_the_notation():
    assert {*PARAMETERS, "gamma"} <= in_code(between("model", "## Notation", "## Optimum"))


def test_every_variable_of_the_posterior_is_described():
    with h5py.File(POSTERIOR) as file:
        own = {name for name in file if not name.startswith("log_")}
    own = {re.sub(r"^(factor_(shift|spread|value))_.*", r"\1_NAME", name) for name in own}
    dimensions = {"draw", "cell", "size", "bound", *(f"factor_{name}" for name in FACTORS)}
    assert own - dimensions <= in_code(between("files", "## posterior.nc", "## Candidates"))


def sample(name):
    """The shape of a sample in files.md."""
    (text,) = re.findall(rf"<!-- sample: {name} -->\n```json\n(.*?)```", TEXT["files"], re.S)
    return shape(json.loads(text))


def shape(value):
    """Keys of an object, and of the first object in each list of it."""
    objects = {key: x[0] for key, x in value.items() if isinstance(x, list) and x and isinstance(x[0], dict)}
    return set(value), {key: set(first) for key, first in objects.items()}


@pytest.mark.slow
def test_the_sample_of_a_record_has_what_a_run_leaves(page_run):
    folder, _ = page_run("files")
    record = json.loads(next(folder.glob("out/tiny/runs/*/record.json")).read_text())
    assert sample("record")[0] == set(record) - set(BY_NAME)


@pytest.fixture(scope="module")
def looped(tmp_path_factory):
    """A loop of one round, by a runner and a fit that take no time: its folder and result."""
    task = replace(task_in(tmp_path_factory.mktemp("loop")), rounds=1)
    return task.folder, rounds.run(task, surer)


def test_the_folder_of_a_loop_and_its_samples_are_as_described(looped):
    folder, _ = looped
    for path in folder.rglob("*"):
        inner = path.relative_to(folder).as_posix().replace("round-02", "round-01")
        known = path.name.startswith(".") or inner in ("round-01", "round-01/runner.log")
        assert known or "/out/" in inner or f"out/loop/{inner}" in TEXT["files"], inner
    for line in (folder / "journal.jsonl").read_text().splitlines():
        entry = json.loads(line)
        assert shape(entry) == sample(entry["kind"])


def test_the_sample_of_a_replay_has_its_keys(tmp_path):
    target = parse_target("3e8,3e10,adamw")
    study = study_of(read_runs(EXAMPLE_SWEEP), [target], ["50%"])
    many.run(study, ["cheapest"], [0], tmp_path / "r.jsonl", lambda runs, seed: prior_posterior(draws=20))
    (line,) = (tmp_path / "r.jsonl").read_text().splitlines()
    assert set(json.loads(line)) == sample("replay")[0]


# ------------------------------------------------------------------------------------ the JSON contract


def promised():
    """Keys of each row of the table under "JSON contract"."""
    rows = re.findall(
        r"^\| `([^`]+)` \| (.*) \|$", between("command-line", "## JSON contract", "```bash"), re.M
    )
    return {row: in_code(keys) for row, keys in rows}


def test_every_command_has_its_row():
    assert {info.name for info in app.registered_commands} <= {row.split()[0] for row in promised()}


SPACE = """[space]
count = 8
optimizer = "adamw"
params_nonembedding = [1e8]
tokens_per_param = 20
learning_rate = {low = 3e-4, high = 3e-3}
batch_tokens = {low = 65536, high = 131072}
"""
ASKED = {
    "import": "import sweep.csv -o runs.csv",
    "fit": "fit sweep.csv -o fitted.nc",
    "predict": "predict --params 1e9 --tokens 2e10 --posterior p.nc",
    "predict --law NAME": "predict --params 1e9 --tokens 2e10 --law step",
    "predict --law all": "predict --params 1e9 --tokens 2e10 --posterior p.nc --law all",
    "schedule advise": "schedule advise --params 1e8 --tokens 5e9 --batch-tokens 1e5",
    "schedule batch": "schedule batch --params 1e9 --tokens 2e10 --posterior p.nc",
    "evaluate": "evaluate sweep.csv --law step",
    "diagnose": "diagnose p.nc",
    "design": "design --target 1e9,2e10,adamw --space space.toml --budget 1e20 --batch 1 --posterior p.nc "
    "-o plan.csv",
    "replay": "replay sweep.csv --target 3e8,3e10,adamw --budget 50% --policy cheapest --seeds 1 --workers 1 "
    "-o replay.jsonl",
}


@pytest.mark.parametrize("row", ASKED)
def test_a_command_prints_the_keys_that_are_promised(row, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fake = fake_posterior(40, groups=(("example", "adamw"),), sizes=((2e7, 4e8), (3e8, 6e9)))
    monkeypatch.setitem(
        sys.modules, "bayeslaw.inference.fitting", SimpleNamespace(fit=lambda table, **options: fake)
    )
    write_posterior(fake, "p.nc")
    (tmp_path / "sweep.csv").write_bytes(EXAMPLE_SWEEP.read_bytes())
    (tmp_path / "space.toml").write_text(SPACE)
    code, out, err = command.run(monkeypatch, capsys, *ASKED[row].split(), "--json")
    assert code == 0, err
    assert set(json.loads(out)) == promised()[row]


def test_a_loop_prints_the_keys_that_are_promised(looped):
    assert set(looped[1]) == promised()["loop"]
