# SPDX-License-Identifier: Apache-2.0
"""Families and points."""
from packing import array_header, boolean, extension, float32, float64, integer, int_as, map_header
from vector_parts import (AHEAD, ENVELOPE, HEAD, NOW, SPAN, TRACE, Group, P, Raw, array, binary, envelope, nil, pack,
                          pairs, text)

BIG = 2**64 - 1
NAN, INF = float("nan"), float("inf")
COUNTER, GAUGE, HISTOGRAM = ["c_total", "counter", []], ["g", "gauge", []], ["h", "histogram", [], "", "", {"bounds": [1, 2]}]
EXPHIST = ["e", "exphist", []]
EXEMPLAR = [0.5, NOW, TRACE, SPAN]


def family_out(name, kind, keys=(), unit="", help="", delta=False, merge="last", bounds=()):
    out = {"name": name, "kind": kind, "keys": list(keys), "unit": unit, "help": help}
    if kind == "gauge":
        return out | {"merge": merge}
    return out | {"delta": delta} | ({"bounds": [float(bound) for bound in bounds]} if kind == "histogram" else {})


OUT = {
    "counter": family_out("c_total", "counter"), "gauge": family_out("g", "gauge"),
    "histogram": family_out("h", "histogram", bounds=[1, 2]), "exphist": family_out("e", "exphist"),
}


def met(*entries):
    """[family, point, ...] each; a family or labels of bytes are what the bin holds."""
    def packed(value):
        return value if isinstance(value, (bytes, Raw)) else P(value)

    return [[packed(family), [[packed(labels), *rest] for labels, *rest in points]] for family, *points in entries]


def one(family, *point):
    """An envelope with one point without labels."""
    return envelope(met=met([family, [[], *point]]))


def histogram_out(count, total, buckets, **ends):
    return {"count": count, "sum": float(total), "buckets": buckets} | {key: float(value) for key, value in ends.items()}


