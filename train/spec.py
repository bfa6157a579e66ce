"""Spec of one training run: every choice that shapes it, in one flat record."""

from __future__ import annotations

import functools
import hashlib
import inspect
import itertools
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, get_type_hints

from bayeslaw.errors import BadInput
from bayeslaw.lab.data.corpus import known_source
from bayeslaw.lab.data.images import MODES, known_images
from bayeslaw.lab.data.tasks import TASKS
from bayeslaw.lab.data.tokens import LARGEST as LARGEST_VOCABULARY
from bayeslaw.lab.data.tokens import SMALLEST as SMALLEST_VOCABULARY
from bayeslaw.lab.models.counts import params_embedding, params_nonembedding
from bayeslaw.lab.models.networks import NETWORKS, Network
from bayeslaw.lab.models.transformer import Shape
from bayeslaw.lab.train.optimizers import OPTIMIZERS, Settings
from bayeslaw.lab.train.schedules import NAMES, fraction
from bayeslaw.lab.train.stages import Stage, sequences_before, stage_at, stages
from bayeslaw.law.scalars import usual_decay_share
from bayeslaw.schedules.batches import BatchPlan, parse_switches

PRECISIONS = ("no", "bf16", "fp16")
CHOICES = {
    "model": NETWORKS.keys(),
    "optimizer": OPTIMIZERS.keys(),
    "schedule": NAMES,
    "precision": PRECISIONS,
    "task": ("", *TASKS),
}
CURVATURE_SEQUENCES, SEQUENCE_LENGTH = 8, 128
SCALE_FREE = ("adamw", "lion", "rmsprop")
"""Optimizers whose step does not depend on the gradient's scale, as multipliers in the forward pass need."""


