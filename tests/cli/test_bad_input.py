"""Bad input, command by command: exit code 2, one line that begins with ``error:``, nothing written."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from bayeslaw.law.simulation import example_design, simulate_runs
from bayeslaw.posterior.netcdf import write_posterior
from bayeslaw.runs.io import write_runs
from tests.support.command import run
from tests.support.fakes import fake_posterior

SPACE = """[space]
count = {count}
optimizer = "adamw"
params_nonembedding = [1e7, 1e8]
tokens_per_param = 20
learning_rate = {{low = 1e-4, high = 1e-2}}
batch_tokens = {{low = 3e4, high = 3e5}}
"""
PREDICT = "predict --posterior p.nc --params 7e9 --tokens 1.4e11"
DESIGN = "design --posterior p.nc --target 7e9,1.4e11,adamw --space s.toml --budget 1e20 -o plan.csv"
REPLAY = "replay runs.csv --target 1e8,2e9,adamw --budget 50% -o r.jsonl"
LOOP = "loop --target 7e9,1.4e11,adamw --space s.toml --budget 1e20 --out l --runner 'true {plan}'"


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Files that commands read, good ones and bad ones."""
    folder = tmp_path_factory.mktemp("material")
    for kind in ("csv", "nc", "jsonl", "html", "png"):
        (folder / f"d.{kind}").mkdir()
    runs = simulate_runs(example_design(12, params=(1e7, 1e8), tokens_per_param=(20.0,), seed=1), seed=1)
    write_runs(runs, folder / "runs.csv")
    write_posterior(fake_posterior(20), folder / "p.nc")
    for name, count in (("s", "16"), ("huge", "1_000_000_000"), ("float", "1e9")):
        (folder / f"{name}.toml").write_text(SPACE.format(count=count))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def late_refusals() -> Iterator[tuple[str, str]]:
    """An output that is a folder, lies in none, or has no kind is refused before the work."""
    folder = "d: cannot be written, it is a folder; expected a file; choose another"
    nowhere = "{}: cannot be written, no is no folder; create it or choose another"
    commands = {
        "import runs.csv -o {}": "csv",
        "fit runs.csv -o {}": "nc",
        DESIGN.replace("plan.csv", "{}"): "csv",
        REPLAY.replace("r.jsonl", "{}"): "jsonl",
        "report -o {}": "html",
        "evaluate runs.csv --plot {}": "png",
        DESIGN + " --plot {}": "png",
        REPLAY + " --plot {}": "png",
    }
    for command, kind in commands.items():
        yield command.format(f"no/x.{kind}"), nowhere.format(f"no/x.{kind}")
        yield command.format(f"d.{kind}"), folder.replace("d:", f"d.{kind}:")
    for command in ("evaluate runs.csv", DESIGN, REPLAY):
        yield command + " --plot x.docx", "x.docx: unknown kind of figure; expected one of ."
    yield LOOP.replace("--out l", "--out runs.csv"), "runs.csv: cannot be made or written to (File exists)"


def counts() -> Iterator[tuple[str, str]]:
    """Seeds, chains, draws and budgets that no run can be made with."""
    seeds = "seed = {}; expected a whole number from 0 to 4294967295; give one of these"
    for seed in ("-1", "100000000000000000000000"):
        yield f"fit runs.csv -o x.nc --seed {seed}", "fit: " + seeds.format(seed)
        yield f"{LOOP} --seed {seed}", "loop: " + seeds.format(seed)
    yield "fit runs.csv -o x.nc --chains 1", "fit: chains = 1; expected a whole number from 2 to 64; give one"
    yield "fit runs.csv -o x.nc --chains 1000", "fit: chains = 1000; expected a whole number from 2 to 64"
    for draws in ("0", "1000000000"):
        yield (
            f"fit runs.csv -o x.nc --draws {draws}",
            f"fit: draws = {draws}; expected a whole number from 1 to",
        )
    yield f"{LOOP} --round-budget 1", "round budget = 1; the cheapest of "
    for option in ("seeds", "workers"):
        for count in ("0", "1000000000"):
            yield (
                f"{REPLAY} --{option} {count}",
                f"replay: {option} = {count}; expected a whole number from 1 to",
            )


def sizes() -> Iterator[tuple[str, str]]:
    """Numbers that are none, or out of their range."""
    options = {PREDICT: ("--params", "--tokens", "--batch-tokens"), REPLAY: ("--below",)}
    options |= {DESIGN: ("--budget", "--cost-of-target"), LOOP: ("--budget", "--round-budget")}
    for command, option in ((command, option) for command, names in options.items() for option in names):
        for size in ("0", "-1", "nan", "inf", "1e400", "7X", "''"):
            told = f"{option} {shlex.split(size)[0]}: expected a finite number above 0; give it as 7e9, 7B, "
            yield f"{command} {option} {size}", told
    yield f"{PREDICT} --params 1e-5", "target: params_nonembedding = 1e-05; expected a number of at least 1"
    yield f"{PREDICT} --params 1e300 --tokens 1e301", "target: loss_nats_per_token median = nan at N = 1e+300"
    for level in ("nan", "0", "1", "90"):
        for command in (PREDICT, "evaluate runs.csv --posterior p.nc"):
            yield (
                f"{command} --level {level}",
                f"level = {float(level)}; expected a probability between 0 and 1",
            )
    for target in ("7e9", "7X,1e9,adamw", "inf,1e9,adamw", "7e9,1e9,", "7e9,1e9,adamw,x"):
        yield (
            DESIGN.replace("7e9,1.4e11,adamw", target),
            f"--target {target}: expected N,D,OPTIMIZER; give it",
        )
    for batch in ("0", "-1"):
        yield f"{DESIGN} --batch {batch}", f"batch = {batch}; expected at least one run; raise it"
        yield f"{LOOP} --batch {batch}", f"batch = {batch}; expected at least one run; raise it"
    for tolerance in ("nan", "0", "inf"):
        yield f"{LOOP} --tolerance {tolerance}", f"tolerance = {tolerance}; expected a finite number above 0"
    yield (
        DESIGN.replace("s.toml", "huge.toml"),
        "huge.toml: count = 1000000000; expected a whole number from 1 to",
    )
    yield (
        DESIGN.replace("s.toml", "float.toml"),
        "float.toml: count = 1000000000.0; expected a whole number from",
    )


def files_of_others() -> Iterator[tuple[str, str]]:
    """A sound file that is not the one wanted."""
    yield (
        "report --posterior p.nc --runs runs.csv -o x.html",
        "runs: none of their 2 cells is in the posterior",
    )


CASES = [*late_refusals(), *counts(), *sizes(), *files_of_others()]


@pytest.mark.parametrize(
    "command",
    ["evaluate {name}.csv --law step", "import {name} -o x.csv", "fit {name}.csv -o x.nc", "watch {name}"],
)
def test_a_name_that_is_too_long_is_one_clear_error(monkeypatch, capsys, command):
    code, out, err = run(monkeypatch, capsys, *shlex.split(command.format(name="a" * 5000)))
    assert (code, out) == (2, "")
    assert err.startswith("error: aaaa")
    assert err.endswith("...: File name too long; expected a path; correct it\n")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(("command", "message"), CASES, ids=[command for command, _ in CASES])
def test_bad_input_is_one_clear_error(material, monkeypatch, capsys, command, message):
    monkeypatch.chdir(material)
    before = contents(material)
    code, out, err = run(monkeypatch, capsys, *shlex.split(command))
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert contents(material) == before
