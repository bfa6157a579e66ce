"""Images and their classes, as rows of whole numbers: every pixel from 0 to 255, then the class."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayeslaw.errors import BadInput
from bayeslaw.files import cache_folder, write_atomically
from bayeslaw.lab.data.corpus import HUB
from bayeslaw.lab.data.order import CHOICE, CROP, SHUFFLE, generator

if TYPE_CHECKING:
    from PIL.Image import Image

DIGITS = "digits"
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
EXPECTED = f'"{DIGITS}", a folder with a subfolder of images for each class, or "{HUB}NAME[:CONFIG]"'
VALIDATION_SHARE = 5
MODES = {1: "L", 3: "RGB"}
"""Channels and Pillow's name for them."""
BRIGHTEST = 16
"""Of a pixel in scikit-learn's digits."""
MARGIN = 8
"""A crop is shifted by at most the side over this: 1 of 8 pixels, 4 of 32 (He et al. 2016)."""


@dataclass(frozen=True, eq=False)
class Images:
    """Square images of one size.

    Attributes:
        digest: of pixels, classes and their split.
        classes: names, in the order of their numbers.
        train: uint8 (image, side, side, channel).
        train_class: int64 (image,).
        validation, validation_class: likewise.
    """

    digest: str
    classes: tuple[str, ...]
    train: np.ndarray
    train_class: np.ndarray
    validation: np.ndarray
    validation_class: np.ndarray


def known_images(source: str) -> None:
    """Check cheaply that images can exist, without reading them.

    Raises:
        BadInput: an unknown name, no folder, or one without a subfolder of images for each of two classes.
    """
    if source == DIGITS:
        return
    if not source.startswith(HUB):
        _class_folders(source)
    elif not source.removeprefix(HUB).partition(":")[0]:
        raise BadInput(f"images {source!r}: names no data set; expected {HUB}NAME or {HUB}NAME:CONFIG")


def prepare_images(source: str, side: int, channels: int, cache: Path | None = None) -> Images:
    """Read images once, scaled to one size, and cache them.

    ``source`` is one of:

    * "digits": 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn (Alpaydin and Kaynak
      1998, UCI repository);
    * a folder with a subfolder of images for each class, or with folders ``train`` and ``validation`` of
      these;
    * "hub:NAME[:CONFIG]": a data set of the Hugging Face hub with a column of images and one of classes, with
      its splits "train" and, if there is one, "validation" or else "test".

    Without a validation split one image in 5 is set apart by a hash of its pixels, so that copies fall into
    one split. An image that is not square is cropped at its longer sides.

    Args:
        source: as above.
        side: height and width [pixels].
        channels: 1 for grey, 3 for red, green and blue.
        cache: folder; by default $BAYESLAW_CACHE or ~/.cache/bayeslaw.

    Raises:
        BadInput: as ``known_images``; an image that cannot be read, a data set without images or classes, no
            image for one of the splits, a cache that cannot be written.
    """
    known_images(source)
    place = cache_folder(cache) / "images" / f"{_key(source, side, channels)}.npz"
    if (kept := _kept(place)) is not None:
        return kept
    made = _split(source, *_read(source, side, channels))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(place) as temporary, temporary.open("wb") as file:
            np.savez(file, **vars(made))
    except OSError as error:
        raise BadInput(
            f"cache {place.parent}: cannot be written ({error.strerror or error}); free space there, or name "
            "another folder in BAYESLAW_CACHE"
        ) from None
    return made


