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
class Defaults:
    """Usual values; None where the optimizer has no such setting.

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


@dataclass(frozen=True)
class Optimizer:
    """An optimizer of the lab: a plan may name it once it is in ``OPTIMIZERS``.

    Attributes:
        build: from groups of parameters, each with its ``weight_decay``, and settings; imports what it needs.
        defaults: values of settings that a plan leaves out.
        source: paper, and the library it comes from.
        decoupled: whether what ``build`` makes decays weights apart from the gradient. Where it would add the
            decay to the gradient (L2), the lab decays the weights itself.
        beside: optimizer of embedding, head and gains, where this one moves matrices of blocks only.
    """

    build: Build
    defaults: Defaults
    source: str
    decoupled: bool = True
    beside: str | None = None


def build(
    name: str, model: nn.Module, settings: Settings, lr_dropout: float = 0.0
) -> list[torch.optim.Optimizer]:
    """The optimizers of one model: one, or two where the first moves matrices only.

    Args:
        name: a key of ``OPTIMIZERS``.
        model: with the embedding as ``model.embedding`` and the head as ``model.head``.
        settings: each that the optimizer has, filled.
        lr_dropout: as of ``drop_learning_rates``, for all of them.
    """
    made = _made(name, model, settings)
    if lr_dropout:
        for optimizer in made:
            drop_learning_rates(optimizer, lr_dropout)
    return made


def drop_learning_rates(optimizer: torch.optim.Optimizer, share: float) -> None:
    """From here on, let each coordinate miss a step with this probability, independently at every step.

    Learning rate dropout (Lin et al., arXiv 1912.00144, whose p is the probability to keep: 1 - ``share``).
    Moments see every gradient, and decoupled weight decay goes on. Coordinates are drawn by torch's global
    generator, which must be in the same state on all processes. Lamb and Adafactor scale their step by norms
    of weight and step: a coordinate that misses one is taken to decay as with AdamW.
    """
    import torch

    before: list[Tensor] = []

    def remember(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        before.extend(p.detach().clone() for group in optimizer.param_groups for p in group["params"])

    def drop(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        with torch.no_grad():
            for group in optimizer.param_groups:
                kept = 1 - group["lr"] * group["weight_decay"]
                for p in group["params"]:
                    old = before.pop(0)
                    p.copy_(torch.where(torch.rand_like(p) < share, old.mul_(kept), p))

    optimizer.register_step_pre_hook(remember)
    optimizer.register_step_post_hook(drop)


def _made(name: str, model: nn.Module, settings: Settings) -> list[torch.optim.Optimizer]:
    beside = OPTIMIZERS[name].beside
    if beside is None:
        return [_one(name, model.parameters(), settings)]
    outer = {id(p) for part in ("embedding", "head") for p in model.get_submodule(part).parameters()}
    inner = [p for p in model.parameters() if p.ndim == 2 and id(p) not in outer]
    rest = [p for p in model.parameters() if p.ndim != 2 or id(p) in outer]
    usual = replace(settings, momentum=OPTIMIZERS[beside].defaults.momentum or 0.0)
    return [_one(name, inner, settings), _one(beside, rest, usual)]


def _one(name: str, parameters: Iterable[Tensor], settings: Settings) -> torch.optim.Optimizer:
    """One optimizer of some parameters, its decay decoupled."""
    entry, groups = OPTIMIZERS[name], _groups(parameters, settings)
    if entry.decoupled:
        return entry.build(groups, settings)
    optimizer = entry.build([{**group, "weight_decay": 0.0} for group in groups], settings)
    _decay_apart(optimizer, [group["weight_decay"] for group in groups])
    return optimizer


def _groups(parameters: Iterable[Tensor], settings: Settings) -> list[Group]:
    """Group matrices with decay and vectors without; leave out empty groups."""
    known = list(parameters)
    matrices, vectors = [p for p in known if p.ndim > 1], [p for p in known if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _decay_apart(optimizer: torch.optim.Optimizer, decays: list[float]) -> None:
    """Decay the weights of each group before each step, by learning rate x decay."""
    import torch

    def decay(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        with torch.no_grad():
            for group, rate in zip(optimizer.param_groups, decays):
                for p in group["params"]:
                    p.mul_(1 - group["lr"] * rate)

    optimizer.register_step_pre_hook(decay)


def _adamw(groups: list[Group], s: Settings) -> torch.optim.Optimizer:
    import torch

    betas = (s.momentum, s.beta2)
    return torch.optim.AdamW(groups, lr=s.learning_rate, betas=betas, eps=s.epsilon, fused=True)


def _sgd(groups: list[Group], s: Settings) -> torch.optim.Optimizer:
    import torch

    return torch.optim.SGD(groups, lr=s.learning_rate, momentum=s.momentum, fused=True)


def _rmsprop(groups: list[Group], s: Settings) -> torch.optim.Optimizer:
    import torch

    return torch.optim.RMSprop(
        groups, lr=s.learning_rate, alpha=s.beta2, momentum=s.momentum, eps=s.epsilon, foreach=True
    )


def _muon(groups: list[Group], s: Settings) -> torch.optim.Optimizer:
    """Its step scaled to the root mean square of AdamW's, so that one learning rate serves both."""
    import torch

    return torch.optim.Muon(groups, lr=s.learning_rate, momentum=s.momentum, adjust_lr_fn="match_rms_adamw")


def _lion(groups: list[Group], s: Settings) -> torch.optim.Optimizer:
    import pytorch_optimizer

    betas = (s.momentum, s.beta2)
    return pytorch_optimizer.Lion(groups, lr=s.learning_rate, betas=betas, foreach=True)


def _adafactor(groups: list[Group], s: Settings) -> torch.optim.Optimizer:
    import torch

    return torch.optim.Adafactor(groups, lr=s.learning_rate)


def _lamb(groups: list[Group], s: Settings) -> torch.optim.Optimizer:
    import pytorch_optimizer

    betas = (s.momentum, s.beta2)
    return pytorch_optimizer.Lamb(groups, lr=s.learning_rate, betas=betas, eps=s.epsilon, foreach=True)


OPTIMIZERS: dict[str, Optimizer] = {
    "adamw": Optimizer(
        _adamw, Defaults(0.9, 0.95, 1e-8, 0.1), "Loshchilov and Hutter 2019, arXiv:1711.05101; torch"
    ),
    "sgd": Optimizer(
        _sgd, Defaults(0.9, None, None, 0.0), "with momentum, Polyak 1964; torch", decoupled=False
    ),
    "rmsprop": Optimizer(
        _rmsprop, Defaults(0.0, 0.95, 1e-8, 0.1), "Tieleman and Hinton 2012; torch", decoupled=False
    ),
    "muon": Optimizer(
        _muon,
        Defaults(0.95, 0.95, 1e-8, 0.1),
        "Jordan et al. 2024, scaled as in Liu et al. 2025, arXiv:2502.16982; torch",
        beside="adamw",
    ),
    "lion": Optimizer(
        _lion, Defaults(0.9, 0.99, None, 0.3), "Chen et al. 2023, arXiv:2302.06675; pytorch_optimizer"
    ),
    "adafactor": Optimizer(
        _adafactor, Defaults(None, None, None, 0.1), "Shazeer and Stern 2018, arXiv:1804.04235; torch"
    ),
    "lamb": Optimizer(
        _lamb, Defaults(0.9, 0.95, 1e-6, 0.1), "You et al. 2020, arXiv:1904.00962; pytorch_optimizer"
    ),
}
"""By the name that plans and run tables use."""
