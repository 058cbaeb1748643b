# SPDX-License-Identifier: Apache-2.0
"""The short publisher of bus/wire/ENVELOPE.md with every field open to the test, and a bare receiver."""
import os
import time

import msgpack
import zmq

from bus import free_port, wait_until

P = msgpack.packb
_own_keys = ("v", "inc", "seq", "t0", "sent", "res")


def family(name, kind, keys=(), unit="", help="", **options):
    """The msgpack of a family."""
    return P([name, kind, list(keys), unit, help, options])


def point(value, *label_values, time_ns=None, exemplar=None):
    """`exemplar`: [value, time, trace id, span id]."""
    rest = [time_ns] if time_ns is not None or exemplar else []
    return [P(list(label_values)), value, *rest, *([exemplar] if exemplar else [])]


def counter(name, value, unit="", help="", options=None, **labels):
    """One entry of `met`: a family with one point."""
    return [family(name, "counter", labels, unit, help, **(options or {})), [point(value, *labels.values())]]


def gauge(name, value, unit="", help="", merge="last", **labels):
    return [family(name, "gauge", labels, unit, help, merge=merge), [point(value, *labels.values())]]


def histogram(name, bounds, observations, unit="", help="", **labels):
    buckets = [0] * (len(bounds) + 1)
    for x in observations:
        buckets[next((i for i, bound in enumerate(bounds) if x <= bound), len(bounds))] += 1
    value = [len(observations), float(sum(observations)), buckets]
    return [family(name, "histogram", labels, unit, help, bounds=list(bounds)), [point(value, *labels.values())]]


def span(name, lane="", start=None, end=None, what="span", status=0, attributes=None, parent=None, trace=None, id=None):
    now = time.time_ns()
    return [what, trace or os.urandom(16), id or os.urandom(8), parent, name, lane, start or now, end or now, status,
            attributes or {}]


class ShortPublisher:
    """One incarnation. Cumulative values are the caller's; only what is sent is known here."""

    def __init__(self, endpoint, resource=None, every_ms=None, inc=None, hwm=8, linger_ms=500):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.PUSH)
        self.socket.sndhwm, self.socket.linger, self.socket.ipv6 = hwm, linger_ms, True
        self.socket.connect(endpoint)
        self.inc = inc or os.urandom(16)
        self.seq, self.t0 = 0, time.time_ns()
        self.resource = {"service.name": "short", "process.pid": os.getpid(), **(resource or {})}
        self.every_ms = every_ms

    @property
    def incarnation(self):
        return self.inc.hex()

    def envelope(self, **body):
        """The bytes of the next envelope; a key given here replaces the usual one, None leaves it out."""
        fields = {"v": 1, "inc": self.inc, "seq": self.seq + 1, "t0": self.t0, "sent": time.time_ns(),
                  "res": P(self.resource)}
        if self.every_ms:
            fields["every"] = self.every_ms
        fields.update(body)
        return P({k: v for k, v in fields.items() if v is not None})

    def send(self, **body):
        """Whether ZeroMQ took it; only then the sequence number is used up."""
        if not self.send_bytes(self.envelope(**body)):
            return False
        self.seq += 1
        return True

    def send_bytes(self, *frames):
        try:
            self.socket.send_multipart(frames, zmq.DONTWAIT)
            return True
        except zmq.Again:
            return False

    def send_all(self, timeout=10, **body):
        """Sends as soon as ZeroMQ takes it."""
        wait_until(lambda: self.send(**body), timeout, "the envelope is taken")

    def bye(self, **body):
        return self.send(life="bye", **body)

    def close(self):
        self.socket.close()
        self.context.term()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Receiver:
    """A bare PULL socket in the place of a broker."""

    def __init__(self, endpoint=None):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.PULL)
        self.socket.linger = 0
        self.endpoint = endpoint or f"tcp://127.0.0.1:{free_port()}"
        self.socket.bind(self.endpoint)

    def receive(self, timeout=10):
        """The frames of the next message, or None when nothing came in time."""
        return self.socket.recv_multipart() if self.socket.poll(timeout * 1000) else None

    def envelope(self, timeout=10):
        """The next envelope, decoded, or None."""
        frames = self.receive(timeout)
        return None if frames is None else decode(frames[0])

    def drain(self):
        """Every envelope that waits already."""
        out = []
        while (one := self.envelope(0)) is not None:
            out.append(one)
        return out

    def close(self):
        self.socket.close()
        self.context.term()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def decode(message):
    """An envelope with its opaque parts opened: `res` a map, families and label values lists."""
    envelope = msgpack.unpackb(message)
    envelope["res"] = msgpack.unpackb(envelope["res"])
    envelope["met"] = [
        [msgpack.unpackb(f), [[msgpack.unpackb(p[0]), *p[1:]] for p in points]] for f, points in envelope.get("met", [])
    ]
    envelope.setdefault("spn", [])
    return envelope
