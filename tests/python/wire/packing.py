# SPDX-License-Identifier: Apache-2.0
"""msgpack by hand, with every format open to the caller: a vector says which bytes it means."""
import struct


def nil():
    return b"\xc0"


def boolean(value):
    return b"\xc3" if value else b"\xc2"


def integer(value):
    """The shortest format."""
    for low, high, tag, form in (
        (0, 0x7F, None, "B"), (-32, -1, None, "b"),
        (0, 0xFF, 0xCC, "B"), (0, 0xFFFF, 0xCD, "H"), (0, 2**32 - 1, 0xCE, "I"), (0, 2**64 - 1, 0xCF, "Q"),
        (-(2**7), -1, 0xD0, "b"), (-(2**15), -1, 0xD1, "h"), (-(2**31), -1, 0xD2, "i"), (-(2**63), -1, 0xD3, "q"),
    ):
        if low <= value <= high:
            return (b"" if tag is None else bytes([tag])) + struct.pack(">" + form, value)
    raise ValueError(value)


def uint_as(bits, value):
    return bytes([{8: 0xCC, 16: 0xCD, 32: 0xCE, 64: 0xCF}[bits]]) + value.to_bytes(bits // 8, "big")


def int_as(bits, value):
    return bytes([{8: 0xD0, 16: 0xD1, 32: 0xD2, 64: 0xD3}[bits]]) + value.to_bytes(bits // 8, "big", signed=True)


def float32(value):
    return b"\xca" + struct.pack(">f", value)


def float64(value):
    return b"\xcb" + struct.pack(">d", value)


def _sized(size, *forms):
    for limit, tag, width in forms:
        if size <= limit:
            return bytes([tag | size]) if width == 0 else bytes([tag]) + size.to_bytes(width, "big")
    raise ValueError(size)


def text(value, width=None):
    """str; with `width` 1, 2 or 4 the length takes that many bytes."""
    data = value.encode() if isinstance(value, str) else value
    if width:
        return bytes([{1: 0xD9, 2: 0xDA, 4: 0xDB}[width]]) + len(data).to_bytes(width, "big") + data
    return _sized(len(data), (31, 0xA0, 0), (0xFF, 0xD9, 1), (0xFFFF, 0xDA, 2), (2**32 - 1, 0xDB, 4)) + data


def binary(data, width=None):
    if width:
        return bytes([{1: 0xC4, 2: 0xC5, 4: 0xC6}[width]]) + len(data).to_bytes(width, "big") + data
    return _sized(len(data), (0xFF, 0xC4, 1), (0xFFFF, 0xC5, 2), (2**32 - 1, 0xC6, 4)) + data


def array_header(count, width=None):
    if width:
        return bytes([{2: 0xDC, 4: 0xDD}[width]]) + count.to_bytes(width, "big")
    return _sized(count, (15, 0x90, 0), (0xFFFF, 0xDC, 2), (2**32 - 1, 0xDD, 4))


def array(*elements):
    return array_header(len(elements)) + b"".join(elements)


def map_header(count, width=None):
    if width:
        return bytes([{2: 0xDE, 4: 0xDF}[width]]) + count.to_bytes(width, "big")
    return _sized(count, (15, 0x80, 0), (0xFFFF, 0xDE, 2), (2**32 - 1, 0xDF, 4))


def pairs(*items):
    """A map of (packed key, packed value), also one that no dict could hold."""
    return map_header(len(items)) + b"".join(key + value for key, value in items)


def extension(kind=1, data=b"\x00"):
    return b"\xc7" + bytes([len(data), kind]) + data


def pack(value):
    """Of plain Python values; bytes are bin, a float is float64."""
    if value is None:
        return nil()
    if isinstance(value, bool):
        return boolean(value)
    if isinstance(value, int):
        return integer(value)
    if isinstance(value, float):
        return float64(value)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, Raw):
        return value.data
    if isinstance(value, (bytes, bytearray)):
        return binary(bytes(value))
    if isinstance(value, (list, tuple)):
        return array(*map(pack, value))
    return pairs(*((pack(key), pack(element)) for key, element in value.items()))


class Raw:
    """Bytes that stand in a value as they are, in whatever format."""

    def __init__(self, data):
        self.data = data


def P(value):
    """What a bin carries: the msgpack of a value. Pack it again to get the bin."""
    return pack(value)
