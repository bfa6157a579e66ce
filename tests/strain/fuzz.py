"""Spoilt inputs over every command: no traceback, no hang, no silent number. Slow, outside CI, resumable.

    python -m tests.strain.fuzz run [--count 1000] [--seed 0]   # results/fuzz.jsonl
    python -m tests.strain.fuzz table

Each case takes a good command with good files, spoils one file (a cell, a column, a line, a byte, the
encoding) or one option, and runs it in this process. The verdict is one of

* ``answered``: exit code 0, and with ``--json`` one object without a number that is not finite;
* ``refused``: exit code 2, and exactly one line that begins with ``error:`` or a usage message;
* ``traceback``, ``hang`` (over 60 s), ``silent`` (an answer that is no JSON or holds a NaN), ``mute`` (exit
  code 2 without a message): defects.

`fit` stops where drawing would begin, and `watch` where serving would, since the rest is the same for every
input that got there.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import numpy as np

from bayeslaw.law.simulation import example_design, simulate_runs
from bayeslaw.posterior.netcdf import write_posterior
from bayeslaw.runs.io import write_runs
from tests.studies.tables import markdown, read_rows, run_and_print
from tests.support.fakes import fake_posterior

RESULTS = Path(__file__).parent / "results" / "fuzz.jsonl"
SECONDS = 60
NASTY = (
    *("", "nan", "inf", "-inf", "0", "-1", "1e300", "1e-300", "1e999", "abc", "7B", "1,5", "0x10", "None"),
    *(
        "=cmd|' /C calc'!A0",
        "../../etc/passwd",
        "<script>alert(1)</script>",
        "a" * 5000,
        "\u202e\u00e9\u4e2d",
    ),
    *("'", '"', "\t", "true", "[]", "{}", "%s%n", "$x_$", "\x07"),
)
"""Values that tables and options are spoilt with."""

SPACE = """[space]
count = 24
optimizer = "adamw"
params_nonembedding = [1e7, 1e8]
tokens_per_param = 20
learning_rate = {low = 1e-4, high = 1e-2}
batch_tokens = {low = 3e4, high = 3e5}
"""

COMMANDS = (
    "import raw.csv -o x.parquet --study ours --json",
    "import runs.jsonl -o x.csv --study ours --json",
    "import raw.csv -o x.csv --study ours --map loss=final --set optimizer=adamw --json",
    "fit runs.csv -o y.nc --json",
    "predict --posterior p.nc --params 7e9 --tokens 1.4e11 --optimizer adamw --json",
    "predict --posterior p.nc --params 7B --tokens 140B --batch-tokens 2M --study ours --level 0.8 --json",
    "predict --posterior p.nc --params 1e9 --tokens 2e10 --export torchtitan --sequence-length 2048",
    "predict --params 1e9 --tokens 2e10 --law all --tuned 100M,2B,131072,4e-3 --json",
    "convert --posterior p.nc --from adamw --to muon --params 1e9 --tokens 2e10 --json",
    "evaluate runs.csv --posterior p.nc --json",
    "evaluate runs.csv --method huber --train train.csv --json",
    "evaluate runs.csv --law step --json",
    "diagnose p.nc runs.csv --json",
    "design --posterior p.nc --target 7e9,1.4e11,adamw --space s.toml --budget 1e21 -o plan.csv --json",
    "design --posterior p.nc --target 7e9,1.4e11,adamw --candidates c.csv --budget 1e21 -o plan.csv --json",
    "report --posterior p.nc -o r.html --json",
    "schedule fit curves.csv --json",
    "schedule advise --params 1e8 --tokens 2e9 --optimizer adamw --json",
    "watch loop --json",
)
"""Good commands; each is spoilt in one place."""


class _Hang(BaseException):
    """A case took more than ``SECONDS``."""


class _Working(BaseException):
    """A command came to the point where it would draw, or serve, for as long as it takes."""


# ---------------------------------------------------------------------------------------- good material


def write_material(folder: Path) -> None:
    """The files that ``COMMANDS`` read, all good."""
    runs = simulate_runs(example_design(24, params=(1e7, 1e8), tokens_per_param=(20.0,), seed=1), seed=1)
    runs = runs.assign(schedule="cosine", weight_decay=0.1)
    write_runs(runs, folder / "runs.csv")
    write_runs(runs, folder / "train.csv")
    write_runs(runs, folder / "runs.jsonl")
    raw = runs.rename(columns={"params_nonembedding": "n_params_nonembedding", "learning_rate": "peak_lr"})
    raw.drop(columns=["status"]).rename(columns={"loss": "final"}).assign(loss=runs["loss"]).to_csv(
        folder / "raw.csv", index=False
    )
    runs.drop(columns=["loss", "status", "run_id", "study"]).to_csv(folder / "c.csv", index=False)
    write_posterior(fake_posterior(30), folder / "p.nc")
    (folder / "s.toml").write_text(SPACE)
    steps = np.arange(1, 40)
    lines = ["run,step,learning_rate,loss"]
    for run, peak in (("a", 1e-3), ("b", 2e-3)):
        rates = peak * np.minimum(1.0, (40 - steps) / 8)
        lines += [
            f"{run},{k * 100},{rate:g},{3.0 + 2.0 / k**0.4 - 0.02 * (1 - rate / peak):.4f}"
            for k, rate in zip(steps, rates, strict=True)
        ]
    (folder / "curves.csv").write_text("\n".join(lines))
    (folder / "loop" / "runs").mkdir(parents=True)


# --------------------------------------------------------------------------------------------- spoiling


def spoilt_text(text: str, rng: np.random.Generator) -> bytes:
    """A table or TOML file with one thing wrong."""
    lines = text.splitlines()
    row = int(rng.integers(len(lines)))
    nasty = NASTY[rng.integers(len(NASTY))]
    separator = "," if "," in lines[0] else "="
    cells = lines[row].split(separator)
    column = int(rng.integers(len(cells)))
    match int(rng.integers(12)):
        case 0 | 1 | 2 | 3:  # one value
            cells[column] = nasty
            lines[row] = separator.join(cells)
        case 4:  # one column, in every row
            parts = [line.split(separator) for line in lines]
            for part in parts[1:]:
                if column < len(part):
                    part[column] = nasty
            lines = [separator.join(part) for part in parts]
        case 5:  # a line lost, or said twice
            lines = lines[:row] + lines[row + 1 :] if rng.random() < 0.5 else [*lines, lines[row]]
        case 6:  # a column lost
            lines = [
                separator.join(p for k, p in enumerate(line.split(separator)) if k != column)
                for line in lines
            ]
        case 7:  # cut short
            return "\n".join(lines).encode()[: int(rng.integers(len(text)))]
        case 8:  # an encoding that nobody asked for
            return "\n".join(lines).encode(("utf-16", "utf-8-sig", "utf-32")[rng.integers(3)])
        case 9:  # only the head, or nothing
            lines = lines[: int(rng.integers(2))]
        case 10:  # a name of a column
            head = lines[0].split(separator)
            head[int(rng.integers(len(head)))] = nasty
            lines[0] = separator.join(head)
        case _:
            return flipped("\n".join(lines).encode(), rng)
    return "\n".join(lines).encode(errors="surrogatepass")


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, the end cut off, or bytes appended."""
    spoilt = bytearray(data)
    match int(rng.integers(3)):
        case 0:
            for at in rng.integers(len(spoilt), size=int(rng.integers(1, 4))):
                spoilt[at] ^= 1 << int(rng.integers(8))
        case 1:
            del spoilt[int(rng.integers(len(spoilt))) :]
        case _:
            spoilt += rng.bytes(64)
    return bytes(spoilt)


