"""Measurements on PyTorch models: ``landscape`` and ``next_step``, at any step of a training loop.

Hessian products are reverse over reverse: forward over reverse is silently wrong through ``F.layer_norm`` in
torch 2.13 and 2.14. Attention is computed by the math kernel, for the fused ones cannot be differentiated
twice.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from bayeslaw.errors import BadInput
from bayeslaw.spectra import preconditioners, thresholds
from bayeslaw.spectra.landscape import (
    FORWARD,
    GRADIENT,
    GRAPH_PRODUCT,
    PRODUCT,
    Landscape,
    Map,
    Meter,
    NextStep,
    finite,
)

Batch = Any
"""A tensor, or a mapping or sequence of tensors, whose first axis is the sequences."""

LEAST_RATE = 1e-5
"""At smaller learning rates weights in 32 bits round an update away: it is taken at a rate of 1."""

Loss = Callable[[nn.Module, Batch], Tensor]
Scaling = tuple[str, Tensor]
"""P^-1/2 of one parameter: "each" entry times a tensor, or a matrix from the "left" or "right"."""


def landscape(
    loss: Loss,
    model: nn.Module,
    batch: Batch,
    micro_batch: int | None = None,
    total: Callable[[Tensor], Tensor] = lambda t: t,
) -> Landscape:
    """The mean loss of a batch about the model's weights, which may be trained on between measurements.

    Dropout is off while it is measured. Weights that are frozen are left out.

    Args:
        loss: of the model and a batch, averaged over its sequences (equally long ones, or padding weighs in).
        model: whole on each process.
        batch: this process's sequences, on the model's device.
        micro_batch: sequences of which graphs are held at once; bounds the memory. A product costs 3 gradient
            evaluations where the batch is larger, else 2.
        total: sum of a tensor over processes: ``lambda t: accelerator.reduce(t, "sum")``.

    Raises:
        BadInput: no weights, only frozen ones, weights that are not finite, no sequences. Its measurements
            raise it for a kernel that cannot be differentiated twice and a graph that does not fit the
            memory.
    """
    weights = _trained(model)
    kinds = {p.dtype for p in weights}
    kind = torch.float64 if torch.float64 in kinds else torch.float32
    count = _length(batch)
    at_once = count if micro_batch is None else micro_batch
    if at_once < 1 and count:
        raise BadInput(f"landscape: micro_batch = {micro_batch}; expected at least 1 sequence; give more")
    everywhere = int(total(torch.tensor(float(count), device=weights[0].device)))
    if not everywhere:
        raise BadInput("landscape: the batch has no sequences; expected at least one; measure some")
    meter, opened = Meter(), list[Map]()
    pieces = [_part(batch, first, at_once) for first in range(0, count, max(at_once, 1))]

    def flat(parts: Sequence[Tensor]) -> Tensor:
        return torch.cat([part.detach().reshape(-1).to(weights[0].device, kind) for part in parts])

    def vector(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.float64)).to(weights[0].device, kind)

    def piece_loss(piece: Batch) -> Tensor:
        return _own_loss(loss, model, piece) * (_length(piece) / everywhere)

    def loss_at(move: Tensor | None = None) -> float:
        meter.add(FORWARD)
        with _still(model), torch.no_grad(), _moved(weights, move):
            here = sum((piece_loss(piece).double() for piece in pieces), vector(np.zeros(())).double())
            return float(total(here))

    def gradient() -> Tensor:
        meter.add(GRADIENT)
        found = vector(np.zeros(size))
        with _still(model), torch.enable_grad():
            for piece in pieces:
                found += flat(_gradients(piece_loss(piece), weights))
        return total(found)

    def gradients(sequences: int) -> Iterator[Tensor]:
        meter.add(GRADIENT)
        with _still(model), torch.enable_grad():
            for first in range(0, count - sequences + 1, sequences):
                yield flat(_gradients(_own_loss(loss, model, _part(batch, first, sequences)), weights))

    @contextmanager
    def hessian() -> Iterator[Map]:
        if opened:
            yield opened[0]
            return
        with _still(model), torch.enable_grad(), ExitStack() as stack:
            kept = [_graph(piece_loss, piece, weights) for piece in pieces] if len(pieces) == 1 else []
            meter.add(GRADIENT * len(kept))

            def product(v: Tensor) -> Tensor:
                meter.add(GRAPH_PRODUCT if kept else PRODUCT)
                parts = _split(v, weights)
                found = vector(np.zeros(size))
                with _still(model), torch.enable_grad():
                    for graph in kept or (_graph(piece_loss, piece, weights) for piece in pieces):
                        found += flat(_second(graph, weights, parts))
                return total(found)

            stack.callback(kept.clear)
            stack.callback(opened.clear)
            opened.append(product)
            yield product

    size = sum(p.numel() for p in weights)
    return Landscape(
        tuple(weights), size, everywhere, vector, loss_at, gradient, gradients, total, hessian, meter
    )


def next_step(
    here: Landscape, optimizer: Any, grad_clip: float = 0.0, gradient: Tensor | None = None
) -> NextStep:
    """What the optimizer would do next on the measured sequences; weights, state and rates stay as they are.

    The optimizer takes its step on copies of its state, weight decay and hooks left out. Rates of groups
    count relative to that of the first, so that every learning rate here is the first group's. P is known for
    SGD, Adam, AdamW, RMSprop and Muon of ``torch.optim``; with several optimizers the threshold is the least
    of theirs.

    Args:
        here: of ``landscape``.
        optimizer: of ``torch.optim`` or derived from it, wrapped by Accelerate or not; or several.
        grad_clip: largest gradient norm, as the training loop clips it; 0 for none.
        gradient: of the measured sequences where it is known, else computed.

    Raises:
        BadInput: a gradient that is not finite, or an optimizer of other weights.
    """
    optimizers = [_bare(o) for o in (optimizer if isinstance(optimizer, Sequence) else [optimizer])]
    gradient = here.gradient() if gradient is None else gradient
    length = finite(float(gradient @ gradient) ** 0.5, "gradient norm")
    gradient = gradient * min(1.0, grad_clip / length) if grad_clip and length else gradient
    given = dict(zip(map(id, here.weights), _split(gradient, here.weights)))
    if not any(id(p) in given for o in optimizers for group in o.param_groups for p in group["params"]):
        raise BadInput(
            "next_step: the optimizer moves none of the model's weights; give the one that trains it"
        )
    base = float(optimizers[0].param_groups[0]["lr"])
    update = _update(here, optimizers, given, base)
    scalings: dict[int, Scaling] = {}
    limits = []
    for each in optimizers:
        for group in each.param_groups:
            rule = next((rule for kind, rule in RULES if type(each) is kind), None)
            if rule is None:
                return NextStep(gradient, update)
            ratio = _ratio(group, base)
            for p in group["params"]:
                if id(p) in given:
                    kind, root = rule(group, each.state.get(p, {}), given[id(p)])
                    scalings[id(p)] = (kind, root * ratio**0.5)
            limits.append(_limit(each, group))
    return NextStep(gradient, update, _inverse_root(here, scalings), min(limits))


# ------------------------------------------------------------------------------------------ derivatives


def _trained(model: nn.Module) -> Sequence[Tensor]:
    known = list(model.parameters())
    weights = [p for p in known if p.requires_grad]
    if not known:
        raise BadInput(
            "landscape: the model has no parameters; expected at least one; give the module that is trained"
        )
    if not weights:
        raise BadInput(
            f"landscape: all {len(known)} parameters are frozen (requires_grad is False); expected at least "
            "one that "
            "is trained; unfreeze what you want to measure"
        )
    for name, p in model.named_parameters():
        if p.requires_grad and not bool(torch.isfinite(p).all()):
            raise BadInput(
                f"landscape: weights {name} are not finite; expected numbers; measure before the run diverges"
            )
    return weights


def _own_loss(loss: Loss, model: nn.Module, piece: Batch) -> Tensor:
    with sdpa_kernel(SDPBackend.MATH):
        found = loss(model, piece)
    if found.ndim:
        raise BadInput(
            f"loss: shape {tuple(found.shape)}; expected a scalar, the mean over the batch; take its mean"
        )
    return found


def _gradients(loss: Tensor, weights: Sequence[Tensor], graph: bool = False) -> tuple[Tensor, ...]:
    finite(float(loss.detach()), "loss")
    with _complaints("gradient"):
        return torch.autograd.grad(
            loss, weights, create_graph=graph, allow_unused=True, materialize_grads=True
        )


def _graph(
    piece_loss: Callable[[Batch], Tensor], piece: Batch, weights: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Gradient of one piece, with the graph to differentiate it again."""
    with _complaints("graph"):
        loss = piece_loss(piece)
    found = _gradients(loss, weights, graph=True)
    if any(node.name() == "torch::autograd::Error" for node in _nodes(found)):
        raise _no_second_derivative("a function is marked with @once_differentiable")
    return found


