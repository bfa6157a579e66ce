"""A plain PyTorch loop with advised settings and a row of the run table; seconds on a CPU, no network.

python docs/examples/plain_pytorch.py [FOLDER]
"""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from bayeslaw.integrations import (
    RunRecorder,
    lr_multiplier,
    optimizer_settings,
    parameter_counts,
    recommended,
    settings_of,
)

VOCABULARY, WIDTH, LENGTH, SEQUENCES, STEPS = 64, 32, 32, 16, 60
BATCH_TOKENS = SEQUENCES * LENGTH


class Model(nn.Module):
    """An embedding, a recurrent layer and a head: enough of a language model."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.inner = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the next token."""
        return self.head(self.inner(self.embedding(tokens))[0])


def sequences(count: int) -> Tensor:
    """Arithmetic progressions: what follows can be learnt."""
    start, step = torch.randint(VOCABULARY, (count, 1)), torch.randint(1, 4, (count, 1))
    return (start + step * torch.arange(LENGTH + 1)) % VOCABULARY


def mean_loss(model: nn.Module, tokens: Tensor) -> Tensor:
    """Cross-entropy of each next token [nats]."""
    return F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


def main(folder: str) -> None:
    """Train once; the record goes to the folder."""
    torch.set_num_threads(1)  # a toy: threads cost more than they save
    torch.manual_seed(0)
    model = Model()
    counts = parameter_counts(model, head=model.head)
    tokens = STEPS * BATCH_TOKENS
    advice = recommended(counts["params_nonembedding"], tokens, "adamw", batch_tokens=BATCH_TOKENS)
    optimizer = torch.optim.AdamW(model.parameters(), **optimizer_settings(advice))
    warmup = round(0.1 * STEPS)
    scheduler = LambdaLR(optimizer, lr_multiplier(STEPS, warmup_steps=warmup, schedule="wsd"))
    with RunRecorder(
        folder,
        study="toy",
        tokens=tokens,
        batch_tokens=BATCH_TOKENS,
        sequence_length=LENGTH,
        schedule="wsd",
        warmup_tokens=warmup * BATCH_TOKENS,
        final_lr_ratio=0.1,
        seed=0,
        **counts,
        **settings_of(optimizer),
    ) as recorder:
        for step in range(1, STEPS + 1):
            loss = mean_loss(model, sequences(SEQUENCES))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            if recorder.loss(step, loss):
                break
        else:
            with torch.no_grad():
                recorder.finish(mean_loss(model, sequences(256)))
    print(f"{recorder.path}: {recorder.row['status']}, loss {recorder.row.get('loss')}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "out/toy")
