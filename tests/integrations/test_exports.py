from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from bayeslaw.advice.prediction import predict
from bayeslaw.errors import BadInput
from bayeslaw.integrations.exports import FRAMEWORKS, SEQUENCE_LENGTH, export, recipe
from bayeslaw.integrations.schedules import lr_multiplier, shape_of
from bayeslaw.integrations.trials import enqueue, first_trials, search_ranges
from bayeslaw.target import Target
from tests.support.command import run
from tests.support.fakes import fake_posterior

GROUPS = (("ours", "adamw"), ("ours", "muon"))
LENGTH = 1024


def answer(optimizer: str = "adamw", batch: float | None = 524_288.0, **assumes) -> dict:
    """An answer of ``predict``; ``assumes`` says more of what it holds for."""
    target = Target(1e8, 1e10, optimizer, "ours", batch)
    told = predict(fake_posterior(100, groups=GROUPS, sizes=((2e7, 4e8), (3e8, 6e9))), target).to_json()
    return told | {"assumes": told["assumes"] | assumes}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_comments_say_batch_schedule_and_interval(framework):
    text = export(answer("muon" if framework == "nanochat" else "adamw"), framework, LENGTH)
    comments = "\n".join(line for line in text.splitlines() if line.startswith("# "))
    assert "# batch: 524k tokens a step over all devices, 512 sequences of 1024; 19074 steps" in comments
    assert "# schedule: cosine to 0.1 of the peak after 5% of the steps" in comments
    assert re.search(r"# learning_rate: the best lies within \S+ to \S+ with probability 90%", comments)


SHAPES = {
    "constant": {"schedule": "constant", "decay_share": 0.0},
    "linear": {"schedule": "linear", "decay_share": 1.0},
    "cosine": {"schedule": "cosine", "decay_share": 1.0},
    "wsd": {"schedule": "wsd", "decay_share": 0.1},
}
STEPS, WARMUP = 19074, 954


def expected(name: str) -> Callable[[int], float]:
    """The fraction of the peak that a file for a schedule should give."""
    shape = shape_of(SHAPES[name])
    return lr_multiplier(
        STEPS,
        warmup_steps=WARMUP,
        schedule=name,
        final_lr_ratio=shape.final_lr_ratio,
        wsd_decay=(shape.decay_share or 1.0) * STEPS / (STEPS - WARMUP) if name == "wsd" else 1.0,
    )


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", SHAPES)
def test_the_schedule_is_the_one_that_the_advice_assumes(framework, name):
    text = export(answer("muon" if framework == "nanochat" else "adamw", **SHAPES[name]), framework, LENGTH)
    [line] = [line for line in text.splitlines() if line.startswith("# schedule: ")]
    assert line.startswith(f"# schedule: {name}")
    assert line.endswith("; as the advice assumes")
    settings = [line for line in text.splitlines() if not line.startswith("#")]
    other = {"constant", "linear", "cosine", "wsd"} - {name}
    if framework not in ("nanochat", "optax", "torchtitan"):
        said = re.sub(r"decay.type: linear|decay-style linear", "", "\n".join(settings).lower())
        assert not [each for each in other if re.search(rf"\b{each}\b", said)]


@pytest.mark.parametrize("name", SHAPES)
def test_optax_follows_the_assumed_schedule(name):
    pytest.importorskip("optax")
    names: dict = {}
    exec(export(answer(**SHAPES[name]), "optax", LENGTH), names)
    peak = recipe(answer(), LENGTH).learning_rate
    for step in (100, WARMUP - 1, 5_000, 17_000, 17_500, 19_000, STEPS - 1):
        rate = float(names["schedule"](step + 1)) / peak
        assert rate == pytest.approx(expected(name)(step), rel=1e-3, abs=1e-4)


def test_sequences_are_those_of_the_advice_unless_they_are_given():
    told = answer(sequence_length=2048.0)
    assert recipe(told).sequence_length == 2048
    assert recipe(told, 512).sequence_length == 512
    assert recipe(answer()).sequence_length == SEQUENCE_LENGTH