def points():
    group = Group("points_valid", "Points that are taken.")

    def valid(name, message, *entries, **more):
        group.valid(name, message, met=[{"family": family, "points": list(rest)} for family, *rest in entries], **more)

    def scalar(name, kind, raw, value, **more):
        family = COUNTER if kind == "counter" else GAUGE
        valid(name, one(family, raw), [OUT[kind], {"labels": [], "value": value} | more])

    valid("no metrics", envelope(met=[]))
    valid("a family without points", envelope(met=met([COUNTER])), [OUT["counter"]])
    for name, raw, value in (
        ("0", 0, 0.0), ("42", 42, 42.0), ("200", 200, 200.0), ("2^16", 65536, 65536.0), ("2^40", 2**40, 2.0**40),
        ("2^64 - 1, rounded", BIG, 2.0**64), ("5 as int 16", Raw(int_as(16, 5)), 5.0), ("0.1", 0.1, 0.1),
        ("0.5 as float32", Raw(float32(0.5)), 0.5), ("1e300", 1e300, 1e300), ("-0.0", -0.0, -0.0),
        ("the smallest float", 5e-324, 5e-324),
    ):
        scalar(f"counter {name}", "counter", raw, value)
    for name, raw, value in (
        ("-1", -1, -1.0), ("-2^63", -(2**63), -(2.0**63)), ("NaN", NAN, NAN), ("infinite", INF, INF),
        ("infinite, negative", -INF, -INF), ("2.0", 2.0, 2.0), ("-0.1", -0.1, -0.1),
    ):
        scalar(f"gauge {name}", "gauge", raw, value)

    two = ["c_total", "counter", ["a", "b"]]
    for name, values in {
        "two labels": ["x", "y"], "empty label values": ["", ""], "labels of any script": ["ü€😀", "\0\n\"\\"],
    }.items():
        valid(name, envelope(met=met([two, [values, 1]])),
              [family_out("c_total", "counter", ["a", "b"]), {"labels": values, "value": 1.0}])
    keys = [f"k{i}" for i in range(32)]
    valid("32 labels", envelope(met=met([["c", "counter", keys], [keys, 1]])),
          [family_out("c", "counter", keys), {"labels": keys, "value": 1.0}], limit="kMaxLabels", side="at")
    long = "x" * (4096 - 4)
    valid("label values of 4 KiB", envelope(met=met([["c", "counter", ["a"]], [[long], 1]])),
          [family_out("c", "counter", ["a"]), {"labels": [long], "value": 1.0}], limit="kMaxLabelBytes", side="at")
    valid("label values in the widest formats",
          envelope(met=met([["c", "counter", ["a"]], [array_header(1, 4) + text("x", 4), 1]])),
          [family_out("c", "counter", ["a"]), {"labels": ["x"], "value": 1.0}])

    for name, when in {"in the past": 1, "of the broker": NOW, "ahead": NOW + 5}.items():
        valid(f"a time {name}", one(COUNTER, 1, when), [OUT["counter"], {"labels": [], "value": 1.0, "time": when}])
    valid("a time 10 min ahead", one(COUNTER, 1, NOW + AHEAD),
          [OUT["counter"], {"labels": [], "value": 1.0, "time": NOW + AHEAD}], limit="kMaxAheadNs", side="at")
    valid("a time as float", one(COUNTER, 1, float(2**60)),
          [OUT["counter"], {"labels": [], "value": 1.0, "time": 2**60}])
    valid("a time as large as can be, for a broker as late", one(COUNTER, 1, BIG),
          [OUT["counter"], {"labels": [], "value": 1.0, "time": BIG}], now=BIG - 1)
    valid("a time at 0", one(COUNTER, 1, 0), [OUT["counter"], {"labels": [], "value": 1.0}])
    valid("a time that is nil", one(COUNTER, 1, None), [OUT["counter"], {"labels": [], "value": 1.0}])
    exemplar = {"value": 0.5, "time": NOW, "trace": TRACE.hex(), "span": SPAN.hex()}
    valid("an exemplar", one(COUNTER, 1, None, EXEMPLAR),
          [OUT["counter"], {"labels": [], "value": 1.0, "exemplar": exemplar}])
    valid("an exemplar with further elements", one(COUNTER, 1, NOW, EXEMPLAR + [{}]),
          [OUT["counter"], {"labels": [], "value": 1.0, "time": NOW, "exemplar": exemplar}])
    valid("an exemplar that is nil", one(COUNTER, 1, None, None), [OUT["counter"], {"labels": [], "value": 1.0}])
    valid("a point with further elements", one(COUNTER, 1, None, None, "later", [1]),
          [OUT["counter"], {"labels": [], "value": 1.0}])

    def histogram(name, raw, out, bounds=(1, 2), **more):
        family = ["h", "histogram", [], "", "", {"bounds": list(bounds)}]
        valid(name, one(family, raw), [family_out("h", "histogram", bounds=bounds), {"labels": [], "value": out}], **more)

    histogram("a histogram", [6, 7.5, [1, 2, 3]], histogram_out(6, 7.5, [1, 2, 3]))
    histogram("a histogram with min and max", [2, 3.5, [1, 0, 1], 0.5, 3], histogram_out(2, 3.5, [1, 0, 1], min=0.5, max=3))
    histogram("a histogram with min alone", [2, 3.5, [1, 0, 1], 0.5], histogram_out(2, 3.5, [1, 0, 1], min=0.5))
    histogram("a histogram with max alone", [2, 3.5, [1, 0, 1], None, 3], histogram_out(2, 3.5, [1, 0, 1], max=3))
    histogram("a histogram with min and max of NaN", [2, 3.5, [1, 0, 1], NAN, NAN], histogram_out(2, 3.5, [1, 0, 1]))
    histogram("a histogram with further elements", [1, 0, [1, 0, 0], 0, 0, "later"],
              histogram_out(1, 0, [1, 0, 0], min=0, max=0))
    histogram("an empty histogram", [0, 0, [0, 0, 0]], histogram_out(0, 0, [0, 0, 0]))
    histogram("a histogram of floats", [3.0, 1, [1.0, 2.0, 0.0]], histogram_out(3, 1, [1, 2, 0]))
    histogram("a histogram with a negative sum", [1, -5, [1, 0, 0]], histogram_out(1, -5, [1, 0, 0]))
    histogram("a histogram without bounds", [4, 1, [4]], histogram_out(4, 1, [4]), bounds=())
    histogram("a histogram with counts of 64 bits", [BIG, 1, [BIG, 0, 0]], histogram_out(BIG, 1, [BIG, 0, 0]))
    bounds, counts = list(range(2047)), [1] * 2048
    histogram("2,048 buckets", [2048, 1, counts], histogram_out(2048, 1, counts), bounds=bounds, limit="kMaxBuckets",
              side="at")

    exp_in = [10, 12.5, 1, -2, 3, [1, 2, 3], -4, [3], 0.5, 9]
    exp_out = {"count": 10, "sum": 12.5, "zero_count": 1, "scale": -2, "positive_offset": 3, "positive": [1, 2, 3],
               "negative_offset": -4, "negative": [3]}
    valid("an exponential histogram", one(EXPHIST, exp_in),
          [OUT["exphist"], {"labels": [], "value": exp_out | {"min": 0.5, "max": 9.0}}])
    valid("an exponential histogram without min and max", one(EXPHIST, exp_in[:8]),
          [OUT["exphist"], {"labels": [], "value": exp_out}])
    valid("an exponential histogram without buckets", one(EXPHIST, [1, 0, 1, 0, 0, [], 0, []]),
          [OUT["exphist"], {"labels": [], "value": {"count": 1, "sum": 0.0, "zero_count": 1, "scale": 0,
                                                    "positive_offset": 0, "positive": [], "negative_offset": 0,
                                                    "negative": []}}])
    low = -(2**31)
    valid("an exponential histogram at the ends of 32 bits", one(EXPHIST, [0, 0, 0, low, 2**31 - 1, [], low, []]),
          [OUT["exphist"], {"labels": [], "value": {"count": 0, "sum": 0.0, "zero_count": 0, "scale": low,
                                                    "positive_offset": 2**31 - 1, "positive": [], "negative_offset": low,
                                                    "negative": []}}])

    valid("several families, one of them twice",
          envelope(met=met([COUNTER, [[], 1]], [GAUGE, [[], 2], [[], 3]], [COUNTER, [[], 4]])),
          [OUT["counter"], {"labels": [], "value": 1.0}],
          [OUT["gauge"], {"labels": [], "value": 2.0}, {"labels": [], "value": 3.0}],
          [OUT["counter"], {"labels": [], "value": 4.0}])
    valid("an entry of met with further elements", envelope(met=[met([COUNTER, [[], 1]])[0] + ["later"]]),
          [OUT["counter"], {"labels": [], "value": 1.0}])
    return group