def spoilt_options(words: list[str], rng: np.random.Generator) -> list[str]:
    """One word of a command lost, repeated, or replaced by something nasty."""
    at = int(rng.integers(1, len(words)))
    match int(rng.integers(4)):
        case 0:
            return words[:at] + words[at + 1 :]
        case 1:
            return [*words[:at], words[at], *words[at:]]
        case _:
            nasty = NASTY[rng.integers(len(NASTY))].replace("\x00", "")
            return [*words[:at], nasty, *words[at + 1 :]]


def case(number: int, seed: int, folder: Path) -> tuple[list[str], str]:
    """The words of a spoilt command, and what was spoilt; its files lie in ``folder``."""
    rng = np.random.default_rng([seed, number])
    words = shlex.split(COMMANDS[number % len(COMMANDS)])
    files = [word for word in words if (folder / word).is_file()]
    if not files or rng.random() < 0.35:
        return spoilt_options(words, rng), "option"
    name = files[rng.integers(len(files))]
    data = (folder / name).read_bytes()
    binary = name.endswith(".nc")
    (folder / name).write_bytes(flipped(data, rng) if binary else spoilt_text(data.decode(), rng))
    return words, name


# ---------------------------------------------------------------------------------------------- judging


def judged(words: list[str], folder: Path) -> tuple[str, str]:
    """Verdict of one command run in ``folder``, and the last line that it said."""
    out, err = io.StringIO(), io.StringIO()
    before = Path.cwd()
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SECONDS)
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = _code(words)
    except _Hang:
        return "hang", ""
    except _Working:
        return "answered", "would draw or serve"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return "traceback", f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
    finally:
        signal.alarm(0)
        os.chdir(before)
    said = [line for line in err.getvalue().splitlines() if line.strip()]
    if code:
        errors = [line for line in said if line.startswith(("error:", "Error:"))]
        usage = any(line.startswith("Usage:") for line in said)
        if code != 2 or not (usage or len(errors) == 1):
            return "mute", f"exit {code}: {said[-1] if said else ''}"
        return "refused", said[-1]
    return _answer(words, out.getvalue()), said[-1] if said else ""


