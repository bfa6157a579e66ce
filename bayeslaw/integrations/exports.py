"""Advice in the words of a trainer: settings that its own loader reads, with comments that say what they are.

Names of settings: transformers 5.24 (``TrainingArguments``), torchtitan (``job_config.py``), Megatron-LM
(``training/arguments.py``), axolotl (``utils/schemas``), nanochat (``base_train``), optax 0.2.8.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bayeslaw.errors import BadInput
from bayeslaw.integrations.schedules import WARMUP_SHARE, Shape, shape_of, transformers_scheduler
from bayeslaw.text import percent, setting, short

BETA1, BETA2 = 0.9, 0.95
SEQUENCE_LENGTH = 4096
"""Tokens per sequence where neither the user nor the advice has them."""

NANOCHAT_BATCH = 2**19
"""nanochat multiplies its rates by the root of the batch over this (``B_REF``)."""

Settings = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """A run of the advice, in the units of trainers.

    Attributes:
        optimizer: lower-case name.
        learning_rate: peak.
        sequences: per step, over all devices.
        sequence_length: tokens per sequence.
        steps, warmup_steps, decay_steps: of the optimizer.
        shape: how the learning rate moves.
        weight_decay: decoupled; None where it was not fitted.
        momentum: of Muon or SGD, or Adam's beta1; None likewise.
        words: what the settings are and how sure, a line each.
    """

    optimizer: str
    learning_rate: float
    sequences: int
    sequence_length: int
    steps: int
    warmup_steps: int
    decay_steps: int
    shape: Shape
    weight_decay: float | None
    momentum: float | None
    words: tuple[str, ...]

    @property
    def betas(self) -> tuple[float, float]:
        """Adam's betas; the second is the usual one of language models."""
        return (BETA1 if self.momentum is None else self.momentum), BETA2

    @property
    def last_rate(self) -> float:
        """Learning rate of the last step."""
        return _digits(self.shape.final_lr_ratio * self.learning_rate)


def recipe(answer: Mapping[str, Any], sequence_length: int | None = None) -> Recipe:
    """The run that an answer of `advice.prediction.predict` advises, its batch in whole sequences.

    The schedule is the one that the advice assumes (`schedules.shape_of`), after a warm-up of 5%.

    Args:
        answer: of ``predict``.
        sequence_length: tokens per sequence; by default that of the advice, else ``SEQUENCE_LENGTH``.

    Raises:
        BadInput: a sequence longer than all tokens, or no longer than nothing.
    """
    inputs, advised, assumes = answer["inputs"], answer["recommendation"], answer["assumes"]
    if sequence_length is None:
        sequence_length = min(int(assumes.get("sequence_length", SEQUENCE_LENGTH)), int(inputs["tokens"]))
    if not 1 <= sequence_length <= inputs["tokens"]:
        raise BadInput(
            f"--sequence-length {sequence_length}: expected from 1 to all {short(inputs['tokens'])} tokens; "
            "give that of the run"
        )
    sequences = max(1, round(advised["batch_tokens"] / sequence_length))
    batch = sequences * sequence_length
    steps = math.ceil(inputs["tokens"] / batch)
    warmup_steps, shape = round(WARMUP_SHARE * steps), shape_of(assumes)
    return Recipe(
        inputs["optimizer"],
        _digits(advised["learning_rate"]),
        sequences,
        sequence_length,
        steps,
        warmup_steps,
        shape.decay_steps(steps, warmup_steps),
        shape,
        _known(advised.get("weight_decay")),
        _known(advised.get("momentum")),
        _words(answer, shape, batch, sequences, sequence_length, steps),
    )