@dataclass(frozen=True)
class RunSpec:
    """One run. Learning rates are peaks, batches are in tokens, D counts each token seen.

    Attributes:
        run_id: name of the run and its folder.
        study: set-up that runs share; losses compare within one study only.
        corpus: "stdlib", a file or folder of text or JSON lines, or "hub:NAME[:CONFIG]"; of images "digits",
            a folder with a subfolder for each class, or "hub:NAME[:CONFIG]".
        optimizer: name in ``train.optimizers.OPTIMIZERS``.
        width: of the residual stream.
        depth: number of blocks.
        heads: attention heads per block.
        tokens: D, training tokens; of images their patches, each time that they are seen.
        batch_tokens: B, tokens per step; a whole number of sequences.
        learning_rate: peak learning rate.
        vocabulary: number of tokens of the byte-level BPE, or of classes of images.
        sequence_length: tokens per sequence, or patches per image, a square number.
        norm: "rmsnorm" or "layernorm".
        activation: "gelu" or "swiglu".
        tied: whether the output head is the embedding.
        schedule: name in ``train.schedules.NAMES``.
        warmup_tokens: tokens until the peak learning rate.
        final_lr_ratio: last learning rate over its peak.
        momentum: momentum, or Adam's beta1; by default the optimizer's usual value.
        beta2: decay of the second moment; by default the optimizer's usual value.
        epsilon: added to the denominator of the step; by default the optimizer's usual value.
        weight_decay: decoupled weight decay; by default the optimizer's usual value.
        grad_clip: largest gradient norm; 0 for no clipping.
        seed: of initialisation and data order.
        precision: "no" (32 bits), "bf16" or "fp16" (GPUs only), as Accelerate calls them.
        micro_batch_tokens: tokens per forward pass and process; larger batches accumulate gradients.
        curvature_at: shares of the run at which ``train.curvature`` measures, such as "0.02,0.1,0.5,1"; 0 is
            before the first step. Empty: after the last step, if there are ``curvature_sequences``.
        curvature_sequences: training sequences measured; by default none, or 8 beside ``curvature_at``.
        parametrization: "standard", or "mup": of ``models.transformer.Shape``.
        model: name in ``models.networks.NETWORKS``.
        patch: side of a patch [pixels]; images are scaled to sqrt(sequence_length) patches a side.
        channels: of a pixel, 1 for grey or 3 for red, green and blue.
        batch_schedule: switches "SHARE:BATCH:RATE,...": share of the tokens seen, batch [tokens] and peak
            learning rate from there on. Empty: ``batch_tokens`` and ``learning_rate`` to the end.
        lr_dropout: chance of each coordinate to miss a step; of ``train.optimizers.drop_learning_rates``.
        dropout: of ``models.transformer.Shape``.
        epochs: passes over the same ``tokens`` / ``epochs`` distinct tokens.
        init: folder of a run whose ``train.weights`` this one begins with. Empty: random ones.
        task: of ``data.tasks``, whose examples ``corpus`` then holds: "classify" or "write". Empty: the
            next token of the corpus.
        columns: of the examples: "TEXT,ANSWER".
        decay_share: share of the steps after the warm-up in which the rate of wsd falls, above 0 and at most
            1, such as 0.1; by default 0.2.
    """

    run_id: str
    study: str
    corpus: str
    optimizer: str
    width: int
    depth: int
    heads: int
    tokens: int
    batch_tokens: int
    learning_rate: float
    vocabulary: int = 1024
    sequence_length: int = SEQUENCE_LENGTH
    norm: str = "rmsnorm"
    activation: str = "gelu"
    tied: bool = True
    schedule: str = "cosine"
    warmup_tokens: int = 0
    final_lr_ratio: float = 0.1
    momentum: float | None = None
    beta2: float | None = None
    epsilon: float | None = None
    weight_decay: float | None = None
    grad_clip: float = 1.0
    seed: int = 0
    precision: str = "no"
    micro_batch_tokens: int = 8192
    curvature_at: str = ""
    curvature_sequences: int = 0
    parametrization: str = "standard"
    model: str = "transformer"
    patch: int = 2
    channels: int = 1
    batch_schedule: str = ""
    lr_dropout: float = 0.0
    dropout: float = 0.0
    epochs: int = 1
    init: str = ""
    task: str = ""
    columns: str = "text,answer"
    decay_share: float | None = None

    @property
    def network(self) -> Network:
        """What ``model`` names."""
        return NETWORKS[self.model]

    @property
    def side(self) -> int:
        """Height and width of an image [pixels]."""
        return math.isqrt(self.sequence_length) * self.patch

    @property
    def guesses(self) -> int:
        """What is guessed of a sequence: each next token, or the class of an image."""
        return 1 if self.network.images else self.sequence_length

    @property
    def shape(self) -> Shape:
        """Shape of the network."""
        return Shape(
            self.vocabulary,
            self.width,
            self.depth,
            self.heads,
            self.norm,  # type: ignore[arg-type]
            self.activation,  # type: ignore[arg-type]
            self.tied,
            self.parametrization,  # type: ignore[arg-type]
            self.model,
            self.sequence_length,
            self.patch,
            self.channels,
            self.dropout,
        )

    @property
    def sequences(self) -> int:
        """Number of whole sequences in ``tokens``."""
        return self.tokens // self.sequence_length

    @property
    def batch_sequences(self) -> int:
        """Number of sequences per step, at the beginning."""
        return self.batch_tokens // self.sequence_length

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Stretches of one batch and one peak learning rate, by ``batch_schedule``."""
        return _stages(self)

    @property
    def steps(self) -> int:
        """Number of steps until ``tokens`` are seen; the last batch is the rest."""
        last = self.stages[-1]
        return last.first_step + math.ceil((self.sequences - last.first_sequence) / last.batch_sequences)

    @property
    def warmup_steps(self) -> int:
        """Number of warm-up steps, rounded to the nearest."""
        return round(self.warmup_tokens / self.batch_tokens)

    @property
    def falling_share(self) -> float:
        """Share of the steps after warm-up in which the rate falls."""
        return usual_decay_share(self.schedule) if self.decay_share is None else self.decay_share

    @property
    def curvature_steps(self) -> dict[str, int]:
        """Steps done at each measurement of curvature, by the share of the run as it was given."""
        given = self.curvature_at or ("1" if self.curvature_sequences else "")
        shares = [text.strip() for text in given.split(",") if text.strip()]
        return {share: round(float(share) * self.steps) for share in shares}

    @property
    def settings(self) -> Settings:
        """Settings of the optimizer, for a ``checked`` spec."""
        knobs = (self.momentum, self.beta2, self.epsilon, self.weight_decay)
        return Settings(self.learning_rate, *(knob or 0.0 for knob in knobs))

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of a step, 0 for the first; the schedule is a function of the tokens seen."""
        return stage_at(self.stages, step).learning_rate * self.fraction_at(step)

    def fraction_at(self, step: int) -> float:
        """Fraction of its peak that a step's learning rate has; the unit is a step of the first batch."""
        done, whole = (
            sequences_before(self.stages, i) / self.batch_sequences for i in (step + 1, self.steps)
        )
        share = self.falling_share
        return fraction(self.schedule, done - 1, whole, self.warmup_steps, self.final_lr_ratio, share)

    def sequences_at(self, step: int) -> tuple[int, int]:
        """Place of a step's first sequence in the order of the run, and how many it reads."""
        first = sequences_before(self.stages, step)
        return first, min(stage_at(self.stages, step).batch_sequences, self.sequences - first)

    def tokens_before(self, step: int) -> int:
        """Tokens trained on before a step."""
        return min(sequences_before(self.stages, step), self.sequences) * self.sequence_length


