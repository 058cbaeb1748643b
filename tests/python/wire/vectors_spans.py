# SPDX-License-Identifier: Apache-2.0
"""Spans."""
from packing import array_header, extension, float32, float64, integer, int_as, map_header
from vector_parts import (AHEAD, HEAD, NOW, SPAN, T0, TRACE, Group, P, Raw, array, binary, envelope, nil, pack, pairs,
                          text)

BIG = 2**64 - 1
NAN = float("nan")
PLAIN = ["span", TRACE, SPAN, None, "rollout", "trainer_0", T0, NOW, 0, {}]
OUT = {"what": "span", "trace": TRACE.hex(), "span": SPAN.hex(), "parent": None, "name": "rollout", "lane": "trainer_0",
       "start": T0, "end": NOW, "status": 0, "attributes": {}}
NAMES = ("what", "trace", "span", "parent", "name", "lane", "start", "end", "status", "attributes", "events", "links")


def span(**parts):
    """PLAIN with other parts; `events` and `links` stand behind."""
    out = list(PLAIN)
    for name, value in parts.items():
        index = NAMES.index(name)
        out += [None] * (index + 1 - len(out))
        out[index] = value
    return out


def valid_spans():
    group = Group("spans_valid", "Spans that are taken.")

    def valid(name, element, out, **more):
        group.valid(name, envelope(spn=[element]), spn=[OUT | out], **more)

    group.valid("no spans", envelope(spn=[]), spn=[])
    valid("a span", span(), {})
    group.valid("several spans", envelope(spn=[span(), span(name="a"), span()]), spn=[OUT, OUT | {"name": "a"}, OUT])
    valid("a begin", span(what="begin", end=None), {"what": "begin", "end": None})
    valid("an open", span(what="open", end=None), {"what": "open", "end": None})
    valid("an end", span(what="end"), {"what": "end"})
    valid("a parent", span(parent=b"\7" * 8), {"parent": "07" * 8})
    valid("a span that is its own parent", span(parent=SPAN), {"parent": SPAN.hex()})
    valid("ids with a single bit", span(trace=b"\0" * 15 + b"\1", span=b"\x80" + b"\0" * 7),
          {"trace": "00" * 15 + "01", "span": "80" + "00" * 7})
    valid("empty name and lane", span(name="", lane=""), {"name": "", "lane": ""})
    valid("name and lane of any script", span(name="ü€😀", lane="\0\n"), {"name": "ü€😀", "lane": "\0\n"})
    valid("a span that takes no time", span(start=NOW), {"start": NOW})
    valid("a span since 1970", span(start=0, end=1), {"start": 0, "end": 1})
    valid("times as floats", span(start=float(2**60), end=float(2**60)), {"start": 2**60, "end": 2**60})
    valid("start and end 10 min ahead", span(start=NOW + AHEAD, end=NOW + AHEAD), {"start": NOW + AHEAD, "end": NOW + AHEAD},
          limit="kMaxAheadNs", side="at")
    for status in (1, 2):
        valid(f"status {status}", span(status=status), {"status": status})
    valid("status as float", span(status=2.0), {"status": 2})
    values = {"t": "x", "i": -5, "u": 5, "big": BIG, "least": -(2**63), "f": 0.5, "whole": 2.0, "yes": True, "no": False}
    typed = {"t": ["text", "x"], "i": ["int", -5], "u": ["int", 5], "big": ["int", BIG], "least": ["int", -(2**63)],
             "f": ["float", 0.5], "whole": ["float", 2.0], "yes": ["bool", True], "no": ["bool", False]}
    valid("attributes of every type", span(attributes=values), {"attributes": typed})
    valid("attributes that are no finite numbers", span(attributes={"a": NAN, "b": float("inf")}),
          {"attributes": {"a": ["float", NAN], "b": ["float", float("inf")]}})
    valid("attributes in other formats",
          span(attributes={"a": Raw(float32(0.5)), "b": Raw(int_as(64, 5)), "c": Raw(text("x", 4))}),
          {"attributes": {"a": ["float", 0.5], "b": ["int", 5], "c": ["text", "x"]}})
    valid("an attribute without a key", span(attributes={"": 1}), {"attributes": {"": ["int", 1]}})
    many = {f"k{i}": i for i in range(64)}
    valid("64 attributes", span(attributes=many), {"attributes": {key: ["int", i] for key, i in many.items()}},
          limit="kMaxAttributes", side="at")
    long = "n" * 255
    valid("an attribute's key of 255 bytes", span(attributes={long: 1}), {"attributes": {long: ["int", 1]}},
          limit="kMaxNameBytes", side="at")
    valid("an attribute of 4 KiB", span(attributes={"a": "x" * 4096}), {"attributes": {"a": ["text", "x" * 4096]}},
          limit="kMaxStringBytes", side="at")
    valid("name and lane of a span of 255 bytes", span(name=long, lane=long), {"name": long, "lane": long},
          limit="kMaxNameBytes", side="at")

    event, event_out = [T0, "event", {"a": 1}], {"time": T0, "name": "event", "attributes": {"a": ["int", 1]}}
    link, link_out = [TRACE, SPAN, {}], {"trace": TRACE.hex(), "span": SPAN.hex(), "attributes": {}}
    valid("an event", span(events=[event]), {"events": [event_out]})
    valid("an event and a link", span(events=[event], links=[link]), {"events": [event_out], "links": [link_out]})
    valid("a link, events of nil", span(links=[link]), {"links": [link_out]})
    valid("no events, no links", span(events=[], links=[]), {})
    valid("events and links of nil", span(events=None, links=None), {})
    valid("an event with further elements", span(events=[event + [1, 2]]), {"events": [event_out]})
    valid("a link with further elements", span(links=[link + [None]]), {"links": [link_out]})
    valid("a span with further elements", span() + [[], [], "later", {}], {})
    valid("32 events", span(events=[event] * 32), {"events": [event_out] * 32}, limit="kMaxEvents", side="at")
    valid("32 links", span(links=[link] * 32), {"links": [link_out] * 32}, limit="kMaxLinks", side="at")
    valid("64 attributes of an event", span(events=[[T0, "", many]]),
          {"events": [{"time": T0, "name": "", "attributes": {key: ["int", i] for key, i in many.items()}}]},
          limit="kMaxAttributes", side="at")
    valid("an event's name of 255 bytes", span(events=[[T0, long, {}]]),
          {"events": [{"time": T0, "name": long, "attributes": {}}]}, limit="kMaxNameBytes", side="at")
    group.valid("spans with an account and bye", envelope(spn=[span()], acc={"spans": 1, "spans_sent": 1}, life="bye"),
                spn=[OUT], acc={"spans": 1, "spans_sent": 1}, life="bye")
    return group


