"""Optimizers: they learn, decay is decoupled, state survives a checkpoint."""

from __future__ import annotations

import copy
import io
import math

import pytest
import torch

from bayeslaw.lab.models.transformer import Shape, build
from bayeslaw.lab.train import optimizers, schedules
from bayeslaw.lab.train.optimizers import OPTIMIZERS, Settings

SHAPE = Shape(vocabulary=300, width=16, depth=1, heads=1)
RATES = {"sgd": 0.3, "lion": 3e-3, "adafactor": 3e-2, "lamb": 3e-2}
TOKENS = torch.randint(300, (8, 9), generator=torch.Generator().manual_seed(0))


def settings(name: str, weight_decay: float | None = None) -> Settings:
    usual = OPTIMIZERS[name].defaults
    decay = usual.weight_decay if weight_decay is None else weight_decay
    knobs = (knob or 0.0 for knob in (usual.momentum, usual.beta2, usual.epsilon))
    return Settings(RATES.get(name, 1e-2), *knobs, decay)


def network():
    return build(SHAPE, 8, seed=0)


def step(model, steppers):
    logits = model(TOKENS[:, :-1])
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), TOKENS[:, 1:].flatten())
    loss.backward()
    for stepper in steppers:
        stepper.step()
        stepper.zero_grad()
    return loss.item()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_learns_one_batch_by_heart(name):
    model = network()
    steppers = optimizers.build(name, model, settings(name))
    losses = [step(model, steppers) for _ in range(60)]
    assert losses[0] == pytest.approx(math.log(300), abs=0.1)
    assert losses[-1] < losses[0] - 1


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_parameter_is_moved_by_one_optimizer(name):
    model = network()
    steppers = optimizers.build(name, model, settings(name))
    moved = [id(p) for stepper in steppers for group in stepper.param_groups for p in group["params"]]
    assert sorted(moved) == sorted(id(p) for p in model.parameters())


@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"lamb"}))  # its trust ratio scales decay too
def test_decay_shrinks_matrices_in_proportion_and_leaves_gains_alone(name):
    """Two networks, one step on one gradient: they differ by lr x decay x the weights before."""
    plain, decayed = network(), network()
    before = {k: v.detach().clone() for k, v in plain.named_parameters()}
    step(plain, optimizers.build(name, plain, settings(name, 0.0)))
    step(decayed, optimizers.build(name, decayed, settings(name, 0.25)))
    rate = settings(name).learning_rate
    for key, weight in plain.named_parameters():
        pull = weight.detach() - dict(decayed.named_parameters())[key].detach()
        expected = rate * 0.25 * before[key] if weight.ndim > 1 else torch.zeros_like(before[key])
        # Adafactor scales its step by the size of the weights, which decay has just shrunk
        torch.testing.assert_close(pull, expected, rtol=2e-2 if name == "adafactor" else 1e-3, atol=1e-5)


@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"lamb", "adafactor"}))
def test_learning_rate_dropout_moves_some_coordinates_and_decays_all(name):
    """Coordinates that miss the step have decayed; the others are where they would be without dropout."""
    whole, part = network(), network()
    before = {k: v.detach().clone() for k, v in whole.named_parameters()}
    step(whole, optimizers.build(name, whole, settings(name, 0.25)))
    torch.manual_seed(0)
    step(part, optimizers.build(name, part, settings(name, 0.25), lr_dropout=0.75))
    moved = []
    for key, weight in part.named_parameters():
        decay = settings(name).learning_rate * 0.25 if weight.ndim > 1 else 0.0
        stays = torch.isclose(weight, before[key] * (1 - decay), rtol=1e-6, atol=0)
        goes = torch.isclose(weight, dict(whole.named_parameters())[key], rtol=1e-6, atol=0)
        assert (stays | goes).all()
        moved.append((goes & ~stays).flatten())
    assert torch.cat(moved).float().mean() == pytest.approx(0.25, abs=0.03)


def test_the_mean_step_of_adam_is_what_is_kept_of_it():
    """Half of the coordinates move by the whole step: in the mean by half, with variance p (1 - p) of it."""
    rate, whole = 0.01, torch.nn.Parameter(torch.zeros(100_000))
    stepper = torch.optim.AdamW([whole], lr=rate, weight_decay=0.0, eps=0.0)
    optimizers.drop_learning_rates(stepper, 0.5)
    torch.manual_seed(0)
    whole.grad = torch.ones_like(whole)
    stepper.step()
    step = -whole.detach() / rate  # Adam's first step is the sign of the gradient
    assert sorted(set(step.round(decimals=4).tolist())) == [0.0, 1.0]
    assert step.mean() == pytest.approx(0.5, abs=0.005)
    assert step.var() == pytest.approx(0.25, abs=0.001)


def test_moments_see_the_gradients_of_steps_that_are_missed():
    whole, part = network(), network()
    steppers = [optimizers.build("adamw", m, settings("adamw"), p) for m, p in ((whole, 0.0), (part, 0.9))]
    for model, stepper in zip((whole, part), steppers):
        step(model, stepper)
    ((first,), (second,)) = steppers
    for a, b in zip(whole.parameters(), part.parameters()):
        torch.testing.assert_close(first.state[a]["exp_avg"], second.state[b]["exp_avg"], rtol=0, atol=0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_goes_through_a_file(name):
    model = network()
    steppers = optimizers.build(name, model, settings(name))
    for _ in range(3):
        step(model, steppers)
    file = io.BytesIO()
    torch.save([stepper.state_dict() for stepper in steppers], file)
    other = copy.deepcopy(model)
    again = optimizers.build(name, other, settings(name))
    for stepper, state in zip(again, torch.load(io.BytesIO(file.getvalue()), weights_only=True)):
        stepper.load_state_dict(state)
    losses = [[step(m, s) for _ in range(3)] for m, s in ((model, steppers), (other, again))]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("schedule", schedules.NAMES)
def test_schedules_warm_up_then_fall(schedule):
    rates = [schedules.fraction(schedule, step, 100, 10, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert max(rates) == 1.0
    assert rates[9:] == sorted(rates[9:], reverse=True)
    ends = {"constant": 1.0, "inverse_sqrt": math.sqrt(0.1)}
    assert rates[-1] == pytest.approx(ends.get(schedule, 0.1))


def test_wsd_holds_its_peak_until_the_last_fifth():
    rates = [schedules.fraction("wsd", step, 110, 10, 0.0) for step in range(110)]
    assert rates[9:90] == pytest.approx([1.0] * 81)
    assert rates[99] == pytest.approx(0.5)


def test_wsd_falls_over_the_share_that_is_asked_for():
    half = [schedules.fraction("wsd", step, 110, 10, 0.0, 0.5) for step in range(110)]
    assert half[9:60] == pytest.approx([1.0] * 51)
    assert half[84] == pytest.approx(0.5)
    whole, linear = (
        [schedules.fraction(name, step, 110, 10, 0.1, 1.0) for step in range(110)]
        for name in ("wsd", "linear")
    )
    assert whole == pytest.approx(linear)


@pytest.mark.parametrize("schedule", schedules.NAMES)
def test_schedules_without_warm_up_stay_finite(schedule):
    assert all(0 <= schedules.fraction(schedule, step, 3, 0, 0.0) <= 1 for step in range(3))