@functools.lru_cache(maxsize=16)
def _stages(spec: RunSpec) -> tuple[Stage, ...]:
    plan = BatchPlan(spec.batch_tokens, spec.learning_rate, parse_switches(spec.batch_schedule))
    return stages(plan, spec.sequences, spec.sequence_length)


KINDS: dict[str, Any] = get_type_hints(RunSpec)
"""Type of each field."""

USUAL: dict[str, Any] = {f.name: f.default for f in fields(RunSpec)}
"""Default of each field."""

WHOLE_SEQUENCES = ("tokens", "batch_tokens", "warmup_tokens")
"""Fields that may be drawn from a range or follow from others, and are then rounded."""


def typed(name: str, value: Any, kind: Any) -> Any:
    """A value from a command line, a plan or JSON in the type of its field.

    Args:
        name: of the field, for messages and whether it may be rounded.
        value: text or a value.
        kind: str, bool, int, float, or float | None.

    Raises:
        BadInput: naming the field, its value and what was expected.

    >>> typed("tokens", "500e3", int), typed("tied", "false", bool), typed("epsilon", 1, float | None)
    (500000, False, 1.0)
    """
    if kind is str:
        return str(value)
    if kind is bool:
        known = {"true": True, "1": True, "false": False, "0": False}
        if str(value).lower() not in known:
            raise BadInput(f"{name} = {value}; expected true or false; correct it")
        return known[str(value).lower()]
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or (kind is int and name not in WHOLE_SEQUENCES and number % 1):
        raise BadInput(f"{name} = {value}; expected {in_words(kind)}; correct it")
    return round(number) if kind is int else number


def in_words(kind: Any) -> str:
    """A type for a reader."""
    return {str: "text", bool: "true or false", int: "a whole number"}.get(kind, "a number")


def choices_of(model: object) -> dict[str, Any]:
    """Choices that a network fixes, or has where nothing else is said.

    >>> choices_of("mixer")["heads"], choices_of(None)
    (1, {})

    Raises:
        BadInput: no such network.
    """
    name = "transformer" if model is None else str(model)
    if name not in NETWORKS:
        raise BadInput(f"model = {name}; expected one of {', '.join(NETWORKS)}; correct it")
    return {**NETWORKS[name].usual, **NETWORKS[name].fixed}


def shape_like(values: Mapping[str, Any]) -> Shape:
    """A network of some size, from choices of a run, for ``models.families.size_for``."""
    length = typed("sequence_length", values.get("sequence_length", SEQUENCE_LENGTH), int)
    return Shape(1, 16, 1, 1, model=values.get("model", "transformer"), length=length)


def meanings() -> dict[str, str]:
    """What each field is, as the docstring of ``RunSpec`` says.

    >>> meanings()["depth"]
    'number of blocks'
    """
    _, _, text = inspect.cleandoc(RunSpec.__doc__ or "").partition("Attributes:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n        .*)*)", text, re.M)
    return {name: " ".join(meaning.split()).rstrip(".") for name, meaning in entries}