def export(answer: Mapping[str, Any], framework: str, sequence_length: int | None = None) -> str:
    """The advice as a file of a framework, with comments.

    Args:
        answer: of ``predict``.
        framework: a name in ``FRAMEWORKS``.
        sequence_length: as of ``recipe``.

    Raises:
        BadInput: an unknown framework, or one without the optimizer.
    """
    if framework not in FRAMEWORKS:
        raise BadInput(
            f"--export {framework}: unknown; expected one of {', '.join(FRAMEWORKS)}; "
            "take yaml and rename its settings"
        )
    names, write = FRAMEWORKS[framework]
    run = recipe(answer, sequence_length)
    if names and run.optimizer not in names:
        raise BadInput(
            f"--export {framework}: has no optimizer {run.optimizer}; expected one of {', '.join(names)}; "
            "name another with --optimizer, or take --export yaml"
        )
    return write(run, names.get(run.optimizer, run.optimizer))


def _words(
    answer: Mapping[str, Any], shape: Shape, batch: int, sequences: int, length: int, steps: int
) -> tuple[str, ...]:
    inputs, optimum, level = answer["inputs"], answer["optimum"], answer["level"]
    size = f"N = {short(inputs['params_nonembedding'])}, D = {short(inputs['tokens'])}, {inputs['optimizer']}"
    spans = [
        f"{name}: the best lies within {setting(name, span['lower'])} to {setting(name, span['upper'])} "
        f"with probability {level:.0%}"
        for name, span in optimum.items()
    ]
    regret = answer["regret"]
    return (
        f"bayeslaw's advice for {size}",
        f"batch: {short(batch)} tokens a step over all devices, {sequences} sequences of {length}; "
        f"{steps} steps",
        f"schedule: {shape}",
        *spans,
        f"expected regret {percent(regret['expected'])}, at most {percent(regret['upper'])} "
        f"with probability {level:.0%}",
        *(f"doubt: {each}" for each in answer["warnings"]),
    )


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


def _known(value: float | None) -> float | None:
    return None if value is None else _digits(value)


def _number(value: float) -> str:
    """As YAML 1.1 and TOML read a number: a point before the exponent, a sign after it."""
    text = f"{value:.4g}"
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_plain(item)}" for key, item in value.items()) + "}"
    if isinstance(value, float):
        return _number(value)
    text = str(value)
    return text if re.fullmatch(r"[\w.]+|\"\w+\"", text) else json.dumps(text)


def _comments(run: Recipe, *more: str) -> list[str]:
    """Comments, a line each, whatever the names in them hold."""
    return [f"# {' '.join(line.split())}" for line in (*run.words, *more)]


def _yaml(run: Recipe, settings: Settings, *more: str) -> str:
    lines = [f"{name}: {_plain(value)}" for name, value in settings.items() if value is not None]
    return "\n".join([*_comments(run, *more), *lines])


def _transformers(run: Recipe, name: str) -> str:
    adam = dict(zip(("adam_beta1", "adam_beta2"), run.betas)) if run.optimizer == "adamw" else {}
    scheduler, options = _scheduler(run)
    settings = {
        "optim": name,
        "learning_rate": run.learning_rate,
        "weight_decay": run.weight_decay,
        **adam,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": run.sequences,
        "max_steps": run.steps,
        "warmup_steps": run.warmup_steps,
        "lr_scheduler_type": scheduler,
        "lr_scheduler_kwargs": options,
    }
    return _yaml(
        run,
        settings,
        "keep devices x per_device_train_batch_size x gradient_accumulation_steps at "
        f"{run.sequences}; here one device",
        "TrainingArguments in YAML: HfArgumentParser(TrainingArguments).parse_yaml_file(FILE)",
    )


def _scheduler(run: Recipe) -> tuple[str, Settings | None]:
    """Name and options of a scheduler of transformers; None for one without options."""
    shape = run.shape
    name, options = transformers_scheduler(
        shape.schedule, run.learning_rate, shape.final_lr_ratio, run.decay_steps
    )
    return name, options or None


