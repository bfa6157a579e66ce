"""One training run under Hugging Face Accelerate, from a spec to a record.

    bayeslaw-train --folder out/run --optimizer adamw --params-nonembedding 25e3 --tokens 500e3 \\
        --batch-tokens 4096 --learning-rate 3e-3
    accelerate launch -m bayeslaw.lab.train.run --folder out/run --spec spec.json

Running it again resumes from the last checkpoint, and continues exactly like the uninterrupted run.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import json
import platform
import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed
from torch import Tensor, nn

from bayeslaw.errors import BadInput
from bayeslaw.files import check_writable, make_folder, write_atomically
from bayeslaw.integrations.divergence import has_diverged
from bayeslaw.lab.data import tasks
from bayeslaw.lab.data.examples import Examples, image_examples, task_examples, text_examples
from bayeslaw.lab.data.tokens import tokenizer_text
from bayeslaw.lab.models.families import size_for
from bayeslaw.lab.models.networks import build
from bayeslaw.lab.train import curvature, optimizers, record, weights
from bayeslaw.lab.train.energy import meter
from bayeslaw.lab.train.objective import NO_TARGET, cross_entropy, inputs_of, targets_of
from bayeslaw.lab.train.spec import (
    CHOICES,
    KINDS,
    RunSpec,
    checked,
    choices_of,
    digest,
    meanings,
    shape_like,
    typed,
)
from bayeslaw.processes import delayed_signals
from bayeslaw.schedules.batches import plan_from, text_of

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_SECONDS = 10.0
"""Least time between checkpoints; more where writing one takes long: ``CHECKPOINT_SHARE`` of it at most."""
CHECKPOINT_SHARE = 0.05
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, KEPT_BYTES = -1, -3, 2**30
BLOCK = 10
"""Steps between looks at the loss, the clock and signals: each look waits for the device."""


@dataclass
class Progress:
    """Contents of a checkpoint besides model and optimizers: everything that the record needs."""

    step: int = 0
    diverged: bool = False
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0
    energy_joules: float = 0.0
    curve: list[tuple[float, ...]] = field(default_factory=list)
    curvature: list[curvature.Row] = field(default_factory=list)


def execute(
    spec: RunSpec,
    folder: Path,
    cache: Path | None = None,
    say: Callable[[str], None] = lambda text: None,
    keep_weights: bool = False,
) -> dict[str, Any]:
    """Train one run, resume it, or return its record.

    Args:
        spec: spec of the run, checked here.
        folder: folder of this run alone; created if missing.
        cache: folder of tokenised corpora; by default as in ``data.tokens.prepare``.
        say: receives a line about each checkpoint, and about curvature that cannot be measured.
        keep_weights: leave ``train.weights`` of a finished run, for one that begins with them.

    Returns:
        Record of the run: see ``train.record``.

    Raises:
        BadInput: a spec that cannot be run here, more tokens than the corpus has, a folder that cannot be
            written or holds another run, a checkpoint that cannot be read.
        KeyboardInterrupt: after SIGINT, once a checkpoint is written. SIGTERM is met then, too.
    """
    spec = checked(spec)
    _keep_memory()
    make_folder(folder)
    if (found := record.read(folder)) is not None:
        return _same_run(found, spec, folder)
    for name in (CHECKPOINT, record.CURVE, record.SHARE):
        check_writable(folder / name)
    accelerator = _accelerator(spec)
    begun = weights.read(Path(spec.init)) if spec.init else None
    examples = _examples(spec, begun, cache)

    # ---- model and optimizers
    set_seed(spec.seed)
    model = build(spec.shape, spec.seed)
    if begun:
        weights.load(begun, model, f"run {spec.run_id}: init = {spec.init}")
    model = accelerator.prepare(model)
    inner = accelerator.unwrap_model(model)
    built = optimizers.build(spec.optimizer, inner, spec.settings, spec.lr_dropout)
    steppers = [accelerator.prepare(o) for o in built]
    progress = _resumed(folder / CHECKPOINT, spec, inner, steppers) or Progress()

    # ---- training
    clock = _Clock(str(accelerator.device), progress)
    saved, took, stop = time.perf_counter(), 0.0, False
    model.train()
    stops = sorted({*spec.curvature_steps.values(), spec.steps})
    look_at_curvature = functools.partial(
        _measure, accelerator, inner, steppers, examples, spec, folder, progress, say
    )
    look_at_curvature()
    with delayed_signals() as came:
        while progress.step < spec.steps and not progress.diverged and not stop:
            losses = []
            end = next(s for s in stops if s > progress.step)
            for step in range(progress.step, min(progress.step + BLOCK, end)):
                rate = spec.learning_rate_at(step)
                for stepper in steppers:
                    for group in stepper.param_groups:
                        group["lr"] = rate
                rows = examples.rows(*spec.sequences_at(step))
                losses.append(_step(accelerator, model, steppers, spec, rows, step))
            losses.append(torch.full_like(losses[0], len(came)))  # processes stop together
            *means, stop = accelerator.reduce(torch.stack(losses), "sum").tolist()
            _look(progress, spec, means)
            look_at_curvature()
            if stop or time.perf_counter() - saved > max(CHECKPOINT_SECONDS, took / CHECKPOINT_SHARE):
                clock.stop()
                saved = time.perf_counter()
                if accelerator.is_main_process:
                    _save(folder / CHECKPOINT, spec, inner, steppers, progress)
                    record.mark(folder, progress.step / spec.steps)
                    say(f"{spec.run_id}: {progress.step / spec.steps:.0%}, loss {progress.curve[-1][-1]:.4f}")
                took = time.perf_counter() - saved
        if stop and not came:
            came.append(signal.SIGTERM)  # another process has it

    # ---- outcome
    clock.stop()
    train_seconds = progress.wall_seconds - sum(row["seconds"] or 0.0 for row in progress.curvature)
    loss_val, accuracy = (None, None) if progress.diverged else _validated(accelerator, model, examples, spec)
    if loss_val is not None and not np.isfinite(loss_val):
        progress.diverged, loss_val, accuracy = True, None, None
    energy_kind = clock.stop()
    energy = (progress.energy_joules, energy_kind)
    result = {
        **_outcome(spec, progress, loss_val),
        **record.cost(progress.wall_seconds, progress.cpu_seconds, energy, str(accelerator.device)),
        "train_seconds": train_seconds,
        "tokens_per_second": spec.tokens_before(progress.step) / train_seconds,
        **curvature.summary(spec, progress.curvature, train_seconds),
        "corpus_digest": examples.digest,
        **({} if accuracy is None else {"accuracy": accuracy}),
    }
    if accelerator.is_main_process:
        if keep_weights and not progress.diverged:
            tokenizer = begun.tokenizer if begun else _tokenizer(spec, examples, cache)
            weights.write(folder, spec, tokenizer, inner)
        record.write(folder, result, progress.curve)
        for name in (CHECKPOINT, record.SHARE):
            (folder / name).unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    return record.read(folder) or result


def _examples(spec: RunSpec, begun: weights.Weights | None, cache: Path | None) -> Examples:
    """What the run reads: images, a task's examples by the tokenizer of what it begins with, or a corpus."""
    if spec.network.images:
        images = (spec.sequences, spec.side, spec.channels)
        return image_examples(spec.corpus, spec.vocabulary, *images, spec.seed, cache)
    order = (spec.tokens, spec.sequence_length, spec.seed, spec.epochs)
    if begun and spec.task:
        return task_examples(
            task_sequences(spec.corpus, spec.columns, spec.task, begun, spec.sequence_length), *order
        )
    examples = text_examples(spec.corpus, spec.vocabulary, *order, cache)
    if begun and tokenizer_text(examples.digest, cache) != begun.tokenizer:
        raise BadInput(
            f"run {spec.run_id}: corpus = {spec.corpus} has another tokenizer than init = {spec.init}; "
            "expected the corpus of that run, or a task; change one of them"
        )
    return examples


