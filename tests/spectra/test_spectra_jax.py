"""JAX: the same numbers as PyTorch on the same weights, and Optax's steps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
import torch.nn.functional as F

from bayeslaw import spectra
from bayeslaw.errors import BadInput
from bayeslaw.lab.models.transformer import Shape, build
from bayeslaw.spectra import for_jax, for_torch

TOKENS = np.random.default_rng(0).integers(12, size=(6, 7))


@pytest.fixture(autouse=True)
def in_64_bits():
    with jax.enable_x64(True):
        yield


def torch_loss(model, tokens):
    return F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


def normed(x, weight, norm):
    x = x - x.mean(axis=-1, keepdims=True) if norm == "layernorm" else x
    return weight * x / jnp.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5)


def turned(x, angles):
    first, second = jnp.split(x, 2, axis=-1)
    cos, sin = angles
    return jnp.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)


def network(weights, tokens, norm, depth, angles):
    """``models.transformer`` with one head, GELU and a tied head, in JAX."""
    x = weights["embedding.weight"][tokens]
    mask = jnp.tril(jnp.ones((tokens.shape[1],) * 2, bool))
    for i in range(depth):
        w = {k.removeprefix(f"blocks.{i}."): v for k, v in weights.items() if k.startswith(f"blocks.{i}.")}
        y = normed(x, w["attention_norm.weight"], norm)
        q, k, v = jnp.split(y @ w["attention.qkv.weight"].T, 3, axis=-1)
        scores = turned(q, angles) @ turned(k, angles).swapaxes(1, 2) / q.shape[-1] ** 0.5
        mixed = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), axis=-1) @ v
        x = x + mixed @ w["attention.out.weight"].T
        y = normed(x, w["feed_forward_norm.weight"], norm)
        up = jax.nn.gelu(y @ w["feed_forward.up.weight"].T, approximate=False)
        x = x + up @ w["feed_forward.down.weight"].T
    return normed(x, weights["norm.weight"], norm) @ weights["embedding.weight"].T


def both(norm, depth=1, micro_batch=None):
    """The two landscapes at the same weights."""
    model = build(Shape(12, 4, depth, 1, norm=norm), 6, seed=0).double()
    names = [name for name, _ in model.named_parameters()]
    weights = {name: jnp.asarray(p.detach().numpy()) for name, p in model.named_parameters()}
    angles = jnp.asarray(model.rotation.numpy(), jnp.float64)

    def jax_loss(weights, tokens):
        logits = jax.nn.log_softmax(network(weights, tokens[:, :-1], norm, depth, angles))
        return -jnp.take_along_axis(logits, tokens[:, 1:, None], axis=-1).mean()

    there = for_torch.landscape(torch_loss, model, torch.from_numpy(TOKENS), micro_batch)
    here = for_jax.landscape(jax_loss, weights, jnp.asarray(TOKENS), micro_batch)
    return here, there, model, names


def in_order(vector, here, there, names):
    """A vector of JAX's order (names sorted) in that of PyTorch."""
    sizes = {name: here.weights[name].size for name in names}
    ends = dict(zip(sorted(names), np.cumsum([sizes[name] for name in sorted(names)])))
    return np.concatenate([np.asarray(vector)[ends[n] - sizes[n] : ends[n]] for n in names])


@pytest.mark.parametrize(
    ("norm", "micro_batch"), [("rmsnorm", 3), pytest.param("layernorm", None, marks=pytest.mark.slow)]
)
def test_the_two_frameworks_agree_on_the_same_weights(norm, micro_batch):
    here, there, _, names = both(norm, micro_batch=micro_batch)
    assert here.size == there.size
    assert here.loss(None) == pytest.approx(there.loss(None), rel=1e-10)
    gradient = in_order(here.gradient(), here, there, names)
    np.testing.assert_allclose(gradient, there.gradient().numpy(), atol=1e-9)
    found, other = (spectra.largest_eigenvalue(x, vectors=40, tolerance=1e-5) for x in (here, there))
    assert found.value == pytest.approx(other.value, rel=1e-8)
    assert spectra.noise_scale(here).value == pytest.approx(spectra.noise_scale(there).value, rel=1e-8)
    v = np.random.default_rng(1).standard_normal(here.size)
    with here.hessian() as product, there.hessian() as map_there:
        mine = in_order(product(here.vector(v)), here, there, names)
        theirs = map_there(there.vector(in_order(v, here, there, names))).numpy()
    np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-7)
    assert here.meter.gradients == pytest.approx(there.meter.gradients, abs=12)


PAIRS = {  # the same optimizer in Optax and in torch, and what its kind and settings are
    "sgd": (
        lambda: optax.sgd(0.01, momentum=0.9),
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
        {"kind": "sgd", "momentum": 0.9},
    ),
    "adamw": (
        lambda: optax.adam(0.01, b2=0.95),
        lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.9, 0.95), weight_decay=0.0),
        {"kind": "adam", "b2": 0.95},
    ),
    "rmsprop": (
        lambda: optax.rmsprop(0.01, decay=0.95, eps_in_sqrt=False),
        lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.95),
        {"kind": "rmsprop", "decay": 0.95, "eps_in_sqrt": False},
    ),
}