def checked(spec: RunSpec) -> RunSpec:
    """Check a spec and fill in its optimizer's usual values; a decay share that is the usual one is left out.

    Raises:
        BadInput: names the run, the field, its value and what was expected.
    """
    for name, known in CHOICES.items():
        if getattr(spec, name) not in known:
            raise _bad(spec, name, f"one of {', '.join(filter(None, known))}", "correct the plan")
    usual = OPTIMIZERS[spec.optimizer].defaults
    for name in ("momentum", "beta2", "epsilon"):
        if getattr(usual, name) is None and getattr(spec, name) is not None:
            raise _bad(spec, name, f"nothing, {spec.optimizer} has no such setting", "leave it empty")
    for name, value in spec.network.fixed.items():
        if getattr(spec, name) != value:
            raise _bad(spec, name, f"{value} with {spec.model}", "correct the plan")
    known_images(spec.corpus) if spec.network.images else known_source(spec.corpus)
    if spec.task and not spec.init:
        raise _bad(spec, "task", "init beside it, whose tokenizer reads the examples", "name a run's folder")
    spec.shape  # noqa: B018  # raises where no network has this shape
    filled = replace(
        spec,
        **{
            name: getattr(usual, name)
            for name in ("momentum", "beta2", "epsilon", "weight_decay")
            if getattr(spec, name) is None
        },
    )
    if filled.decay_share == usual_decay_share(filled.schedule):
        filled = replace(filled, decay_share=None)  # as a spec without one, so that both are one run
    if filled.curvature_at and not filled.curvature_sequences:
        filled = replace(filled, curvature_sequences=CURVATURE_SEQUENCES)
    _check_numbers(filled)
    _check_values(filled)
    _check_curvature(filled)
    return filled


def digest(spec: RunSpec) -> str:
    """Digest of every choice except the names of run and study, in twelve hexadecimal digits.

    Fields at their default are left out, so that a new field does not change the digests of old runs.
    """
    choices = {k: v for k, v in asdict(spec).items() if k not in ("run_id", "study") and v != USUAL[k]}
    return hashlib.sha256(json.dumps(choices, sort_keys=True).encode()).hexdigest()[:12]


def _check_numbers(spec: RunSpec) -> None:
    if (size := params_nonembedding(spec.shape) + params_embedding(spec.shape)) > LARGEST:
        raise BadInput(
            f"run {spec.run_id}: width = {spec.width}, depth = {spec.depth}, vocabulary = {spec.vocabulary} "
            f"are {size:.2g} parameters; expected at most {LARGEST:.0e}; choose a smaller network"
        )
    for name, low, high in RANGES:
        value = getattr(spec, name)
        if value is not None and not (math.isfinite(value) and low <= value < high):
            raise _bad(spec, name, f"at least {low:g} and below {high:g}", "correct the plan")
    if spec.learning_rate == 0:
        raise _bad(spec, "learning_rate", "above 0", "correct the plan")
    length = spec.sequence_length
    for name in ("batch_tokens", "micro_batch_tokens"):
        if getattr(spec, name) % length:
            raise _bad(spec, name, f"a multiple of sequence_length = {length}", "round it")
    if spec.batch_tokens > spec.tokens:
        raise _bad(
            spec, "batch_tokens", f"at most tokens = {spec.tokens}", "take a smaller batch or more tokens"
        )
    _check_batch_schedule(spec)
    _check_decay_share(spec)
    if spec.network.images and (spec.epochs > 1 or spec.task):
        raise _bad(
            spec, "epochs", "1 and no task, since images are read as often as it takes", "leave it out"
        )
    if spec.epochs > spec.sequences:
        raise _bad(spec, "epochs", f"at most the {spec.sequences} sequences of the run", "take fewer")
    if spec.warmup_tokens >= spec.tokens or spec.warmup_steps >= spec.steps:
        raise _bad(spec, "warmup_tokens", f"less than tokens = {spec.tokens}", "shorten the warm-up")


