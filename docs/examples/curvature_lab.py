"""A learning rate narrowed by the curvature of the network that will be trained; seconds on a CPU.

The small transformer of the training lab, at the tokens and the batch of the networks that tell what
curvature says (docs/curvature.md): there ``lambda_max`` is accepted.

python docs/examples/curvature_lab.py
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bayeslaw.integrations import Advice, lr_scheduler, recommended
from bayeslaw.lab.data.order import batch, sequence_order
from bayeslaw.lab.data.tokens import Corpus, prepare
from bayeslaw.lab.models.counts import params_nonembedding
from bayeslaw.lab.models.transformer import Shape, build
from bayeslaw.spectra import largest_eigenvalue
from bayeslaw.spectra.for_torch import landscape, next_step

TOKENS, BATCH, LENGTH = 131_072, 512, 128
SHAPE = Shape(vocabulary=1024, width=32, depth=2, heads=4)
PROBE_RATE, PROBE_STEPS, MEASURED = 3e-3, 20, 8


def mean_loss(model: nn.Module, tokens: Tensor) -> Tensor:
    """Cross-entropy of each next token [nats]."""
    return cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


def curvature(corpus: Corpus) -> float:
    """Largest eigenvalue of the preconditioned Hessian after 20 steps, at a quarter of the usual rate."""
    order = sequence_order(len(corpus.train), TOKENS, LENGTH, seed=0)
    model = build(SHAPE, LENGTH, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PROBE_RATE, betas=(0.9, 0.95), weight_decay=0.1)
    steps, each = TOKENS // BATCH, BATCH // LENGTH
    scheduler = lr_scheduler(optimizer, steps, warmup_steps=steps // 10)

    def sequences(first: int, count: int) -> Tensor:
        return torch.from_numpy(batch(corpus.train, order, first, count, LENGTH))

    for step in range(PROBE_STEPS):
        optimizer.zero_grad()
        mean_loss(model, sequences(step * each, each)).backward()
        optimizer.step()
        scheduler.step()
    here = landscape(mean_loss, model, sequences(0, MEASURED))
    return largest_eigenvalue(here, next_step(here, optimizer).inverse_root).value


def advised(lambda_max: float | None = None) -> Advice:
    """Advice for the whole run, with the curvature or without."""
    return recommended(params_nonembedding(SHAPE), TOKENS, "adamw", batch_tokens=BATCH, lambda_max=lambda_max)


def main() -> None:
    """Measure, ask, compare."""
    torch.set_num_threads(1)
    found = curvature(prepare("stdlib"))
    before, after = advised(), advised(found)
    print(f"lambda_max {found:.3g}")
    for name, advice in (("without", before), ("with", after)):
        best = advice.optimum["learning_rate"]
        told = (
            f"learning rate {advice.learning_rate:.3g}, the best one in {best.lower:.2g} to {best.upper:.2g}"
        )
        print(f"{name} the curvature: {told}")


if __name__ == "__main__":
    main()
