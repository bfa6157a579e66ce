"""Protobuf messages by field number, and the two framings of records that trackers write.

Formats: protobuf.dev/programming-guides/encoding; TFRecord of TensorFlow; the log of LevelDB, of W&B.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from typing import BinaryIO

Value = int | bytes
LONGEST_RECORD = 2**30
BLOCK = 32768
WANDB_HEADER = b":W&B"


def fields(message: bytes) -> dict[int, list[Value]]:
    """Values of a message by field number, in order: varints as integers, everything else as bytes.

    Raises:
        ValueError: the bytes are no message.

    >>> fields(b"\\x08\\x96\\x01\\x12\\x02hi")
    {1: [150], 2: [b'hi']}
    """
    found: dict[int, list[Value]] = defaultdict(list)
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, place = _varint(message, place)
            found[number].append(value)
            continue
        if kind == 2:
            length, place = _varint(message, place)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if place + length > len(message):
            raise ValueError("cut short")
        found[number].append(message[place : place + length])
        place += length
    return dict(found)


def message(parent: dict[int, list[Value]], number: int) -> dict[int, list[Value]]:
    """The last message of a field; empty where there is none."""
    values = parent.get(number)
    return fields(_bytes(values[-1])) if values else {}


def messages(parent: dict[int, list[Value]], number: int) -> list[dict[int, list[Value]]]:
    """All messages of a repeated field."""
    return [fields(_bytes(value)) for value in parent.get(number, [])]


def text(parent: dict[int, list[Value]], number: int) -> str:
    """The text of a field; empty where there is none."""
    values = parent.get(number)
    return _bytes(values[-1]).decode("utf-8", "replace") if values else ""


def integer(parent: dict[int, list[Value]], number: int) -> int:
    """The signed integer of a field; 0, the default of protobuf, where there is none."""
    value = parent.get(number, [0])[-1]
    if not isinstance(value, int):
        raise ValueError("no varint")
    return value - 2**64 if value >= 2**63 else value


def real(parent: dict[int, list[Value]], number: int) -> float | None:
    """The float or double of a field, by its length; None where there is none."""
    values = parent.get(number)
    if not values:
        return None
    packed = _bytes(values[-1])
    return float(struct.unpack("<f" if len(packed) == 4 else "<d", packed)[0])


def tfrecords(file: BinaryIO) -> Iterator[bytes]:
    """Records of a TFRecord file, up to the first that is cut short: a run that ended at once leaves one.

    Raises:
        ValueError: a length that no record has.
    """
    while len(header := file.read(12)) == 12:
        (length,) = struct.unpack("<Q", header[:8])
        if length > LONGEST_RECORD:
            raise ValueError(f"a record of {length:,} bytes")
        record = file.read(length + 4)
        if len(record) < length + 4:
            return
        yield record[:length]


def wandb_records(file: BinaryIO) -> Iterator[bytes]:
    """Records of a ``run-ID.wandb`` file, up to the first that is cut short.

    Raises:
        ValueError: the file does not begin as W&B's do.
    """
    if file.read(7)[:4] != WANDB_HEADER:
        raise ValueError("no W&B header")
    place, parts = 7, b""
    while True:
        left = BLOCK - place % BLOCK
        if left < 7:
            file.read(left)
            place += left
            continue
        header = file.read(7)
        if len(header) < 7:
            return
        _, length, kind = struct.unpack("<IHB", header)
        part = file.read(length)
        if len(part) < length:
            return
        place += 7 + length
        parts += part
        if kind in (1, 4):
            yield parts
            parts = b""


def _bytes(value: Value) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("no bytes")
    return value


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(message) and shift < 70:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
    raise ValueError("cut short")