def _nodes(tensors: Sequence[Tensor]) -> Iterator[Any]:
    """Every node of the graph behind tensors, once."""
    waiting, seen = [t.grad_fn for t in tensors], set[Any]()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [following for following, _ in node.next_functions]
            yield node


def _second(
    graph: tuple[Tensor, ...], weights: Sequence[Tensor], parts: Sequence[Tensor]
) -> Sequence[Tensor]:
    """Hessian of one piece times a vector."""
    rows = [(g, part.to(g)) for g, part in zip(graph, parts) if g.requires_grad]
    if not rows:
        return [torch.zeros_like(p) for p in weights]
    with _complaints("second derivative"):
        return torch.autograd.grad(
            [g for g, _ in rows],
            weights,
            [part for _, part in rows],
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )


@contextmanager
def _complaints(what: str) -> Iterator[None]:
    """Say in one clear error that memory is short, or that a kernel has no second derivative."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise BadInput(
                f"{what}: the graph does not fit the memory ({first}); expected room for one micro-batch; "
                "set micro_batch lower"
            ) from error
        if what != "second derivative":
            raise
        raise _no_second_derivative(first) from error


def _no_second_derivative(why: str) -> BadInput:
    return BadInput(
        f"second derivative: an operation cannot be differentiated twice ({why}); expected plain PyTorch "
        "operations; replace the fused or compiled kernel (attn_implementation='eager', no torch.compile), "
        "or take critical_learning_rate, which needs forward passes only"
    )


@contextmanager
def _still(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, then every module's mode as it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _moved(weights: Sequence[Tensor], move: Tensor | None) -> Iterator[None]:
    """Weights moved by a vector, then exactly as they were."""
    if move is None:
        yield
        return
    before = [p.detach().clone() for p in weights]
    try:
        for p, part in zip(weights, _split(move, weights)):
            p.add_(part.to(p))
        yield
    finally:
        for p, old in zip(weights, before):
            p.copy_(old)


def _split(v: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    return [part.view_as(p) for part, p in zip(v.split([p.numel() for p in weights]), weights)]


# ------------------------------------------------------------------------------------------ batches


def _tensors(batch: Batch) -> list[Tensor]:
    if isinstance(batch, Tensor):
        return [batch]
    parts = batch.values() if isinstance(batch, Mapping) else batch
    return [t for part in parts for t in _tensors(part)]


def _length(batch: Batch) -> int:
    lengths = {len(t) for t in _tensors(batch)}
    if len(lengths) != 1:
        raise BadInput(
            f"landscape: tensors of {sorted(lengths)} sequences; expected one number for all of a batch"
        )
    return lengths.pop()


def _part(batch: Batch, first: int, count: int) -> Batch:
    if isinstance(batch, Tensor):
        return batch[first : first + count]
    if isinstance(batch, Mapping):
        return {name: _part(part, first, count) for name, part in batch.items()}
    return type(batch)([_part(part, first, count) for part in batch])


# ------------------------------------------------------------------------------------------ optimizers


def _bare(optimizer: Any) -> torch.optim.Optimizer:
    """The optimizer inside wrappers such as Accelerate's."""
    while not hasattr(optimizer, "_optimizer_step_pre_hooks") or hasattr(optimizer, "accelerator_state"):
        if not hasattr(optimizer, "optimizer"):
            raise BadInput(
                f"next_step: {type(optimizer).__name__}; expected an optimizer of torch.optim or several"
            )
        optimizer = optimizer.optimizer
    return optimizer