def refused_spans():
    group = Group("spans_refused", "Spans that are dropped alone: the one behind each is taken.")

    def refused(title, /, reason="bad_value", limit=None, side=None, **parts):
        group.valid(title, envelope(spn=[span(**parts), span()]), spn=[{"refused": reason}, OUT], limit=limit, side=side)

    def bad_id(title, /, **parts):
        refused(title, "bad_id", **parts)

    def bad_time(title, /, **parts):
        refused(title, "bad_time", **parts)

    for name, value in {"unknown": "link", "empty": "", "in capitals": "Span", "a number": 1, "nil": None, "bin": b"span"}.items():
        refused(f"what {name}", what=value)
    for name, value in {
        "zero": b"\0" * 16, "of 15 bytes": TRACE[:15], "of 17 bytes": TRACE + b"\1", "of no bytes": b"", "nil": None,
        "as str": "0123456789abcdef", "as hex": TRACE.hex(), "a number": 5,
    }.items():
        bad_id(f"trace {name}", trace=value)
    for name, value in {"zero": b"\0" * 8, "of 7 bytes": SPAN[:7], "of 16 bytes": TRACE, "nil": None}.items():
        bad_id(f"span id {name}", span=value)
    for name, value in {"zero": b"\0" * 8, "of 16 bytes": TRACE, "of no bytes": b"", "a number": 0}.items():
        bad_id(f"parent {name}", parent=value)
    for part in ("name", "lane"):
        for name, value in {"nil": None, "a number": 1, "bin": b"x", "not UTF-8": Raw(text(b"\xff"))}.items():
            refused(f"{part} {name}", **{part: value})
    bad_time("end before start", start=NOW, end=NOW - 1)
    bad_time("a span without an end", end=None)
    bad_time("an end without an end", what="end", end=None)
    bad_time("a begin with an end", what="begin")
    bad_time("an open with an end", what="open")
    bad_time("end at 0", start=0, end=0)
    bad_time("start more than 10 min ahead", start=NOW + AHEAD + 1, end=NOW + AHEAD + 1, limit="kMaxAheadNs", side="over")
    bad_time("end more than 10 min ahead", end=NOW + AHEAD + 1, limit="kMaxAheadNs", side="over")
    for name, value in {"nil": None, "negative": -1, "of half": 0.5, "text": "now", "NaN": NAN}.items():
        bad_time(f"start {name}", start=value)
    for name, value in {"negative": -1, "of half": 0.5, "text": "now", "true": True}.items():
        bad_time(f"end {name}", end=value)
    for name, value in {"3": 3, "-1": -1, "of half": 0.5, "text": "ok", "nil": None, "2^32": 2**32}.items():
        refused(f"status {name}", status=value)
    for name, value in {"nil": None, "an array": [], "text": "a=1"}.items():
        refused(f"attributes {name}", attributes=value)
    for name, value in {"nil": None, "bin": b"x", "an array": [1], "a map": {"b": 1}, "not UTF-8": Raw(text(b"\xc0"))}.items():
        refused(f"an attribute {name}", attributes={"a": value})
    refused("an attribute's key that is not UTF-8", attributes=Raw(pairs((text(b"\xff"), integer(1)))))
    for name, value in {
        "a map": {}, "text": "x", "an event of two": [[T0, "a"]], "an event that is nil": [None], "an event that is a map": [{}],
        "an event with a name of nil": [[T0, None, {}]], "an event with attributes of nil": [[T0, "a", None]],
        "an event with a name that is not UTF-8": [[T0, Raw(text(b"\xff")), {}]],
        "an event with an attribute of nil": [[T0, "a", {"a": None}]],
    }.items():
        refused(f"events: {name}", events=value)
    bad_time("events: an event more than 10 min ahead", events=[[NOW + AHEAD + 1, "a", {}]], limit="kMaxAheadNs", side="over")
    bad_time("events: an event without a time", events=[[None, "a", {}]])
    for name, value in {
        "a map": {}, "a link of two": [[TRACE, SPAN]], "a link that is nil": [None],
        "a link with attributes of nil": [[TRACE, SPAN, None]],
    }.items():
        refused(f"links: {name}", links=value)
    bad_id("links: a trace of zeros", links=[[b"\0" * 16, SPAN, {}]])
    bad_id("links: a span of zeros", links=[[TRACE, b"\0" * 8, {}]])
    bad_id("links: a span of nil", links=[[TRACE, None, {}]])
    bad_id("the first fault of a span names the reason", span=None, start=-1, status=9)
    bad_time("a fault of start comes before one of status", start=-1, status=9)
    refused("a fault of the name comes before one of the times", name=None, end=None)
    refused("a fault of the attributes comes before one of the links", attributes=[], links=[[None, None, {}]])
    return group


