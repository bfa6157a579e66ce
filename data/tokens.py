"""Tokens of a corpus: byte-level BPE, trained and applied once, cached on disk as uint16."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from bayeslaw.errors import BadInput
from bayeslaw.files import cache_folder, write_atomically
from bayeslaw.lab.data.corpus import HUB, known_source, local_files, split_documents

if TYPE_CHECKING:
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)

FORMAT = 1  # of the cache: each number has its own place in it
SMALLEST, LARGEST = 257, 65_536  # every byte and the end of text; all that uint16 can number
TRAIN_BYTES = 2**32  # of training text to read at most
VALIDATION_BYTES = 2**26
SAMPLE_BYTES = 2**25  # of training text that the BPE is learnt from
PIECE = 2**16  # characters encoded at a time
PIECES = 64  # encoded together, on all cores
SPLITS = ("train", "validation")
BREAK = re.compile(r"(?= \S)")
TOKEN = np.dtype("<u2")


@dataclass(frozen=True, eq=False)
class Corpus:
    """Tokenised corpus. The arrays are mapped from disk, read-only.

    Attributes:
        source: source as given.
        digest: digest of the documents, their split and the vocabulary.
        vocabulary: number of tokens; the last one, ``vocabulary - 1``, ends each document.
        bytes_per_token: UTF-8 bytes of training text per token, ends of documents included.
        train: uint16 (n,).
        validation: uint16 (m,).
    """

    source: str
    digest: str
    vocabulary: int
    bytes_per_token: float
    train: np.ndarray
    validation: np.ndarray


def prepare(
    source: str, vocabulary: int = 1024, cache: Path | None = None, train_bytes: int = TRAIN_BYTES
) -> Corpus:
    """Tokenise a corpus once and cache it.

    A local corpus is read again when a file changes in size or time; if its text is unchanged, the tokens on
    disk are used. A hub data set is kept as first read. If several processes ask at once, one works and the
    others wait.

    Args:
        source: as in `data.corpus.documents`.
        vocabulary: number of tokens, 257 to 65,536.
        cache: folder; by default $BAYESLAW_CACHE or ~/.cache/bayeslaw.
        train_bytes: limit of training text to read, with a warning (validation: 64 MiB).

    Raises:
        BadInput: a source that cannot be read (`data.corpus`), no document for one of the splits, a
            vocabulary out of range, or a cache that cannot be written.
    """
    known_source(source)
    if not SMALLEST <= vocabulary <= LARGEST:
        raise BadInput(
            f"vocabulary {vocabulary:,}: expected {SMALLEST} to {LARGEST:,} (tokens are kept as uint16)"
        )
    if train_bytes < 1:
        raise BadInput(f"train_bytes {train_bytes:,}: expected 1 or more")
    root = cache_folder(cache)
    pointer = root / "corpora" / f"{_key(source, vocabulary, train_bytes)}.json"
    kept = _kept(pointer, source)
    if kept is not None:
        return kept
    try:
        return _made(source, vocabulary, train_bytes, pointer)
    except OSError as error:
        raise BadInput(
            f"cache {root}: cannot be written ({error.strerror or error}); free space there, or name another "
            "folder in BAYESLAW_CACHE"
        ) from None


def tokenizer_text(digest: str, cache: Path | None = None) -> str:
    """The tokenizer of a corpus that `prepare` made, by its digest, as JSON text."""
    return (cache_folder(cache) / "corpora" / digest / "tokenizer.json").read_text(encoding="utf-8")


def _key(source: str, vocabulary: int, train_bytes: int) -> str:
    """Name a request by the source, the state of its files and the choices, without reading."""
    state: list[Any] = [FORMAT, vocabulary, train_bytes]
    if source.startswith(HUB):
        state.append(source)
    else:
        for group in local_files(source):
            state.append([_state(file) for file in group] if isinstance(group, list) else group)
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]


def _state(file: Path) -> list[Any]:
    status = os.stat(file)
    return [os.path.abspath(file), status.st_size, status.st_mtime_ns]


def _kept(pointer: Path, source: str) -> Corpus | None:
    """Open the corpus on disk; None if it is missing or damaged."""
    try:
        digest = json.loads(pointer.read_text(encoding="utf-8"))["digest"]
        return _opened(pointer.parent / digest, source)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _opened(folder: Path, source: str) -> Corpus | None:
    try:
        facts = json.loads((folder / "corpus.json").read_text(encoding="utf-8"))
        arrays = [np.memmap(folder / f"{split}.bin", dtype=TOKEN, mode="r") for split in SPLITS]
    except (OSError, ValueError):
        return None
    if [len(array) for array in arrays] != [facts[f"{split}_tokens"] for split in SPLITS]:
        return None
    train, validation = (array.view(np.ndarray) for array in arrays)
    return Corpus(
        source, facts["digest"], facts["vocabulary"], facts["train_bytes"] / len(train), train, validation
    )


def _made(source: str, vocabulary: int, train_bytes: int, pointer: Path) -> Corpus:
    """Tokenise the corpus in its own folder, renamed when complete; one process at a time."""
    from filelock import FileLock

    corpora = pointer.parent
    corpora.mkdir(parents=True, exist_ok=True)
    with FileLock(corpora / "lock"):
        kept = _kept(pointer, source)  # another process may have made it meanwhile
        if kept is not None:
            return kept
        for left in corpora.glob(".making-*"):  # left by a killed process, since a working one holds the lock
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=corpora, prefix=".making-") as scratch:
            digest = _spool(source, vocabulary, train_bytes, Path(scratch))
            if _opened(corpora / digest, source) is None:
                ready = _encoded(vocabulary, digest, Path(scratch))
                shutil.rmtree(corpora / digest, ignore_errors=True)  # there only if damaged
                os.replace(ready, corpora / digest)
        with write_atomically(pointer) as temporary:
            temporary.write_text(json.dumps({"source": source, "digest": digest}) + "\n", encoding="utf-8")
        corpus = _opened(corpora / digest, source)
    assert corpus is not None
    return corpus


def _spool(source: str, vocabulary: int, train_bytes: int, folder: Path) -> str:
    """Copy the documents into one file per split, so that a stream is read once; return their digest."""
    log.info("corpus %s: reading", source)
    digest = hashlib.sha256(f"{FORMAT} {vocabulary}".encode())
    room, size = dict(zip(SPLITS, (train_bytes, VALIDATION_BYTES))), dict.fromkeys(SPLITS, 0)
    with open(folder / "train.spool", "wb") as train, open(folder / "validation.spool", "wb") as validation:
        files = dict(zip(SPLITS, (train, validation)))
        for validating, text in split_documents(source):
            split = SPLITS[validating]
            if size["train"] >= room["train"]:
                log.warning("corpus %s: cut after %s bytes of training text", source, f"{size['train']:,}")
                break
            if size[split] >= room[split]:
                continue
            data = text.encode()
            header = len(data).to_bytes(8, "little")
            digest.update(split[:1].encode() + header + data)
            files[split].write(header + data)
            size[split] += len(data)
    empty = [split for split in SPLITS if not size[split]]
    if len(empty) == len(SPLITS):
        raise BadInput(f"corpus {source!r}: holds no text; expected documents; choose another")
    if empty:
        raise BadInput(
            f"corpus {source!r}: no document for {empty[0]} (a hash sets one in 20 apart for validation); "
            "give more documents, or a folder with train.* and validation.*"
        )
    return digest.hexdigest()[:16]


def _encoded(vocabulary: int, digest: str, folder: Path) -> Path:
    """Learn the BPE and encode the spooled documents; write a complete folder."""
    ready = folder / "ready"
    ready.mkdir()
    log.info("corpus %s: learning %d tokens", digest, vocabulary)
    tokenizer = _learnt(vocabulary, folder / "train.spool")
    tokenizer.save(str(ready / "tokenizer.json"))
    facts: dict[str, Any] = {"digest": digest, "vocabulary": vocabulary}
    for split in SPLITS:
        log.info("corpus %s: encoding %s", digest, split)
        with open(ready / f"{split}.bin", "wb") as file:
            counted = _encode(tokenizer, vocabulary - 1, folder / f"{split}.spool", file)
        facts[f"{split}_bytes"], facts[f"{split}_tokens"] = counted
    (ready / "corpus.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return ready


def _learnt(vocabulary: int, spool: Path) -> Tokenizer:
    """Learn a byte-level BPE from evenly spaced pieces of the documents; its tokens end at ``vocabulary -
    2``.

    The end of text is not one of its tokens, so that no text can spell it.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    every = -(-spool.stat().st_size // SAMPLE_BYTES)
    sample = (piece for number, (piece, _) in enumerate(_pieces(spool)) if number % every == 0)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 1,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sample, trainer)
    return tokenizer


