"""A row of the run table from any training loop, written once when the run ends, however it ends."""

from __future__ import annotations

import logging
import math
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bayeslaw.errors import BadInput
from bayeslaw.integrations.divergence import has_diverged

log = logging.getLogger(__name__)

BLOCK = 10
"""Number of steps whose mean loss judges a run, as in ``train.run``."""

NEEDED = ("study", "optimizer", "params_nonembedding", "tokens", "batch_tokens", "learning_rate")
"""Columns that a row needs."""

AT_THE_END = ("status", "loss", "loss_kind", "wall_seconds", "created")
"""Columns that the recorder fills."""


class RunRecorder:
    """Note the losses of one run and write its row to ``FOLDER/RUN_ID.jsonl``, a run table of one row.

    As a context manager, it writes the row when its block ends: as finished after ``finish``; as diverged
    if the losses of the last 10 steps were not finite or 1 nat above the first; as crashed after an
    exception; as stopped after KeyboardInterrupt or SystemExit, or without ``finish``. The file is whole or
    absent; a process that is killed leaves none.

    Attributes:
        row: known columns of the run; more may be entered until it ends.
        path: path of the record.
        ended: whether the row is final.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        study: str,
        optimizer: str,
        params_nonembedding: float,
        tokens: float,
        batch_tokens: float,
        learning_rate: float,
        run_id: str | None = None,
        main_process: bool | None = None,
        **columns: Any,
    ) -> None:
        """Check the settings of the run, and start the clock.

        Args:
            folder: folder of the records; created if missing.
            study: the set-up that runs share: data, code, conventions.
            optimizer: its name, such as adamw or muon.
            params_nonembedding: N, parameters without embeddings and output head (``parameter_counts``).
            tokens: D, training tokens, as planned: runs of the same D share a cell.
            batch_tokens: tokens (not sequences) per step, over all processes and accumulated batches.
            learning_rate: peak learning rate.
            run_id: name of run and file; by default the time and a random number. A crashed or stopped record
                is replaced, because the run resumes.
            main_process: whether this process writes; by default if RANK, which torchrun and Accelerate set,
                is 0 or missing.
            columns: other columns of the run table, such as schedule, warmup_tokens, weight_decay,
                sequence_length; and ``extra_NAME`` for a hyperparameter that it lacks.

        Raises:
            BadInput: an unknown column, a value out of its range, a run_id that is not a file name or that
                already finished or diverged, or a folder that cannot be written.
        """
        given = {
            "run_id": str(run_id or f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"),
            "study": study,
            "optimizer": optimizer,
            "params_nonembedding": params_nonembedding,
            "tokens": tokens,
            "batch_tokens": batch_tokens,
            "learning_rate": learning_rate,
            **columns,
        }
        self.row = {name: value for name, value in given.items() if value is not None or name in NEEDED}
        self.path = Path(folder) / f"{self.row['run_id']}.jsonl"
        self.ended = False
        self._writes = os.environ.get("RANK", "0") == "0" if main_process is None else main_process
        self._noted: list[tuple[int, float]] = []
        _check_row(self.row, self.path)
        self.row |= {
            name: float(self.row[name]) for name in ("params_nonembedding", "tokens", "batch_tokens")
        }
        if self._writes:
            _check_place(self.row["run_id"], self.path)
        self._began = time.perf_counter()

    def loss(self, step: int, value: Any) -> bool:
        """Note a training loss; returns ``diverged``.

        Args:
            step: optimizer steps made so far.
            value: loss in nats per token, of this step or the mean since the previous noted step; a number,
                or a tensor of one element, which is waited for.
        """
        self._noted.append((int(step), _number(value)))
        return self.diverged

    @property
    def diverged(self) -> bool:
        """Whether the mean loss of the last 10 steps is not finite, or is 1 nat above the first.

        Before step 10 only a loss that is not finite counts.
        """
        if not self._noted:
            return False
        mean = mean_loss(self._noted, BLOCK)
        return not math.isfinite(mean) or (self._noted[-1][0] >= BLOCK and self._lost(mean))

    def finish(self, loss: Any = None, loss_kind: str = "val_final") -> None:
        """Write the row of a run that saw all its tokens: finished, or diverged according to its loss.

        Args:
            loss: nats per token after the last step; by default the mean of the training losses noted in the
                last tenth of the steps, of kind ``train_smoothed``.
            loss_kind: kind of the given loss.

        Raises:
            BadInput: a run that has ended, no loss given or noted, a loss not above 0, a record that cannot
                be written.
        """
        if loss is None:
            if not self._noted:
                raise self._bad("finished without a loss", "finish(loss) or losses noted by loss(); give one")
            loss, loss_kind = mean_loss(self._noted, self._noted[-1][0] // 10), "train_smoothed"
        value = _number(loss)
        if self._lost(value):
            self._write({"status": "diverged"}, self.row["tokens"])
        elif value > 0:
            outcome = {"status": "finished", "loss": value, "loss_kind": loss_kind}
            self._write(outcome, self.row["tokens"])
        else:
            raise self._bad(f"loss = {value:g}", "nats per token, above 0; give the mean cross-entropy")

    def end(self, exception: BaseException | None = None) -> None:
        """Write the row of a run that did not see all its tokens: diverged, crashed or stopped.

        Args:
            exception: exception that ended it.

        Raises:
            BadInput: a run that has ended, or a record that cannot be written.
        """
        meant = exception is None or isinstance(exception, (KeyboardInterrupt, SystemExit, BadInput))
        status = "diverged" if self.diverged else "stopped" if meant else "crashed"
        if status == "stopped" and self._writes:
            log.warning("%s: the run ended early: recorded as stopped, which fits leave out", self.path)
        steps = self._noted[-1][0] if self._noted else 0
        self._write({"status": status}, min(steps * self.row["batch_tokens"], self.row["tokens"]))

    def conclude(self, step: int, loss: Any = None) -> None:
        """Call ``finish``, or ``end`` if at least one batch was missing; do nothing after either. For
        callbacks.

        Args:
            step: optimizer steps made.
            loss: as in ``finish``.
        """
        if self.ended:
            return
        if (step + 1) * self.row["batch_tokens"] > self.row["tokens"]:
            self.finish(loss)
        else:
            self.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self.ended:
            self.end(exception)

    def _lost(self, loss: float) -> bool:
        first = self._noted[0][1] if self._noted else math.inf
        return has_diverged(loss, uniform=first)

    def _write(self, outcome: Mapping[str, Any], tokens_seen: float) -> None:
        """Complete the row with outcome and cost; FLOPs that are not given are estimated, and labelled so."""
        if self.ended:
            raise self._bad("has ended already", "one end of a run; start another RunRecorder")
        self.ended = True
        import pandas as pd

        from bayeslaw.runs.io import write_runs

        flops = {
            "flops": 6.0 * self.row["params_nonembedding"] * tokens_seen,
            "flops_kind": "estimated, 6 N D",
        }
        self.row |= {
            **outcome,
            "tokens_seen": int(tokens_seen),
            **(flops if tokens_seen and "flops" not in self.row else {}),
            "wall_seconds": time.perf_counter() - self._began,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if self._writes:
            write_runs(pd.DataFrame.from_records([self.row]), self.path)

    def _bad(self, what: str, expected: str) -> BadInput:
        return BadInput(f"run {self.row['run_id']}: {what}; expected {expected}")


def mean_loss(noted: Sequence[tuple[int, float]], steps: float) -> float:
    """Mean of the losses noted in the last steps.

    Args:
        noted: (step, loss) in order; a loss covers the steps since the previous one.
        steps: number of last steps, at least one.

    >>> mean_loss([(80, 4.0), (98, 3.0), (99, 2.0), (100, 1.0)], 2)
    1.5
    """
    after = noted[-1][0] - max(steps, 1)
    before = [0, *(step for step, _ in noted[:-1])]
    parts = [(max(step - start, 1), loss) for start, (step, loss) in zip(before, noted) if step > after]
    return sum(count * loss for count, loss in parts) / sum(count for count, _ in parts)


def _number(value: Any) -> float:
    """Convert a number, or a tensor or array of one element, to a float."""
    return float(value.item() if hasattr(value, "item") else value)


def _check_row(row: Mapping[str, Any], path: Path) -> None:
    """Refuse columns and values that the run table would refuse at the end."""
    import pandas as pd

    from bayeslaw.runs.schema import BY_NAME, validate

    for name in row:
        if name in AT_THE_END or not (name in BY_NAME or name.startswith("extra_")):
            raise BadInput(
                f"{path}: unknown column {name}; expected one of the run table that is known before the run, "
                f"such as schedule or weight_decay; call a hyperparameter of your own extra_{name}"
            )
    validate(pd.DataFrame.from_records([{**row, "status": "stopped"}]), str(path))


def _check_place(run_id: str, path: Path) -> None:
    """Create the folder; refuse a folder that cannot be written, and a run that is over."""
    from bayeslaw.runs.io import read_runs

    if Path(run_id).name != run_id:
        raise BadInput(f"run_id = {run_id!r}; expected the name of a file; leave out slashes")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"{path.parent}: cannot be made ({error.strerror}); expected a folder for records; choose another"
        ) from None
    if not os.access(path.parent, os.W_OK):
        raise BadInput(f"{path.parent}: not writable; expected a folder for records; choose another")
    if path.exists() and (status := read_runs(path)["status"][0]) in ("finished", "diverged"):
        raise BadInput(f"{path}: holds a run that {status}; expected a new run_id; name this run otherwise")