def _code(words: list[str]) -> int:
    from bayeslaw.cli import app

    try:
        with mock.patch.object(sys, "argv", ["bayeslaw", *words]), _no_long_work():
            app.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@contextlib.contextmanager
def _no_long_work() -> Iterator[None]:
    def working(*_: Any, **__: Any) -> None:
        raise _Working

    drawing = mock.patch("bayeslaw.inference.fitting.density", working)
    with drawing, mock.patch("bayeslaw.watching.server.serve", working):
        yield


def _answer(words: list[str], text: str) -> str:
    if words[-1] != "--json" or words[-2].startswith("--"):
        return "answered"
    try:
        json.loads(text, parse_constant=_refuse)
    except ValueError:
        return "silent"
    return "answered"


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _too_long(_: int, __: FrameType | None) -> None:
    raise _Hang


# ---------------------------------------------------------------------------------------------- running


def run(count: int, seed: int) -> None:
    """Append the cases that are not there."""
    done = {(row["seed"], row["number"]) for row in read_rows(RESULTS)}
    RESULTS.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as good:
        write_material(Path(good))
        for number in (number for number in range(count) if (seed, number) not in done):
            row = {"seed": seed, "number": number, "command": COMMANDS[number % len(COMMANDS)]}
            row |= spoilt_and_judged(number, seed, Path(good))
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
            if row["verdict"] not in ("answered", "refused"):
                print(row, flush=True)


def spoilt_and_judged(number: int, seed: int, good: Path) -> dict[str, str]:
    """One case in a folder of its own: ``spoilt``, ``verdict`` and what it ``said``."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        shutil.copytree(good, folder, dirs_exist_ok=True)
        words, spoilt = case(number, seed, folder)
        verdict, said = judged(words, folder)
        return {"spoilt": spoilt, "verdict": verdict, "said": said.replace(place, ".")[:200]}


def table(rows: list[dict[str, Any]]) -> str:
    """One row per command, by verdict."""
    verdicts = ("refused", "answered", "traceback", "hang", "silent", "mute")
    names = dict.fromkeys(row["command"].split()[0] for row in rows)
    by = {n: Counter(row["verdict"] for row in rows if row["command"].split()[0] == n) for n in names}
    body = [[f"`{name}`", *(str(found[v]) for v in verdicts)] for name, found in by.items()]
    whole = Counter(row["verdict"] for row in rows)
    body.append(["all", *(str(whole[v]) for v in verdicts)])
    return markdown(f"{len(rows)} spoilt commands", ["command", *verdicts], body)


if __name__ == "__main__":
    run_and_print(__doc__, ("count", 1000), run, lambda: table(read_rows(RESULTS)))
