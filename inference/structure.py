"""How much of an ONNX file is structure, told before it is parsed.

A parser makes an object of some 150 bytes of a message that takes two in the file, so a file of a
few megabytes could fill a machine's memory; weights and texts grow no longer than they are.
Pure functions; any thread.
"""

from __future__ import annotations

# By the numbers of their fields in onnx.proto, from ModelProto down.
_PLAIN = {(7, 5, 9), (14, 2)}  # graph.initializer.raw_data, metadata_props.value
_WITHIN = {path[:depth] for path in _PLAIN for depth in range(1, len(path))}

_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5  # kinds of field


def structure_bytes(data: bytes, most: int) -> int:
    """Return the bytes of a serialised ModelProto besides raw weights and the metadata's texts.

    Counts no further than a little beyond `most`.

    Raises
    ------
    ValueError
        If it is no such message, as far as it was read.
    """
    return _count(data, 0, len(data), (), 0, most)


def _count(data: bytes, at: int, end: int, path: tuple[int, ...], found: int, most: int) -> int:
    """Return `found` and the structure of the message from `at` to `end`, which lies at `path`."""
    while at < end and found <= most:
        begin = at
        key, at = _varint(data, at, end)
        kind, inner = key & 7, (*path, key >> 3)
        size = 0
        if kind == _VARINT:
            _, at = _varint(data, at, end)
        elif kind == _LENGTH:
            size, at = _varint(data, at, end)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            at += 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"field of kind {kind}")
        if at + size > end:
            raise ValueError("a field reaches beyond its message")
        found += at - begin
        if kind == _LENGTH and inner in _WITHIN:
            found = _count(data, at, at + size, inner, found, most)
        elif inner not in _PLAIN:
            found += size
        at += size
    return found


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the number of 7 bits a byte at `at`, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise ValueError("a number is cut short")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number of more than 10 bytes")
