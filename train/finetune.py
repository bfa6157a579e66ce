"""Fine-tune the network of a run on a task: texts to classify, or answers to write.

    bayeslaw-train --folder out/books --keep-weights ...
    python -m bayeslaw.lab.train.finetune --folder out/sst2 --init out/books --corpus hub:nyu-mll/glue:sst2 \\
        --columns sentence,label --epochs 3 --batch-tokens 2048 --learning-rate 1e-3

Network, vocabulary and length of sequences are those of --init, and so is the optimizer unless it is given.
All other options are those of bayeslaw-train; so are resuming, batch schedules and dropouts. D is epochs x
examples x length. The loss is that of the answers [nats/token]; "classify" has an accuracy, too.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bayeslaw.errors import BadInput
from bayeslaw.lab.data.tasks import CLASSIFY
from bayeslaw.lab.train import run, weights
from bayeslaw.lab.train.spec import USUAL, typed

NETWORK = (
    *("width", "depth", "heads", "vocabulary", "sequence_length", "norm", "activation", "tied"),
    "parametrization",
)


def completed(given: dict[str, Any]) -> dict[str, Any]:
    """Choices of a command line, completed by those of the run that it begins with.

    Args:
        given: by name; None where an option is not given.

    Raises:
        BadInput: no --init or --corpus, weights or examples that cannot be read.
    """
    for name in ("init", "corpus"):
        if given[name] is None:
            raise BadInput(f"--{name}: not given; expected what to begin with and examples; see --help")
    begun = weights.read(Path(given["init"]))
    chosen = {
        "task": CLASSIFY,
        "columns": USUAL["columns"],
        "epochs": 1,
        "optimizer": begun.spec["optimizer"],
    }
    chosen |= {name: value for name, value in given.items() if value is not None}
    chosen |= {name: begun.spec[name] for name in NETWORK}
    if "tokens" not in chosen:
        epochs = typed("epochs", chosen["epochs"], int)
        length = begun.spec["sequence_length"]
        examples = run.task_sequences(chosen["corpus"], chosen["columns"], chosen["task"], begun, length)
        chosen["tokens"] = epochs * len(examples.train) * length
    return given | chosen


if __name__ == "__main__":
    sys.exit(run.main(None, completed, ("python -m bayeslaw.lab.train.finetune", __doc__)))