def families():
    group = Group("families_valid", "What a family may say.")

    def valid(name, family, out, value=1, labels=(), **more):
        packed = family if isinstance(family, bytes) else P(family)
        point = {"labels": list(labels), "value": float(value) if isinstance(value, int) else value}
        group.valid(name, envelope(met=met([packed, [list(labels), value]])), met=[{"family": out, "points": [point]}],
                    **more)

    valid("unit and help", ["c", "counter", [], "s", "Seconds waited"], family_out("c", "counter", unit="s", help="Seconds waited"))
    valid("unit, help and options of nil", ["c", "counter", [], None, None, None], family_out("c", "counter"))
    valid("options alone", ["c", "counter", [], None, None, {"delta": True}], family_out("c", "counter", delta=True))
    valid("no options", ["c", "counter", [], "", "", {}], family_out("c", "counter"))
    valid("delta that is false", ["c", "counter", [], "", "", {"delta": False}], family_out("c", "counter"))
    for merge in ("last", "sum", "min", "max", "mean", "each"):
        valid(f"merge {merge}", ["g", "gauge", [], "", "", {"merge": merge}], family_out("g", "gauge", merge=merge))
    valid("options that mean nothing for a counter", ["c", "counter", [], "", "", {"merge": "max", "bounds": [1]}],
          family_out("c", "counter"))
    valid("options that mean nothing for a gauge", ["g", "gauge", [], "", "", {"delta": True, "bounds": [1]}],
          family_out("g", "gauge"))
    valid("unknown options", ["c", "counter", [], "", "", {"later": {"a": [1]}, "x": None}], family_out("c", "counter"))
    valid("further elements", ["c", "counter", [], "", "", {}, "later", 5], family_out("c", "counter"))
    valid("a name of any text", ["größe 1{}\n", "counter", []], family_out("größe 1{}\n", "counter"))
    valid("label keys of any text", ["c", "counter", ["é", "a b"]], family_out("c", "counter", ["é", "a b"]), labels=["1", "2"])
    name = "n" * 255
    valid("a name of 255 bytes", [name, "counter", []], family_out(name, "counter"), limit="kMaxNameBytes", side="at")
    valid("a label key of 255 bytes", ["c", "counter", [name]], family_out("c", "counter", [name]), labels=["x"],
          limit="kMaxNameBytes", side="at")
    valid("a unit of 255 bytes", ["c", "counter", [], name], family_out("c", "counter", unit=name),
          limit="kMaxNameBytes", side="at")
    text_4k = "h" * 4096
    valid("a help of 4 KiB", ["c", "counter", [], "", text_4k], family_out("c", "counter", help=text_4k),
          limit="kMaxStringBytes", side="at")
    keys = [f"{i:02}" + "k" * 250 for i in range(16)] + [""]
    keys[-1] = "z" * (8192 - len(P(["c", "counter", keys, "", text_4k])))
    full = ["c", "counter", keys, "", text_4k]
    assert len(P(full)) == 8192
    valid("a family of 8 KiB", full, family_out("c", "counter", keys, help=text_4k), labels=["v"] * len(keys),
          limit="kMaxFamilyBytes", side="at")
    many = {f"o{i}": i for i in range(64)}
    valid("64 options", ["c", "counter", [], "", "", many], family_out("c", "counter"), limit="kMaxKeys", side="at")
    valid("an option's key of 255 bytes", ["c", "counter", [], "", "", {name: 1}], family_out("c", "counter"),
          limit="kMaxNameBytes", side="at")
    deep = pack("c") + pack("counter") + array() + nil() + nil() + pairs((text("x"), array_header(1) * 5 + array()))
    valid("a family 8 deep", array_header(6) + deep, family_out("c", "counter"), limit="kMaxDepth", side="at")
    valid("a family in the widest formats", array_header(3, 4) + text("c", 4) + text("counter", 4) + array_header(0, 4),
          family_out("c", "counter"))
    valid("empty bounds of a gauge", ["g", "gauge", [], "", "", {"bounds": []}],
          family_out("g", "gauge"))

    def bounded(name, bounds, **more):
        family = ["h", "histogram", [], "", "", {"bounds": bounds}]
        counts = [0] * (len(bounds) + 1)
        group.valid(name, one(family, [0, 0, counts]), **more, met=[{
            "family": family_out("h", "histogram", bounds=bounds),
            "points": [{"labels": [], "value": histogram_out(0, 0, counts)}]}])

    bounded("bounds of integers and floats", [-5, 0, 0.5, 1, 10**12])
    bounded("bounds next to each other", [1.0, 1.0000000000000002])
    bounded("2,047 bounds", list(range(2047)), limit="kMaxBuckets", side="at")
    group.valid("delta of a histogram", one(["h", "histogram", [], "", "", {"delta": True}], [1, 2, [1]]), met=[{
        "family": family_out("h", "histogram", delta=True), "points": [{"labels": [], "value": histogram_out(1, 2, [1])}]}])
    group.valid("delta of an exponential histogram",
                one(["e", "exphist", [], "", "", {"delta": True}], [0, 0, 0, 0, 0, [], 0, []]), met=[{
                    "family": family_out("e", "exphist", delta=True), "points": [{"labels": [], "value": {
                        "count": 0, "sum": 0.0, "zero_count": 0, "scale": 0, "positive_offset": 0, "positive": [],
                        "negative_offset": 0, "negative": []}}]}])
    return group


