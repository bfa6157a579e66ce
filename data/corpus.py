"""Stream the documents of a corpus, split into training and validation, through `datasets`."""

from __future__ import annotations

import codecs
import glob
import hashlib
import json
import locale
import lzma
import os
import sysconfig
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bayeslaw.errors import BadInput

STDLIB = "stdlib"
HUB = "hub:"
PACKED = (".gz", ".xz")
SUFFIXES = tuple(kind + packing for kind in (".txt", ".jsonl") for packing in ("", *PACKED))
EXPECTED = f'"{STDLIB}", a path to {", ".join(SUFFIXES)} or a folder of them, or "{HUB}NAME[:CONFIG]"'
VALIDATION_SHARE = 20
BYTE_ORDER_MARK = "\ufeff"
NOT_SOURCE = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}


class Files(NamedTuple):
    """Local files of a corpus.

    Attributes:
        training: files for training, and for both splits if ``validation`` is empty.
        validation: files that the folder itself sets apart.
        by_paragraph: the documents of a text file are its paragraphs, not the file as a whole.
    """

    training: list[Path]
    validation: list[Path]
    by_paragraph: bool = False


class Streams(NamedTuple):
    """Documents, opened by each call; ``validation`` is None if the source has no such split."""

    training: Callable[[], Iterator[str]]
    validation: Callable[[], Iterator[str]] | None


def known_source(source: str) -> None:
    """Check cheaply that a corpus can exist, without reading it or importing anything heavy.

    Raises:
        BadInput: an unknown name, a missing path, a file of another kind, a folder without documents.
    """
    if source == STDLIB:
        return
    if not source.startswith(HUB):
        local_files(source)
    elif not source.removeprefix(HUB).partition(":")[0]:
        raise BadInput(f"corpus {source!r}: names no data set; expected {HUB}NAME or {HUB}NAME:CONFIG")


def documents(source: str) -> tuple[Iterable[str], Iterable[str]]:
    """Open the documents for training and for validation, each a stream to be read once.

    ``source`` is one of:

    * "stdlib": the source of Python's standard library, one file per document, without its tests;
    * a file: .jsonl has one document per line, in the field "text"; .txt has one per paragraph (blocks
      between blank lines). Both may be compressed as .gz or .xz;
    * a folder of these, in which a .txt is one document. Files named train.* and validation.* are the splits;
    * "hub:NAME[:CONFIG]": a data set of the Hugging Face hub, streamed, with its splits "train" and, if there
      is one, "validation".

    Without a validation split of its own, one document in 20 is set apart by a hash of its text, so that
    copies of a document fall into one split. With one, a training document that also occurs in validation is
    left out of training. Empty documents are skipped. Line ends become line feeds.

    Raises:
        BadInput: at once as in `known_source`, or a hub data set that cannot be opened; while reading,
            damaged files, broken lines, a missing field "text", or a text that is not a string.
    """
    streams = _streams(source)
    training = (text for validating, text in _split(streams) if not validating)
    if streams.validation is not None:
        return training, streams.validation()
    return training, (text for validating, text in _split(streams) if validating)


def split_documents(source: str) -> Iterator[tuple[bool, str]]:
    """Read `documents` in a single pass: (belongs to validation, text).

    If the source has a validation split, that comes first.
    """
    return _split(_streams(source))


def local_files(source: str) -> Files:
    """Find the files of a corpus on this machine, sorted by name; raises BadInput like `known_source`."""
    if source == STDLIB:
        return Files(_library_files(), [])
    path = Path(source).expanduser()
    if "::" in str(path.absolute()):  # `datasets` would take it for a chain of addresses and read nothing
        raise BadInput(f'corpus {source!r}: "::" in a path cannot be read by `datasets`; rename or move it')
    if path.is_dir():
        return _folder_files(source, path)
    if not path.is_file():
        raise BadInput(
            f"corpus {source!r}: neither a known name nor an existing path; expected {EXPECTED}; "
            f"check the spelling (now in {Path.cwd()})"
        )
    if not path.name.endswith(SUFFIXES):
        raise BadInput(
            f"corpus {source!r}: not a file of a known kind; expected {EXPECTED}; rename or convert it"
        )
    return Files([path], [], by_paragraph=True)


def _library_files() -> list[Path]:
    """Files of the standard library, without tests and without files that an installation writes."""
    root = sysconfig.get_paths()["stdlib"]
    found = []
    for folder, inner, names in os.walk(root):
        inner[:] = [name for name in inner if name not in NOT_SOURCE and not name.startswith("config-")]
        found += [
            os.path.join(folder, name)
            for name in names
            if name.endswith(".py") and not name.startswith("_sysconfigdata")
        ]
    return [Path(name) for name in sorted(found)]


def _folder_files(source: str, folder: Path) -> Files:
    files = sorted(file for file in folder.iterdir() if file.name.endswith(SUFFIXES) and file.is_file())
    splits = {
        name: [file for file in files if file.name.startswith(name)] for name in ("train.", "validation.")
    }
    if splits["train."] and splits["validation."]:
        return Files(splits["train."], splits["validation."])
    if not files:
        raise BadInput(f"corpus {source!r}: no document in this folder; expected files {', '.join(SUFFIXES)}")
    if splits["validation."]:
        raise BadInput(
            f"corpus {source!r}: has validation.* but no train.*; expected both or neither; add it"
        )
    return Files(files, [])