def task_sequences(
    source: str, columns: str, task: str, begun: weights.Weights, length: int
) -> tasks.TaskSequences:
    """Examples of a task by the tokenizer of a run; see ``data.tasks.prepare``."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(begun.tokenizer)
    end = begun.spec["vocabulary"] - 1
    return tasks.prepare(source, columns, task, lambda text: list(tokenizer.encode(text).ids), end, length)


def _tokenizer(spec: RunSpec, examples: Examples, cache: Path | None) -> str:
    """JSON text; empty of images."""
    return "" if spec.network.images else tokenizer_text(examples.digest, cache)


def _step(
    accelerator: Accelerator,
    model: nn.Module,
    steppers: list[Any],
    spec: RunSpec,
    rows: np.ndarray,
    step: int,
) -> Tensor:
    """Make one optimizer step on one batch (sequence, value); return this process's part of its mean loss."""
    if spec.dropout:
        _reseed(spec.seed, step, accelerator.process_index + 1)
    even = len(rows) // accelerator.num_processes * accelerator.num_processes  # the last batch may be odd
    mine = rows[accelerator.process_index : even or None : accelerator.num_processes]
    at_once = max(1, spec.micro_batch_tokens // spec.sequence_length)
    pieces = [mine[i : i + at_once] for i in range(0, len(mine), at_once)]
    total = torch.zeros((), device=accelerator.device)
    for i, piece in enumerate(pieces):
        with accelerator.no_sync(model) if i + 1 < len(pieces) else nullcontext():
            loss = _loss(accelerator, model, spec, piece) * (len(piece) / len(mine))
            accelerator.backward(loss)
        total += loss.detach()
    if spec.grad_clip:
        accelerator.clip_grad_norm_(model.parameters(), spec.grad_clip)
    if spec.lr_dropout:
        _reseed(spec.seed, step, 0)  # the same on all processes
    for stepper in steppers:
        stepper.step()
        stepper.zero_grad()
    return total / accelerator.num_processes


def _reseed(*key: int) -> None:
    """Make torch's random numbers a function of the key, so that a run that goes on draws the same."""
    torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))