def refused_families():
    group = Group("families_refused", "Families that cost their points, and nothing else.")

    def refused(name, family, reason="bad_family", **more):
        packed = family if isinstance(family, bytes) else P(family)
        message = envelope(met=met([packed, [[], 1], [[], 2]], [COUNTER, [[], 3]]))
        good = {"family": OUT["counter"], "points": [{"labels": [], "value": 3.0}]}
        group.valid(name, message, met=[{"refused": reason, "points": 2}, good], **more)

    def option(name, value, **more):
        refused(name, ["h", "histogram", [], "", "", value], **more)

    refused("a family of no bytes", b"")
    refused("a family that is no msgpack", b"\xc1")
    refused("a family cut off", P(COUNTER)[:-1])
    refused("a family with bytes behind it", P(COUNTER) + b"\0")
    refused("a family that is a map", P({"name": "c"}))
    refused("a family that is text", P("c"))
    refused("a family of two elements", ["c", "counter"])
    refused("a family without a name", ["", "counter", []])
    refused("a name that is nil", [None, "counter", []])
    refused("a name that is bin", [b"c", "counter", []])
    refused("a name that is not UTF-8", array(text(b"\xff"), text("counter"), array()))
    refused("a name of 256 bytes", ["n" * 256, "counter", []], limit="kMaxNameBytes", side="over")
    refused("a kind that is a number", ["c", 1, []])
    refused("a kind that is not UTF-8", array(text("c"), text(b"\xff"), array()))
    refused("an unknown kind", ["c", "summary", []], "unknown_kind")
    refused("an unknown kind of another shape", ["c", "state", {"later": 1}, 5], "unknown_kind")
    refused("a kind in capitals", ["c", "Counter", []], "unknown_kind")
    refused("an empty kind", ["c", "", []], "unknown_kind")
    refused("label keys that are a map", ["c", "counter", {}])
    refused("label keys that are nil", ["c", "counter", None])
    refused("a label key that is a number", ["c", "counter", [1]])
    refused("a label key that is empty", ["c", "counter", [""]])
    refused("a label key twice", ["c", "counter", ["a", "b", "a"]])
    refused("a label key that is not UTF-8", array(text("c"), text("counter"), array(text(b"\x80"))))
    refused("a label key of 256 bytes", ["c", "counter", ["n" * 256]], limit="kMaxNameBytes", side="over")
    refused("33 label keys", ["c", "counter", [f"k{i}" for i in range(33)]], limit="kMaxLabels", side="over")
    refused("a unit that is a number", ["c", "counter", [], 5])
    refused("a unit of 256 bytes", ["c", "counter", [], "u" * 256], limit="kMaxNameBytes", side="over")
    refused("a help that is a number", ["c", "counter", [], "", 5])
    refused("a help that is not UTF-8", array(*map(pack, COUNTER), text(""), text(b"\xe2\x82")))
    refused("a help of 4 KiB and a byte", ["c", "counter", [], "", "h" * 4097], limit="kMaxStringBytes", side="over")
    option("options that are an array", [])
    option("options with a key that is a number", {1: 2})
    option("65 options", {f"o{i}": i for i in range(65)}, limit="kMaxKeys", side="over")
    option("an option's key of 256 bytes", {"k" * 256: 1}, limit="kMaxNameBytes", side="over")
    refused("an option twice", array(*map(pack, COUNTER), nil(), nil(), pairs(*[(text("delta"), boolean(True))] * 2)))
    refused("an option's key that is not UTF-8", array(*map(pack, COUNTER), nil(), nil(), pairs((text(b"\xff"), nil()))))
    refused("an ext type among the options", array(*map(pack, COUNTER), nil(), nil(), pairs((text("x"), extension()))))
    deep = pack("c") + pack("counter") + array() + nil() + nil() + pairs((text("x"), array_header(1) * 6 + array()))
    refused("a family 9 deep", array_header(6) + deep, limit="kMaxDepth", side="over")
    for name, value in {
        "delta of 1": {"delta": 1}, "delta of nil": {"delta": None}, "merge of an unknown word": {"merge": "median"},
        "merge of a number": {"merge": 1}, "bounds that are a number": {"bounds": 1}, "bounds that are nil": {"bounds": None},
        "a bound that is text": {"bounds": ["1"]}, "a bound that is NaN": {"bounds": [NAN]},
        "a bound that is infinite": {"bounds": [1, INF]}, "bounds that fall": {"bounds": [2, 1]},
        "a bound twice": {"bounds": [1, 1.0]}, "bounds of -0.0 and 0": {"bounds": [-0.0, 0]},
    }.items():
        option(name, value)
    option("2,048 bounds", {"bounds": list(range(2048))}, limit="kMaxBuckets", side="over")
    refused("a counter with bounds that fall", ["c", "counter", [], "", "", {"bounds": [2, 1]}])
    refused("an array claims more than a family holds", b"\xdd\xff\xff\xff\xff")
    return group


