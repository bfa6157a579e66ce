"""Images: where they come from, how they are split, cropped and ordered."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from bayeslaw.errors import BadInput
from bayeslaw.lab.data.examples import image_examples
from bayeslaw.lab.data.images import (
    as_rows,
    cropped,
    image_order,
    labelled,
    prepare_images,
    shifts,
)


@pytest.fixture
def folder(tmp_path):
    """Twenty noisy images, 12 x 10, of each of two colours."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(("blue", "red")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for k in range(20):
            pixels = rng.integers(0, 60, size=(10, 12, 3)).astype(np.uint8)
            pixels[..., 2 - 2 * number] += 190
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{k}.png")
    return tmp_path / "images"


def test_digits_are_those_of_scikit_learn(tmp_path):
    from sklearn.datasets import load_digits

    found = prepare_images("digits", 8, 1, tmp_path)
    known = load_digits()
    assert found.classes == tuple("0123456789")
    assert len(found.train) + len(found.validation) == len(known.images) == 1797
    assert 0.17 < len(found.validation) / 1797 < 0.23
    pixels = np.concatenate([found.train, found.validation])[..., 0] / 255 * 16
    numbers = np.concatenate([found.train_class, found.validation_class])
    order, wanted = (np.lexsort(each.reshape(1797, -1).T.round()) for each in (pixels, known.images))
    assert np.abs(pixels[order] - known.images[wanted]).max() < 0.05
    assert np.array_equal(np.bincount(numbers), np.bincount(known.target))
    held = {image.tobytes() for image in found.validation}
    assert not any(image.tobytes() in held for image in found.train)


def test_a_folder_is_scaled_split_and_kept(folder, tmp_path, monkeypatch):
    found = prepare_images(str(folder), 4, 3, tmp_path / "cache")
    assert found.classes == ("blue", "red")
    assert found.train.shape[1:] == (4, 4, 3)
    assert len(found.train) + len(found.validation) == 40
    brightest = found.train.reshape(len(found.train), -1, 3).mean(axis=1).argmax(axis=1)
    assert np.array_equal(brightest, np.where(found.train_class == 0, 2, 0))
    monkeypatch.setattr("bayeslaw.lab.data.images._read", lambda *_: pytest.fail("read again"))
    again = prepare_images(str(folder), 4, 3, tmp_path / "cache")
    assert again.digest == found.digest
    assert np.array_equal(again.train, found.train)


def test_a_folder_may_set_validation_apart(folder, tmp_path):
    root = tmp_path / "apart"
    for split, wanted in (("train", range(15)), ("validation", range(15, 20))):
        for name in ("blue", "red"):
            (root / split / name).mkdir(parents=True)
            for k in wanted:
                (root / split / name / f"{k}.png").write_bytes((folder / name / f"{k}.png").read_bytes())
    found = prepare_images(str(root), 4, 1, tmp_path / "cache")
    assert found.train.shape == (30, 4, 4, 1)
    assert found.validation_class.tolist() == [0] * 5 + [1] * 5


def test_a_data_set_of_the_hub_is_read_by_the_types_of_its_columns(folder):
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as Picture

    files = [str(folder / name / "0.png") for name in ("blue", "red")]
    features = Features({"picture": Picture(), "colour": ClassLabel(names=["blue", "red"])})
    rows = Dataset.from_dict({"picture": files, "colour": [0, 1]}, features=features)
    names, splits = labelled("hub:x", {"train": rows, "test": rows})
    assert names == ("blue", "red")
    assert [[number for _, number in split] for split in splits] == [[0, 1], [0, 1]]
    with pytest.raises(BadInput, match=r'^images .hub:x.: splits all; expected "train"; choose another$'):
        labelled("hub:x", {"all": rows})
    with pytest.raises(BadInput, match=r"^images .hub:x.: columns colour; expected one of images and one of"):
        labelled("hub:x", {"train": rows.remove_columns("picture")})


def test_every_round_holds_every_image_once():
    order = image_order(available=20, images=50, seed=3)
    assert len(order) == 50
    assert all(sorted(order[start : start + 20]) == list(range(20)) for start in (0, 20))
    assert not np.array_equal(order[:20], order[20:40])
    few = image_order(available=20, images=7, seed=3)
    assert set(few) == set(image_order(available=20, images=7, seed=4))
    assert set(few) < set(image_order(available=20, images=9, seed=3))


def test_crops_shift_by_an_eighth_of_the_side_at_most():
    found = shifts(4000, 16, seed=0)
    assert (found.min(), found.max()) == (-2, 2)
    assert np.abs(found.mean(axis=0)).max() < 0.1
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1)
    assert np.array_equal(cropped(image, np.array([[0, 0]])), image)
    assert cropped(image, np.array([[1, -1]]))[0, :, :, 0].tolist() == [
        [4, 4, 5, 6],
        [8, 8, 9, 10],
        [12, 12, 13, 14],
        [12, 12, 13, 14],
    ]


def test_a_row_does_not_depend_on_how_many_are_read_with_it(tmp_path):
    found = image_examples("digits", 10, images=3000, side=8, channels=1, seed=5, cache=tmp_path)
    whole = found.rows(0, 3000)
    assert whole.shape == (3000, 65)
    assert np.array_equal(np.concatenate([found.rows(0, 7), found.rows(7, 2993)]), whole)
    other = image_examples("digits", 10, images=3000, side=8, channels=1, seed=6, cache=tmp_path)
    assert not np.array_equal(other.rows(0, 3000), whole)
    assert np.array_equal(other.validation, found.validation)


def test_rows_end_with_the_class():
    assert as_rows(np.full((1, 1, 2, 1), 7), np.array([3])).tolist() == [[7, 7, 3]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        ("nowhere", "images 'nowhere': no such folder; expected \"digits\", a folder with a subfolder"),
        ("hub:", "images 'hub:': names no data set; expected hub:NAME or hub:NAME:CONFIG"),
    ],
)
def test_images_that_are_not_there_are_named(make, message, tmp_path):
    with pytest.raises(BadInput, match="^" + message):
        prepare_images(make, 8, 1, tmp_path)


def test_folders_that_hold_no_classes_and_broken_images_are_named(folder, tmp_path):
    with pytest.raises(BadInput, match="classes none; expected a subfolder of images for each of at least"):
        prepare_images(str(folder / "red"), 8, 1, tmp_path)
    (folder / "red" / "x.png").write_text("no image")
    with pytest.raises(BadInput, match=r"x.png: not a readable image .*; mend or remove it$"):
        prepare_images(str(folder), 8, 1, tmp_path)


def test_another_number_of_classes_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"'digits': 10 classes and vocabulary = 9; .* give vocabulary = 10$"):
        image_examples("digits", 9, images=10, side=8, channels=1, seed=0, cache=tmp_path)
