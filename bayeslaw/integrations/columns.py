"""Columns of the run table from a PyTorch model, optimizer and scheduler."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from bayeslaw.runs.optimizer_names import canonical

DECOUPLED = ("adamw", "muon", "lion", "lamb", "adafactor")
"""Optimizers whose weight decay is decoupled, whoever wrote them; the lab's agree."""


def block_params(width: int, depth: int, hidden: int | None = None, gated: bool = False) -> int:
    """N by the shape of a transformer: attention and feed-forward of all blocks; norms and biases are left
    out.

    Args:
        width: of the residual stream.
        depth: number of blocks.
        hidden: width of the feed-forward layer; by default 4 widths, or 12 depth width^2 parameters in all
            (arXiv 2001.08361, section 2.1).
        gated: three matrices in the feed-forward layer instead of two.

    >>> block_params(768, 12), block_params(4096, 32, hidden=11008, gated=True)
    (84934656, 6476005376)
    """
    return depth * width * (4 * width + (3 if gated else 2) * (4 * width if hidden is None else hidden))


def parameter_counts(model: Any, head: Any = None) -> dict[str, int]:
    """``params_nonembedding`` (N) and ``params_embedding`` of a ``torch.nn.Module``.

    The weights of every ``nn.Embedding``, learned positions included, and of the output head are embedding;
    all others are N: matrices, biases and gains, trained or frozen. Tied weights count once.

    Args:
        model: the whole model; a shard counts only its own parameters.
        head: the module of the output head; by default what ``get_output_embeddings`` names, which models of
            ``transformers`` have. Without either, an untied head counts as N.
    """
    from torch import nn

    outer = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    outer += _heads(model) if head is None else [head]
    embedding = _sizes(p for module in outer for p in module.parameters())
    whole = _sizes(model.parameters())
    inside = sum(size for key, size in whole.items() if key in embedding)
    return {"params_nonembedding": sum(whole.values()) - inside, "params_embedding": inside}


def settings_of(optimizer: Any) -> dict[str, Any]:
    """Columns from a PyTorch optimizer: its name, peak learning rate, momentum, beta2, epsilon, decay.

    The name is that of its class, spelt as in `runs.optimizer_names`. Learning rate and decay are the
    largest of its groups, the others those of the first. Decay that joins the gradient (L2) is not the run
    table's: that of SGD is converted, the inverse of ``optimizer_settings``; any other becomes
    ``extra_weight_decay_l2``.

    Args:
        optimizer: a ``torch.optim.Optimizer``, perhaps in a wrapper that has it as ``optimizer``.
    """
    while hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    name, groups = canonical(type(optimizer).__name__), optimizer.param_groups
    beta1, beta2 = groups[0].get("betas", (groups[0].get("momentum"), groups[0].get("alpha")))[:2]
    epsilon = groups[0].get("eps")
    found = {
        "optimizer": name,
        "learning_rate": max((rate for group in groups for rate in _peak(group)), default=None),
        "momentum": beta1,
        "beta2": beta2,
        "epsilon": epsilon if isinstance(epsilon, float) else None,
        **_decay(name, max(groups, key=lambda group: group.get("weight_decay", 0.0))),
    }
    return {column: value for column, value in found.items() if value is not None}


def final_lr_ratio(scheduler: Any, steps: int) -> float | None:
    """Final multiplier of a ``LambdaLR`` over its peak; None for any other scheduler.

    Taken after the last step, since the ratio of that step itself depends on the number of steps.
    """
    while hasattr(scheduler, "scheduler"):
        scheduler = scheduler.scheduler
    multipliers = getattr(scheduler, "lr_lambdas", None)
    return float(multipliers[0](steps)) if multipliers else None


def _heads(model: Any) -> list[Any]:
    found = [m.get_output_embeddings() for m in model.modules() if hasattr(m, "get_output_embeddings")]
    return [head for head in found if head is not None]


def _sizes(parameters: Iterable[Any]) -> dict[int, int]:
    """Number of elements of each parameter; shared parameters count once."""
    return {id(p): p.numel() for p in parameters}


def _peak(group: dict[str, Any]) -> Iterator[float]:
    """Peak learning rate of a group, if a scheduler recorded one besides the current learning rate."""
    for name in ("max_lr", "initial_lr", "lr"):
        if group.get(name) is not None:
            yield float(group[name])
            return


def _decay(name: str, group: dict[str, Any]) -> dict[str, float]:
    """Weight decay of a group, in the column of its kind."""
    decay = float(group.get("weight_decay", 0.0))
    if not decay or name in DECOUPLED or group.get("decoupled_weight_decay") or group.get("weight_decouple"):
        return {"weight_decay": decay}
    if name == "sgd" and not group["dampening"]:
        return {"weight_decay": decay / (1 - group["momentum"])}
    return {"extra_weight_decay_l2": decay}