def test_wsd_in_the_words_of_each():
    wsd = answer(**SHAPES["wsd"])
    titan = tomllib.loads(export(wsd, "torchtitan", LENGTH))["lr_scheduler"]
    assert titan["decay_ratio"] == pytest.approx(0.1, rel=1e-3)
    assert (titan["decay_type"], titan["min_lr_factor"]) == ("linear", 0)
    megatron = options(export(wsd, "megatron", LENGTH))
    assert (megatron["lr-decay-style"], megatron["lr-wsd-decay-iters"]) == ("WSD", "1907")
    assert options(export(answer("muon", **SHAPES["wsd"]), "nanochat", LENGTH))["warmdown-ratio"] == "0.1"


@pytest.mark.slow  # importing the Trainer takes most of it
def test_transformers_reads_its_arguments(tmp_path):
    transformers = pytest.importorskip("transformers")
    (tmp_path / "a.yaml").write_text(export(answer(), "transformers", LENGTH))
    parser = transformers.HfArgumentParser(transformers.TrainingArguments)
    (read,) = parser.parse_yaml_file(str(tmp_path / "a.yaml"))
    wanted = recipe(answer(), LENGTH)
    assert read.learning_rate == wanted.learning_rate
    assert (read.adam_beta1, read.adam_beta2) == wanted.betas
    assert read.per_device_train_batch_size * read.gradient_accumulation_steps == 512
    assert (read.max_steps, read.warmup_steps) == (19074, 954)
    assert read.lr_scheduler_type == "cosine_with_min_lr"
    assert read.lr_scheduler_kwargs == {"min_lr_rate": 0.1}
    assert read.optim == "adamw_torch"


def test_optax_runs_its_lines():
    optax = pytest.importorskip("optax")
    for optimizer in ("adamw", "muon"):
        names: dict = {}
        exec(export(answer(optimizer), "optax", LENGTH), names)
        peak = recipe(answer(optimizer), LENGTH).learning_rate
        assert isinstance(names["optimizer"], optax.GradientTransformation)
        assert float(names["schedule"](954)) == pytest.approx(peak, rel=1e-5)
        assert float(names["schedule"](19074)) == pytest.approx(0.1 * peak, rel=1e-3)


JOB_CONFIG = {  # sections and fields of torchtitan/config/job_config.py
    "optimizer": {"name", "lr", "beta1", "beta2", "eps", "weight_decay", "implementation"},
    "lr_scheduler": {"warmup_steps", "total_steps", "decay_ratio", "decay_type", "min_lr_factor"},
    "training": {"local_batch_size", "global_batch_size", "seq_len", "max_norm", "steps", "dtype"},
}
MEGATRON = set(  # options of megatron/training/arguments.py
    "optimizer lr min-lr weight-decay adam-beta1 adam-beta2 sgd-momentum global-batch-size seq-length "
    "train-iters lr-decay-style lr-wsd-decay-style lr-wsd-decay-iters lr-warmup-iters".split()
)
NANOCHAT = set(  # options of scripts/base_train.py
    "matrix-lr total-batch-size max-seq-len num-iterations warmup-steps warmdown-ratio final-lr-frac".split()
)
AXOLOTL = set(  # fields of axolotl/utils/schemas
    "optimizer learning_rate weight_decay adam_beta1 adam_beta2 micro_batch_size gradient_accumulation_steps "
    "sequence_len max_steps warmup_steps lr_scheduler lr_scheduler_kwargs cosine_min_lr_ratio".split()
)


def test_torchtitan_has_its_sections():
    read = tomllib.loads(export(answer(), "torchtitan", LENGTH))
    assert {name: set(section) <= JOB_CONFIG[name] for name, section in read.items()} == dict.fromkeys(
        JOB_CONFIG, True
    )
    assert read["training"] == {"global_batch_size": 512, "seq_len": LENGTH, "steps": 19074}
    assert read["optimizer"]["lr"] == recipe(answer(), LENGTH).learning_rate