def _loss(accelerator: Accelerator, model: nn.Module, spec: RunSpec, rows: np.ndarray) -> Tensor:
    """Mean cross-entropy of each guess [nats]."""
    moved = torch.from_numpy(rows).to(accelerator.device, non_blocking=True)
    return cross_entropy(model(inputs_of(moved)), moved, spec.network.label_smoothing)


def _look(progress: Progress, spec: RunSpec, losses: list[float]) -> None:
    """Enter a block of steps into the curve, and return whether the run has diverged."""
    progress.step += len(losses)
    mean = float(np.mean(losses))
    rate = spec.learning_rate_at(progress.step - 1)
    progress.curve.append((progress.step, spec.tokens_before(progress.step), rate, mean))
    progress.diverged = has_diverged(mean, uniform=np.log(spec.vocabulary))


@torch.no_grad()
def _validated(
    accelerator: Accelerator, model: nn.Module, examples: Examples, spec: RunSpec
) -> tuple[float, float | None]:
    """Mean loss over validation sequences, the same for every run of one corpus [nats/guess]; of a task with
    classes, also the share of answers whose class is the likeliest."""
    model.eval()
    mine = examples.validation[accelerator.process_index :: accelerator.num_processes]
    at_once = max(1, spec.micro_batch_tokens // spec.sequence_length)
    parts = []
    for i in range(0, len(mine), at_once):
        rows = torch.from_numpy(mine[i : i + at_once]).to(accelerator.device, non_blocking=True)
        logits = model(inputs_of(rows))
        loss = cross_entropy(logits, rows, spec.network.label_smoothing, "sum")
        truth = targets_of(rows, logits.shape[1])
        known = truth != NO_TARGET
        right = known[:0]
        if examples.classes:
            right = logits.flatten(0, 1)[known, : examples.classes].argmax(dim=1) == truth[known]
        parts.append(torch.stack([loss, known.sum(), right.sum()]))
    total, count, hits = accelerator.reduce(torch.stack(parts).double().sum(dim=0), "sum").tolist()
    return total / count, hits / count if examples.classes else None


def _measure(
    accelerator: Accelerator,
    model: nn.Module,
    steppers: list[Any],
    examples: Examples,
    spec: RunSpec,
    folder: Path,
    progress: Progress,
    say: Callable[[str], None],
) -> None:
    """Enter curvature on the first training sequences where it is due and not there yet."""
    known = {row["step"] for row in progress.curvature}
    if progress.diverged or progress.step not in {*spec.curvature_steps.values()} - known:
        return
    count = min(spec.curvature_sequences, spec.sequences)
    mine = examples.rows(0, count)[accelerator.process_index :: accelerator.num_processes]
    rows = torch.from_numpy(mine).to(accelerator.device)
    total = functools.partial(accelerator.reduce, reduction="sum")
    model.eval()  # without dropout
    told = curvature.notes(progress.curvature)
    progress.curvature.append(curvature.measured(model, steppers, rows, spec, progress.step, total))
    model.train()
    if accelerator.is_main_process:
        for note in curvature.notes(progress.curvature)[len(told) :]:
            say(f"{spec.run_id}: curvature after step {progress.step}: {note}")
        curvature.write(folder, progress.curvature)


def _outcome(spec: RunSpec, progress: Progress, loss_val: float | None) -> dict[str, Any]:
    """Assemble status, losses and the contents of the spec."""
    status = "diverged" if progress.diverged else "finished"
    last = [point[3] for point in progress.curve if point[0] > 0.9 * progress.step]
    smoothed = None if progress.diverged else float(np.mean(last))
    return record.row(spec, status, loss_val, smoothed, spec.tokens_before(progress.step))


class _Clock:
    """Add the time and energy of this session to the progress at each stop."""

    def __init__(self, device: str, progress: Progress) -> None:
        self.device, self.progress = device, progress
        self._start()

    def _start(self) -> None:
        self.wall, self.cpu, self.meter = time.perf_counter(), time.process_time(), meter(self.device)

    def stop(self) -> str:
        """Enter the spending since the last stop; return how the energy was found."""
        cpu = time.process_time() - self.cpu
        joules, kind = self.meter(cpu)
        self.progress.wall_seconds += time.perf_counter() - self.wall
        self.progress.cpu_seconds += cpu
        self.progress.energy_joules += joules
        self._start()
        return kind


@functools.cache
def _keep_memory() -> None:
    """Let glibc keep freed memory; otherwise each step's large tensors return to the system and page-fault
    again."""
    if platform.libc_ver()[0] == "glibc":
        for option in (M_TRIM_THRESHOLD, M_MMAP_THRESHOLD):
            ctypes.CDLL(None).mallopt(option, KEPT_BYTES)


def _accelerator(spec: RunSpec) -> Accelerator:
    """Make an Accelerator of the spec's precision; the runs of one worker may differ in it."""
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != spec.precision:
        AcceleratorState._reset_state()
    accelerator = Accelerator(mixed_precision=spec.precision)
    if spec.precision == "fp16" and accelerator.device.type == "cpu":
        raise BadInput(
            f"run {spec.run_id}: precision = fp16 on a CPU, which Accelerate trains in 32 bits; "
            "expected a GPU for it; choose no or bf16"
        )
    for batch_sequences in (stage.batch_sequences for stage in spec.stages):
        if batch_sequences % accelerator.num_processes:
            raise BadInput(
                f"run {spec.run_id}: a batch of {batch_sequences * spec.sequence_length} tokens is "
                f"{batch_sequences} sequences; expected a multiple of the {accelerator.num_processes} "
                "processes; change one of them"
            )
    return accelerator


def _save(path: Path, spec: RunSpec, model: nn.Module, steppers: list[Any], progress: Progress) -> None:
    state = {
        "spec": digest(spec),
        "model": model.state_dict(),
        "optimizers": [stepper.state_dict() for stepper in steppers],
        "progress": vars(progress),
    }
    with write_atomically(path) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # raised by torch's writer, which hides that the disk is full
            raise BadInput(
                f"{path}: cannot be written ({str(error).splitlines()[0]}); expected room on the disk; make "
                "some and run again: the last checkpoint is kept"
            ) from None


def _resumed(path: Path, spec: RunSpec, model: nn.Module, steppers: list[Any]) -> Progress | None:
    """Restore model and optimizers from the checkpoint, and return its progress; None without a
    checkpoint."""
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        found = state["spec"]
    except Exception as error:  # whatever a broken file makes pickle, zip or torch raise
        raise BadInput(
            f"{path}: not a readable checkpoint ({str(error).splitlines()[0]}); expected one "
            "that bayeslaw-train wrote; delete it to train this run anew"
        ) from None
    if found != digest(spec):
        raise _another(path, found, spec)
    model.load_state_dict(state["model"])
    for stepper, saved in zip(steppers, state["optimizers"], strict=True):
        stepper.load_state_dict(saved)
    return Progress(**state["progress"])


def _same_run(found: dict[str, Any], spec: RunSpec, folder: Path) -> dict[str, Any]:
    if found.get("spec_digest") != digest(spec):
        raise _another(folder / record.RECORD, found.get("spec_digest"), spec)
    return found


def _another(path: Path, found: object, spec: RunSpec) -> BadInput:
    return BadInput(
        f"{path}: belongs to another run (spec {found}, this is {digest(spec)}); expected the same choices; "
        "take another folder or run_id"
    )


def main(
    arguments: list[str] | None = None,
    complete: Callable[[dict[str, Any]], dict[str, Any]] = lambda given: given,
    program: tuple[str, str | None] = ("bayeslaw-train", __doc__),
) -> int:
    """``bayeslaw-train``; 0, 2 for bad input, 130 if stopped.

    Args:
        arguments: of the command line; by default the process's.
        complete: fills in choices, by name, None where they are not given.
        program: name and description in the help.
    """
    try:
        given = vars(_parser(*program).parse_args(arguments))
        folder, keep = Path(given.pop("folder")), given.pop("keep_weights")
        spec = _spec(complete(given), folder)
        result = execute(spec, folder, say=lambda text: print(text, file=sys.stderr), keep_weights=keep)
    except BadInput as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped; what was saved is kept. Run the same command again to go on.", file=sys.stderr)
        return 130
    loss = result["loss"]
    guess = "image" if "images" in result else "token"
    shown = f"{loss:.4f} nats/{guess}" if loss is not None else "no loss"
    shown += f", accuracy {result['accuracy']:.1%}" if "accuracy" in result else ""
    print(f"{result['run_id']}: {result['status']}, {shown}, {result['wall_seconds']:.1f} s; {folder}")
    return 0


def _parser(name: str, text: str | None) -> argparse.ArgumentParser:
    """Make one option for each field of the spec."""
    parser = argparse.ArgumentParser(
        name, description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", required=True, help="of this run; holds its checkpoint, then its record")
    parser.add_argument("--spec", help="JSON object of choices; options given besides it win")
    parser.add_argument(
        "--keep-weights", action="store_true", help="leave weights.pt, for --init of another run"
    )
    parser.add_argument("--params-nonembedding", help="instead of width, depth and heads")
    known = meanings() | {name: f"one of {', '.join(filter(None, names))}" for name, names in CHOICES.items()}
    known["batch_schedule"] = "plan that `bayeslaw schedule batch` wrote; tells batch and learning rate"
    for f in fields(RunSpec):
        usual = "" if f.default in (MISSING, None) else f"; default {f.default}"
        parser.add_argument("--" + f.name.replace("_", "-"), help=known[f.name] + usual)
    return parser


def _spec(given: dict[str, Any], folder: Path) -> RunSpec:
    """The spec of a command line, with a file's choices below and modest defaults below these."""
    path = given.pop("spec")
    if given["batch_schedule"] is not None:
        given |= _batch_choices(Path(given["batch_schedule"]), given)
    chosen: dict[str, Any] = {"run_id": folder.absolute().name, "study": "own", "corpus": "stdlib"}
    said = {} if path is None else _choices(Path(path))
    said |= {name: value for name, value in given.items() if value is not None}
    chosen |= choices_of(said.get("model")) | said
    if (params := chosen.pop("params_nonembedding", None)) is not None:
        size = size_for(typed("params_nonembedding", params, float), like=shape_like(chosen))
        chosen |= dict(zip(("width", "depth", "heads"), size))
    names = {f.name: f.default is MISSING for f in fields(RunSpec)}
    if unknown := sorted(set(chosen) - set(names)):
        raise BadInput(f"{path}: unknown choice {', '.join(unknown)}; expected {', '.join(names)}")
    if missing := [name for name, needed in names.items() if needed and name not in chosen]:
        raise BadInput(f"not given: {', '.join(missing)}; expected a value for each; see --help")
    return RunSpec(**{name: typed(name, value, KINDS[name]) for name, value in chosen.items()})


def _batch_choices(path: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Choices of a batch plan in a JSON file; those that it makes cannot be given beside it."""
    content = _choices(path)
    plan = plan_from(content, str(path))
    decays = content.get("schedule") == "wsd" and "decay_share" in content
    choices = {
        "batch_tokens": plan.batch_tokens,
        "learning_rate": plan.learning_rate,
        **({"schedule": content["schedule"]} if "schedule" in content else {}),
        **({"decay_share": content["decay_share"]} if decays else {}),
    }
    if twice := [name for name in choices if given[name] is not None]:
        option = "--" + twice[0].replace("_", "-")
        raise BadInput(
            f"{option} {given[twice[0]]}: {path} tells it, too; expected one of both; leave {option} out"
        )
    return {**choices, "batch_schedule": text_of(plan.switches)}


def _choices(path: Path) -> dict[str, Any]:
    """Choices of a run in a JSON file; null is not given."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: not a readable JSON object ({error}); write one run's choices") from None
    if not isinstance(found, dict):
        raise BadInput(f"{path}: a JSON {type(found).__name__}; expected an object; write one run's choices")
    return {name: value for name, value in found.items() if value is not None}


if __name__ == "__main__":
    sys.exit(main())
