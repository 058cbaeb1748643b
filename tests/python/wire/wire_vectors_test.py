# SPDX-License-Identifier: Apache-2.0
"""The vectors of bus/wire/vectors, read by a decoder that shares nothing with the one in C++."""
import json
import re

import make_vectors
import pytest
from envelope_decoder import decode
from make_vectors import VECTORS
from vector_parts import NOW, to_json

GROUPS = {path.stem: json.loads(path.read_text()) for path in sorted(VECTORS.glob("*.json"))}
ALL = [vector for group in GROUPS.values() for vector in group["vectors"]]


def message_of(vector):
    message = vector["message"]
    segments = [[message, 1]] if isinstance(message, str) else message
    return b"".join(bytes.fromhex(data) * times for data, times in segments)


def spread(value):
    """Undoes "times"."""
    if isinstance(value, dict):
        return {key: spread(element) for key, element in value.items()}
    if not isinstance(value, list):
        return value
    out = []
    for element in map(spread, value):
        times = element.pop("times", 1) if isinstance(element, dict) else 1
        out += [element] * times
    return out


@pytest.mark.parametrize("group", GROUPS)
def test_another_decoder_finds_what_the_vectors_say(group):
    for vector in GROUPS[group]["vectors"]:
        found = to_json(decode(message_of(vector), int(vector.get("now", NOW))))
        assert found == spread(vector["expect"]), vector["name"]


def test_the_files_are_those_that_the_generator_writes():
    written = {group.name: make_vectors.as_text(group) for group in make_vectors.groups()}
    assert {path.stem: path.read_text() for path in VECTORS.glob("*.json")} == written


def test_every_vector_has_a_name_of_its_own():
    names = [vector["name"] for vector in ALL]
    assert sorted(set(names)) == sorted(names)
    assert len(names) >= 150


def test_every_limit_has_a_vector_just_at_it_and_one_just_above():
    header = (VECTORS.parent / "limits.hpp").read_text()
    constants = re.findall(r"constexpr \w+ (k\w+) =", header)
    assert len(constants) == header.count("constexpr")
    tried = {tuple(vector["limit"]) for vector in ALL if "limit" in vector}
    wanted = {(name, side) for name in constants for side in ("at", "over")}
    # A default has no other side: only a vector that leaves the key out depends on it.
    wanted -= {("kDefaultEveryMs", "over")}
    assert tried == wanted