@torch.no_grad()
def _update(
    here: Landscape, optimizers: Sequence[torch.optim.Optimizer], given: dict[int, Tensor], base: float
) -> Tensor:
    """u of every weight, 0 where no optimizer moves it."""
    rate = base if base > LEAST_RATE else 1.0
    before = [p.detach().clone() for p in here.weights]
    slopes = [p.grad for p in here.weights]
    try:
        for p in here.weights:
            p.grad = given[id(p)].to(p)
        for each in optimizers:
            _rehearse(each, base, rate)
        moved = [(old - p).reshape(-1).to(here.weights[0].device) for old, p in zip(before, here.weights)]
        return torch.cat(moved).to(here.vector(np.zeros(0)).dtype) / rate
    finally:
        for p, old, slope in zip(here.weights, before, slopes):
            p.copy_(old)
            p.grad = slope


def _rehearse(optimizer: torch.optim.Optimizer, base: float, rate: float) -> None:
    """One step without decay and hooks; all but the weights is put back."""
    hooks = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
    kept = {name: getattr(optimizer, name) for name in (*hooks, "state", "param_groups")}
    state: dict[Tensor, Any] = defaultdict(dict)
    for p, values in optimizer.state.items():
        state[p] = {name: v.clone() if isinstance(v, Tensor) else copy.copy(v) for name, v in values.items()}
    groups = [
        {**group, "lr": rate * _ratio(group, base), "weight_decay": 0.0} for group in optimizer.param_groups
    ]
    changed = {**{name: OrderedDict() for name in hooks}, "state": state, "param_groups": groups}
    try:
        for name, value in changed.items():
            setattr(optimizer, name, value)
        with torch.enable_grad():
            type(optimizer).step(optimizer)
    finally:
        for name, value in kept.items():
            setattr(optimizer, name, value)