def options(text: str) -> dict[str, str]:
    """Options of a bash array as ``--name value`` or ``--name=value``."""
    words = shlex.split(text.partition("BAYESLAW_ARGS=(")[2].rstrip(")\n"))
    pairs = [word.partition("=")[::2] for word in words]
    if any(value for _, value in pairs):
        return {name.removeprefix("--"): value for name, value in pairs}
    return {name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)}


def test_megatron_and_nanochat_take_options():
    megatron = options(export(answer(), "megatron", LENGTH))
    assert set(megatron) <= MEGATRON
    assert megatron["global-batch-size"] == "512"
    assert float(megatron["lr"]) == recipe(answer(), LENGTH).learning_rate
    nanochat = options(export(answer("muon", 2.0**21), "nanochat", LENGTH))
    assert set(nanochat) == NANOCHAT
    advised = recipe(answer("muon", 2.0**21), LENGTH).learning_rate
    assert 2 * float(nanochat["matrix-lr"]) == pytest.approx(advised, rel=1e-3)  # sqrt(2^21 / 2^19)


def test_yaml_of_axolotl_and_ours():
    yaml = pytest.importorskip("yaml")
    read = yaml.safe_load(export(answer(), "axolotl", LENGTH))
    assert set(read) <= AXOLOTL
    ours = yaml.safe_load(export(answer(), "yaml", LENGTH))
    assert isinstance(ours["learning_rate"], float)
    assert ours["batch_tokens"] == 524_288


def test_names_end_no_comment():
    doubted = {**answer(), "warnings": ["known studies: x\nimport os"]}
    assert "\nimport os" not in export(doubted, "optax", LENGTH)


def test_what_cannot_be_exported_is_refused():
    with pytest.raises(BadInput, match="has no optimizer muon; expected one of adamw"):
        export(answer("muon"), "torchtitan", LENGTH)
    with pytest.raises(BadInput, match="--export jax: unknown"):
        export(answer(), "jax", LENGTH)
    with pytest.raises(BadInput, match="--sequence-length 0"):
        export(answer(), "yaml", 0)


def test_the_command_prints_the_file_alone(monkeypatch, capsys):
    asked = ["predict", "--params", "1B", "--tokens", "20B", "--export", "torchtitan"]
    code, out, _ = run(monkeypatch, capsys, *asked)
    assert (code, list(tomllib.loads(out))) == (0, ["optimizer", "lr_scheduler", "training"])
    assert run(monkeypatch, capsys, *asked, "--law", "step")[0] == 2


def test_trials_start_with_the_advice_and_stay_in_range():
    fit, target = fake_posterior(100, groups=GROUPS), Target(1e8, 1e10, "adamw", "ours")
    trials, ranges = first_trials(target, 5, fit), search_ranges(target, posterior=fit)
    assert trials[0] == predict(fit, target)["recommendation"]
    assert len({trial["learning_rate"] for trial in trials}) == 5
    queued: list[dict] = []
    study = SimpleNamespace(enqueue_trial=lambda settings, user_attrs: queued.append(settings))
    enqueue(study, trials, {"learning_rate": ranges["learning_rate"]})
    low, high = ranges["learning_rate"]
    assert [set(each) for each in queued] == [{"learning_rate"}] * 5
    assert all(low <= each["learning_rate"] <= high for each in queued)


def test_optuna_runs_what_was_queued():
    optuna = pytest.importorskip("optuna")
    fit, target = fake_posterior(100, groups=GROUPS), Target(1e8, 1e10, "adamw", "ours", 524_288.0)
    trials, ranges = first_trials(target, 3, fit), search_ranges(target, posterior=fit)
    study = optuna.create_study()
    enqueue(study, trials, {"learning_rate": ranges["learning_rate"]})
    study.optimize(lambda trial: trial.suggest_float("learning_rate", *ranges["learning_rate"], log=True), 3)
    tried = [trial.params["learning_rate"] for trial in study.trials]
    wanted = [
        min(max(each["learning_rate"], ranges["learning_rate"][0]), ranges["learning_rate"][1])
        for each in trials
    ]
    assert tried == pytest.approx(wanted)
