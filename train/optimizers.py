"""Optimizers by name, each from torch or pytorch_optimizer, with weight decay decoupled throughout.

Decay applies to matrices, never to the gains of norms: learning rate x weight decay per step, as in AdamW.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    Group = dict[str, Any]
    Build = Callable[[list[Group], "Settings"], "torch.optim.Optimizer"]


@dataclass(frozen=True)
class Knobs:
    """Usual values of an optimizer; None if it has no such setting.

    Attributes:
        momentum: momentum of SGD, RMSprop and Muon, or Adam's beta1.
        beta2: decay of the second moment (for Lion, of the momentum that is kept).
        epsilon: added to the denominator of the step.
        weight_decay: decoupled weight decay.
    """

    momentum: float | None
    beta2: float | None
    epsilon: float | None
    weight_decay: float


@dataclass(frozen=True)
class Settings:
    """Settings of an optimizer. The learning rate is set at each step; settings that it lacks are not
    read."""

    learning_rate: float
    momentum: float
    beta2: float
    epsilon: float
    weight_decay: float


OPTIMIZERS: dict[str, Knobs] = {
    "adamw": Knobs(0.9, 0.95, 1e-8, 0.1),
    "sgd": Knobs(0.9, None, None, 0.0),
    "rmsprop": Knobs(0.0, 0.95, 1e-8, 0.1),
    "muon": Knobs(0.95, 0.95, 1e-8, 0.1),
    "lion": Knobs(0.9, 0.99, None, 0.3),
    "adafactor": Knobs(None, None, None, 0.1),
    "lamb": Knobs(0.9, 0.95, 1e-6, 0.1),
}


ADAM_MOMENTUM_BESIDE_MUON = 0.9


def build(name: str, model: nn.Module, settings: Settings) -> list[torch.optim.Optimizer]:
    """Build the optimizers of one model: one, or two for Muon.

    Muon moves the matrices of the blocks, its step scaled to the root mean square of AdamW's (Liu et al.
    2025, arXiv:2502.16982), so that AdamW moves embedding, head and gains at the same learning rate.

    Args:
        name: a key of ``OPTIMIZERS``.
        model: with the embedding as ``model.embedding`` and the head as ``model.head``.
        settings: values of all settings that the optimizer has.
    """
    if name != "muon":
        return [_one(name, _groups(model.parameters(), settings), settings)]
    outer = {id(p) for part in ("embedding", "head") for p in model.get_submodule(part).parameters()}
    inner = [p for p in model.parameters() if p.ndim == 2 and id(p) not in outer]
    rest = [p for p in model.parameters() if p.ndim != 2 or id(p) in outer]
    return [
        _one("muon", _groups(inner, settings), settings),
        _one("adamw", _groups(rest, settings), replace(settings, momentum=ADAM_MOMENTUM_BESIDE_MUON)),
    ]


def _one(name: str, groups: list[Group], s: Settings) -> torch.optim.Optimizer:
    import torch

    if name == "adamw":
        return torch.optim.AdamW(
            groups, lr=s.learning_rate, betas=(s.momentum, s.beta2), eps=s.epsilon, fused=True
        )
    if name == "sgd":
        return _decoupled(torch.optim.SGD, groups, lr=s.learning_rate, momentum=s.momentum, fused=True)
    if name == "rmsprop":
        return _decoupled(
            torch.optim.RMSprop,
            groups,
            lr=s.learning_rate,
            alpha=s.beta2,
            momentum=s.momentum,
            eps=s.epsilon,
            foreach=True,
        )
    if name == "muon":
        return torch.optim.Muon(
            groups, lr=s.learning_rate, momentum=s.momentum, adjust_lr_fn="match_rms_adamw"
        )
    if name == "adafactor":
        return torch.optim.Adafactor(groups, lr=s.learning_rate)
    import pytorch_optimizer

    if name == "lion":
        return pytorch_optimizer.Lion(groups, lr=s.learning_rate, betas=(s.momentum, s.beta2), foreach=True)
    return pytorch_optimizer.Lamb(
        groups, lr=s.learning_rate, betas=(s.momentum, s.beta2), eps=s.epsilon, foreach=True
    )


def _groups(parameters: Iterable[Tensor], settings: Settings) -> list[Group]:
    """Group matrices with decay and vectors without; leave out empty groups."""
    known = list(parameters)
    matrices, vectors = [p for p in known if p.ndim > 1], [p for p in known if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _decoupled(kind: Any, groups: list[Group], **options: Any) -> torch.optim.Optimizer:
    """Wrap an optimizer that would add decay to the gradient (L2), with decay before each step instead."""
    import torch

    decays = [group["weight_decay"] for group in groups]
    optimizer = kind([{**group, "weight_decay": 0.0} for group in groups], **options)

    def decay(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        with torch.no_grad():
            for group, rate in zip(optimizer.param_groups, decays):
                for p in group["params"]:
                    p.mul_(1 - group["lr"] * rate)

    optimizer.register_step_pre_hook(decay)
    return optimizer
