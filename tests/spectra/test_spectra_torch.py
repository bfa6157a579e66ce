"""PyTorch: Hessian products against finite differences and dense Hessians, next steps against steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bayeslaw import spectra
from bayeslaw.errors import BadInput
from bayeslaw.lab.models.transformer import Shape, build
from bayeslaw.lab.train import optimizers
from bayeslaw.lab.train.spec import RunSpec, checked
from bayeslaw.spectra.for_torch import landscape, next_step

TOKENS = torch.randint(12, (6, 7), generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def cross_entropy(model, tokens):
    return F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


def network(norm="rmsnorm", tied=True, kind=torch.float64, depth=1):
    return build(Shape(12, 4, depth, 1, norm=norm, tied=tied), 6, seed=0).to(kind)


def dense(here):
    with here.hessian() as product:
        return np.stack([product(here.vector(column)).numpy() for column in np.eye(here.size)])


def shifted(model, v, by):
    """The gradient with all weights moved by a vector."""
    weights = list(model.parameters())
    with torch.no_grad():
        for p, part in zip(weights, v.split([p.numel() for p in weights])):
            p.add_(by * part.view_as(p))
    found = landscape(cross_entropy, model, TOKENS).gradient()
    with torch.no_grad():
        for p, part in zip(weights, v.split([p.numel() for p in weights])):
            p.sub_(by * part.view_as(p))
    return found


# ------------------------------------------------------------------------------------------ products


@pytest.mark.parametrize("norm", ["rmsnorm", "layernorm"])
@pytest.mark.parametrize("tied", [True, False])
def test_a_product_is_the_slope_of_the_gradient(norm, tied):
    """In 64 bits, central differences; forward over reverse through LayerNorm fails this by far."""
    model = network(norm, tied, depth=2)
    here = landscape(cross_entropy, model, TOKENS)
    v = here.vector(np.random.default_rng(0).standard_normal(here.size))
    slope = (shifted(model, v, 1e-7) - shifted(model, v, -1e-7)) / 2e-7
    with here.hessian() as product:
        torch.testing.assert_close(product(v), slope, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_curvlinops_has_the_same_products():
    """A library for PyTorch as a cross-check, where it is installed.

    Its products are forward over reverse, wrong through layer norm and none in fused attention.
    """
    curvlinops = pytest.importorskip("curvlinops")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    inputs, classes, guess = torch.randn(6, 5).double(), torch.randint(3, (6,)), nn.CrossEntropyLoss()
    weights = list(model.parameters())
    other = curvlinops.HessianLinearOperator(model, guess, weights, [(inputs, classes)])
    here = landscape(lambda model, batch: guess(model(batch[0]), batch[1]), model, (inputs, classes))
    v = here.vector(np.random.default_rng(1).standard_normal(here.size))
    with here.hessian() as product:
        torch.testing.assert_close(product(v), other @ v, rtol=1e-8, atol=1e-10)


def test_a_tied_matrix_counts_once():
    tied, apart = (landscape(cross_entropy, network(tied=t), TOKENS) for t in (True, False))
    assert apart.size - tied.size == 12 * 4
    np.testing.assert_allclose(dense(tied), dense(tied).T, atol=1e-12)


@pytest.mark.parametrize("norm", ["rmsnorm", "layernorm"])
def test_eigenvalue_trace_and_density_are_those_of_the_dense_hessian(norm):
    here = landscape(cross_entropy, network(norm), TOKENS)
    matrix = dense(here)
    values = np.linalg.eigvalsh(matrix)
    found = spectra.largest_eigenvalue(here, vectors=60, tolerance=1e-6)
    assert found.value == pytest.approx(values[-1], rel=1e-8)
    assert found.asymmetry < 1e-12
    trace = spectra.hutchinson(here, probes=64)
    assert abs(trace.value - values.sum()) < 4 * trace.standard_error
    better = spectra.hutch_plus_plus(here, products=90)
    assert better.standard_error < trace.standard_error
    assert abs(better.value - values.sum()) < 4 * better.standard_error
    density = spectra.spectral_density(here, vectors=40)
    assert density.span == pytest.approx((values[0], values[-1]), rel=1e-6)


def test_a_diagonal_network_has_its_closed_form():
    """L = mean over x of (sum a_i b_i x_i - y)^2 / 2 at a minimum: H is J'J with J = (b x, a x)."""

    class Diagonal(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = (
                nn.Parameter(torch.tensor(v, dtype=torch.float64)) for v in ([1.0, 2.0], [3.0, 0.5])
            )

        def forward(self, x):
            return (self.a * self.b * x).sum(dim=-1)

    x = torch.eye(2, dtype=torch.float64)
    model = Diagonal()
    here = landscape(lambda m, x: ((m(x) - torch.tensor([3.0, 1.0])) ** 2).mean() / 2, model, x)
    # mean over the two unit vectors: blocks (b, a)(b, a)' / 2, of eigenvalue (a^2 + b^2) / 2
    assert spectra.largest_eigenvalue(here, tolerance=1e-12).value == pytest.approx((1 + 9) / 2)
    assert spectra.hutch_plus_plus(here, products=12).value == pytest.approx((1 + 9) / 2 + (4 + 0.25) / 2)


def test_32_bits_agree_with_64():
    exact = spectra.largest_eigenvalue(
        landscape(cross_entropy, network(), TOKENS), tolerance=1e-6, vectors=99
    )
    single = landscape(cross_entropy, network(kind=torch.float32), TOKENS)
    found = spectra.largest_eigenvalue(single, tolerance=1e-4, vectors=99)
    assert found.value == pytest.approx(exact.value, rel=1e-4)
    assert found.asymmetry < 1e-5
    assert spectra.hutchinson(single).value == pytest.approx(
        spectra.hutchinson(landscape(cross_entropy, network(), TOKENS)).value, rel=1e-3
    )


@pytest.mark.slow
def test_micro_batches_give_the_same_numbers_at_another_cost():
    """Four and two sequences: the pieces need not be equal."""
    whole, parts = (landscape(cross_entropy, network(), TOKENS, micro_batch=m) for m in (None, 4))
    torch.testing.assert_close(parts.gradient(), whole.gradient())
    assert parts.loss(None) == pytest.approx(whole.loss(None), rel=1e-12)
    np.testing.assert_allclose(dense(parts), dense(whole), atol=1e-14)
    assert whole.meter.gradients == pytest.approx(1 + 1 / 3 + 1 + 2 * whole.size)
    assert parts.meter.gradients == pytest.approx(1 + 1 / 3 + 3 * whole.size)


def test_processes_together_measure_what_one_does():
    """Two shares of unequal size, summed by hand."""
    counts = {True: 4.0, False: 2.0}
    model, shares = network(), {True: TOKENS[:4], False: TOKENS[4:]}
    found = []
    for first in (True, False):

        def total(t, other=not first):
            return t + counts[other] if t.ndim == 0 and float(t) in counts.values() else t

        found.append(landscape(cross_entropy, model, shares[first], total=total))
    assert [here.sequences for here in found] == [6, 6]
    whole = landscape(cross_entropy, model, TOKENS)
    torch.testing.assert_close(found[0].gradient() + found[1].gradient(), whole.gradient())
    np.testing.assert_allclose(dense(found[0]) + dense(found[1]), dense(whole), atol=1e-14)


def test_the_largest_eigenvalue_costs_at_most_40_gradients():
    """To 1e-2 on 16 sequences, at initialisation, where it is hardest: the top of the spectrum is crowded."""
    model = build(Shape(vocabulary=300, width=32, depth=2, heads=2), 64, seed=0)
    tokens = torch.randint(300, (16, 65), generator=torch.Generator().manual_seed(1))
    here = landscape(cross_entropy, model, tokens)
    found = spectra.largest_eigenvalue(here)
    assert found.cost.gradients <= 40
    best = spectra.largest_eigenvalue(here, vectors=80, tolerance=1e-5)
    assert found.value == pytest.approx(best.value, rel=1e-2)


def test_training_goes_on_as_if_nothing_was_measured():
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.LayerNorm(8), nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    before = [p.detach().clone() for p in model.parameters()], [p.grad.clone() for p in model.parameters()]
    state = [{k: v.clone() for k, v in optimizer.state[p].items()} for p in model.parameters()]
    random = torch.get_rng_state()
    with torch.no_grad():  # where a training loop may well call it
        here = landscape(
            lambda m, x: m(x).square().mean(), model, torch.randn(8, 3, generator=torch.Generator())
        )
        found = spectra.measure(here, next_step(here, optimizer), 1e-2)
    assert found.lambda_max > 0
    assert model.training
    assert model[1].training
    assert all(torch.equal(a, b) for a, b in zip(before[0], model.parameters()))
    assert all(torch.equal(a, p.grad) for a, p in zip(before[1], model.parameters()))
    for p, old in zip(model.parameters(), state):
        assert all(torch.equal(old[k], optimizer.state[p][k]) for k in old)
    assert optimizer.param_groups[0]["weight_decay"] == 0.01
    assert torch.equal(random, torch.get_rng_state())


def test_one_landscape_serves_all_steps():
    model = network()
    here = landscape(cross_entropy, model, TOKENS)
    first = spectra.largest_eigenvalue(here).value
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.1)
    again = spectra.largest_eigenvalue(here).value
    assert again != first
    assert again == spectra.largest_eigenvalue(landscape(cross_entropy, model, TOKENS)).value


