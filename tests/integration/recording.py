# SPDX-License-Identifier: Apache-2.0
"""Recorded envelopes as bus/recording/frame.hpp describes them, written and read without its code."""
import struct

TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    TABLE.append(byte)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def frame(received_ns, message):
    checked = struct.pack("<Q", received_ns) + message
    return struct.pack("<II", len(message), crc32c(checked)) + checked


def frames(data):
    """[(received_ns, message)] of a whole recording; every checksum is looked at."""
    out, at = [], 0
    while at < len(data):
        length, crc = struct.unpack_from("<II", data, at)
        checked = data[at + 8:at + 16 + length]
        assert len(checked) == 8 + length and crc32c(checked) == crc
        out.append((struct.unpack_from("<Q", checked)[0], checked[8:]))
        at += 16 + length
    return out