def _axolotl(run: Recipe, name: str) -> str:
    adam = dict(zip(("adam_beta1", "adam_beta2"), run.betas)) if run.optimizer == "adamw" else {}
    settings: Settings = {
        "optimizer": name,
        "learning_rate": run.learning_rate,
        "weight_decay": run.weight_decay,
        **adam,
        "micro_batch_size": 1,
        "gradient_accumulation_steps": run.sequences,
        "sequence_len": run.sequence_length,
        "max_steps": run.steps,
        "warmup_steps": run.warmup_steps,
    }
    if run.shape.schedule == "cosine":
        settings |= {"lr_scheduler": "cosine", "cosine_min_lr_ratio": run.shape.final_lr_ratio}
    else:
        scheduler, options = _scheduler(run)
        settings |= {"lr_scheduler": scheduler, "lr_scheduler_kwargs": options}
    devices = (
        f"keep devices x micro_batch_size x gradient_accumulation_steps at {run.sequences}; here one device"
    )
    return _yaml(run, settings, devices)


def _own(run: Recipe, name: str) -> str:
    settings = {
        "optimizer": name,
        "learning_rate": run.learning_rate,
        "weight_decay": run.weight_decay,
        "momentum": run.momentum,
        "batch_tokens": run.sequences * run.sequence_length,
        "sequence_length": run.sequence_length,
        "steps": run.steps,
        "warmup_steps": run.warmup_steps,
        "schedule": run.shape.schedule,
        "decay_steps": run.decay_steps,
        "final_lr_ratio": run.shape.final_lr_ratio,
    }
    return _yaml(run, settings)


def _torchtitan(run: Recipe, name: str) -> str:
    beta1, beta2 = run.betas
    sections: dict[str, Settings] = {
        "optimizer": {
            "name": f'"{name}"',
            "lr": run.learning_rate,
            "beta1": beta1,
            "beta2": beta2,
            "weight_decay": run.weight_decay,
        },
        "lr_scheduler": {
            "warmup_steps": run.warmup_steps,
            "decay_ratio": run.shape.decay_share if run.shape.schedule in ("constant", "wsd") else None,
            "decay_type": '"cosine"' if run.shape.schedule == "cosine" else '"linear"',
            "min_lr_factor": run.shape.final_lr_ratio if run.decay_steps else None,
        },
        "training": {
            "global_batch_size": run.sequences,
            "seq_len": run.sequence_length,
            "steps": run.steps,
        },
    }
    lines = _comments(run, "min_lr_factor is lr_min before torchtitan 0.2")
    for section, settings in sections.items():
        lines += [f"[{section}]"]
        lines += [f"{key} = {_plain(value)}" for key, value in settings.items() if value is not None]
    return "\n".join(lines)


def _megatron(run: Recipe, name: str) -> str:
    beta1, beta2 = run.betas
    adam = {"adam-beta1": beta1, "adam-beta2": beta2} if name == "adam" else {"sgd-momentum": run.momentum}
    style = "WSD" if run.shape.schedule == "wsd" else run.shape.schedule
    wsd = {"lr-wsd-decay-style": "linear", "lr-wsd-decay-iters": run.decay_steps} if style == "WSD" else {}
    settings = {
        "optimizer": name,
        "lr": run.learning_rate,
        "min-lr": run.last_rate if run.decay_steps else None,
        "weight-decay": run.weight_decay,
        **adam,
        "global-batch-size": run.sequences,
        "seq-length": run.sequence_length,
        "train-iters": run.steps,
        "lr-decay-style": style,
        **wsd,
        "lr-warmup-iters": run.warmup_steps,
    }
    lines = [f"  --{key} {_plain(value)}" for key, value in settings.items() if value is not None]
    note = 'bash: source this file, then pretrain_gpt.py "${BAYESLAW_ARGS[@]}"; --micro-batch-size is yours'
    return "\n".join([*_comments(run, note), "BAYESLAW_ARGS=(", *lines, ")"])