def malformed():
    group = Group("spans_malformed", "Spans that cost the whole envelope.")

    def refused(name, value, limit=None, side=None):
        group.refused(name, envelope(spn=value), limit=limit, side=side)

    for name, value in {
        "spn that is a map": {}, "spn that is nil": None, "a span that is a map": [{}], "a span that is nil": [None],
        "a span of nine": [PLAIN[:9]], "a span of none": [[]], "a bad span behind a good one": [span(), 5],
    }.items():
        refused(name, value)
    long = "n" * 256
    many = {f"k{i}": i for i in range(65)}
    refused("a name of a span of 256 bytes", [span(name=long)], "kMaxNameBytes", "over")
    refused("a lane of 256 bytes", [span(lane=long)], "kMaxNameBytes", "over")
    refused("65 attributes", [span(attributes=many)], "kMaxAttributes", "over")
    refused("65 attributes of an event", [span(events=[[T0, "a", many]])], "kMaxAttributes", "over")
    refused("65 attributes of a link", [span(links=[[TRACE, SPAN, many]])], "kMaxAttributes", "over")
    refused("an attribute's key of 256 bytes", [span(attributes={long: 1})], "kMaxNameBytes", "over")
    refused("an attribute of 4 KiB and a byte", [span(attributes={"a": "x" * 4097})], "kMaxStringBytes", "over")
    refused("an event's name of 256 bytes", [span(events=[[T0, long, {}]])], "kMaxNameBytes", "over")
    refused("33 events", [span(events=[[T0, "a", {}]] * 33)], "kMaxEvents", "over")
    refused("33 links", [span(links=[[TRACE, SPAN, {}]] * 33)], "kMaxLinks", "over")
    twice = Raw(pairs((text("a"), integer(1)), (text("a"), integer(2))))
    refused("an attribute twice", [span(attributes=twice)])
    refused("an attribute of an event twice", [span(events=[[T0, "a", twice]])])
    refused("an attribute of a link twice", [span(links=[[TRACE, SPAN, twice]])])
    refused("an attribute's key that is a number", [span(attributes=Raw(pairs((integer(1), integer(2)))))])
    refused("an attribute's key that is bin", [span(attributes=Raw(pairs((binary(b"a"), integer(2)))))])
    refused("an ext type among the attributes", [span(attributes={"a": Raw(extension())})])
    refused("a limit in a span that is refused besides", [span(what="x", attributes=many)])
    refused("a limit in an event of a span with bad times", [span(start=-1, events=[[None, long, {}]])])

    start = map_header(len(HEAD) + 1) + envelope()[1:] + text("spn")
    group.valid("4,096 spans", [(start + array_header(4096), 1), (pack(PLAIN), 4096)], limit="kMaxSpans", side="at",
                spn=[OUT | {"times": 4096}])
    group.refused("4,097 spans", [(start + array_header(4097), 1), (pack(PLAIN), 4097)], limit="kMaxSpans", side="over")
    return group


GROUPS = (valid_spans, refused_spans, malformed)