@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("sgd", "adamw")), "rmsprop"]
)
def test_next_steps_agree(name):
    """After three steps, on the same weights: update, preconditioned eigenvalue, threshold, critical rate."""
    here, there, model, names = both("rmsnorm")
    make, make_torch, settings = PAIRS[name]
    optimizer, other = make(), make_torch(model.parameters())
    state, weights = optimizer.init(here.weights), here.weights
    for _ in range(3):
        other.zero_grad()
        torch_loss(model, torch.from_numpy(TOKENS)).backward()
        slopes = {n: jnp.asarray(p.grad.numpy()) for n, p in model.named_parameters()}
        moved, state = optimizer.update(slopes, state, weights)
        weights = optax.apply_updates(weights, moved)
        other.step()
    here = for_jax.landscape(_loss_of(model), weights, jnp.asarray(TOKENS))
    mine = for_jax.next_step(here, optimizer, state, 0.01, **settings)
    theirs = for_torch.next_step(there, other)
    np.testing.assert_allclose(
        in_order(mine.update, here, there, names), theirs.update.numpy(), rtol=1e-5, atol=1e-7
    )
    assert mine.threshold == pytest.approx(theirs.threshold)
    values = [
        spectra.largest_eigenvalue(at, step.inverse_root, 40, 1e-5).value
        for at, step in ((here, mine), (there, theirs))
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    rates = [spectra.critical_learning_rate(at, step, 0.01) for at, step in ((here, mine), (there, theirs))]
    assert rates[0].value == pytest.approx(rates[1].value, rel=1e-6)


def _loss_of(model):
    angles = jnp.asarray(model.rotation.numpy(), jnp.float64)

    def loss(weights, tokens):
        logits = jax.nn.log_softmax(network(weights, tokens[:, :-1], "rmsnorm", 1, angles))
        return -jnp.take_along_axis(logits, tokens[:, 1:, None], axis=-1).mean()

    return loss


def linear(weights, x):
    return jnp.square(jnp.tanh(x @ weights["a"]) @ weights["b"] + weights["c"].sum()).mean()


def small():
    rng = np.random.default_rng(0)
    weights = {
        "a": rng.standard_normal((3, 5)),
        "b": rng.standard_normal((5, 2)),
        "c": rng.standard_normal(2),
    }
    return jax.tree.map(jnp.asarray, weights), jnp.asarray(rng.standard_normal((8, 3)))


def test_muons_inverse_times_its_momentum_is_its_update():
    """At the first step, where the momentum is the gradient's direction."""
    weights, x = small()
    optimizer = optax.contrib.muon(0.1, adam_b2=0.95)
    here = for_jax.landscape(linear, weights, x)
    step = for_jax.next_step(here, optimizer, optimizer.init(weights), 0.1, kind="muon", adam_b2=0.95)
    found = step.inverse_root(step.inverse_root(step.gradient * (0.05 * 0.95 + 0.05)))  # g in m
    np.testing.assert_allclose(found[:25], step.update[:25], rtol=1e-3, atol=1e-6)  # the matrices
    assert step.threshold == pytest.approx(13.5714, rel=1e-5)  # of Adam with Nesterov's momentum, the least


def test_an_optimizer_of_no_known_kind_has_its_directional_sharpness():
    weights, x = small()
    here = for_jax.landscape(linear, weights, x)
    optimizer = optax.lion(0.1, weight_decay=0.0)
    step = for_jax.next_step(here, optimizer, optimizer.init(weights), 0.1)
    np.testing.assert_allclose(step.update, np.sign(step.gradient))
    assert step.inverse_root is None
    assert spectra.measure(here, step, 0.1).lambda_preconditioned is None
    clipped = for_jax.next_step(here, optimizer, optimizer.init(weights), 0.1, grad_clip=0.01)
    assert np.linalg.norm(clipped.gradient) == pytest.approx(0.01)


@jax.custom_vjp
def once(x):
    return x**3


def _forward(x):
    return x**3, x


def _backward(x, slope):
    return (jax.pure_callback(lambda x: 3 * x**2, jax.ShapeDtypeStruct(x.shape, x.dtype), x) * slope,)


once.defvjp(_forward, _backward)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w, x: for_jax.landscape(linear, {}, x), "landscape: the model has no parameters; expected"),
        (
            lambda w, x: for_jax.landscape(linear, w | {"b": w["b"] * jnp.nan}, x),
            "landscape: weights ['b'] are not finite; expected numbers; measure before",
        ),
        (
            lambda w, x: for_jax.landscape(linear, w | {"b": jnp.ones((5, 2), int)}, x),
            "landscape: weights ['b'] are no floating point array",
        ),
        (lambda w, x: for_jax.landscape(linear, w, x[:0]), "landscape: the batch has no sequences"),
        (lambda w, x: for_jax.landscape(linear, w, x, micro_batch=0), "landscape: micro_batch = 0; expected"),
        (
            lambda w, x: for_jax.landscape(linear, w, (x, x[:2])),
            "landscape: arrays of [2, 8] sequences; expected",
        ),
        (
            lambda w, x: spectra.largest_eigenvalue(
                for_jax.landscape(lambda w, x: once(x @ w["a"]).mean(), {"a": w["a"]}, x)
            ),
            "second derivative: an operation cannot be differentiated twice (",
        ),
        (
            lambda w, x: for_jax.next_step(
                for_jax.landscape(linear, w, x), optax.sgd(1.0), (), 1.0, kind="adagrad"
            ),
            "next_step: kind = 'adagrad'; expected None or one of sgd, adam, adamw, rmsprop, muon",
        ),
        (
            lambda w, x: for_jax.next_step(
                for_jax.landscape(linear, w, x), optax.sgd(1.0), optax.sgd(1.0).init(w), 1.0, kind="adam"
            ),
            "next_step: 0 parts ScaleByAdamState in the optimizer's state; expected one",
        ),
        (
            lambda w, x: for_jax.next_step(for_jax.landscape(linear, w, x), optax.sgd(1.0), (), 0.0),
            "next_step: learning_rate = 0.0; expected a number above 0",
        ),
    ],
)
def test_misuse_is_one_clear_error(call, message):
    with pytest.raises(BadInput) as caught:
        call(*small())
    assert str(caught.value).startswith(message)