def refused_points():
    group = Group("points_refused", "Points that are dropped alone: the one behind each is taken.")

    def refused(name, family, *point, labels=(), reason="bad_value", behind=None, **more):
        kind = family[1]
        behind = behind or {"counter": 1, "gauge": 1, "histogram": [1, 0, [1, 0, 0]], "exphist": [0, 0, 0, 0, 0, [], 0, []]}[kind]
        out = {"counter": 1.0, "gauge": 1.0, "histogram": histogram_out(1, 0, [1, 0, 0]),
               "exphist": {"count": 0, "sum": 0.0, "zero_count": 0, "scale": 0, "positive_offset": 0, "positive": [],
                           "negative_offset": 0, "negative": []}}[kind]
        packed = labels if isinstance(labels, bytes) else P(list(labels))
        message = envelope(met=met([family, [packed, *point], [[], behind]]))
        group.valid(name, message, **more, met=[
            {"family": OUT[kind], "points": [{"refused": reason}, {"labels": [], "value": out}]}])

    for name, value in {
        "NaN": NAN, "infinite": INF, "-1": -1, "-0.5": -0.5, "nil": None, "true": True, "text": "1", "bin": b"1",
        "a map": {}, "an array": [], "a histogram": [1, 0, [1]],
    }.items():
        refused(f"counter of {name}", COUNTER, value)
    for name, value in {"text": "NaN", "nil": None, "a histogram": [1, 0, [1, 0, 0]], "an array of two": [1, 2]}.items():
        refused(f"gauge of {name}", GAUGE, value)
    for name, value in {
        "a number": 5, "two elements": [1, 0], "a count that is not the sum": [2, 0, [1, 0, 0]],
        "a bucket too few": [1, 0, [1, 0]], "a bucket too many": [1, 0, [1, 0, 0, 0]], "no buckets": [0, 0, []],
        "a negative count": [-1, 0, [0, 0, 0]], "a negative bucket": [0, 0, [1, -1, 0]], "half an observation": [1, 0, [0.5, 0.5, 0]],
        "a bucket of text": [1, 0, ["1", 0, 0]], "a bucket of nil": [1, 0, [1, None, 0]], "a count of text": ["1", 0, [1, 0, 0]],
        "a sum of NaN": [1, NAN, [1, 0, 0]], "an infinite sum": [1, INF, [1, 0, 0]], "a sum of nil": [1, None, [1, 0, 0]],
        "min above max": [1, 0, [1, 0, 0], 2, 1], "an infinite max": [1, 0, [1, 0, 0], 0, INF],
        "a min of text": [1, 0, [1, 0, 0], "0", 1], "a max of text": [1, 0, [1, 0, 0], 0, "1"],
        "buckets that are a map": [1, 0, {}], "counts whose sum overflows": [0, 0, [2**63, 2**63, 0]],
        "the form of an exponential one": [0, 0, 0, 0, 0, [], 0, []],
    }.items():
        refused(f"histogram with {name}", HISTOGRAM, value)
    for name, value in {
        "a number": 5, "seven elements": [0, 0, 0, 0, 0, [], 0], "a count that is not the sum": [5, 0, 1, 0, 0, [1], 0, [1]],
        "a scale of half": [0, 0, 0, 0.5, 0, [], 0, []], "a scale beyond 32 bits": [0, 0, 0, 2**31, 0, [], 0, []],
        "an offset beyond 32 bits": [0, 0, 0, 0, -(2**31) - 1, [], 0, []], "a zero count of text": [0, 0, "0", 0, 0, [], 0, []],
        "positive buckets that are nil": [0, 0, 0, 0, 0, None, 0, []], "a negative offset of nil": [0, 0, 0, 0, 0, [], None, []],
        "negative buckets that are a number": [0, 0, 0, 0, 0, [], 0, 0], "counts whose sum overflows": [0, 0, 1, 0, 0, [BIG], 0, []],
        "a sum of NaN": [0, NAN, 0, 0, 0, [], 0, []], "min above max": [0, 0, 0, 0, 0, [], 0, [], 2, 1],
        "the form of a plain one": [1, 0, [1]],
    }.items():
        refused(f"exponential histogram with {name}", EXPHIST, value)

    refused("a label too many", COUNTER, 1, labels=["x"])
    refused("labels that are no msgpack", COUNTER, 1, labels=b"\xc1")
    refused("labels of no bytes", COUNTER, 1, labels=b"")
    refused("labels cut off", COUNTER, 1, labels=b"\x91")
    refused("labels with bytes behind them", COUNTER, 1, labels=P([]) + b"\0")
    refused("labels that are a map", COUNTER, 1, labels=P({}))
    refused("labels that are nil", COUNTER, 1, labels=P(None))
    refused("labels that claim 2^32 - 1 values", COUNTER, 1, labels=b"\xdd\xff\xff\xff\xff")

    def refused_label(name, packed):
        family = ["c_total", "counter", ["a"]]
        message = envelope(met=met([family, [packed, 1], [["x"], 1]]))
        group.valid(name, message, met=[{"family": family_out("c_total", "counter", ["a"]),
                                         "points": [{"refused": "bad_value"}, {"labels": ["x"], "value": 1.0}]}])

    refused_label("a label too few", P([]))
    refused_label("a label value that is a number", P([1]))
    refused_label("a label value that is nil", P([None]))
    refused_label("a label value that is bin", P([b"x"]))
    refused_label("a label value that is an ext type", array(extension()))
    refused_label("a label value that is not UTF-8", array(text(b"\xf0\x28\x8c\xbc")))
    refused_label("a label value that is a surrogate", array(text(b"\xed\xbf\xbf")))
    refused_label("a label value above U+10FFFF", array(text(b"\xf4\x90\x80\x80")))
    refused_label("a label value that ends inside of a character", array(text(b"ab\xe2\x82")))

    def bad_time(name, *point, **more):
        refused(name, COUNTER, *point, reason="bad_time", **more)

    bad_time("a time more than 10 min ahead", 1, NOW + AHEAD + 1, limit="kMaxAheadNs", side="over")
    bad_time("a time as late as can be", 1, BIG)
    for name, value in {"negative": -1, "of half": 0.5, "of text": "now", "of NaN": NAN, "of true": True, "of an array": []}.items():
        bad_time(f"a time {name}", 1, value)
    bad_time("an exemplar more than 10 min ahead", 1, None, [1, NOW + AHEAD + 1, TRACE, SPAN])
    bad_time("an exemplar with a time of nil", 1, None, [1, None, TRACE, SPAN])
    for name, value, reason in (
        ("of three", EXEMPLAR[:3], "bad_value"), ("that is text", "x", "bad_value"),
        ("with a value of text", ["1", NOW, TRACE, SPAN], "bad_value"),
        ("with a trace of zeros", [1, NOW, b"\0" * 16, SPAN], "bad_id"),
        ("with a span of zeros", [1, NOW, TRACE, b"\0" * 8], "bad_id"),
        ("with a trace of 8 bytes", [1, NOW, SPAN, SPAN], "bad_id"), ("with a span of nil", [1, NOW, TRACE, None], "bad_id"),
    ):
        refused(f"an exemplar {name}", COUNTER, 1, None, value, reason=reason)
    bad_time("the first fault names the reason", 1, -1, "no exemplar")
    refused("a value's fault comes before that of its time", COUNTER, None, -1)
    bad_time("a fault of the point comes before one of its labels", 1, -1, labels=["x"])
    bad_time("a fault of the point comes before one of its kind", -1, -1)
    return group