def test_batches_of_several_tensors():
    model = nn.Linear(3, 1, bias=False).double()
    x, y = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 1, dtype=torch.float64)
    values = np.linalg.eigvalsh((2 * x.T @ x / 5).numpy())
    for batch, loss in (
        ({"x": x, "y": y}, lambda m, b: F.mse_loss(m(b["x"]), b["y"])),
        ((x, y), lambda m, b: F.mse_loss(m(b[0]), b[1])),
    ):
        here = landscape(loss, model, batch, micro_batch=2)
        assert spectra.largest_eigenvalue(here, tolerance=1e-9).value == pytest.approx(values[-1])


# ------------------------------------------------------------------------------------------ next steps


def trained(name, steps, **choices):
    """A model some steps into its training, with its optimizers."""
    spec = checked(RunSpec("r", "s", "stdlib", name, 4, 2, 1, 6_400, 512, 1e-3, weight_decay=0.3, **choices))
    model = network(kind=torch.float32)
    steppers = optimizers.build(name, model, spec.settings)
    for _ in range(steps):
        cross_entropy(model, TOKENS).backward()
        for each in steppers:
            each.step()
            each.zero_grad()
    return model, steppers


@pytest.mark.parametrize("steps", [0, 5])
@pytest.mark.parametrize("name", ["adamw", "sgd", "rmsprop", "muon", "lion", "lamb", "adafactor"])
def test_the_update_is_that_of_the_next_step_without_decay(name, steps):
    model, steppers = trained(name, steps)
    here = landscape(cross_entropy, model, TOKENS)
    step = next_step(here, steppers)
    before = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    cross_entropy(model, TOKENS).backward()
    decays = torch.cat([torch.full((p.numel(),), 0.3 * (p.ndim > 1)) for p in model.parameters()])
    for each in steppers:
        each.step()
    moved = (before - torch.nn.utils.parameters_to_vector(model.parameters()).detach()) / 1e-3
    scale = float(step.update.abs().max())
    torch.testing.assert_close(step.update, moved - decays * before, rtol=0.02, atol=2e-3 * scale)