def _ratio(group: Mapping[str, Any], base: float) -> float:
    """A group's learning rate over that of the first; 1 before warm-up has begun."""
    return float(group["lr"]) / base if base else 1.0


def _inverse_root(here: Landscape, scalings: Mapping[int, Scaling]) -> Map:
    def inverse_root(v: Tensor) -> Tensor:
        parts = [
            _scaled(part, scalings[id(p)]) if id(p) in scalings else torch.zeros_like(part)
            for p, part in zip(here.weights, _split(v, here.weights))
        ]
        return torch.cat([part.reshape(-1) for part in parts])

    return inverse_root


def _scaled(part: Tensor, scaling: Scaling) -> Tensor:
    kind, root = scaling
    root = root.to(part)
    return root * part if kind == "each" else root @ part if kind == "left" else part @ root


def _sgd(group: Mapping[str, Any], state: Mapping[str, Any], gradient: Tensor) -> Scaling:
    kept = 1 - group["dampening"] if group["momentum"] else 1.0
    return "each", torch.full_like(gradient, kept**0.5)


def _adam(group: Mapping[str, Any], state: Mapping[str, Any], gradient: Tensor) -> Scaling:
    (beta1, beta2), steps = group["betas"], int(state.get("step", 0)) + 1
    moment = _averaged(state.get("exp_avg_sq"), gradient**2, beta2)
    if group["amsgrad"] and "max_exp_avg_sq" in state:
        moment = torch.maximum(moment, state["max_exp_avg_sq"].to(moment))
    return "each", preconditioners.adam(moment, steps, beta1, beta2, group["eps"])


def _rmsprop(group: Mapping[str, Any], state: Mapping[str, Any], gradient: Tensor) -> Scaling:
    moment = _averaged(state.get("square_avg"), gradient**2, group["alpha"])
    if group["centered"]:
        moment = (moment - _averaged(state.get("grad_avg"), gradient, group["alpha"]) ** 2).clamp(min=0)
    return "each", preconditioners.rmsprop(moment, group["eps"])


def _muon(group: Mapping[str, Any], state: Mapping[str, Any], gradient: Tensor) -> Scaling:
    momentum = _averaged(state.get("momentum_buffer"), gradient, group["momentum"])
    if group["nesterov"]:
        momentum = _averaged(momentum, gradient, group["momentum"])
    coefficients, iterations = group["ns_coefficients"], group["ns_steps"]
    root = preconditioners.muon(momentum.double().cpu().numpy(), coefficients, iterations, group["eps"])
    rows, columns = gradient.shape
    scale = {
        "match_rms_adamw": 0.2 * math.sqrt(max(rows, columns)),
        "original": math.sqrt(max(1, rows / columns)),
    }[group["adjust_lr_fn"] or "original"]
    return "left" if rows <= columns else "right", torch.from_numpy(root * scale**0.5).to(gradient)


def _averaged(known: Tensor | None, new: Tensor, beta: float) -> Tensor:
    """Moving average with one more value; from 0 where there is none."""
    return (1 - beta) * new if known is None else beta * known.to(new) + (1 - beta) * new


RULES: tuple[tuple[type, Callable[[Mapping[str, Any], Mapping[str, Any], Tensor], Scaling]], ...] = (
    (torch.optim.SGD, _sgd),
    (torch.optim.Adam, _adam),
    (torch.optim.AdamW, _adam),
    (torch.optim.RMSprop, _rmsprop),
    (torch.optim.Muon, _muon),
)


def _limit(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> float:
    """Stability threshold of a group; see ``bayeslaw.spectra.thresholds``."""
    if isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
        return thresholds.moving_average(group["betas"][0])
    beta = group["momentum"]
    if isinstance(optimizer, torch.optim.Muon):
        return (
            thresholds.moving_average_nesterov(beta) if group["nesterov"] else thresholds.moving_average(beta)
        )
    return thresholds.nesterov(beta) if group.get("nesterov") else thresholds.heavy_ball(beta)
