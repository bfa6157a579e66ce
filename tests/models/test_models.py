"""Networks: counts against the modules, and what a decoder must not see."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from bayeslaw.errors import BadInput
from bayeslaw.lab.models.counts import counts, flops_per_token, params_embedding, params_nonembedding
from bayeslaw.lab.models.families import FAMILIES, params_of, size_for
from bayeslaw.lab.models.transformer import Shape, build, rotary_angles, rotated

VARIANTS = list(itertools.product(("rmsnorm", "layernorm"), ("gelu", "swiglu"), (True, False)))
SMALL = Shape(vocabulary=300, width=16, depth=2, heads=2)


def variant(norm, activation, tied):
    return Shape(300, 24, 2, 3, norm, activation, tied)


@pytest.mark.parametrize("choices", VARIANTS, ids=str)
def test_counts_are_those_of_the_modules(choices):
    shape = variant(*choices)
    model = build(shape, 8, seed=0)
    found = {"embedding": 0, "head": 0, "attention": 0, "feed_forward": 0, "norms": 0}
    for name, weight in model.named_parameters():  # a shared matrix is named once, as the embedding
        group = next((g for g in ("feed_forward.", "attention.", "embedding", "head") if g in name), "norms")
        found[group.rstrip(".")] += weight.numel()
    assert found == counts(shape)
    total = sum(p.numel() for p in model.parameters())
    assert params_nonembedding(shape) + params_embedding(shape) == total


@pytest.mark.parametrize("choices", VARIANTS, ids=str)
def test_flops_are_those_that_torch_counts(choices):
    from torch.utils.flop_counter import FlopCounterMode

    shape, length = variant(*choices), 8
    model = build(shape, length, seed=0)
    tokens = torch.zeros(4, length, dtype=torch.long)
    with (
        FlopCounterMode(display=False) as forward,
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    ):
        model(tokens)
    assert 3 * forward.get_total_flops() == tokens.numel() * flops_per_token(shape, length)


@pytest.mark.parametrize("choices", VARIANTS, ids=str)
def test_the_future_is_not_seen(choices):
    model = build(variant(*choices), 12, seed=0)
    tokens = torch.randint(300, (2, 12), generator=torch.Generator().manual_seed(0))
    other = tokens.clone()
    other[:, 7:] = (other[:, 7:] + 1) % 300
    before, after = model(tokens), model(other)
    torch.testing.assert_close(before[:, :7], after[:, :7])
    assert (before[:, 7:] - after[:, 7:]).abs().max() > 1e-4


def test_an_untrained_network_guesses_uniformly():
    logits = build(SMALL, 16, seed=1)(torch.arange(16)[None])
    loss = torch.nn.functional.cross_entropy(logits[0], torch.arange(1, 17))
    assert abs(loss.item() - math.log(300)) < 0.1


def test_the_seed_alone_fixes_the_weights():
    torch.manual_seed(5)
    first = build(SMALL, 8, seed=3).state_dict()
    untouched = torch.rand(1)
    torch.manual_seed(6)
    second, other = build(SMALL, 8, seed=3).state_dict(), build(SMALL, 8, seed=4).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not torch.equal(first["embedding.weight"], other["embedding.weight"])
    torch.manual_seed(5)
    assert torch.equal(untouched, torch.rand(1))


def test_rotary_scores_depend_on_distance_alone():
    rotation = rotary_angles(20, 8)
    q, k = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    at = lambda x, t: rotated(x.expand(1, 1, 1, 8), rotation[:, t : t + 1])[0, 0, 0]  # noqa: E731
    assert torch.allclose(at(q, 3) @ at(k, 1), at(q, 15) @ at(k, 13), atol=1e-5)
    assert not torch.allclose(at(q, 3) @ at(k, 1), at(q, 3) @ at(k, 2), atol=1e-3)


def test_parametrizations_agree_at_the_base_width():
    ids = torch.arange(8)[None]
    standard, mup = (build(Shape(300, 32, 2, 2, parametrization=p), 8, seed=0) for p in ("standard", "mup"))
    assert torch.equal(standard(ids), mup(ids))


def test_mup_begins_as_standard_but_for_the_embeddings():
    standard, mup = (build(Shape(300, 128, 2, 4, parametrization=p), 8, seed=0) for p in ("standard", "mup"))
    for name, weight in mup.named_parameters():
        if "blocks" in name and weight.ndim > 1:
            torch.testing.assert_close(weight / 4, standard.get_parameter(name))
    torch.testing.assert_close(mup.embedding.weight / 2, standard.embedding.weight)


@pytest.mark.parametrize(("parametrization", "low", "high"), [("standard", 2.2, 4.5), ("mup", 0.6, 1.5)])
def test_a_step_of_adam_moves_the_features_of_a_wide_mup_network_no_more(parametrization, low, high):
    """What a feed-forward layer says after 3 steps of one rate, 256 wide over 64 wide."""
    ids = torch.randint(300, (8, 16), generator=torch.Generator().manual_seed(0))
    moved = {}
    for width in (64, 256):
        model = build(Shape(300, width, 2, width // 16, parametrization=parametrization), 16, seed=0)
        optimizer = torch.optim.Adam([p for n, p in model.named_parameters() if "blocks" in n], lr=1e-3)
        block = model.blocks[-1].feed_forward
        before = block(torch.nn.functional.rms_norm(model.embedding(ids), (width,))).detach()
        for _ in range(3):
            loss = torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        after = block(torch.nn.functional.rms_norm(model.embedding(ids), (width,))).detach()
        moved[width] = float((after - before).square().mean().sqrt())
    assert low < moved[256] / moved[64] < high


@pytest.mark.parametrize("family", FAMILIES)
def test_families_grow_and_can_be_built(family):
    sizes = FAMILIES[family]
    params = [params_of(size) for size in sizes]
    assert params == sorted(params)
    for size in sizes:
        Shape(1024, *size)
        assert size_for(params_of(size), family) == size


def test_families_vary_width_and_depth_apart():
    assert len({depth for _, depth, _ in FAMILIES["width"]}) == 1
    assert len({width for width, _, _ in FAMILIES["depth"]}) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Shape(300, 16, 2, 3),
            "heads = 3 at width = 16; expected width / heads to be an even number",
        ),
        (lambda: Shape(300, 0, 2, 1), "width = 0; expected a whole number above 0"),
        (
            lambda: Shape(300, 16, 2, 1, parametrization="ntk"),
            "parametrization = ntk; expected one of standard, mup",
        ),
        (lambda: Shape(300, 16, 2, 1, norm="batch"), "norm = batch; expected one of rmsnorm, layernorm"),
        (lambda: size_for(1e3), "params_nonembedding = 1000; the nearest size of family both has 9,328"),
        (lambda: size_for(float("nan")), "params_nonembedding = nan; expected a finite number above 0"),
        (lambda: size_for(1e5, "odd"), "family = odd; expected one of both, width, depth"),
    ],
)
def test_shapes_that_cannot_be_are_named(make, message):
    with pytest.raises(BadInput, match="^" + message.replace("(", r"\(")):
        make()


def test_dropout_acts_in_training_alone_and_adds_no_parameter():
    plain, dropping = (build(Shape(300, 16, 2, 1, dropout=p), 8, seed=0) for p in (0.0, 0.25))
    tokens = torch.arange(16).view(2, 8)
    assert dropping.state_dict().keys() == plain.state_dict().keys()
    assert not torch.equal(dropping(tokens), plain(tokens))
    assert torch.equal(dropping.eval()(tokens), plain(tokens))
    assert torch.equal(dropping.eval()(tokens), plain.eval()(tokens))
    kept = torch.manual_seed(0) and dropping.train().dropout(torch.ones(10_000))
    assert kept.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert (kept == 0).float().mean() == pytest.approx(0.25, abs=0.02)