@pytest.mark.parametrize("steps", [0, 1, 5])
@pytest.mark.parametrize("name", ["adamw", "sgd", "rmsprop", "muon"])
def test_the_update_is_the_inverse_times_the_momentum(name, steps):
    """P^-1/2 twice on m, the moving average (or heavy ball) of gradients, gives u: that is what P means."""
    model, steppers = trained(name, steps, momentum=0.0 if name == "rmsprop" else None)
    here = landscape(cross_entropy, model, TOKENS)
    step = next_step(here, steppers)
    parts = dict(zip(map(id, here.weights), step.gradient.split([p.numel() for p in here.weights])))
    momenta = {}
    for each in steppers:
        for group in each.param_groups:
            for p in group["params"]:
                g, state = parts[id(p)].view_as(p), each.state.get(p, {})
                if isinstance(each, torch.optim.SGD):
                    m = g if not state else 0.9 * state["momentum_buffer"] + g
                elif isinstance(each, torch.optim.RMSprop):
                    m = g
                elif isinstance(each, torch.optim.Muon):
                    m = 0.05 * g + 0.95 * (
                        0.05 * g + 0.95 * state.get("momentum_buffer", torch.zeros_like(g))
                    )
                else:
                    m = 0.1 * g + 0.9 * state.get("exp_avg", torch.zeros_like(g))
                momenta[id(p)] = m.reshape(-1)
    m = torch.cat([momenta[id(p)] for p in here.weights])
    found = step.inverse_root(step.inverse_root(m))
    scale = float(step.update.abs().max())
    tolerance = 0.02 if name == "muon" else 1e-3  # its iterations run in 16 bits
    torch.testing.assert_close(found, step.update, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize(
    ("name", "threshold"),
    [("adamw", 38.0), ("sgd", 3.8), ("rmsprop", 2.0), ("muon", 26.8966), ("lion", None)],
)
def test_the_threshold_is_that_of_the_form(name, threshold):
    model, steppers = trained(name, 1)
    step = next_step(landscape(cross_entropy, model, TOKENS), steppers)
    assert step.threshold == (None if threshold is None else pytest.approx(threshold, rel=1e-5))
    assert (step.inverse_root is None) == (threshold is None)


@pytest.mark.parametrize("share", [0.97, 1.05])
@pytest.mark.parametrize("name", ["adamw", "sgd", "rmsprop"])
def test_training_is_stable_below_the_threshold_alone(name, share):
    """On a quadratic, near the minimum, where second moments are nothing beside epsilon."""
    scales = torch.tensor([1.0, 3.0, 10.0], dtype=torch.float64)
    model = nn.Linear(3, 1, bias=False).double()
    nn.init.constant_(model.weight, 1e-9)
    loss = lambda m, x: (m.weight * scales).square().sum() / 2 + 0 * x.sum()  # noqa: E731
    optimizer = {
        "adamw": lambda p: torch.optim.AdamW(p, betas=(0.9, 0.999), eps=1.0, weight_decay=0.0, lr=0.0),
        "sgd": lambda p: torch.optim.SGD(p, momentum=0.9, lr=0.0),
        "rmsprop": lambda p: torch.optim.RMSprop(p, eps=0.5, lr=0.0),
    }[name](model.parameters())

    def step():
        optimizer.zero_grad()
        loss(model, scales).backward()
        optimizer.step()
        return float(model.weight.detach().norm())

    for _ in range(300):  # until nothing is left of Adam's bias correction
        step()
    here = landscape(loss, model, torch.ones(1, 1))
    found = next_step(here, optimizer)
    sharpness = spectra.largest_eigenvalue(here, found.inverse_root, tolerance=1e-12).value
    optimizer.param_groups[0]["lr"] = share * found.threshold / sharpness
    norms = [step() for _ in range(30)]
    assert (max(norms[-5:]) > max(norms[5:10])) == (share > 1)


def test_clipping_scales_the_gradient_that_the_optimizer_sees():
    model, steppers = trained("sgd", 3)
    here = landscape(cross_entropy, model, TOKENS)
    free = next_step(here, steppers)
    clipped = next_step(here, steppers, grad_clip=0.01)
    assert float(clipped.gradient.norm()) == pytest.approx(0.01, rel=1e-5)
    torch.testing.assert_close(
        free.update - clipped.update, free.gradient - clipped.gradient, rtol=1e-3, atol=1e-4
    )
    assert torch.equal(next_step(here, steppers, grad_clip=1e6).gradient, free.gradient)


def test_groups_of_other_rates_count_in_rates_of_the_first():
    model = nn.Linear(2, 2).double()
    groups = [{"params": [model.weight], "lr": 0.1}, {"params": [model.bias], "lr": 0.4}]
    here = landscape(lambda m, x: m(x).square().mean() * 2, model, torch.randn(5, 2, dtype=torch.float64))
    step = next_step(here, torch.optim.SGD(groups))
    torch.testing.assert_close(step.update, step.gradient * torch.tensor([1.0] * 4 + [4.0] * 2))
    v = torch.ones(6, dtype=torch.float64)
    torch.testing.assert_close(step.inverse_root(v), torch.tensor([1.0] * 4 + [2.0] * 2, dtype=torch.float64))


def test_what_an_optimizer_does_not_move_counts_for_nothing():
    model = nn.Linear(2, 2)
    here = landscape(lambda m, x: m(x).square().mean(), model, torch.ones(3, 2))
    step = next_step(here, torch.optim.SGD([model.weight]))
    assert torch.equal(step.update[4:], torch.zeros(2))
    assert torch.equal(step.inverse_root(torch.ones(6)), torch.tensor([1.0] * 4 + [0.0] * 2))


def test_the_noise_scale_against_its_definition():
    here = landscape(cross_entropy, network(), TOKENS)
    each = torch.stack([landscape(cross_entropy, network(), TOKENS[i : i + 1]).gradient() for i in range(6)])
    noise = each.var(dim=0).sum()
    found = spectra.noise_scale(here)
    assert found.noise == pytest.approx(float(noise))
    assert found.signal == pytest.approx(float(each.mean(dim=0).square().sum() - noise / 6))
    assert found.cost.gradients == 1


# ------------------------------------------------------------------------------------------ misuse


class Once(torch.autograd.Function):
    """A kernel with a first derivative only."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * slope


class Wrong(Once):
    """A kernel whose backward pass hides its graph: second derivatives before it are silently left out."""

    @staticmethod
    def backward(ctx, slope):
        (x,) = ctx.saved_tensors
        return (3 * x**2 * slope).detach()


def with_kernel(kernel):
    def loss(model, x):
        return model[2](kernel.apply(model[1](model[0](x)))).square().mean()

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    return landscape(loss, model, torch.randn(5, 3, dtype=torch.float64))


def frozen():
    model = network()
    for p in model.parameters():
        p.requires_grad_(False)
    return model


def broken():
    model = network()
    with torch.no_grad():
        model.blocks[0].attention.out.weight[0, 0] = float("nan")
    return model


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: landscape(cross_entropy, nn.GELU(), TOKENS),
            "landscape: the model has no parameters; expected",
        ),
        (lambda: landscape(cross_entropy, frozen(), TOKENS), "landscape: all 8 parameters are frozen"),
        (
            lambda: landscape(cross_entropy, broken(), TOKENS),
            "landscape: weights blocks.0.attention.out.weight are not finite; expected numbers; ",
        ),
        (lambda: landscape(cross_entropy, network(), TOKENS[:0]), "landscape: the batch has no sequences"),
        (
            lambda: landscape(cross_entropy, network(), TOKENS, micro_batch=0),
            "landscape: micro_batch = 0; expected",
        ),
        (
            lambda: landscape(cross_entropy, network(), (TOKENS, TOKENS[:2])),
            "landscape: tensors of [2, 6] sequences; expected one number for all",
        ),
        (
            lambda: landscape(lambda m, x: m(x[:, :-1]), network(), TOKENS).gradient(),
            "loss: shape (6, 6, 12); expected a scalar, the mean over the batch; take its mean",
        ),
        (
            lambda: landscape(lambda m, x: cross_entropy(m, x) / 0.0, network(), TOKENS).gradient(),
            "loss = inf; expected a finite number",
        ),
        (
            lambda: spectra.largest_eigenvalue(with_kernel(Once)),
            "second derivative: an operation cannot be differentiated twice (a function is "
            "marked with @once_differentiable); expected plain",
        ),
        (lambda: spectra.largest_eigenvalue(with_kernel(Wrong)), "the Hessian is asymmetric by"),
        (
            lambda: next_step(
                landscape(cross_entropy, network(), TOKENS), torch.optim.SGD(nn.Linear(1, 1).parameters())
            ),
            "next_step: the optimizer moves none of the model's weights",
        ),
        (
            lambda: next_step(landscape(cross_entropy, network(), TOKENS), "adam"),
            "next_step: str; expected an opt",
        ),
    ],
)
def test_misuse_is_one_clear_error(call, message):
    with pytest.raises(BadInput) as caught:
        call()
    assert str(caught.value).startswith(message)


def test_short_memory_is_one_clear_error(monkeypatch):
    here = landscape(cross_entropy, network(), TOKENS)

    def full(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(torch.autograd, "grad", full)
    with pytest.raises(
        BadInput, match=r"does not fit the memory \(CUDA out of memory.*set micro_batch lower"
    ):
        spectra.largest_eigenvalue(here)


def test_a_kernel_without_second_derivative_still_has_a_critical_learning_rate():
    here = with_kernel(Once)
    step = next_step(here, torch.optim.SGD(here.weights))
    assert spectra.critical_learning_rate(here, step, 1.0).value > 0