def _streams(source: str) -> Streams:
    known_source(source)
    if source.startswith(HUB):
        return _hub_streams(source)
    files = local_files(source)
    by_paragraph = files.by_paragraph
    return Streams(
        lambda: _local_documents(files.training, by_paragraph),
        (lambda: _local_documents(files.validation, by_paragraph)) if files.validation else None,
    )


def _split(streams: Streams) -> Iterator[tuple[bool, str]]:
    """Assign documents to splits; no text is in both."""
    if streams.validation is None:
        for text in streams.training():
            yield int.from_bytes(_digest(text), "big") % VALIDATION_SHARE == 0, text
        return
    apart = set()
    for text in streams.validation():
        apart.add(_digest(text))
        yield True, text
    for text in streams.training():
        if _digest(text) not in apart:
            yield False, text


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:16]


def _local_documents(files: list[Path], by_paragraph: bool) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as scratch:  # `datasets` leaves a lock file for each file it opens
        for file in files:
            if file.name.removesuffix(".gz").removesuffix(".xz").endswith(".jsonl"):
                yield from _json_documents(file, _lines(file, "line", scratch))
            else:
                for text in _lines(file, "paragraph" if by_paragraph else "document", scratch):
                    yield from _checked(text, str(file))


def _lines(file: Path, unit: Literal["line", "paragraph", "document"], scratch: str) -> Iterator[str]:
    """Stream the text of one file, decompressed, through `datasets`.

    `load_dataset("text")` would do the same, but contacts a server even for a local file.
    """
    from datasets import IterableDataset

    encoding = locale.getpreferredencoding(False)
    if file.suffix in PACKED and codecs.lookup(encoding).name != "utf-8":
        raise BadInput(
            f"{file}: `datasets` would unpack it in the locale's encoding ({encoding}); set PYTHONUTF8=1"
        )
    name = glob.escape(str(file.absolute()))
    try:
        rows = IterableDataset.from_text(name, sample_by=unit, encoding="utf-8", cache_dir=scratch)
        for number, row in enumerate(rows):
            yield row["text"] if number else row["text"].removeprefix(BYTE_ORDER_MARK)
    except UnicodeDecodeError as error:
        raise BadInput(f"{file}: not UTF-8 text ({error.reason}); convert the file to UTF-8") from None
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise BadInput(
            f"{file}: cannot be read ({error}); check its permissions, or fetch it again"
        ) from None


def _json_documents(file: Path, lines: Iterable[str]) -> Iterator[str]:
    expected = 'expected one object a line, such as {"text": "..."}; mend or remove the line'
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"{file}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadInput(f"{place}: broken JSON ({error.msg}, column {error.colno}); {expected}") from None
        if not isinstance(row, dict):
            raise BadInput(f"{place}: a JSON {type(row).__name__}; {expected}")
        yield from _field(row, place)


def _field(row: dict[str, Any], place: str) -> Iterator[str]:
    if "text" not in row:
        raise BadInput(
            f'{place}: no field "text" (fields: {", ".join(row) or "none"}); expected the document there; '
            "rename the field that holds it"
        )
    yield from _checked(row["text"], place)


def _checked(text: object, place: str) -> Iterator[str]:
    """Yield the document, or nothing if it is empty."""
    if not isinstance(text, str):
        raise BadInput(f'{place}: "text" is {text!r:.60}; expected a string; mend or remove the document')
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadInput(f"{place}: half of a surrogate pair, which is no text; mend or remove it") from None
    if text:
        yield text


def _hub_streams(source: str) -> Streams:
    """Open a data set of the hub; only its first bytes are fetched."""
    from datasets import load_dataset

    name, _, config = source.removeprefix(HUB).partition(":")
    try:
        splits = load_dataset(name, config or None, streaming=True)
    except Exception as error:  # of a dozen types: no network, unknown name, configuration needed, ...
        raise BadInput(
            f"corpus {source!r}: cannot be opened ({_first_line(error)}); "
            f"expected {HUB}NAME or {HUB}NAME:CONFIG of a hub data set; check the name and the network"
        ) from None
    if "train" not in splits:
        raise BadInput(
            f'corpus {source!r}: has no split "train" (splits: {", ".join(splits)}); choose another'
        )
    return Streams(
        lambda: _hub_documents(source, splits["train"]),
        (lambda: _hub_documents(source, splits["validation"])) if "validation" in splits else None,
    )


def _hub_documents(source: str, rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    stream, number = iter(rows), 0
    while True:
        number += 1
        try:
            row = next(stream)
        except StopIteration:
            return
        except Exception as error:  # a broken connection or file, whatever reads it
            raise BadInput(
                f"corpus {source!r}, document {number}: cannot be read ({_first_line(error)}); try again"
            ) from None
        yield from _field(row, f"corpus {source!r}, document {number}")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
