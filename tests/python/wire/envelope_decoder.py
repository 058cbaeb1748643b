# SPDX-License-Identifier: Apache-2.0
"""Envelopes of version 1, read as bus/wire/ENVELOPE.md says and in the form of bus/wire/vectors/README.md.

Written from the document alone, without any msgpack library, so that it can judge the one in C++.
"""
import math
import struct

ENVELOPE_BYTES, DEPTH, KEYS = 1 << 20, 8, 64
POINTS, SPANS, FAMILY_BYTES, LABEL_BYTES, LABELS, BUCKETS = 65536, 4096, 8192, 4096, 32, 2048
NAME_BYTES, STRING_BYTES, ATTRIBUTES, EVENTS, LINKS = 255, 4096, 64, 32, 32
RESOURCE_BYTES, RESOURCE_KEYS, ACCOUNTS, RELAYS = 4096, 64, 64, 8
AHEAD_NS, EVERY_MS = 600 * 10**9, (100, 10_000, 3_600_000)


class Broken(Exception):
    """The bytes are no msgpack, end too early, are too deep or have an ext type."""


class Refused(Exception):
    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason


class Str(bytes):
    """A msgpack str that nobody has looked into yet; bin is plain bytes."""


class Map(tuple):
    """(key, value) in the order of the bytes; no list, so that it never passes for an array."""


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if count > len(self.data) - self.at:
            raise Broken
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, form):
        return struct.unpack(">" + form, self.take(struct.calcsize(form)))[0]

    def header(self):
        """(kind, value or length)."""
        tag = self.number("B")
        if tag < 0x80:
            return "value", tag
        if tag < 0x90:
            return "map", tag & 0x0F
        if tag < 0xA0:
            return "array", tag & 0x0F
        if tag < 0xC0:
            return "str", tag & 0x1F
        if tag >= 0xE0:
            return "value", tag - 256
        if tag in (0xC0, 0xC2, 0xC3):
            return "value", {0xC0: None, 0xC2: False, 0xC3: True}[tag]
        if 0xC4 <= tag <= 0xC6:
            return "bin", self.number("BHI"[tag - 0xC4])
        if 0xCA <= tag <= 0xD3:
            return "value", self.number("fdBHIQbhiq"[tag - 0xCA])
        if 0xD9 <= tag <= 0xDB:
            return "str", self.number("BHI"[tag - 0xD9])
        if 0xDC <= tag <= 0xDF:
            return "array" if tag < 0xDE else "map", self.number("HI"[tag % 2])
        raise Broken

    def object(self, depth):
        """One object inside of `depth` containers."""
        kind, value = self.header()
        if kind == "value":
            return value
        if kind == "str":
            return Str(self.take(value))
        if kind == "bin":
            return self.take(value)
        if depth == DEPTH or value * (1 if kind == "array" else 2) > len(self.data) - self.at:
            raise Broken
        if kind == "array":
            return [self.object(depth + 1) for _ in range(value)]
        return Map((self.object(depth + 1), self.object(depth + 1)) for _ in range(value))


def whole(data):
    """The one object that fills `data`."""
    reader = Reader(data)
    value = reader.object(0)
    if reader.at != len(data):
        raise Broken
    return value


def need(condition, reason="malformed"):
    if not condition:
        raise Refused(reason)


def as_number(value, reason="malformed"):
    need(isinstance(value, (int, float)) and not isinstance(value, bool), reason)
    return value


def as_int(value, low, high, reason="malformed"):
    as_number(value, reason)
    need(math.isfinite(value) and value == int(value) and low <= int(value) <= high, reason)
    return int(value)


def as_uint(value, reason="malformed", low=0):
    return as_int(value, low, 2**64 - 1, reason)


def as_text(value, reason="malformed"):
    need(isinstance(value, Str), reason)
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(reason) from None


def is_bin(value):
    return isinstance(value, bytes) and not isinstance(value, Str)


def as_scalar(value, reason="malformed"):
    """[type, value]"""
    if isinstance(value, bool):
        return ["bool", value]
    if isinstance(value, int):
        return ["int", value]
    if isinstance(value, float):
        return ["float", value]
    return ["text", as_text(value, reason)]


