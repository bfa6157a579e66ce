"""A callback of ``transformers.Trainer`` that leaves a row of the run table."""

from __future__ import annotations

import math
import os
from types import TracebackType
from typing import Any, Self

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from bayeslaw.integrations.columns import final_lr_ratio, parameter_counts, settings_of
from bayeslaw.integrations.recorder import RunRecorder

SCHEDULES = {
    "constant_with_warmup": "constant",
    "cosine_with_min_lr": "cosine",
    "cosine_warmup_with_min_lr": "cosine",
    "warmup_stable_decay": "wsd",
}
"""``lr_scheduler_type`` -> schedule of the run table, where the two differ."""

SHAPE = {"width": "hidden_size", "depth": "num_hidden_layers", "heads": "num_attention_heads"}


class BayeslawCallback(TrainerCallback):
    """Write ``FOLDER/RUN_ID.jsonl`` when training ends, and stop training at a loss that is not finite.

    Columns come from the training arguments (batch, schedule, warm-up, clipping, seed), the optimizer (name,
    peak learning rate, momentum, beta2, epsilon, weight decay) and the model (N as ``parameter_counts`` has
    it, width, depth, heads). The loss is that of an evaluation after the last step, as ``val_final``, else
    the mean of the training losses of the last tenth of the steps. A batch counts as full, padding included;
    D is all steps' batches unless ``tokens`` is given.

    Sets ``logging_nan_inf_filter`` to False, because the Trainer otherwise hides losses that are not finite,
    and
    logs three more steps: the first, the last, and the one before the last tenth.

    The Trainer does not pass exceptions to callbacks: ``with BayeslawCallback(...) as callback:`` around
    ``trainer.train()`` records runs that crash or are interrupted too.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, study: str, sequence_length: int, **columns: Any
    ) -> None:
        """Store what the Trainer does not know.

        Args:
            folder: folder of the records.
            study: the set-up that runs share.
            sequence_length: tokens per training example.
            columns: columns of ``RunRecorder``; they override what the callback finds. Give N of a sharded
                model.
        """
        self.folder = folder
        self.columns = {"study": study, "sequence_length": sequence_length, **columns}
        self.recorder: RunRecorder | None = None
        self._evaluated: tuple[int, float] | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the record.

        Raises:
            BadInput: as ``RunRecorder``.
        """
        args.logging_nan_inf_filter = False
        found = _found(args, state, self.columns["sequence_length"], **kwargs)
        main = {"main_process": state.is_world_process_zero}
        self._evaluated = None
        self.recorder = RunRecorder(self.folder, **{**found, **main, **self.columns})

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Request the logs that the record needs: of the first step, and of the last tenth."""
        if state.global_step in (1, state.max_steps - state.max_steps // 10, state.max_steps):
            control.should_log = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Note the training loss, a mean since the previous log; stop if it is not finite."""
        value = (logs or {}).get("loss")
        if self.recorder is not None and value is not None:
            self.recorder.loss(state.global_step, value)
            control.should_training_stop |= not math.isfinite(value)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Keep the loss of the latest evaluation."""
        if "eval_loss" in (metrics := metrics or {}):
            self._evaluated = (state.global_step, metrics["eval_loss"])

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the record.

        Raises:
            BadInput: a record that cannot be written.
        """
        step, loss = self._evaluated or (None, None)
        if self.recorder is not None:
            self.recorder.conclude(state.global_step, loss if step == state.global_step else None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exception is not None and self.recorder is not None and not self.recorder.ended:
            self.recorder.end(exception)


def _found(
    args: TrainingArguments,
    state: TrainerState,
    sequence_length: int,
    *,
    model: Any,
    optimizer: Any,
    lr_scheduler: Any,
    **kwargs: Any,
) -> dict[str, Any]:
    """Columns that the Trainer knows when training begins."""
    at_once = (state.train_batch_size or args.train_batch_size) * args.world_size
    batch_tokens = at_once * args.gradient_accumulation_steps * sequence_length
    name = str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type))
    config = getattr(model, "config", None)
    return {
        **parameter_counts(model),
        **{column: getattr(config, attribute, None) for column, attribute in SHAPE.items()},
        **settings_of(optimizer),
        "tokens": state.max_steps * batch_tokens,
        "batch_tokens": batch_tokens,
        "schedule": SCHEDULES.get(name, name),
        "warmup_tokens": args.get_warmup_steps(state.max_steps) * batch_tokens,
        "final_lr_ratio": final_lr_ratio(lr_scheduler, state.max_steps),
        "grad_clip": args.max_grad_norm,
        "seed": args.seed,
        "device": str(args.device),
    }
