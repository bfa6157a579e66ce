"""Fine-tuning, live: do sweeps of small networks advise on the fine-tuning of a larger one?

    python -m tests.studies.finetuning prepare   # examples, and networks trained on books, in out/finetuning
    python -m train.sweep --plan train/plans/finetuning.toml --out out/finetuning/runs --workers 2
    python -m tests.studies.finetuning run       # fits, and trains what each method advises
    python -m tests.studies.finetuning lines     # lets the advised network write docstrings, and scores them
    python -m tests.studies.finetuning table     # prints its part of docs/validation.md

Networks of 25k, 83k and 332k parameters, trained on books at 20 tokens a parameter, read 3,000 examples of a
task once: who of 20 authors wrote a passage, whose books are in one split each; or the first line of a
function's docstring, from Python's standard library, whose modules are in one split each. Methods see the
runs of the two smaller networks, or none, or 20 random runs of the largest, and advise on the largest; each
advice is trained with three seeds. Resumable. See ../shared/data/README.md for the origin of the books.
"""

from __future__ import annotations

import ast
import hashlib
import json
import lzma
import re
import sysconfig
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from bayeslaw.advice.prediction import predict
from bayeslaw.assets import POSTERIOR
from bayeslaw.lab.train import plan
from bayeslaw.lab.train.collect import collect
from bayeslaw.lab.train.spec import RunSpec
from bayeslaw.posterior.draws import Posterior
from bayeslaw.posterior.netcdf import read_posterior
from bayeslaw.target import Target
from tests.studies.fits import fit_default
from tests.studies.tables import markdown, percent, read_rows, study_parser
from tests.studies.validation.comparison import holm

ROOT = Path(__file__).parents[2]
BOOKS = ROOT.parent / "shared" / "data" / "gutenberg"
PLAN = ROOT / "train" / "plans" / "finetuning.toml"
OUT = Path("out/finetuning")
RESULTS = Path(__file__).parent / "results" / "finetuning.jsonl"
RUNS = RESULTS.with_suffix(".csv")
TASKS = ("authors", "docstrings")
WORDS = "last words"
LINES = "lines"
WRITER = "ours, 48 small runs"
"""Method whose network writes docstrings, with one seed."""
TRAIN, VALIDATION = 3000, 1000
AUTHORS = 20
LETTERS = {"passage": 260, "function": 190, "line": 70}
"""Of a text, so that text and answer fill a sequence of 128 tokens and hardly any is cut."""
NETWORKS = {"25k": (24_736, 8e-3), "83k": (83_280, 3e-3), "332k": (332_448, 1.5e-3)}
"""N, and the peak learning rate of the training on books."""
SEEDS = (1, 2, 3)
TRIALS, WORKERS = 20, 2
Settings = dict[str, float]


def prepare() -> None:
    """Write the examples and train the networks, what is not there."""
    from bayeslaw.lab.train import run

    for name, found in (("authors", passages), ("docstrings", docstrings)):
        if not (OUT / name / "train.jsonl").exists():
            for split, rows in found().items():
                _write(OUT / name / f"{split}.jsonl", rows)
    for name, (n, rate) in NETWORKS.items():
        drawn = {"study": "books", "corpus": str(BOOKS), "optimizer": "adamw", "params_nonembedding": n}
        settings = {"tokens_per_param": 20, "batch_tokens": 512, "learning_rate": rate, "warmup_share": 0.1}
        path = OUT / f"{name}.csv"
        pd.DataFrame([drawn | settings]).to_csv(path, index=False)
        (spec,) = plan.read(path)
        print(name, run.execute(spec, OUT / name, say=print, keep_weights=True)["loss"], flush=True)


def passages() -> dict[str, list[dict[str, str]]]:
    """Passages of authors with most books, the last book of each set apart."""
    with lzma.open(BOOKS / "train.jsonl.xz", "rt", encoding="utf-8") as lines:
        books = pd.DataFrame([json.loads(line) for line in lines])
    books = books[books["text"].str.len() > 50_000].sort_values("id")
    most = books["author"].value_counts().sort_index().nlargest(AUTHORS).index
    found: dict[str, list[dict[str, str]]] = {"train": [], "validation": []}
    for author in most:
        own = books[books["author"] == author]
        for split, texts in (("train", own["text"][:-1]), ("validation", own["text"][-1:])):
            wanted = (TRAIN if split == "train" else VALIDATION) // AUTHORS
            rng = np.random.default_rng(_number(author + split))
            for _ in range(wanted):
                text = texts.iloc[rng.integers(len(texts))]
                start = text.find(". ", rng.integers(5_000, len(text) - 5_000)) + 2
                passage = " ".join(text[start : start + LETTERS["passage"]].split())
                found[split].append({"text": passage, "answer": author})
    return found