def as_id(value, size):
    need(is_bin(value) and len(value) == size and any(value), "bad_id")
    return value.hex()


def check_keys(value, limit, reason="malformed"):
    """The limits of a map, whatever its values."""
    need(isinstance(value, Map) and len(value) <= limit, reason)
    keys = [key for key, _ in value]
    need(all(isinstance(key, Str) and len(key) <= NAME_BYTES for key in keys), reason)
    need(len(set(keys)) == len(keys), reason)


def optional(array, index):
    return array[index] if len(array) > index else None


class Decoder:
    def __init__(self, now):
        self.now = now

    def time(self, value):
        value = as_uint(value, "bad_time")
        need(value <= self.now + AHEAD_NS, "bad_time")
        return value

    # The message.

    def message(self, data):
        need(len(data) <= ENVELOPE_BYTES, "too_large")
        reader, entries, version, is_broken = Reader(data), [], [], False
        try:
            kind, count = reader.header()
            need(kind == "map", "foreign")
            for _ in range(count):
                key, value = reader.object(1), reader.object(1)
                entries.append((key, value))
                if not version and isinstance(key, Str) and key == b"v":
                    version = [value]
            is_broken = reader.at != len(data)
        except Broken:
            is_broken = True
        need(version, "foreign")
        version = version[0]
        need(isinstance(version, (int, float)) and not isinstance(version, bool) and version == 1, "version")
        need(not is_broken)
        check_keys(Map(entries), KEYS)
        return self.envelope({as_text(key): value for key, value in entries})

    def envelope(self, keys):
        need({"inc", "seq", "t0", "sent", "res"} <= keys.keys() and not {"met", "spn"} <= keys.keys())
        out = {"every": EVERY_MS[1]}
        readers = {
            "inc": self.incarnation, "seq": self.positive, "t0": self.positive, "sent": self.positive, "mono": as_uint,
            "boot": self.bin16, "clk": self.clock, "old": as_uint, "every": self.every, "life": self.life,
            "acc": self.accounts, "via": self.relays, "met": self.metrics, "spn": self.spans,
        }
        resource = keys["res"]
        need(is_bin(resource) and len(resource) <= RESOURCE_BYTES)
        for key, read in readers.items():
            if key in keys:
                out[key] = read(keys[key])
        if "met" in out:
            out["met"] = [self.family_of_points(*entry) for entry in out["met"]]
        out["res"] = self.resource(resource)
        return {key: value for key, value in out.items() if value or key not in ("old", "acc", "via")}

    def positive(self, value):
        return as_uint(value, low=1)

    def bin16(self, value):
        need(is_bin(value) and len(value) == 16)
        return value.hex()

    def incarnation(self, value):
        need(self.bin16(value) != "0" * 32)
        return value.hex()

    def clock(self, value):
        need(isinstance(value, list) and len(value) >= 2)
        return [as_int(value[0], -(2**63), 2**63 - 1), as_uint(value[1])]

    def every(self, value):
        return min(max(as_uint(value), EVERY_MS[0]), EVERY_MS[2])

    def life(self, value):
        need(as_text(value) in ("hello", "beat", "bye"))
        return value.decode()

    def accounts(self, value):
        check_keys(value, ACCOUNTS)
        return {as_text(key): as_uint(count) for key, count in value}

    def relays(self, value):
        need(isinstance(value, list) and len(value) <= RELAYS)
        return [self.bin16(element) for element in value]

    def resource(self, data):
        try:
            value = whole(data)
        except Broken:
            raise Refused("malformed") from None
        check_keys(value, RESOURCE_KEYS)
        return {as_text(key): as_scalar(element) for key, element in value}

    # Metrics. First the structure and the limits of all of them, then each by itself.

    def metrics(self, value):
        need(isinstance(value, list) and len(value) <= POINTS)
        for entry in value:
            need(isinstance(entry, list) and len(entry) >= 2)
            need(is_bin(entry[0]) and len(entry[0]) <= FAMILY_BYTES and isinstance(entry[1], list))
            for point in entry[1]:
                need(isinstance(point, list) and len(point) >= 2)
                need(is_bin(point[0]) and len(point[0]) <= LABEL_BYTES)
                for counts in self.bucket_arrays(point[1]):
                    need(len(counts) <= BUCKETS)
        need(sum(len(entry[1]) for entry in value) <= POINTS)
        return [entry[:2] for entry in value]

    @staticmethod
    def bucket_arrays(value):
        if not isinstance(value, list) or len(value) < 3:
            return []
        if isinstance(value[2], list):
            return [value[2]]
        return [value[i] for i in (5, 7) if len(value) >= 8 and isinstance(value[i], list)]

    def family_of_points(self, packed, points):
        try:
            family = self.family(whole(packed))
        except Broken:
            return {"refused": "bad_family", "points": len(points)}
        except Refused as refused:
            return {"refused": refused.reason, "points": len(points)}
        return {"family": family, "points": [self.guarded(self.point, family, point) for point in points]}

    @staticmethod
    def guarded(read, *arguments):
        try:
            return read(*arguments)
        except Refused as refused:
            return {"refused": refused.reason}

    def family(self, value):
        bad = "bad_family"
        need(isinstance(value, list) and len(value) >= 3, bad)

        def name(element):
            need(0 < len(as_text(element, bad).encode()) <= NAME_BYTES, bad)
            return element.decode()

        out = {"name": name(value[0]), "kind": as_text(value[1], bad)}
        need(out["kind"] in ("counter", "gauge", "histogram", "exphist"), "unknown_kind")
        need(isinstance(value[2], list) and len(value[2]) <= LABELS, bad)
        out["keys"] = [name(key) for key in value[2]]
        need(len(set(out["keys"])) == len(out["keys"]), bad)
        for index, key, limit in ((3, "unit", NAME_BYTES), (4, "help", STRING_BYTES)):
            element = optional(value, index)
            out[key] = "" if element is None else as_text(element, bad)
            need(len(out[key].encode()) <= limit, bad)
        options = optional(value, 5)
        if options is None:
            options = Map()
        check_keys(options, KEYS, bad)
        options = {as_text(key, bad): element for key, element in options}
        delta, merge, bounds = options.get("delta", False), options.get("merge", Str(b"last")), options.get("bounds", [])
        need(isinstance(delta, bool) and isinstance(bounds, list) and len(bounds) < BUCKETS, bad)
        need(as_text(merge, bad) in ("last", "sum", "min", "max", "mean", "each"), bad)
        bounds = [float(as_number(bound, bad)) for bound in bounds]
        need(all(map(math.isfinite, bounds)) and all(a < b for a, b in zip(bounds, bounds[1:])), bad)
        if out["kind"] == "gauge":
            return out | {"merge": merge.decode()}
        return out | {"delta": delta} | ({"bounds": bounds} if out["kind"] == "histogram" else {})

    def point(self, family, point):
        value = self.value(point[1])
        out = {"value": value}
        if optional(point, 2) is not None:
            out |= {"time": when} if (when := self.time(point[2])) else {}
        if optional(point, 3) is not None:
            out["exemplar"] = self.exemplar(point[3])
        try:
            labels = whole(point[0])
        except Broken:
            raise Refused("bad_value") from None
        need(isinstance(labels, list) and len(labels) == len(family["keys"]), "bad_value")
        out["labels"] = [as_text(label, "bad_value") for label in labels]
        need(self.fits(family, value), "bad_value")
        return out

    def value(self, value):
        bad = "bad_value"
        if not isinstance(value, list):
            return float(as_number(value, bad))
        need(len(value) >= 3, bad)

        def counts(element):
            need(isinstance(element, list), bad)
            return [as_uint(count, bad) for count in element]

        out = {"count": as_uint(value[0], bad), "sum": float(as_number(value[1], bad))}
        if isinstance(value[2], list):
            out |= {"buckets": counts(value[2])}
            rest = value[3:5]
        else:
            need(len(value) >= 8, bad)
            small = (-(2**31), 2**31 - 1, bad)
            out |= {"zero_count": as_uint(value[2], bad), "scale": as_int(value[3], *small)}
            out |= {"positive_offset": as_int(value[4], *small), "positive": counts(value[5])}
            out |= {"negative_offset": as_int(value[6], *small), "negative": counts(value[7])}
            rest = value[8:10]
        for key, element in zip(("min", "max"), rest):
            if element is not None and not math.isnan(as_number(element, bad)):
                out[key] = float(element)
        return out

    @staticmethod
    def fits(family, value):
        if family["kind"] == "gauge":
            return isinstance(value, float)
        if family["kind"] == "counter":
            return isinstance(value, float) and math.isfinite(value) and value >= 0
        if isinstance(value, float) or ("buckets" in value) != (family["kind"] == "histogram"):
            return False
        if "buckets" in value:
            is_right = sum(value["buckets"]) == value["count"] and len(value["buckets"]) == len(family["bounds"]) + 1
        else:
            is_right = sum(value["positive"]) + sum(value["negative"]) + value["zero_count"] == value["count"]
        ends = [value[key] for key in ("min", "max") if key in value]
        return is_right and all(map(math.isfinite, [value["sum"], *ends])) and ends == sorted(ends)

    def exemplar(self, value):
        need(isinstance(value, list) and len(value) >= 4, "bad_value")
        return {"value": float(as_number(value[0], "bad_value")), "time": self.time(value[1]),
                "trace": as_id(value[2], 16), "span": as_id(value[3], 8)}

    # Spans.

    def spans(self, value):
        need(isinstance(value, list) and len(value) <= SPANS)
        for span in value:
            need(isinstance(span, list) and len(span) >= 10)
            self.limits_of_span(span)
        return [self.guarded(self.span, span) for span in value]

    @staticmethod
    def limits_of_span(span):
        def limits_of_text(value, limit):
            need(not isinstance(value, Str) or len(value) <= limit)

        def limits_of_attributes(value):
            if isinstance(value, Map):
                check_keys(value, ATTRIBUTES)
                for _, element in value:
                    limits_of_text(element, STRING_BYTES)

        limits_of_text(span[4], NAME_BYTES)
        limits_of_text(span[5], NAME_BYTES)
        limits_of_attributes(span[9])
        for index, limit in ((10, EVENTS), (11, LINKS)):
            elements = optional(span, index)
            if not isinstance(elements, list):
                continue
            need(len(elements) <= limit)
            for element in elements:
                if isinstance(element, list) and len(element) >= 3:
                    if index == 10:
                        limits_of_text(element[1], NAME_BYTES)
                    limits_of_attributes(element[2])

    def span(self, span):
        bad = "bad_value"
        what = as_text(span[0], bad)
        need(what in ("span", "begin", "open", "end"), bad)
        out = {"what": what, "trace": as_id(span[1], 16), "span": as_id(span[2], 8)}
        out["parent"] = None if span[3] is None else as_id(span[3], 8)
        out |= {"name": as_text(span[4], bad), "lane": as_text(span[5], bad)}
        out["start"], out["end"] = self.time(span[6]), None
        if what in ("span", "end"):
            need(span[7] is not None, "bad_time")
            out["end"] = self.time(span[7])
            need(out["end"] > 0 and out["end"] >= out["start"], "bad_time")
        else:
            need(span[7] is None, "bad_time")
        out |= {"status": as_int(span[8], 0, 2, bad), "attributes": self.attributes(span[9])}
        if optional(span, 10) is not None:
            out["events"] = [self.event(event) for event in self.list_of_3(span[10])]
        if optional(span, 11) is not None:
            out["links"] = [self.link(link) for link in self.list_of_3(span[11])]
        return {key: value for key, value in out.items() if key not in ("events", "links") or value}

    @staticmethod
    def list_of_3(value):
        need(isinstance(value, list), "bad_value")
        for element in value:
            need(isinstance(element, list) and len(element) >= 3, "bad_value")
            yield element

    def attributes(self, value):
        need(isinstance(value, Map), "bad_value")
        return {as_text(key, "bad_value"): as_scalar(element, "bad_value") for key, element in value}

    def event(self, event):
        return {"time": self.time(event[0]), "name": as_text(event[1], "bad_value"),
                "attributes": self.attributes(event[2])}

    def link(self, link):
        return {"trace": as_id(link[0], 16), "span": as_id(link[1], 8), "attributes": self.attributes(link[2])}


def decode(data, now):
    """{"refused": reason} or the values, as in vectors/README.md."""
    return Decoder.guarded(Decoder(now).message, data)
