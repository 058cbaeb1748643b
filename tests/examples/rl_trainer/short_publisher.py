# SPDX-License-Identifier: Apache-2.0
"""The short publisher of bus/wire/ENVELOPE.md, with running totals for a few instruments."""
import bisect
import os
import socket
import time

import msgpack
import zmq

P, now = msgpack.packb, time.time_ns
MAX_SPANS_WAITING = 1000


class ShortPublisher:
    def __init__(self, endpoint, resource):
        self.sock = zmq.Context.instance().socket(zmq.PUSH)
        self.sock.sndhwm, self.sock.linger, self.sock.ipv6 = 8, 500, True
        self.sock.connect(endpoint)
        self.inc, self.t0, self.seq = os.urandom(16), now(), 0
        self.resource = P({"host.name": socket.gethostname(), "process.pid": os.getpid(), **resource})
        self.families = {}  # name -> its msgpack
        self.values = {}  # (name, label values) -> what is sent: the total since t0, or the newest value
        self.spans, self.spans_recorded, self.spans_sent, self.spans_dropped = [], 0, 0, 0

    def send(self, **body):
        """Whether ZeroMQ took it. Only an accepted envelope uses up a number."""
        head = {"v": 1, "inc": self.inc, "seq": self.seq + 1, "t0": self.t0, "sent": now(), "res": self.resource}
        try:
            self.sock.send(P(head | body), zmq.DONTWAIT)
        except zmq.Again:
            return False
        self.seq += 1
        return True

    def family(self, name, kind, keys=(), unit="", help="", **options):
        self.families[name] = P([name, kind, list(keys), unit, help, options])

    def counter(self, name, help):
        self.family(name, "counter", help=help)
        self.values[name, ()] = 0

    def gauge(self, name, keys=(), help=""):
        self.family(name, "gauge", keys, help=help)

    def histogram(self, name, bounds, unit, help):
        self.family(name, "histogram", (), unit, help, bounds=bounds)
        self.values[name, ()] = [0, 0.0, [0] * (len(bounds) + 1)]
        self.bounds = getattr(self, "bounds", {}) | {name: bounds}

    def add(self, name, amount):
        self.values[name, ()] += amount

    def set(self, name, value, *labels):
        self.values[name, labels] = value

    def observe(self, name, value):
        total = self.values[name, ()]
        total[0] += 1
        total[1] += value
        total[2][bisect.bisect_left(self.bounds[name], value)] += 1

    def span(self, name, lane, start_ns, **attributes):
        self.spans_recorded += 1
        if len(self.spans) == MAX_SPANS_WAITING:
            self.spans_dropped += 1
            return
        self.spans.append(
            ["span", os.urandom(16), os.urandom(8), None, name, lane, start_ns, now(), 0, attributes])

    def flush(self, **life):
        """Sends every value as it is now, and the spans that wait. Whatever is not taken goes with the next flush."""
        if self.spans and self.send(spn=self.spans, acc=self.accounts(len(self.spans))):
            self.spans_sent += len(self.spans)
            self.spans = []
        points = {}
        for (name, labels), value in self.values.items():
            points.setdefault(name, []).append([P(list(labels)), value])
        return self.send(met=[[self.families[name], rows] for name, rows in points.items()], acc=self.accounts(), **life)

    def accounts(self, going=0):
        out = {"spans": self.spans_recorded, "spans_sent": self.spans_sent + going}
        return out | ({"drop.span_buffer": self.spans_dropped} if self.spans_dropped else {})

    def close(self):
        """Says bye, and lets ZeroMQ deliver what it took for at most half a second."""
        deadline = time.monotonic() + 0.5
        while self.spans and not self.flush() and time.monotonic() < deadline:
            time.sleep(0.01)
        self.spans_dropped += len(self.spans)
        self.spans = []
        while not self.flush(life="bye") and time.monotonic() < deadline:
            time.sleep(0.01)
        self.sock.close()
        zmq.Context.instance().term()
