"""`bayeslaw evaluate --method llm` against a stub server."""

import json
from pathlib import Path

import pandas as pd
import pytest

from bayeslaw.assets import BOOKS
from bayeslaw.evaluation import chat
from bayeslaw.runs.io import read_runs, write_runs
from tests.support.chat_server import completion, serving
from tests.support.command import run
from tests.support.sweeps import grid_cell

SAID = {"study": "ours", "sequence_length": 2048}
LLM = ("evaluate", "h.csv", "--method", "llm", "--train", "t.csv")
SMOLLM2 = Path(__file__).parents[1] / "studies" / "results" / "smollm2.jsonl"
SECRET = "sk-not-to-be-seen"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A sweep of two cells, and one to score."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(chat.KEY, SECRET)
    small = [grid_cell(n, 20 * n, rates=5, batches=5) for n in (1e8, 2e8)]
    write_runs(pd.concat(small).assign(**SAID), "t.csv")
    write_runs(grid_cell(4e8, 8e9, (1e-3, 4e5), 2.2, rates=7, batches=7).assign(**SAID), "h.csv")
    return tmp_path


def test_a_language_model_is_scored_and_what_it_said_is_kept(folder, monkeypatch, capsys):
    def reply(request):
        return completion('{"learning_rate": 1e-3, "batch_tokens": 4e5}')

    with serving(reply) as (address, asked):
        for _ in range(2):  # the second is answered by the record
            code, out, err = run(monkeypatch, capsys, *LLM, "--endpoint", address, "--model", "m", "--json")
            assert code == 0, err
            assert json.loads(out)["summary"]["regret_max"] < 1e-4
            assert json.loads(out)["advisor"] == "language model m"
    assert [each["headers"]["Authorization"] for each in asked] == [f"Bearer {SECRET}"]
    (row,) = (json.loads(line) for line in (folder / "llm.jsonl").read_text().splitlines())
    assert set(row) == {"time", "model", "messages", "answer"}
    assert err == "m: run 1 of 1, 4e+08 parameters (without embeddings) and 8e+09 tokens\n"
    assert all(SECRET not in text for text in (out, err, (folder / "llm.jsonl").read_text()))


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (completion("?"), "error: --model m: no usable settings for any of 1 runs in 4 answers each"),
        ((500, SECRET.encode()), "answered 500 Internal Server Error (***); expected a chat completion"),
        ((200, b"no"), "answered something else than a chat completion (no)"),
        (None, "no answer within 0.3 s"),
    ],
    ids=["nonsense", "error", "no completion", "silence"],
)
def test_a_server_that_fails_is_one_clear_message(folder, monkeypatch, capsys, reply, words):
    monkeypatch.setattr(chat, "SECONDS", 0.3)
    with serving(lambda request: reply) as (address, _):
        code, out, err = run(monkeypatch, capsys, *LLM, "--endpoint", address, "--model", "m")
    assert (code, out) == (2, "")
    assert words in err.splitlines()[-1]
    assert err.count("error: ") == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "evaluate: --method llm asks a server; expected --endpoint URL and --model NAME, as in "),
        (["--endpoint", "http://127.0.0.1:1"], "expected --endpoint URL and --model NAME"),
        (["--endpoint", "ftp://h", "--model", "m"], "--endpoint: no address of a server; expected http:// "),
        (["--endpoint", f"http://h/v1?k={SECRET}", "--model", "m"], "expected one without ?, # and spaces"),
        (["--endpoint", "http://127.0.0.1:1", "--model", "m", "--questions", "0"], "--questions = 0; expec"),
        (["--endpoint", "http://127.0.0.1:1", "--model", "m", "--record", "no/r"], "no/r: cannot be written"),
    ],
)
def test_what_cannot_be_asked_is_refused(folder, monkeypatch, capsys, options, words):
    code, out, err = run(monkeypatch, capsys, *LLM, *options)
    assert (code, out) == (2, "")
    assert words in err
    assert SECRET not in err
    assert err.count("\n") == 1


def test_a_server_is_not_asked_where_no_cell_can_be_scored(folder, monkeypatch, capsys):
    cell = grid_cell(4e8, 8e9, (1e-3, 4e5), 2.2, rates=7, batches=7).assign(**SAID)
    write_runs(cell[cell["learning_rate"] < 7e-4].reset_index(drop=True), "h.csv")
    with serving(lambda request: completion("?")) as (address, asked):
        code, out, err = run(monkeypatch, capsys, *LLM, "--endpoint", address, "--model", "m")
    assert (code, out, asked) == (2, "", [])
    assert err == (
        "error: evaluate: no held-out cell can be scored, so that m was not asked; expected a cell whose "
        "runs lie on both sides of its best learning rate; hold out more runs\n"
    )


def test_a_model_of_135m_parameters_gave_no_settings(tmp_path, monkeypatch, capsys):
    """What SmolLM2-135M-Instruct, served locally, answered to the command of docs/files.md: its record."""
    monkeypatch.chdir(tmp_path)
    runs = read_runs(BOOKS)
    runs = runs[runs["optimizer"] == "adamw"]
    n = runs["params_nonembedding"]
    write_runs(runs[n < 2e4].reset_index(drop=True), "t.csv")
    write_runs(runs[n.between(2e4, 5e4) & (runs["tokens"] < 2e6)].reset_index(drop=True), "h.csv")
    answered = ["--model", "SmolLM2-135M-Instruct", "--record", str(SMOLLM2)]
    code, out, err = run(monkeypatch, capsys, *LLM, "--endpoint", "http://127.0.0.1:1/v1", *answered)
    assert (code, out) == (2, "")
    assert "no usable settings for any of 2 runs in 4 answers each" in err.splitlines()[-1]


def test_a_server_that_nobody_asks_is_refused(folder, monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, "evaluate", "h.csv", "--law", "step", "--model", "m")
    assert (code, err) == (
        2,
        "error: evaluate: --endpoint and --model are of --method llm; add it, or leave them out\n",
    )
