# SPDX-License-Identifier: Apache-2.0
"""What the groups of vectors are written with."""
import math

from packing import P, Raw, array, binary, map_header, nil, pack, pairs, text  # noqa: F401

NOW = 1_767_225_600_000_000_000  # the broker's clock, unless a vector says another
T0, SENT = NOW - 10**9, NOW
INC, TRACE, SPAN = bytes(range(1, 17)), bytes(range(17, 33)), bytes(range(33, 41))
AHEAD = 600 * 10**9
GONE = object()
ENVELOPE = 1 << 20

HEAD = {"v": 1, "inc": INC, "seq": 1, "t0": T0, "sent": SENT, "res": P({"service.name": "demo"})}
HEAD_OUT = {
    "inc": INC.hex(), "seq": 1, "t0": T0, "sent": SENT, "every": 10_000, "res": {"service.name": ["text", "demo"]},
}


def envelope(**keys):
    """The packed envelope: HEAD with other or further keys; GONE takes one away."""
    return pack({key: value for key, value in (HEAD | keys).items() if value is not GONE})


def envelope_of(*items):
    """HEAD, then (packed key, packed value) as they are."""
    return pairs(*((text(key), pack(value)) for key, value in HEAD.items()), *items)


def to_json(value):
    """A number that a double does not hold, or that JSON does not know, becomes a string."""
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return value if abs(value) <= 2**53 else str(value)
    if isinstance(value, dict):
        return {key: to_json(element) for key, element in value.items()}
    return [to_json(element) for element in value]


class Group:
    def __init__(self, name, about):
        self.name, self.about, self.vectors = name, about, []

    def add(self, name, message, expect, limit=None, side=None, now=NOW):
        """`message`: bytes, or [(bytes, how often), ...]."""
        segments = message if isinstance(message, list) else None
        vector = {"name": name}
        vector["message"] = [[data.hex(), times] for data, times in segments] if segments else message.hex()
        if now != NOW:
            vector["now"] = to_json(now)
        if limit:
            vector["limit"] = [limit, side]
        vector["expect"] = to_json(expect)
        self.vectors.append(vector)

    def valid(self, name, message, limit=None, side=None, now=NOW, without=(), **expected):
        head = {key: value for key, value in HEAD_OUT.items() if key not in without}
        self.add(name, message, head | expected, limit, side, now)

    def refused(self, name, message, reason="malformed", limit=None, side=None):
        self.add(name, message, {"refused": reason}, limit, side)