def _check_values(spec: RunSpec) -> None:
    """Tokens that a tokenizer can have, or images that the patches tile."""
    images = spec.network.images
    least = 2 if images else SMALLEST_VOCABULARY
    if not least <= spec.vocabulary <= LARGEST_VOCABULARY:
        raise _bad(
            spec, "vocabulary", f"at least {least} and below {LARGEST_VOCABULARY + 1}", "correct the plan"
        )
    if not images:
        return
    if math.isqrt(spec.sequence_length) ** 2 != spec.sequence_length:
        raise _bad(spec, "sequence_length", "a square number of patches, such as 16", "correct the plan")
    if spec.channels not in MODES:
        raise _bad(spec, "channels", "1 for grey, or 3", "correct the plan")


def _check_batch_schedule(spec: RunSpec) -> None:
    length = spec.sequence_length
    for switch in parse_switches(spec.batch_schedule):
        if switch.batch_tokens % length or switch.batch_tokens > spec.tokens:
            expected = f"batches of at most tokens = {spec.tokens}, multiples of sequence_length = {length}"
            raise _bad(spec, "batch_schedule", expected, f"change {switch.batch_tokens}")
    places = [stage.first_step for stage in spec.stages] + [spec.steps]
    if any(a >= b for a, b in itertools.pairwise(places)):
        raise _bad(spec, "batch_schedule", "a step or more between switches", "leave one out")


def _check_decay_share(spec: RunSpec) -> None:
    """Refuse a share that WSD cannot have, or that the schedule does not have."""
    if spec.decay_share is None:
        return
    if spec.schedule != "wsd":
        raise _bad(
            spec,
            "decay_share",
            f"nothing, {spec.schedule} has no such setting",
            "leave it empty, or take the schedule wsd",
        )
    if not 0 < spec.decay_share <= 1:
        raise _bad(
            spec,
            "decay_share",
            "above 0 and at most 1: share of the steps after the warm-up in which the rate falls",
            "give 0.2 for the last fifth, or take the schedule constant",
        )


def _check_curvature(spec: RunSpec) -> None:
    try:
        shares = [float(text) for text in spec.curvature_at.split(",")] if spec.curvature_at else []
    except ValueError:
        shares = [math.nan]
    if not all(0 <= share <= 1 for share in shares):
        raise _bad(
            spec, "curvature_at", "shares of the run from 0 to 1, such as 0.02,0.1,0.5,1", "correct it"
        )
    if spec.task and spec.curvature_sequences:
        raise _bad(spec, "curvature_sequences", "none for a task", "leave it out")
    if spec.curvature_sequences == 1:
        raise _bad(spec, "curvature_sequences", "none, or at least 2 for the noise scale", "take more")
    if spec.parametrization == "mup" and spec.optimizer not in SCALE_FREE:
        raise _bad(
            spec,
            "parametrization",
            f"standard with {spec.optimizer}, or one of {', '.join(SCALE_FREE)} with mup",
            "correct the plan",
        )


RANGES: tuple[tuple[str, float, float], ...] = (
    ("learning_rate", 0, math.inf),
    ("tokens", 1, math.inf),
    ("batch_tokens", 1, math.inf),
    ("micro_batch_tokens", 1, math.inf),
    ("sequence_length", 2, math.inf),
    ("patch", 1, 1025),
    ("warmup_tokens", 0, math.inf),
    ("final_lr_ratio", 0, math.inf),
    ("momentum", 0, 1),
    ("beta2", 0, 1),
    ("epsilon", 0, math.inf),
    ("weight_decay", 0, math.inf),
    ("grad_clip", 0, math.inf),
    ("curvature_sequences", 0, 4096),
    ("lr_dropout", 0, 1),
    ("dropout", 0, 1),
    ("epochs", 1, math.inf),
    ("seed", 0, 2**32),
)

LARGEST = 1e11
"""Parameters of a network, which no machine of this lab would hold."""


def _bad(spec: RunSpec, name: str, expected: str, step: str) -> BadInput:
    return BadInput(f"run {spec.run_id}: {name} = {getattr(spec, name)}; expected {expected}; {step}")
