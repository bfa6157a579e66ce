"""A callback of ``lightning.pytorch.Trainer`` that leaves a row of the run table."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from bayeslaw.errors import BadInput
from bayeslaw.integrations.columns import parameter_counts, settings_of
from bayeslaw.integrations.recorder import RunRecorder

LOOK = 10
"""Steps between readings of the training loss, since each waits for the device."""


class BayeslawCallback(Callback):
    """Write ``FOLDER/RUN_ID.jsonl`` when fitting ends, fails or is interrupted.

    Columns come from the first optimizer (name, peak learning rate, momentum, beta2, epsilon, weight decay),
    the module (N as ``parameter_counts`` has it) and the trainer (clipping, D as all steps' batches unless
    ``tokens`` is given). The loss is the metric ``monitor`` of a validation after the last step, as
    ``val_final``, else the mean of the training losses of the last tenth of the steps. Fitting stops at a
    training loss that is not finite, seen at every tenth step.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        study: str,
        batch_tokens: float,
        monitor: str = "val_loss",
        **columns: Any,
    ) -> None:
        """Store what the trainer does not know.

        Args:
            folder: folder of the records.
            study: the set-up that runs share.
            batch_tokens: tokens per step, over all processes and accumulated batches.
            monitor: name under which the validation loss is logged [nats/token].
            columns: columns of ``RunRecorder``; they override what the callback finds. Lightning does not
                provide schedule, warmup_tokens, final_lr_ratio and seed. Give N of a sharded model.
        """
        self.folder, self.monitor = folder, monitor
        self.columns = {"study": study, "batch_tokens": batch_tokens, **columns}
        self.recorder: RunRecorder | None = None
        self._every, self._noted = LOOK, 0
        self._validated: tuple[int, float] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the record.

        Raises:
            BadInput: as ``RunRecorder``, or a number of steps that Lightning does not know beforehand.
        """
        steps = trainer.estimated_stepping_batches
        known = math.isfinite(steps) and steps > 0
        if not (known or "tokens" in self.columns):
            raise BadInput(
                f"BayeslawCallback: Lightning expects {steps} steps; expected a number above 0, or tokens; "
                "give max_steps to the Trainer, or tokens to the callback"
            )
        tokens = {"tokens": steps * self.columns["batch_tokens"]} if known else {}
        found = {
            **parameter_counts(pl_module),
            **settings_of(trainer.optimizers[0]),
            **tokens,
            "grad_clip": trainer.gradient_clip_val,
            "device": str(pl_module.device),
            "main_process": trainer.is_global_zero,
        }
        self._validated, self._noted = None, 0
        self.recorder = RunRecorder(self.folder, **{**found, **self.columns})
        planned = self.recorder.row["tokens"] / self.recorder.row["batch_tokens"]
        self._every = max(1, min(LOOK, int(planned / (10 * LOOK))))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the loss of the first step and of every tenth, or of all steps of a short run; stop if not
        finite."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        step = trainer.global_step
        due = step == 1 or step % self._every == 0
        if self.recorder is None or loss is None or step == self._noted or not due:
            return
        self._noted = step
        value = float(loss) * trainer.accumulate_grad_batches
        lost = trainer.strategy.reduce_boolean_decision(not math.isfinite(value), all=False)
        self.recorder.loss(step, math.nan if lost else value)
        trainer.should_stop |= lost

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the loss of the latest validation."""
        if not trainer.sanity_checking and self.monitor in trainer.callback_metrics:
            self._validated = (trainer.global_step, float(trainer.callback_metrics[self.monitor]))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the record.

        Raises:
            BadInput: a record that cannot be written.
        """
        step, loss = self._validated or (None, None)
        if self.recorder is not None:
            self.recorder.conclude(trainer.global_step, loss if step == trainer.global_step else None)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Write the record of a run that failed, as crashed, or was interrupted, as stopped."""
        if self.recorder is not None and not self.recorder.ended:
            self.recorder.end(exception)
