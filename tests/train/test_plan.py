"""Plans: the designs that were asked for, runs that keep their names, and clear refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bayeslaw.errors import BadInput
from bayeslaw.lab.models.counts import flops_per_token
from bayeslaw.lab.train import plan
from bayeslaw.lab.train.spec import checked

HEAD = """
[sweep]
study = "own"
corpus = "stdlib"
optimizer = "adamw"
params_nonembedding = 25e3
tokens_per_param = 20
batch_tokens = 4096
learning_rate = 1e-3
"""
SOBOL = """
[[part]]
design = "sobol"
runs = 64
params_nonembedding = [25e3, 100e3]
learning_rate = {low = 1e-4, high = 1e-1}
batch_tokens = {low = 512, high = 16384}
momentum = {low = 0.8, high = 0.98}
weight_decay = {low = 0.0, high = 0.2}
"""


def read(tmp_path, text, suffix=".toml", say=None):
    path = tmp_path / f"plan{suffix}"
    path.write_text(text)
    return plan.read(path, say or pytest.fail)


def part(text, design="grid"):
    return f'{HEAD}\n[[part]]\ndesign = "{design}"\n{text}'


def test_a_grid_crosses_its_choices_in_the_order_of_the_file(tmp_path):
    specs = read(tmp_path, part('optimizer = ["adamw", "muon"]\nlearning_rate = [1e-3, 2e-3]\nseed = [0, 1]'))
    assert [(s.optimizer, s.learning_rate, s.seed) for s in specs] == [
        (o, lr, seed) for o in ("adamw", "muon") for lr in (1e-3, 2e-3) for seed in (0, 1)
    ]
    assert {(s.width, s.depth, s.heads, s.tokens) for s in specs} == {(32, 2, 2, 494_720)}
    assert all(s == checked(s) for s in specs)


def test_names_are_readable_unique_and_lasting(tmp_path):
    first, other = read(tmp_path, part("seed = [0, 1]"))
    assert first.run_id == "adamw-N24.7k-D495k-B4096-lr0.001-s0-" + first.run_id[-8:]
    assert first.run_id != other.run_id
    moved = read(tmp_path, part("seed = [3, 1]\nlearning_rate = 1e-3"))
    assert moved[1] == other
    (study,) = read(tmp_path, part('study = "another"'))
    assert study.run_id != first.run_id


@pytest.mark.parametrize("design", ["sobol", "random"])
def test_a_design_that_grows_keeps_its_first_runs(tmp_path, design):
    text = HEAD + SOBOL.replace("sobol", design)
    specs = read(tmp_path, text)
    assert read(tmp_path, text) == specs
    assert read(tmp_path, text.replace("= 64", "= 100"))[:64] == specs
    assert read(tmp_path, text + "\ndraw_seed = 1")[0].learning_rate != specs[0].learning_rate


def test_a_sobol_design_is_even_in_the_right_scales(tmp_path):
    specs = read(tmp_path, HEAD + SOBOL)
    for values, low, high in (
        ([np.log(s.learning_rate) for s in specs], np.log(1e-4), np.log(1e-1)),
        ([np.log1p(-s.momentum) for s in specs], np.log(0.02), np.log(0.2)),
        ([s.weight_decay for s in specs], 0, 0.2),
    ):
        counts, _ = np.histogram(values, bins=16, range=(low, high))
        assert (counts == 4).all()
    assert [sum(s.width == w for s in specs) for w in (32, 48)] == [32, 32]
    batches = np.array([s.batch_tokens for s in specs])
    assert (batches % 128 == 0).all()
    assert np.histogram(np.log2(batches), bins=5, range=(8.9, 14.1))[0].min() >= 10


def test_random_draws_stay_in_their_range(tmp_path):
    specs = read(tmp_path, HEAD + SOBOL.replace("sobol", "random"))
    rates = np.log10([s.learning_rate for s in specs])
    assert -4 <= rates.min() < -3.5
    assert -1.5 < rates.max() <= -1
    assert all(s.learning_rate == float(f"{s.learning_rate:.6g}") for s in specs)


def test_constant_flops_scale_the_tokens(tmp_path):
    specs = read(tmp_path, part("flops = 1e12\nparams_nonembedding = [25e3, 100e3, 1e6]"))
    assert [s.tokens % s.sequence_length for s in specs] == [0, 0, 0]
    flops = [s.tokens * flops_per_token(s.shape, s.sequence_length) for s in specs]
    assert flops == pytest.approx([1e12] * 3, rel=2e-3)
    assert specs[0].tokens > 2 * specs[1].tokens > 8 * specs[2].tokens


def test_a_part_overrides_the_sweep_and_warm_up_may_be_a_share(tmp_path):
    (spec,) = read(tmp_path, part("tokens = 128_000\nwarmup_share = 0.1\nwidth = 48\ndepth = 1\nheads = 3"))
    assert (spec.tokens, spec.warmup_tokens, spec.width, spec.depth, spec.heads) == (
        128_000,
        12_800,
        48,
        1,
        3,
    )


def test_parts_that_share_a_run_run_it_once(tmp_path):
    notes = []
    text = part("seed = [0, 1]") + '\n[[part]]\ndesign = "grid"\nseed = [1, 2]'
    assert [s.seed for s in read(tmp_path, text, say=notes.append)] == [0, 1, 2]
    assert notes == [f"{tmp_path}/plan.toml: rows that repeat an earlier run, left out: 1"]


CSV = """run_id,study,corpus,optimizer,params_nonembedding,tokens,batch_tokens,learning_rate,momentum,gain
a,own,stdlib,muon,25000,500000.0,4100.3,1e-3,,0.5
,own,stdlib,adamw,1e5,640000,512,0.002,0.95,0.4
"""


def test_a_list_of_runs(tmp_path):
    notes = []
    a, b = read(tmp_path, CSV, ".csv", notes.append)
    assert notes == [f"{tmp_path}/plan.csv: columns ignored, no settings of a run: gain"]
    assert (a.run_id, a.width, a.tokens, a.batch_tokens, a.seed) == ("a", 32, 500_000, 4096, 0)
    assert a == checked(a)
    assert (b.width, b.momentum, b.run_id[:20]) == (48, 0.95, "adamw-N83.3k-D640k-B")


def test_a_list_may_stand_in_a_plan_which_gives_the_rest(tmp_path):
    (tmp_path / "next.csv").write_text("learning_rate,seed\n3e-3,1\n4e-3,2\n")
    specs = read(tmp_path, part('file = "next.csv"\nweight_decay = 0.0', "list"))
    assert [(s.learning_rate, s.seed, s.weight_decay, s.study) for s in specs] == [
        (3e-3, 1, 0.0, "own"),
        (4e-3, 2, 0.0, "own"),
    ]


def test_a_run_table_is_a_plan_too_and_its_shape_outranks_its_size(tmp_path):
    (spec,) = read(
        tmp_path,
        "study,corpus,optimizer,params_nonembedding,width,depth,heads,tokens,batch_tokens,learning_rate,loss\n"
        "own,stdlib,sgd,9999,16,2,1,128000,1024,0.1,3.5\n",
        ".csv",
        lambda note: None,
    )
    assert (spec.width, spec.depth) == (16, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no runs; expected a row, or a [[part]] with a design, for at least one"),
        (
            "[swep]\n",
            "swep; expected one table [sweep] and tables [[part]]; "
            "see python -m pydoc bayeslaw.lab.train.plan",
        ),
        ("part = [1]\n", "sweep or part of the wrong kind; expected one table [sweep] and tables [[part]]"),
        ("[part]\nseed = 1\n", "sweep or part of the wrong kind; expected one table [sweep] and tables [["),
        ("[sweep\n", "not a readable TOML file ("),
        (part("", "gird"), "part 1: design = gird; expected one of grid, random, sobol, list"),
        (
            part("learnign_rate = 1"),
            "part 1: unknown key learnign_rate; expected a setting of a run; did you mean ",
        ),
        (part("runs = 4"), "part 1: unknown key runs; expected a setting of a run"),
        (part("seed = []"), "part 1: seed = []; expected at least one choice"),
        (
            part("learning_rate = {low = 1e-3, high = 1e-2}"),
            "part 1: learning_rate is a range; expected choices in a grid; list them",
        ),
        (
            part("seed = [1]", "sobol"),
            "part 1: runs = None; expected a whole number from 1 to 100000; ",
        ),
        (
            part("runs = 1e10\nseed = [1]", "sobol"),
            "part 1: runs = 10000000000.0; expected a whole number from 1",
        ),
        (
            part("runs = 2\ndraw_seed = -1\nseed = [1]", "sobol"),
            "draw_seed = -1; expected a whole number from 0 to",
        ),
        (
            part("runs = 2\nlearning_rate = {low = 0, high = 1}", "sobol"),
            "expected low > 0, for it is even in",
        ),
        (
            "\n".join(
                [
                    HEAD,
                    "[[part]]",
                    'design = "grid"',
                    *(f"{x} = [{'1, ' * 30}]" for x in ("seed", "width", "depth", "heads")),
                ]
            ),
            "part 1: a grid of 810,000 runs; expected at most 100,000; list fewer choices",
        ),
        (part("seed = 1e23"), "part 1, run 1: seed = 99999999999999991611392; expected at least 0 and below"),
        (part("tokens = inf"), "part 1, run 1: tokens = inf; expected a whole number; correct it"),
        (part("runs = 3", "random"), "part 1: nothing varies; expected a list or a range to draw from"),
        (
            part("runs = 3\nlearning_rate = {low = 1, high = 0.1}", "random"),
            "part 1: learning_rate = {'low': 1, 'high': 0.1}; expected {low = ..., high = ...}, two numbers",
        ),
        (
            part("runs = 3\nmomentum = {low = 0.9, high = 1}", "random"),
            "expected 0 <= low < high < 1; ",
        ),
        (
            part("runs = 3\nweight_decay = {low = 0, high = 1, log = true}", "random"),
            "expected low > 0, for it is even in the logarithm; or log = false",
        ),
        (
            part("runs = 3\nseed = {low = 0, high = 9}", "random"),
            "expected a value or a list of choices; list them",
        ),
        (
            part("tokens = 1e5\nflops = 1e12"),
            "part 1, run 1: tokens and flops given together; expected one of them",
        ),
        (
            part('learning_rate = "high"'),
            "part 1, run 1: learning_rate = high; expected a number; correct it",
        ),
        (part("seed = 1.5"), "part 1, run 1: seed = 1.5; expected a whole number; correct it"),
        (
            part("learning_rate = nan"),
            "part 1, run 1: learning_rate = nan; expected a number; correct it",
        ),
        (part("tied = 2"), "part 1, run 1: tied = 2; expected true or false"),
        (
            part("params_nonembedding = 5e13"),
            "part 1, run 1: params_nonembedding = 5e+13; the nearest size of family",
        ),
        (
            part("batch_tokens = [512, 1e6]"),
            "part 1, run 2: batch_tokens = 999936; expected at most tokens = 494720",
        ),
        (part('optimizer = "adam"'), "part 1, run 1: optimizer = adam; expected one of adamw, "),
        (part('corpus = "gone.txt"'), "part 1, run 1: "),
        (part('file = "gone.csv"', "list"), "gone.csv: not a readable CSV file ("),
        (
            '[[part]]\ndesign = "grid"\ntokens_per_param = 20\nparams_nonembedding = 1e6',
            "part 1, run 1: study, corpus, optimizer, batch_tokens, learning_rate missing; "
            "expected text, a whole number, a number; add it to the plan",
        ),
    ],
)
def test_what_a_plan_cannot_mean_is_refused(tmp_path, text, message):
    with pytest.raises(BadInput) as error:
        list(read(tmp_path, text))
    assert str(error.value).startswith(str(tmp_path))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run_id\n", "no runs; expected a row"),
        (
            CSV.replace("a,own", "a/b,own"),
            "row 1: run_id = 'a/b'; expected letters, digits and _ . + = -, for it",
        ),
        (
            CSV.replace("\n,own", "\na,own"),
            "run_id a stands for two different runs; expected each run_id once; ",
        ),
        (CSV.replace("0.002", "fast"), "row 2: learning_rate = fast; expected a number; correct it"),
        (CSV.replace("study", "sturdy"), "row 1: study missing; expected text; add it to the plan"),
    ],
)
def test_what_a_list_cannot_mean_is_refused(tmp_path, text, message):
    with pytest.raises(BadInput) as error:
        read(tmp_path, text, ".csv", lambda note: None)
    assert str(error.value).startswith(f"{tmp_path}/plan.csv: ")
    assert message in str(error.value)


@pytest.mark.parametrize("suffix", [".toml", ".csv"])
def test_what_is_no_text_is_refused(tmp_path, suffix):
    path = tmp_path / f"plan{suffix}"
    for content in (HEAD.encode("utf-16"), bytes(range(256))):
        path.write_bytes(content)
        with pytest.raises(BadInput, match=rf"plan\{suffix}: not a readable (TOML|CSV) file \('utf-8' codec"):
            plan.read(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(BadInput, match=rf"plan\{suffix}: is a folder; expected a \.toml or \.csv file"):
        plan.read(path)


def test_a_missing_or_unknown_file_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"gone\.toml: no such plan; expected a \.toml or \.csv file"):
        plan.read(tmp_path / "gone.toml")
    with pytest.raises(BadInput, match=r"unknown suffix '\.yaml'; expected \.toml or \.csv"):
        read(tmp_path, "", ".yaml")


def test_the_example_of_the_module_is_a_plan(tmp_path):
    example = plan.__doc__.split("::\n")[1].rpartition("\n\n")[0]
    specs = read(tmp_path, "\n".join(line[4:] for line in example.splitlines()))
    assert len(specs) == 64
    assert {s.optimizer for s in specs} == {"adamw", "muon"}
    assert replace(specs[0], run_id="x") == replace(checked(specs[0]), run_id="x")


def test_a_design_is_repeated_in_each_combination_with_the_same_draws(tmp_path):
    rates = "learning_rate = {low = 1e-3, high = 1e-1}\nruns = 4\nhead_width = 8"
    specs = read(tmp_path, part(rates + "\neach = {width = [16, 32], depth = [1, 2, 4]}", "sobol"))
    assert [(s.width, s.depth, s.heads) for s in specs[::4]] == [
        (w, d, w // 8) for w in (16, 32) for d in (1, 2, 4)
    ]
    assert {tuple(s.learning_rate for s in specs[i : i + 4]) for i in range(0, 24, 4)} == {
        tuple(s.learning_rate for s in specs[:4])
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("each = 3", r"part 1: each = 3; expected lists of choices"),
        ("each = {seed = {low = 1, high = 2}}", "expected lists of choices"),
        ("each = {seed = [1]}\nseed = 2", "seed in each and beside it; expected one of them"),
        ("each = {seed = []}", "expected at least one choice"),
        ("each = {sed = [1]}", "did you mean seed"),
        (
            "width = 20\ndepth = 1\nhead_width = 8",
            "head_width = 8 at width = 20; expected a divisor of width",
        ),
        ("width = 16\ndepth = 1\nhead_width = 0", "expected a divisor of width"),
        ("width = 16\ndepth = 1\nheads = 2\nhead_width = 8", "heads and head_width given together"),
    ],
)
def test_what_cannot_be_repeated_is_refused(tmp_path, text, words):
    with pytest.raises(BadInput, match=words):
        read(tmp_path, part(text))