def docstrings() -> dict[str, list[dict[str, str]]]:
    """Functions of the standard library without their docstring, and its first line; modules in one split."""
    found: dict[str, list[dict[str, str]]] = {"train": [], "validation": []}
    folder = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(folder.rglob("*.py")):
        inner = path.relative_to(folder).as_posix()
        if not inner.startswith(("site-packages", "test/", "idlelib/")):
            split = "validation" if _number(inner) % 5 == 0 else "train"
            found[split] += _functions(path)
    apart = {row["text"] for row in found["validation"]}
    found["train"] = [row for row in found["train"] if row["text"] not in apart]
    rng = np.random.default_rng(0)
    counts = {"train": TRAIN, "validation": VALIDATION}
    return {
        split: [rows[i] for i in rng.permutation(len(rows))[: counts[split]]] for split, rows in found.items()
    }


def _functions(path: Path) -> Iterator[dict[str, str]]:
    try:
        tree = ast.parse(source := path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return
    lines = source.splitlines()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (text := ast.get_docstring(node)):
            line = text.splitlines()[0].strip()
            body = node.body[1:]
            if body and 10 < len(line) <= LETTERS["line"]:
                kept = lines[node.lineno - 1 : node.body[0].lineno - 1]
                kept += lines[body[0].lineno - 1 : node.end_lineno]
                code = textwrap.dedent("\n".join(kept))[: LETTERS["function"]]
                yield {"text": code, "answer": line}


def _write(path: Path, rows: Sequence[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _number(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)


def last_words() -> list[dict[str, str]]:
    """Passages of the ten books set apart, each without its last word: LAMBADA's form (arXiv 1606.06031)."""
    with lzma.open(BOOKS / "validation.jsonl.xz", "rt", encoding="utf-8") as lines:
        texts = [" ".join(json.loads(line)["text"].split()) for line in lines]
    rng = np.random.default_rng(0)
    found: list[dict[str, str]] = []
    while len(found) < VALIDATION:
        text = texts[rng.integers(len(texts))]
        start = int(rng.integers(5_000, len(text) - 5_000))
        end = text.find(". ", start + LETTERS["passage"] - 60)
        passage, _, word = text[start:end].rpartition(" ")
        if end - start < LETTERS["passage"] + 60 and word.isalpha() and len(word) > 3:
            found.append({"text": passage, "answer": word})
    return found


def zero_shot() -> list[dict[str, Any]]:
    """What each network makes of the last words, without training on them: nats a word, and words guessed."""
    import torch
    from tokenizers import Tokenizer

    from bayeslaw.lab.models import networks
    from bayeslaw.lab.train import weights

    pairs, rows = last_words(), []
    for name in NETWORKS:
        begun = weights.read(OUT / name)
        model = networks.build(RunSpec(**begun.spec).shape, seed=0).eval()
        weights.load(begun, model, name)
        tokenizer, length = Tokenizer.from_str(begun.tokenizer), begun.spec["sequence_length"]
        nats, right = [], []
        for pair in pairs:
            read, answer = (tokenizer.encode(text).ids for text in (pair["text"], f" {pair['answer']}"))
            whole, own = [*read, *answer][-length - 1 :], len(answer)
            with torch.no_grad():
                found = model(torch.tensor([whole[:-1]]))[0].log_softmax(-1)[-own:]
            wanted = torch.tensor(answer)
            nats.append(-float(found[torch.arange(own), wanted].sum()))
            right.append(bool((found.argmax(-1) == wanted).all()))
        rows.append(
            {"task": WORDS, "network": name, "nats": float(np.mean(nats)), "right": float(np.mean(right))}
        )
    return rows


def advise(runs: pd.DataFrame, task: str) -> dict[str, Settings]:
    """Settings of each method for the largest network of a task."""
    own = runs[runs["study"] == task]
    sizes = sorted(own["params_nonembedding"].unique())
    small, large = own[own["params_nonembedding"] < sizes[-1]], own[own["params_nonembedding"] == sizes[-1]]
    target = Target(float(sizes[-1]), float(large["tokens"].iloc[0]), "adamw", task)
    unseen = replace(target, study=None)
    few = small.groupby("params_nonembedding").head(4)
    best = _best(small[small["params_nonembedding"] == sizes[1]])
    ratio = (sizes[1] / sizes[2]) ** 0.5
    return {
        "ours, 48 small runs": _settings(fit_default(small), target),
        "ours, 8 small runs": _settings(fit_default(few), target),
        "ours, no runs": _settings(read_posterior(POSTERIOR), unseen),
        "best of 24 runs of the next smaller": best,
        "the same, rate by the root of N": best | {"learning_rate": best["learning_rate"] * ratio},
        f"best of {TRIALS} random runs of the target": _best(large.head(TRIALS)),
        "Trainer's default": {"learning_rate": 5e-5, "batch_tokens": 8 * 128.0},
    }


def costs() -> dict[str, float]:
    """FLOPs of a method's runs over those of one run of the target; D is the same for all."""
    small, next_up, target = (n for n, _ in NETWORKS.values())
    return {
        "ours, 48 small runs": 24 * (small + next_up) / target,
        "ours, 8 small runs": 4 * (small + next_up) / target,
        "best of 24 runs of the next smaller": 24 * next_up / target,
        "the same, rate by the root of N": 24 * next_up / target,
        f"best of {TRIALS} random runs of the target": float(TRIALS),
    }


def _settings(posterior: Posterior, target: Target) -> Settings:
    return {
        name: float(value)
        for name, value in predict(posterior, target).recommendation.items()
        if name in ("learning_rate", "batch_tokens")
    }


def _best(runs: pd.DataFrame) -> Settings:
    row = runs.loc[runs["loss"].idxmin()]
    return {name: float(row[name]) for name in ("learning_rate", "batch_tokens")}


def run_advice() -> None:
    """Collect the sweep, and train what each method advises."""
    from bayeslaw.lab.train import executor_local, sweep

    collect(OUT / "runs")[0].to_csv(RUNS, index=False)
    runs = pd.read_csv(RUNS)
    earlier = read_rows(RESULTS)
    if not any(row["task"] == WORDS for row in earlier):
        _append(zero_shot())
    done = {row["task"] for row in earlier}
    largest = {spec.study: spec for spec in plan.read(PLAN)}  # the last run of each task
    for task in [task for task in TASKS if task not in done]:
        settings = advise(runs, task)
        asked = {
            (method, seed): _spec(largest[task], given, seed)
            for method, given in settings.items()
            for seed in SEEDS
        }
        once = list({spec.run_id: spec for spec in asked.values()}.values())
        train = partial(executor_local.run, workers=WORKERS)
        found = sweep.run(once, OUT / "advised" / task, sweep.train_one, train).records
        told = ("loss", "accuracy", "status")
        _append(
            {"task": task, "method": method, "seed": seed}
            | settings[method]
            | {name: found[spec.run_id].get(name) for name in told}
            for (method, seed), spec in asked.items()
        )


def write_lines() -> None:
    """Train the writer's advice again, keep its weights, and score what it writes of functions set apart."""
    from bayeslaw.lab.train import run

    rows = read_rows(RESULTS)
    if any(row["task"] == LINES for row in rows):
        return
    largest = [spec for spec in plan.read(PLAN) if spec.study == "docstrings"][-1]
    given = next(row for row in rows if row["task"] == "docstrings" and row["method"] == WRITER)
    spec = _spec(largest, given, SEEDS[0])
    folder = OUT / "written" / spec.run_id
    run.execute(spec, folder, keep_weights=True)
    pairs = read_rows(OUT / "docstrings" / "validation.jsonl")
    written = greedy(folder, [pair["text"] for pair in pairs])
    scores = [rouge_l(pair["answer"], line) for pair, line in zip(pairs, written, strict=True)]
    row = {"task": LINES, "method": WRITER, "seed": SEEDS[0], "rouge_l": float(np.mean(scores))}
    count, most = len(set(written)), max(written, key=written.count)
    _append([row | {"different": count, "of": len(written), "commonest": most}])


def greedy(folder: Path, texts: Sequence[str], most: int = 24) -> list[str]:
    """What a network writes after each text: its likeliest token again and again, until it ends the line."""
    import torch
    from tokenizers import Tokenizer

    from bayeslaw.lab.models import networks
    from bayeslaw.lab.train import weights

    begun = weights.read(folder)
    model = networks.build(RunSpec(**begun.spec).shape, seed=0).eval()
    weights.load(begun, model, str(folder))
    tokenizer = Tokenizer.from_str(begun.tokenizer)
    end, room = begun.spec["vocabulary"] - 1, begun.spec["sequence_length"] - most
    written = []
    for text in texts:
        read = [*tokenizer.encode(text).ids[: room - 1], end]
        line: list[int] = []
        while len(line) < most:
            with torch.no_grad():
                token = int(model(torch.tensor([[*read, *line]]))[0, -1].argmax())
            if token == end:
                break
            line.append(token)
        written.append(tokenizer.decode(line))
    return written


def rouge_l(reference: str, written: str) -> float:
    """F1 of the longest common subsequence of words, in lower case without marks (Lin 2004).

    >>> rouge_l("Return the name.", "return a name")
    0.6666666666666666
    """
    one, other = (re.findall(r"\w+", text.lower()) for text in (reference, written))
    longest = [0] * (len(other) + 1)
    for word in one:
        before = list(longest)
        for k, same in enumerate(other):
            longest[k + 1] = before[k] + 1 if same == word else max(longest[k], before[k + 1])
    return 2 * longest[-1] / (len(one) + len(other)) if longest[-1] else 0.0


def _spec(spec: RunSpec, given: Settings, seed: int) -> RunSpec:
    batch = min(
        max(1, round(given["batch_tokens"] / spec.sequence_length)) * spec.sequence_length, spec.tokens
    )
    rate = float(f"{given['learning_rate']:.4g}")
    name = f"{spec.study}-{rate:g}-{batch}-s{seed}"
    return replace(spec, run_id=name, learning_rate=rate, batch_tokens=batch, seed=seed)


def _append(rows: Iterable[dict[str, Any]]) -> None:
    """Append rows to the results, all or none."""
    with RESULTS.open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a method and task; the gap is to the lowest mean loss of any method."""
    parts = []
    for task in TASKS:
        own = pd.DataFrame([row for row in rows if row["task"] == task])
        if own.empty:
            continue
        found = own.groupby("method", sort=False)
        best = found["loss"].mean().min()
        body = []
        for method, seeds in found:
            first, loss = seeds.iloc[0], seeds["loss"].mean()
            line = [str(method), f"{costs().get(str(method), 0.0):.1f}"]
            line += [f"{first['learning_rate']:.3g}", f"{first['batch_tokens']:.0f}"]
            line += [f"{loss:.4f}", f"{seeds['loss'].std():.4f}", percent(loss / best - 1, 2)]
            body.append([*line, f"{seeds['accuracy'].mean():.1%}" if task == "authors" else "-"])
        head = ["method", "its runs, in target runs", "peak learning rate", "batch, tokens", "loss, nats"]
        head += ["sd of seeds", "gap", "accuracy"]
        title = f"Fine-tuning of 332k parameters, {task}: {len(SEEDS)} seeds of each advice"
        parts.append(markdown(title, head, body))
        parts.append(_paired(own, task))
    lines = [row for row in rows if row["task"] == LINES]
    body = [
        [
            row["method"],
            f"{row['rouge_l']:.3f}",
            f"{row['different']} of {row['of']}",
            f"“{row['commonest']}”",
        ]
        for row in lines
    ]
    title = "First lines of docstrings that 332k parameters write of functions set apart, greedily, one seed"
    parts.append(markdown(title, ["settings of", "ROUGE-L", "different lines", "the commonest"], body))
    words = [row for row in rows if row["task"] == WORDS]
    body = [[row["network"], f"{row['nats']:.2f}", percent(row["right"], 1)] for row in words]
    title = f"Last words of {VALIDATION} passages of books set apart, without training on them"
    parts.append(markdown(title, ["network", "nats a word", "words guessed"], body))
    return "\n\n".join([*(part for part in parts if part), energy(pd.read_csv(RUNS))])


def _paired(own: pd.DataFrame, task: str) -> str:
    """Each method's loss less ours, seed by seed: Student's t over the seeds, corrected for the lines."""
    losses = own.pivot(index="seed", columns="method", values="loss")
    first = losses.columns[losses.columns.str.startswith("ours, 48")][0]
    others = [name for name in own["method"].unique() if name != first]
    differences = losses[others].sub(losses[first], axis=0)
    p = stats.ttest_1samp(differences.to_numpy(), 0.0).pvalue
    half = stats.t.ppf(0.975, len(losses) - 1) * differences.std() / len(losses) ** 0.5
    body = [
        [
            name,
            f"{mean:+.4f}",
            f"{mean - half[name]:+.4f} to {mean + half[name]:+.4f}",
            *(f"{q:.3f}" if q >= 0.001 else f"{q:.0e}" for q in chances),
        ]
        for (name, mean), *chances in zip(differences.mean().items(), p, holm(p), strict=True)
    ]
    title = f"{task}: loss of the other less that of “{first}”, {len(losses)} pairs of seeds"
    return markdown(title, ["other", "mean difference, nats", "95% interval", "p, paired t", "Holm"], body)


def energy(runs: pd.DataFrame) -> str:
    """What the sweep cost, by the records of its runs."""
    kwh, grams = runs["energy_joules"].sum() / 3.6e6, runs["co2e_grams"].sum()
    return (
        f"The sweep's {len(runs)} runs took {runs['cpu_seconds'].sum() / 3600:.1f} CPU hours, {kwh:.2g} kWh "
        f"and {grams:.2g} g CO2e ({runs['energy_kind'].iloc[0]})."
    )


def main() -> None:
    parser = study_parser(__doc__, "prepare", "lines")
    given = parser.parse_args()
    if given.what == "prepare":
        prepare()
    elif given.what == "lines":
        write_lines()
    elif given.what == "run":
        run_advice()
    else:
        print(table(read_rows(RESULTS)))


if __name__ == "__main__":
    main()