def malformed():
    group = Group("metrics_malformed", "Metrics that cost the whole envelope.")
    refused = group.refused
    good = [P(COUNTER), [[P([]), 1]]]
    for name, value in {
        "met that is a map": {}, "met that is nil": None, "met that is text": "x", "an entry that is nil": [None],
        "an entry that is a map": [{"a": 1}], "an entry of one": [[P(COUNTER)]], "an entry of none": [[]],
        "a family not packed": [[COUNTER, []]], "a family as str": [[Raw(text(P(COUNTER))), []]],
        "a family that is nil": [[None, []]], "points that are nil": [[P(COUNTER), None]],
        "points that are a map": [[P(COUNTER), {}]], "a point that is a number": [[P(COUNTER), [1]]],
        "a point that is a map": [[P(COUNTER), [{}]]], "a point of one": [[P(COUNTER), [[P([])]]]],
        "a point of none": [[P(COUNTER), [[]]]], "labels not packed": [[P(COUNTER), [[[], 1]]]],
        "labels as str": [[P(COUNTER), [[Raw(text(P([]))), 1]]]], "labels not packed but nil": [[P(COUNTER), [[None, 1]]]],
        "a bad entry behind a good one": [good, [P(COUNTER)]],
        "a bad point behind a good one": [[P(COUNTER), [[P([]), 1], 5]]],
    }.items():
        refused(name, envelope(met=value))
    refused("label values of 4 KiB and a byte", envelope(met=met([["c", "counter", ["a"]], [["x" * 4093], 1]])),
            limit="kMaxLabelBytes", side="over")
    refused("a family of 8 KiB and a byte", envelope(met=[[b"\0" * 8193, []]]), limit="kMaxFamilyBytes", side="over")
    refused("2,049 buckets", one(HISTOGRAM, [1, 0, [0] * 2049]), limit="kMaxBuckets", side="over")
    refused("2,049 positive buckets", one(EXPHIST, [0, 0, 0, 0, 0, [0] * 2049, 0, []]), limit="kMaxBuckets", side="over")
    refused("2,049 negative buckets", one(EXPHIST, [0, 0, 0, 0, 0, [], 0, [0] * 2049]), limit="kMaxBuckets", side="over")
    refused("2,049 buckets of a point that is wrong besides", one(COUNTER, ["x", "y", [0] * 2049], -1))
    refused("2,049 buckets under a family that does not decode", one(["", "", ""], [1, 0, [0] * 2049]))
    return group


