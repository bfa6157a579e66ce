"""A PyTorch run whose learning rate knows the network's curvature; seconds on a CPU, no network.

python docs/examples/curvature_pytorch.py
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bayeslaw.errors import BadInput
from bayeslaw.integrations import (
    Advice,
    advised_schedule,
    lr_scheduler,
    optimizer_settings,
    parameter_counts,
    recommended,
)
from bayeslaw.spectra import largest_eigenvalue
from bayeslaw.spectra.for_torch import landscape, next_step

VOCABULARY, WIDTH, LENGTH, BATCH, TOKENS = 64, 32, 32, 512, 40_000
PROBE_RATE, PROBE_STEPS = 3e-3, 20


class Model(nn.Module):
    """An embedding, a layer and a head: enough of a language model."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.inner = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the next token."""
        x = self.embedding(tokens)
        return self.head(x + self.inner(x))


def sequences(count: int) -> Tensor:
    """Arithmetic progressions: what follows can be learnt."""
    start, step = torch.randint(VOCABULARY, (count, 1)), torch.randint(1, 4, (count, 1))
    return (start + step * torch.arange(LENGTH + 1)) % VOCABULARY


def mean_loss(model: nn.Module, tokens: Tensor) -> Tensor:
    """Cross-entropy of each next token [nats]."""
    return F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


def train(model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: object, steps: int) -> float:
    """Train so many steps; the last loss."""
    loss = torch.tensor(float("nan"))
    for _ in range(steps):
        loss = mean_loss(model, sequences(BATCH // LENGTH))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    return loss.item()


def curvature() -> float:
    """Largest eigenvalue of the preconditioned Hessian of a new network after the first steps of a run."""
    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PROBE_RATE, betas=(0.9, 0.95))
    steps = TOKENS // BATCH
    train(model, optimizer, lr_scheduler(optimizer, steps, warmup_steps=steps // 3), PROBE_STEPS)
    here = landscape(mean_loss, model, sequences(8))
    return largest_eigenvalue(here, next_step(here, optimizer).inverse_root).value


def advised(params: int, found: float) -> Advice:
    """Advice that knows the curvature, or does not where the network is unlike those that were measured."""
    try:
        return recommended(params, TOKENS, "adamw", batch_tokens=BATCH, lambda_max=found)
    except BadInput as error:
        print(f"without the curvature: {error}")
        return recommended(params, TOKENS, "adamw", batch_tokens=BATCH)


def main() -> None:
    """Measure, ask, train."""
    torch.set_num_threads(1)  # a toy: threads cost more than they save
    torch.manual_seed(0)
    model = Model()
    params = parameter_counts(model, head=model.head)["params_nonembedding"]
    found = curvature()
    advice = advised(params, found)
    optimizer = torch.optim.AdamW(model.parameters(), **optimizer_settings(advice))
    scheduler = lr_scheduler(optimizer, **advised_schedule(advice))
    loss = train(model, optimizer, scheduler, advice.steps)
    print(f"lambda_max {found:.3g}, learning rate {advice.learning_rate:.3g}, last loss {loss:.3f}")


if __name__ == "__main__":
    main()
