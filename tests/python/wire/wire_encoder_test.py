# SPDX-License-Identifier: Apache-2.0
"""Other encoders than that of the vectors: the one in C++, and the short publisher that ENVELOPE.md prints."""
import os
import re
import subprocess
import sys

import pytest
import zmq
from bus import BUILD
from envelope_decoder import decode
from make_vectors import VECTORS
from vector_parts import INC, NOW, T0, to_json

HEAD = {
    "inc": INC.hex(), "seq": 7, "t0": T0, "sent": NOW, "mono": 123, "every": 10_000,
    "res": {"big": ["int", 2**64 - 1], "f": ["float", 2.0], "i": ["int", -5], "t": ["text", "ü"], "yes": ["bool", True]},
}
NAN = float("nan")


@pytest.fixture(scope="module")
def samples():
    lines = subprocess.run([BUILD / "tests/encode_samples"], check=True, capture_output=True, text=True).stdout
    messages = {name: bytes.fromhex(digits) for name, digits in map(str.split, lines.splitlines())}
    return {name: (message, to_json(decode(message, NOW))) for name, message in messages.items()}


def test_envelopes_without_records(samples):
    assert samples["least"][1] == to_json(HEAD)
    assert samples["hello"][1] == to_json(HEAD | {
        "boot": "ee" * 16, "old": NOW - 5, "every": 1500, "life": "hello", "seq": 2**64 - 1,
        "acc": {"spans": 3, "drop.span_buffer": 2**64 - 1},
    })
    assert samples["beat"][1] == to_json(HEAD | {"life": "beat"})
    assert samples["bye"][1] == to_json(HEAD | {"life": "bye"})


def test_envelopes_of_metrics(samples):
    counter = {"name": "c_total", "kind": "counter", "keys": ["a", "b"], "unit": "s", "help": "Some help", "delta": True}
    gauge = {"name": "g", "kind": "gauge", "keys": [], "unit": "", "help": "", "merge": "each"}
    plain = {"kind": "histogram", "keys": [], "unit": "", "help": "", "delta": False}
    buckets = {"count": 2**40 + 1, "buckets": [1, 0, 2**40]}
    exemplar = {"value": 0.25, "time": NOW - 4, "trace": "06" * 16, "span": "07" * 8}
    counters = [0.0, 1.0, 127.0, 128.0, 70000.0, 1e15, 1e19, 0.1, 1e300]
    gauges = [-1.0, -33.0, -1e12, -1e19, -0.5, NAN, float("inf")]
    assert samples["metrics"][1] == to_json(HEAD | {"met": [
        {"family": counter, "points": [{"labels": ["ü", ""], "value": value} for value in counters]},
        {"family": gauge, "points": [{"labels": [], "value": value} for value in gauges]},
        {"family": plain | {"name": "h", "bounds": [-1.0, 0.1, 5.0]}, "points": []},
        {"family": plain | {"name": "h2", "bounds": [1.0, 2.5]}, "points": [
            {"labels": [], "value": buckets | {"sum": 2.5}},
            {"labels": [], "value": buckets | {"sum": -2.0, "min": -3.0, "max": 0.5}},
            {"labels": [], "value": buckets | {"sum": 2.5}, "exemplar": exemplar},
        ]},
    ]})


def test_envelopes_of_spans(samples):
    attributes = {"t": ["text", "ü"], "i": ["int", -5], "u": ["int", 2**64 - 1], "whole": ["float", 2.0],
                  "f": ["float", 0.1], "yes": ["bool", True], "no": ["bool", False], "": ["int", 5]}
    first = {"what": "begin", "trace": "03" * 16, "span": "04" * 8, "parent": None, "name": "rollout", "lane": "trainer_0",
             "start": NOW - 10, "end": None, "status": 0, "attributes": {}}
    done = first | {"what": "end", "end": NOW, "status": 1}
    full = done | {"what": "span", "status": 2, "parent": "05" * 8, "attributes": attributes}
    events = [{"time": NOW - 3, "name": "first", "attributes": attributes},
              {"time": NOW - 2, "name": "second", "attributes": {}}]
    links = [{"trace": "01" * 16, "span": "02" * 8, "attributes": {}}]
    assert samples["spans"][1] == to_json(HEAD | {"spn": [
        first, first | {"what": "open"}, done, full, full | {"events": events}, full | {"events": events, "links": links},
        full | {"links": links},
    ]})


def test_an_envelope_that_was_filled_by_the_estimates_is_taken_and_nearly_full(samples):
    message, found = samples["full"]
    assert len(message) <= 1 << 20
    assert len(message) > (1 << 20) - 5000
    assert {point["value"] for point in found["met"][0]["points"]} == {0.1}


def test_the_short_publisher_of_the_document_sends_what_it_says(tmp_path):
    document = (VECTORS.parent / "ENVELOPE.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    program = tmp_path / "publisher.py"
    program.write_text(code)
    with zmq.Context() as context, context.socket(zmq.PULL) as sock:
        sock.linger = 0
        port = sock.bind_to_random_port("tcp://127.0.0.1", min_port=20000, max_port=32000)
        endpoint = {"INSIGHT_ENDPOINT": f"tcp://127.0.0.1:{port}"}
        process = subprocess.Popen([sys.executable, program], env={**os.environ, **endpoint})
        sock.rcvtimeo = 20_000
        metrics, spans = (decode(sock.recv(), 2**63) for _ in range(2))
        assert process.wait(20) == 0
    assert (metrics["seq"], spans["seq"]) == (1, 2)
    assert metrics["inc"] == spans["inc"]
    assert metrics["res"] == {"service.name": ["text", "demo"], "process.pid": ["int", process.pid]}
    assert [entry["family"]["name"] for entry in metrics["met"]] == [
        "demo_requests_total", "demo_queue_depth", "demo_latency_seconds"]
    assert [entry["points"] for entry in metrics["met"]] == [
        [{"labels": ["/v1"], "value": 42.0}], [{"labels": [], "value": 7.0}],
        [{"labels": [], "value": {"count": 3, "sum": 0.42, "buckets": [2, 1, 0]}}]]
    assert spans["life"] == "bye"
    assert [span["name"] for span in spans["spn"]] == ["rollout"]
    assert spans["spn"][0]["attributes"] == {"step": ["int", 10]}