def many_points():
    group = Group("points_many", "As many points and families as there may be, and one more.")
    point, head = pack([P([]), 1]), envelope()[1:]
    start = map_header(len(HEAD) + 1) + head + text("met")
    out = {"labels": [], "value": 1.0}

    def of(count):
        return [(start + array_header(1) + array_header(2) + binary(P(COUNTER)) + array_header(count), 1), (point, count)]

    group.valid("65,536 points", of(65536), limit="kMaxPoints", side="at",
                met=[{"family": OUT["counter"], "points": [out | {"times": 65536}]}])
    group.refused("65,537 points", of(65537), limit="kMaxPoints", side="over")
    two = [(start + array_header(2) + array_header(2) + binary(P(COUNTER)) + array_header(65536), 1), (point, 65536)]
    group.refused("65,537 points of two families", two + [(array_header(2) + binary(P(GAUGE)) + array_header(1) + point, 1)],
                  limit="kMaxPoints", side="over")
    empty = array(binary(b""), array())
    group.valid("65,536 families", [(start + array_header(65536), 1), (empty, 65536)], limit="kMaxPoints", side="at",
                met=[{"refused": "bad_family", "points": 0, "times": 65536}])
    group.refused("65,537 families", [(start + array_header(65537), 1), (empty, 65537)], limit="kMaxPoints", side="over")
    labels = ["n" * 30, "m" * 30, "o" * 30, "p" * 30]
    family = ["c", "counter", ["a", "b", "c", "d"]]
    row = pack([P(labels), 123456.5])
    group.valid("5,000 points with four labels",
                [(start + array_header(1) + array_header(2) + binary(P(family)) + array_header(5000), 1), (row, 5000)],
                met=[{"family": family_out("c", "counter", family[2]),
                      "points": [{"labels": labels, "value": 123456.5, "times": 5000}]}])
    assert len(start) + 64 + 5000 * len(row) < ENVELOPE
    return group


GROUPS = (points, families, refused_families, refused_points, malformed, many_points)
