"""The other networks: counts against the modules, what they may see, and sizes of families."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from bayeslaw.lab.data.images import as_rows
from bayeslaw.lab.models.counts import counts, flops_per_token, params_nonembedding
from bayeslaw.lab.models.families import params_of, size_for
from bayeslaw.lab.models.networks import NETWORKS, build
from bayeslaw.lab.models.transformer import Shape
from bayeslaw.lab.models.vit import PatchEmbedding
from bayeslaw.lab.train.objective import cross_entropy
from bayeslaw.spectra.for_torch import landscape

CLASSES, SIDE, PATCHES = 10, 8, 16


def shape_of(name: str) -> Shape:
    if NETWORKS[name].images:
        return Shape(CLASSES, 24, 2, 1, tied=False, model=name, length=PATCHES)
    return Shape(300, 24, 2, 1, model=name, length=PATCHES)


def rows_of(name: str, count: int = 4) -> torch.Tensor:
    values = np.random.default_rng(0)
    if NETWORKS[name].images:
        images = values.integers(256, size=(count, SIDE, SIDE, 1))
        return torch.from_numpy(as_rows(images, values.integers(CLASSES, size=count)))
    return torch.from_numpy(values.integers(300, size=(count, PATCHES + 1)))


def loss(model, rows):
    return cross_entropy(model(rows[:, :-1]), rows, 0.0)


@pytest.mark.parametrize("name", NETWORKS)
def test_counts_are_those_of_the_weights_that_learn(name):
    """All of them, but for the upper half of a matrix that mixes the tokens of a text."""
    model = build(shape_of(name), seed=0)
    loss(model, rows_of(name)).backward()
    found = dict.fromkeys(counts(shape_of(name)), 0)
    for path, weight in model.named_parameters():
        used = torch.ones_like(weight)
        if name == "text_mixer" and ".mixing." in path:
            used = used.tril()
            assert not weight.grad.triu(1).any()
        group = next((g for g in found if path.startswith(g) or f".{g}." in path), "norms")
        found[group] += int(used.sum())
    assert found == counts(shape_of(name))


@pytest.mark.parametrize("name", NETWORKS)
def test_flops_are_those_that_torch_counts(name):
    from torch.utils.flop_counter import FlopCounterMode

    model, rows = build(shape_of(name), seed=0), rows_of(name)
    with (
        FlopCounterMode(display=False) as forward,
        torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    ):
        model(rows[:, :-1])
    assert 3 * forward.get_total_flops() == len(rows) * PATCHES * flops_per_token(shape_of(name), PATCHES)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_untrained_network_guesses_uniformly(name):
    found = loss(build(shape_of(name), seed=1), rows_of(name, 64))
    assert abs(found.item() - math.log(shape_of(name).vocabulary)) < 0.15


@pytest.mark.parametrize("name", ["vit", "text_mixer"])
def test_curvature_can_be_measured(name):
    here = landscape(loss, build(replace(shape_of(name), depth=1), seed=0), rows_of(name))
    with here.hessian() as product:
        assert float((product(here.vector(np.ones(here.size))) ** 2).sum()) > 0


def test_a_mixer_of_text_does_not_see_the_future():
    model, tokens = build(shape_of("text_mixer"), seed=0), rows_of("text_mixer")[:, :-1]
    other = tokens.clone()
    other[:, 9:] = (other[:, 9:] + 1) % 300
    before, after = model(tokens), model(other)
    torch.testing.assert_close(before[:, :9], after[:, :9])
    assert (before[:, 9:] - after[:, 9:]).abs().max() > 1e-4
    torch.testing.assert_close(model(tokens[:, :5]), before[:, :5])


@pytest.mark.parametrize("name", ["vit", "mixer"])
def test_a_network_of_images_sees_every_pixel(name):
    model, pixels = build(shape_of(name), seed=0), rows_of(name, 1)[:, :-1]
    before = model(pixels)
    for place in range(pixels.shape[1]):
        other = pixels.clone()
        other[:, place] = 255 - other[:, place]
        assert (model(other) - before).abs().max() > 0


def test_patches_are_squares_of_the_image():
    embedding = PatchEmbedding(replace(shape_of("mixer"), width=4, channels=1), places=False)
    with torch.no_grad():
        embedding.patches.weight.copy_(torch.eye(4))
    image = torch.arange(SIDE * SIDE).reshape(1, -1)
    first = (embedding(image)[0, 0] + 1) * 127.5
    last = (embedding(image)[0, -1] + 1) * 127.5
    assert first.round().tolist() == [0, 1, 8, 9]
    assert last.round().tolist() == [54, 55, 62, 63]


def test_sizes_of_a_family_are_counted_for_the_network():
    like = Shape(1, 16, 1, 1, model="mixer", length=PATCHES)
    width, depth, heads = size_for(params_of((64, 3, 1), like), like=like)
    assert (width, depth, heads) == (64, 3, 1)
    assert params_nonembedding(replace(like, width=64, depth=3)) == params_of((64, 3, 1), like)