def image_order(available: int, images: int, seed: int) -> np.ndarray:
    """Order the images of training: every image once, then again in another order, as often as it takes.

    They are the first of one fixed permutation where fewer are seen than there are. The seed shuffles each
    round.

    Args:
        available: images for training.
        images: seen in the run, repeats included.
        seed: 0 or above.

    Returns:
        Indices, int64 (images,).

    >>> image_order(available=5, images=3, seed=0).tolist()
    [2, 3, 0]
    >>> image_order(available=3, images=7, seed=0).tolist()
    [0, 2, 1, 0, 2, 1, 1]
    """
    chosen = generator(CHOICE).permutation(available)[:images].astype(np.int64)
    rounds = -(-images // len(chosen))
    order = [generator(SHUFFLE, seed, turn).permutation(chosen) for turn in range(rounds)]
    return np.concatenate(order)[:images]


def shifts(images: int, side: int, seed: int) -> np.ndarray:
    """Shift of the crop of each image of a run, down and to the right [pixels], int64 (images, 2)."""
    most = side // MARGIN
    return generator(CROP, seed).randint(-most, most + 1, size=(images, 2)).astype(np.int64)


def cropped(images: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Images moved by a shift each, their edges repeated; (image, side, side, channel) and (image, 2).

    >>> cropped(np.array([[[[1], [2]], [[3], [4]]]]), np.array([[1, 0]]))[0, :, :, 0].tolist()
    [[3, 4], [3, 4]]
    """
    side = images.shape[1]
    rows, columns = (np.clip(np.arange(side) + shift[:, [axis]], 0, side - 1) for axis in (0, 1))
    each = np.arange(len(images))[:, None, None]
    return images[each, rows[:, :, None], columns[:, None, :]]


def as_rows(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Pixels row by row, then the class; int64 (image, side x side x channels + 1)."""
    return np.column_stack([images.reshape(len(images), -1), classes]).astype(np.int64)


# ------------------------------------------------------------------------------------------- reading

Pictures = Iterable[tuple["Image", int]]


def _read(source: str, side: int, channels: int) -> tuple[tuple[str, ...], list[Any]]:
    """Names of the classes, and for each split (pixels, classes); a single split is still to be divided."""
    if source == DIGITS:
        names, splits = _digits()
    elif source.startswith(HUB):
        names, splits = _hub(source)
    else:
        names, splits = _folders(source)
    return names, [_arrays(pictures, side, channels) for pictures in splits]


def _arrays(pictures: Pictures, side: int, channels: int) -> tuple[np.ndarray, np.ndarray]:
    from PIL import ImageOps

    pixels, classes = [], []
    for picture, number in pictures:
        fitted = picture.convert(MODES[channels])
        if fitted.size != (side, side):
            fitted = ImageOps.fit(fitted, (side, side))
        pixels.append(np.asarray(fitted, np.uint8).reshape(side, side, channels))
        classes.append(number)
    return np.array(pixels, np.uint8).reshape(-1, side, side, channels), np.array(classes, np.int64)


def _digits() -> tuple[tuple[str, ...], list[Pictures]]:
    from PIL import Image
    from sklearn.datasets import load_digits

    found = load_digits()
    grey = np.rint(found.images * (255 / BRIGHTEST)).astype(np.uint8)
    pictures = ((Image.fromarray(each), int(number)) for each, number in zip(grey, found.target))
    return tuple(str(name) for name in found.target_names), [pictures]


def _class_folders(source: str) -> list[dict[str, list[Path]]]:
    """Files of each class by its name, for each split."""
    path = Path(source).expanduser()
    if not path.is_dir():
        raise BadInput(f"images {source!r}: no such folder; expected {EXPECTED}; check the spelling")
    roots = [path / "train", path / "validation"]
    splits = []
    for root in roots if all(each.is_dir() for each in roots) else [path]:
        found = {
            folder.name: sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
            for folder in sorted(root.iterdir())
            if folder.is_dir()
        }
        splits.append({name: files for name, files in found.items() if files})
    if len(splits[0]) < 2 or any(set(other) - set(splits[0]) for other in splits):
        raise BadInput(
            f"images {source!r}: classes {', '.join(splits[0]) or 'none'}; expected a subfolder of images "
            "for each of at least two, the same in validation; sort the images into folders"
        )
    return splits


def _folders(source: str) -> tuple[tuple[str, ...], list[Pictures]]:
    splits = _class_folders(source)
    names = tuple(splits[0])
    return names, [_opened(files, names) for files in splits]


def _opened(files: dict[str, list[Path]], names: tuple[str, ...]) -> Iterator[tuple[Image, int]]:
    from PIL import Image

    for name, members in files.items():
        for file in members:
            try:
                with Image.open(file) as picture:
                    picture.load()
            except OSError as error:
                raise BadInput(f"{file}: not a readable image ({error}); mend or remove it") from None
            yield picture, names.index(name)


def _hub(source: str) -> tuple[tuple[str, ...], list[Pictures]]:
    from datasets import load_dataset

    name, _, config = source.removeprefix(HUB).partition(":")
    try:
        splits = load_dataset(name, config or None)
    except Exception as error:  # of a dozen types: no network, unknown name, configuration needed, ...
        raise BadInput(
            f"images {source!r}: cannot be opened ({str(error).partition(chr(10))[0]}); expected "
            f"{HUB}NAME or {HUB}NAME:CONFIG of a hub data set; check the name and the network"
        ) from None
    return labelled(source, splits)


def labelled(source: str, splits: Any) -> tuple[tuple[str, ...], list[Pictures]]:
    """Names of the classes and the splits of a data set of the hub, found by the types of its columns.

    Args:
        source: for messages.
        splits: a ``datasets.DatasetDict``.

    Raises:
        BadInput: no split "train", no column of images, none of classes.
    """
    from datasets import ClassLabel
    from datasets import Image as Picture

    if "train" not in splits:
        raise BadInput(f'images {source!r}: splits {", ".join(splits)}; expected "train"; choose another')
    features = splits["train"].features
    found = [
        next((n for n, f in features.items() if isinstance(f, kind)), "") for kind in (Picture, ClassLabel)
    ]
    if not all(found):
        raise BadInput(
            f"images {source!r}: columns {', '.join(features)}; expected one of images and one of class "
            "labels; choose another data set"
        )
    image, label = found
    apart = next((name for name in ("validation", "test") if name in splits), None)
    wanted = [splits["train"], *([splits[apart]] if apart else [])]
    pictures = [((row[image], row[label]) for row in rows) for rows in wanted]
    return tuple(features[label].names), list(pictures)


def _split(source: str, classes: tuple[str, ...], splits: list[tuple[np.ndarray, np.ndarray]]) -> Images:
    if len(splits) == 1:
        ((images, numbers),) = splits
        apart = np.array([_hash(image) % VALIDATION_SHARE == 0 for image in images], bool)
        splits = [(images[~apart], numbers[~apart]), (images[apart], numbers[apart])]
    if not all(len(images) for images, _ in splits):
        raise BadInput(
            f"images {source!r}: no image for one of the splits (a hash sets one in {VALIDATION_SHARE} apart "
            "for validation); give more images, or folders train and validation"
        )
    digest = hashlib.sha256(json.dumps(classes).encode())
    for images, numbers in splits:
        digest.update(images.tobytes() + numbers.tobytes())
    return Images(digest.hexdigest()[:16], classes, *splits[0], *splits[1])


def _hash(image: np.ndarray) -> int:
    return int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:8], "big")


# -------------------------------------------------------------------------------------------- cache


def _key(source: str, side: int, channels: int) -> str:
    """Name a request by the source, the state of its files and the choices, without reading."""
    state: list[Any] = [source, side, channels]
    if source != DIGITS and not source.startswith(HUB):
        for files in _class_folders(source):
            for file in itertools.chain(*files.values()):
                status = os.stat(file)
                state.append([os.path.abspath(file), status.st_size, status.st_mtime_ns])
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]


def _kept(place: Path) -> Images | None:
    """Images on disk; None if they are missing or damaged."""
    try:
        with np.load(place) as found:
            values: dict[str, Any] = {name: found[name] for name in found.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    values["digest"], values["classes"] = str(values["digest"]), tuple(map(str, values["classes"]))
    return Images(**values)