def _nanochat(run: Recipe, _name: str) -> str:
    batch = run.sequences * run.sequence_length
    rate = run.learning_rate / math.sqrt(batch / NANOCHAT_BATCH)
    settings = {
        "matrix-lr": _digits(rate),
        "total-batch-size": batch,
        "max-seq-len": run.sequence_length,
        "num-iterations": run.steps,
        "warmup-steps": run.warmup_steps,
        "warmdown-ratio": _digits(run.shape.decay_share),
        "final-lr-frac": run.shape.final_lr_ratio,
    }
    lines = [f"  --{key}={_plain(value)}" for key, value in settings.items()]
    notes = (
        f"matrix-lr: nanochat multiplies it by sqrt({batch} / {NANOCHAT_BATCH}), to {run.learning_rate:g}",
        "the rate falls linearly, never as a cosine; nanochat's momentum and weight decay follow schedules",
        "of their own, and its embedding rates are Adam's: they keep their defaults",
        'bash: source this file, then python -m scripts.base_train "${BAYESLAW_ARGS[@]}"',
    )
    return "\n".join([*_comments(run, *notes), "BAYESLAW_ARGS=(", *lines, ")"])


def _optax(run: Recipe, name: str) -> str:
    given = {
        "adamw": {"b1": run.betas[0], "b2": run.betas[1], "weight_decay": run.weight_decay},
        "lion": {"b1": run.betas[0], "b2": 0.99, "weight_decay": run.weight_decay},
        "contrib.muon": {"beta": run.momentum, "weight_decay": run.weight_decay},
        "sgd": {"momentum": run.momentum},
    }[name]
    arguments = "".join(f", {key}={_plain(value)}" for key, value in given.items() if value is not None)
    lines = [
        "import optax",
        "",
        *_optax_schedule(run),
        f"optimizer = optax.{name}(schedule{arguments})",
    ]
    if name == "sgd" and run.weight_decay:
        lines[-1] += f"  # weight decay {run.weight_decay:g} is left out: it would go through momentum"
    return "\n".join([*_comments(run), *lines])


def _optax_schedule(run: Recipe) -> list[str]:
    peak, last, warmup = _number(run.learning_rate), _number(run.last_rate), run.warmup_steps
    if run.shape.schedule == "constant":
        return [f"schedule = optax.warmup_constant_schedule(0.0, peak_value={peak}, warmup_steps={warmup})"]
    if run.shape.schedule == "cosine":
        return [
            "schedule = optax.warmup_cosine_decay_schedule(",
            f"    init_value=0.0, peak_value={peak}, warmup_steps={warmup},",
            f"    decay_steps={run.steps}, end_value={last},",
            ")",
        ]
    begin = run.steps - run.decay_steps - warmup
    return [
        "schedule = optax.join_schedules(",
        "    [",
        f"        optax.linear_schedule(0.0, {peak}, {warmup}),",
        f"        optax.linear_schedule({peak}, {last}, {run.decay_steps}, transition_begin={begin}),",
        "    ],",
        f"    [{warmup}],",
        ")",
    ]


Writer = Callable[[Recipe, str], str]
ADAMW = {"adamw": "AdamW"}
FRAMEWORKS: dict[str, tuple[dict[str, str], Writer]] = {
    "transformers": (
        {"adamw": "adamw_torch", "adafactor": "adafactor", "lion": "lion_32bit", "sgd": "sgd"},
        _transformers,
    ),
    "torchtitan": (ADAMW, _torchtitan),
    "megatron": ({"adamw": "adam", "sgd": "sgd"}, _megatron),
    "axolotl": (
        {"adamw": "adamw_torch", "muon": "muon", "lion": "lion_pytorch", "adafactor": "adafactor"},
        _axolotl,
    ),
    "nanochat": ({"muon": "muon"}, _nanochat),
    "optax": ({"adamw": "adamw", "muon": "contrib.muon", "lion": "lion", "sgd": "sgd"}, _optax),
    "yaml": ({}, _own),
}
"""Framework -> its names of our optimizers (none: any), and its writer."""