def _encode(tokenizer: Tokenizer, end: int, spool: Path, file: BinaryIO) -> tuple[int, int]:
    """Write the tokens of all documents, each closed by ``end``; return (UTF-8 bytes, tokens)."""
    size = tokens = 0
    for pieces in _batches(_pieces(spool)):
        encodings = tokenizer.encode_batch_fast([piece for piece, _ in pieces], add_special_tokens=False)
        for encoding, (piece, last) in zip(encodings, pieces):
            ids = np.array([*encoding.ids, end] if last else encoding.ids, dtype=TOKEN)
            file.write(ids.tobytes())
            size += len(piece.encode())
            tokens += len(ids)
    return size, tokens


def _batches(pieces: Iterator[tuple[str, bool]]) -> Iterator[list[tuple[str, bool]]]:
    """Gather pieces up to the length of `PIECES` full ones, however short each is."""
    held: list[tuple[str, bool]] = []
    length = 0
    for piece in pieces:
        held.append(piece)
        length += len(piece[0])
        if length >= PIECE * PIECES:
            yield held
            held, length = [], 0
    if held:
        yield held


def _pieces(spool: Path) -> Iterator[tuple[str, bool]]:
    """Split documents into pieces of bounded length: (text, is the last of its document)."""
    with open(spool, "rb") as file:
        while header := file.read(8):
            *parts, last = cut(file.read(int.from_bytes(header, "little")).decode())
            yield from ((part, False) for part in parts)
            yield last, True


def cut(text: str, length: int = PIECE) -> list[str]:
    """Cut a text into pieces of ``length`` to twice as many characters, the last one shorter.

    The cut is before the space that leads a word, where a token always begins, so that the tokens are those
    of the whole text. A piece is cut after twice the length in any case.

    >>> cut("to be or not to be", length=4)
    ['to be', ' or not', ' to be']
    """
    parts, start = [], 0
    while len(text) - start > 2 * length:
        found = BREAK.search(text, start + length, start + 2 * length + 1)
        stop = found.start() if found else start + 2 * length
        parts.append(text[start:stop])
        start = stop
    return [*parts, text[start:]]
