# SPDX-License-Identifier: Apache-2.0
"""Whole messages and the keys of the envelope."""
from packing import (array_header, boolean, extension, float32, float64, int_as, integer, map_header, uint_as)
from vector_parts import (ENVELOPE, GONE, HEAD, INC, NOW, P, SENT, T0, Group, Raw, array, binary, envelope,
                          envelope_of, nil, pack, pairs, text)

BIG = 2**64 - 1


def accepted():
    group = Group("envelope_valid", "Envelopes without records, in every form that means the same.")
    valid = group.valid
    valid("the required keys alone", envelope(), limit="kVersion", side="at")
    valid("keys in another order, v last", pack(dict(reversed(list(HEAD.items())))))
    for name, raw in {
        "float64": float64(1.0), "float32": float32(1.0), "uint 8": uint_as(8, 1), "uint 64": uint_as(64, 1),
        "int 8": int_as(8, 1), "int 64": int_as(64, 1),
    }.items():
        valid(f"v as {name}", envelope(v=Raw(raw)))
    for name, raw, value in (
        ("a fixint", integer(127), 127), ("uint 8", integer(255), 255), ("uint 16", integer(65535), 65535),
        ("uint 32", integer(2**32 - 1), 2**32 - 1), ("uint 64", integer(BIG), BIG), ("int 8", int_as(8, 5), 5),
        ("int 16", int_as(16, 500), 500), ("int 32", int_as(32, 70000), 70000), ("int 64", int_as(64, 2**62), 2**62),
        ("float32", float32(3.0), 3), ("float64", float64(2.0**53), 2**53),
        ("the largest float64 below 2^64", float64(2.0**64 - 2048), 2**64 - 2048),
    ):
        valid(f"seq as {name}", envelope(seq=Raw(raw)), seq=value)
    valid("t0 as float64", envelope(t0=float(2**60)), t0=2**60)
    valid("t0 and sent at 1", envelope(t0=1, sent=1), t0=1, sent=1)
    valid("sent far ahead of the broker", envelope(sent=NOW + 10**15), sent=NOW + 10**15)
    valid("sent before t0", envelope(t0=SENT, sent=T0), t0=SENT, sent=T0)
    for width, tag in ((2, "16"), (4, "32")):
        body = pack(HEAD)[1:]
        valid(f"the outer map as map {tag}", map_header(len(HEAD), width) + body)
        valid(f"inc as bin {tag}", envelope(inc=Raw(binary(INC, width))))
    for width in (1, 2, 4):
        valid(f"keys as str {8 * width}", pairs(*((text(k, width), pack(v)) for k, v in HEAD.items())))
    valid("inc with a single bit", envelope(inc=b"\0" * 15 + b"\1"), inc="00" * 15 + "01")
    valid("inc of ff", envelope(inc=b"\xff" * 16), inc="ff" * 16)

    valid("mono", envelope(mono=123_456_789), mono=123_456_789)
    valid("mono at 0", envelope(mono=0), mono=0)
    valid("boot", envelope(boot=b"\0" * 16), boot="00" * 16)
    valid("clk ahead", envelope(clk=[2_000_000, 500]), clk=[2_000_000, 500])
    valid("clk behind", envelope(clk=[-(2**63), BIG]), clk=[-(2**63), BIG])
    valid("clk as floats", envelope(clk=[-3.0, 4.0]), clk=[-3, 4])
    valid("clk with further elements", envelope(clk=[1, 2, "x", None]), clk=[1, 2])
    valid("old", envelope(old=T0 + 5), old=T0 + 5)
    valid("old at 0", envelope(old=0))
    valid("every as its default", envelope(every=10_000), every=10_000)
    valid("every left out is the default", envelope(), limit="kDefaultEveryMs", side="at")
    valid("every at the least", envelope(every=100), limit="kMinEveryMs", side="at", every=100)
    valid("every below the least", envelope(every=99), limit="kMinEveryMs", side="over", every=100)
    valid("every at 0", envelope(every=0), every=100)
    valid("every at the most", envelope(every=3_600_000), limit="kMaxEveryMs", side="at", every=3_600_000)
    valid("every above the most", envelope(every=3_600_001), limit="kMaxEveryMs", side="over", every=3_600_000)
    valid("every as large as can be", envelope(every=BIG), every=3_600_000)
    valid("every as float", envelope(every=1500.0), every=1500)
    for life in ("hello", "beat", "bye"):
        valid(f"life {life}", envelope(life=life), life=life)
    accounts = {"spans": 10, "spans_sent": 9, "bytes_sent": BIG, "again": 0, "drop.span_buffer": 1}
    valid("accounts", envelope(acc=accounts), acc=accounts)
    valid("accounts as floats", envelope(acc={"spans": 2.0}), acc={"spans": 2})
    valid("no accounts", envelope(acc={}))
    valid("accounts that nobody knows, in any text", envelope(acc={"drop.überlauf": 1, "": 2}),
          acc={"drop.überlauf": 1, "": 2})
    many = {f"a{i}": i for i in range(64)}
    valid("64 accounts", envelope(acc=many), limit="kMaxAccounts", side="at", acc=many)
    valid("no relays", envelope(via=[]))
    relays = [bytes([i]) * 16 for i in range(1, 9)]
    valid("8 relays", envelope(via=relays), limit="kMaxRelays", side="at", via=[relay.hex() for relay in relays])
    everything = envelope(mono=7, boot=b"\2" * 16, clk=[0, 0], old=9, every=500, met=[], life="hello",
                          acc={"again": 1}, via=[b"\xff" * 16])
    valid("every key at once", everything, mono=7, boot="02" * 16, clk=[0, 0], old=9, every=500, met=[], life="hello",
          acc={"again": 1}, via=["ff" * 16])

    for name, raw in {
        "nil": nil(), "a bool": boolean(True), "a number": float64(0.5), "bin": binary(b"\0\xff"),
        "a text that is not UTF-8": text(b"\xff\xfe"), "a map with a key twice": pairs(*[(text("a"), nil())] * 2),
        "a map with keys of any type": pairs((nil(), nil()), (array(), integer(1))), "an array": array(nil(), array()),
        "a long text": text("x" * 300, 4),
    }.items():
        valid(f"an unknown key with {name}", envelope_of((text("later"), raw)))
    valid("unknown keys of other scripts, and the empty one", envelope(**{"schlüssel": 1, "鍵": 2, "": 3}))
    valid("a key that only looks like v", envelope(**{"V": 2, "v\0": 3}))
    deep = Raw(array_header(1) * 6 + array())
    valid("8 arrays and maps inside each other", envelope(later=deep), limit="kMaxDepth", side="at")
    valid("a key of 255 bytes", envelope(**{"k" * 255: 1}), limit="kMaxNameBytes", side="at")
    valid("64 keys", envelope(**{f"k{i}": 0 for i in range(58)}), limit="kMaxKeys", side="at")
    start = envelope_of((text("later"), b""))
    room = ENVELOPE - len(start) - 5
    valid("1 MiB", [(start + b"\xc6" + room.to_bytes(4, "big"), 1), (b"\0", room)], limit="kMaxEnvelopeBytes", side="at")
    group.refused("1 MiB and a byte", [(start + b"\xc6" + (room + 1).to_bytes(4, "big"), 1), (b"\0", room + 1)],
                  "too_large", limit="kMaxEnvelopeBytes", side="over")
    group.refused("2 MiB of nothing", [(b"\0", 2 << 20)], "too_large")
    return group


def resources():
    group = Group("resource", "What stands in `res`.")

    def valid(name, value, expected, **more):
        group.valid(name, envelope(res=value if isinstance(value, bytes) else P(value)), without=["res"], res=expected,
                    **more)

    def refused(name, packed, **more):
        group.refused(name, envelope(res=packed), **more)

    valid("a resource without keys", {}, {})
    valid("every type of a resource's value",
          {"t": "x", "i": -5, "u": 5, "big": BIG, "f": 0.5, "whole": 2.0, "yes": True, "no": False},
          {"t": ["text", "x"], "i": ["int", -5], "u": ["int", 5], "big": ["int", BIG], "f": ["float", 0.5],
           "whole": ["float", 2.0], "yes": ["bool", True], "no": ["bool", False]})
    valid("floats of a resource that are no numbers", {"a": float("nan"), "b": float("-inf")},
          {"a": ["float", float("nan")], "b": ["float", float("-inf")]})
    valid("resource text of any script", {"名": "ü€😀\0\n\"", "": ""}, {"名": ["text", "ü€😀\0\n\""], "": ["text", ""]})
    valid("a resource in the widest formats", map_header(1, 4) + text("a", 4) + text("b", 4), {"a": ["text", "b"]})
    many = {f"k{i:02}": i for i in range(64)}
    valid("64 keys of a resource", many, {key: ["int", value] for key, value in many.items()},
          limit="kMaxResourceKeys", side="at")
    refused("65 keys of a resource", P(many | {"x": 1}), limit="kMaxResourceKeys", side="over")
    long = {f"k{i}": "x" * 1016 for i in range(4)}
    assert len(P(long)) == 4 * (3 + 3 + 1016) + 1
    fill = "y" * (4096 - len(P(long)) - 2 - 1)
    assert len(fill) <= 31
    valid("a resource of 4 KiB", long | {"z": fill},
          {key: ["text", value] for key, value in (long | {"z": fill}).items()}, limit="kMaxResourceBytes", side="at")
    refused("a resource of 4 KiB and a byte", P(long | {"z": fill + "y"}), limit="kMaxResourceBytes", side="over")
    name = "n" * 255
    valid("a key of a resource of 255 bytes", {name: 1}, {name: ["int", 1]}, limit="kMaxNameBytes", side="at")
    refused("a key of a resource of 256 bytes", P({name + "n": 1}), limit="kMaxNameBytes", side="over")
    refused("a resource of no bytes", b"")
    refused("a resource that is an array", P(["a", "b"]))
    refused("a resource that is nil", P(None))
    refused("a resource that is no msgpack", b"\xc1")
    refused("a resource cut off", P({"a": "b"})[:-1])
    refused("a resource with bytes behind it", P({"a": "b"}) + b"\0")
    refused("a resource with a key twice", pairs((text("a"), integer(1)), (text("a"), integer(2))))
    refused("a resource with a key that is a number", pairs((integer(1), integer(2))))
    refused("a resource with a key that is bin", pairs((binary(b"a"), integer(2))))
    refused("a resource with nil inside", P({"a": None}))
    refused("a resource with bin inside", P({"a": b"b"}))
    refused("a resource with an array inside", P({"a": []}))
    refused("a resource with a map inside", P({"a": {}}))
    refused("a resource with an ext type inside", pairs((text("a"), extension())))
    refused("a resource with a text that is not UTF-8", pairs((text("a"), text(b"\xc3\x28"))))
    refused("a resource with a key that is not UTF-8", pairs((text(b"\xff"), integer(1))))
    refused("a resource with a surrogate", pairs((text("a"), text(b"\xed\xa0\x80"))))
    refused("a resource with an overlong form", pairs((text("a"), text(b"\xc0\x80"))))
    group.refused("res as a map, not packed", envelope(res={"a": "b"}))
    group.refused("res as str", envelope(res=Raw(text(P({"a": "b"})))))
    group.refused("res as nil", envelope(res=None))
    return group


def malformed():
    group = Group("envelope_malformed", "Envelopes that are refused as a whole.")
    refused = group.refused
    for key in ("inc", "seq", "t0", "sent", "res"):
        refused(f"without {key}", envelope(**{key: GONE}))
    for name, value in {
        "15 bytes": INC[:15], "17 bytes": INC + b"\1", "all zero": b"\0" * 16, "str": Raw(text(INC)), "nil": None,
        "of no bytes": b"", "a number": 5, "an array": list(INC),
    }.items():
        refused(f"inc {name}", envelope(inc=value))
    for name, value in {
        "0": 0, "0.0": 0.0, "-1": -1, "a fraction": 1.5, "NaN": float("nan"), "infinite": float("inf"), "2^64": 2.0**64,
        "text": "1", "nil": None, "true": True, "an array": [1],
    }.items():
        refused(f"seq {name}", envelope(seq=value))
    for key in ("t0", "sent"):
        for name, value in {"0": 0, "negative": -1, "nil": None, "text": "now", "a fraction": 0.5}.items():
            refused(f"{key} {name}", envelope(**{key: value}))
    refused("mono negative", envelope(mono=-1))
    refused("mono nil", envelope(mono=None))
    refused("boot of 15 bytes", envelope(boot=b"\1" * 15))
    refused("boot as str", envelope(boot=Raw(text("0123456789abcdef"))))
    for name, value in {
        "of one": [1], "empty": [], "a map": {}, "with a fraction": [0.5, 1], "with a negative error": [1, -1],
        "with text": ["1", 1], "out of range": [2**63, 0],
    }.items():
        refused(f"clk {name}", envelope(clk=value))
    refused("old negative", envelope(old=-5))
    refused("old nil", envelope(old=None))
    refused("every text", envelope(every="10s"))
    refused("every negative", envelope(every=-1))
    refused("every a fraction", envelope(every=99.5))
    for name, value in {"of another word": "death", "empty": "", "a number": 1, "bin": b"bye", "nil": None}.items():
        refused(f"life {name}", envelope(life=value))
    for name, value in {
        "an array": [], "with a negative count": {"spans": -1}, "with text": {"spans": "1"}, "with nil": {"spans": None},
        "with a fraction": {"spans": 0.5}, "with a key that is a number": {1: 1}, "nil": None,
    }.items():
        refused(f"acc {name}", envelope(acc=value))
    refused("acc with a key twice", envelope(acc=Raw(pairs(*[(text("spans"), integer(1))] * 2))))
    refused("acc with a key that is not UTF-8", envelope(acc=Raw(pairs((text(b"\x80"), integer(1))))))
    refused("65 accounts", envelope(acc={f"a{i}": i for i in range(65)}), limit="kMaxAccounts", side="over")
    refused("acc with a key of 256 bytes", envelope(acc={"k" * 256: 1}), limit="kMaxNameBytes", side="over")
    refused("9 relays", envelope(via=[INC] * 9), limit="kMaxRelays", side="over")
    refused("a relay of 15 bytes", envelope(via=[INC[:15]]))
    refused("a relay as str", envelope(via=[Raw(text("0123456789abcdef"))]))
    refused("via a map", envelope(via={}))
    refused("met and spn", envelope(met=[], spn=[]))

    refused("a known key twice", envelope_of((text("seq"), integer(2))))
    refused("v twice", envelope_of((text("v"), integer(1))))
    refused("an unknown key twice", envelope_of((text("later"), nil()), (text("later"), nil())))
    refused("a key that is a number", envelope_of((integer(7), nil())))
    refused("a key that is bin", envelope_of((binary(b"later"), nil())))
    refused("a key that is an array", envelope_of((array(), nil())))
    refused("a key that is not UTF-8", envelope_of((text(b"\xff"), nil())))
    refused("a key of 256 bytes", envelope(**{"k" * 256: 1}), limit="kMaxNameBytes", side="over")
    refused("65 keys", envelope(**{f"k{i}": 0 for i in range(59)}), limit="kMaxKeys", side="over")
    refused("9 arrays and maps inside each other", envelope(later=Raw(array_header(1) * 7 + array())),
            limit="kMaxDepth", side="over")
    refused("9 maps inside each other", envelope(later=Raw((map_header(1) + nil()) * 7 + map_header(0))))
    refused("100,000 arrays inside each other", [(envelope_of((text("later"), b"")), 1), (b"\x91", 100_000), (nil(), 1)])
    refused("an ext type under an unknown key", envelope_of((text("later"), extension())))
    refused("an ext type of fixed size", envelope_of((text("later"), b"\xd6\xff\0\0\0\0")))
    refused("an ext type inside of an array", envelope_of((text("later"), array(extension()))))
    refused("the byte that msgpack never uses", envelope_of((text("later"), b"\xc1")))
    refused("a byte behind the map", envelope() + b"\0")
    refused("two envelopes in one message", envelope() * 2)
    whole = envelope()
    refused("cut off by a byte", whole[:-1])
    refused("cut off behind v", whole[:4])
    refused("cut off inside of inc", whole[:14])
    refused("cut off behind a key", envelope_of((text("later"), b"")))
    refused("the map claims a pair more", map_header(len(HEAD) + 1) + whole[1:])
    refused("the map claims a pair less", map_header(len(HEAD) - 1) + whole[1:])
    refused("the map claims 2^32 - 1 pairs", map_header(2**32 - 1, 4) + whole[1:])
    for name, raw in {
        "an array claims 2^32 - 1 elements": array_header(2**32 - 1, 4), "an array claims 65,535": array_header(65535, 2),
        "a map claims 2^32 - 1 pairs": map_header(2**32 - 1, 4), "a str claims 4 GiB": b"\xdb\xff\xff\xff\xff",
        "a bin claims 4 GiB": b"\xc6\xff\xff\xff\xff", "an array claims one element more": array_header(3) + nil() * 2,
        "a length is cut off": b"\xdd\0\0",
    }.items():
        refused(name, envelope_of((text("later"), raw)))
    nested = (array_header(10**6, 4) + nil()) * 6
    refused("arrays inside each other claim a million each", envelope_of((text("later"), nested)))
    return group


def other_messages():
    group = Group("foreign", "Messages that are no envelope of version 1.")
    foreign = {
        "no bytes": b"", "text": b"hello, world", "JSON": b'{"v": 1}', "HTTP": b"GET / HTTP/1.1\r\n\r\n",
        "a number": integer(1), "nil": nil(), "a string": text("v"), "bin": binary(b"v"), "an array": pack([1, 2]),
        "an array that looks like a pair": pack(["v", 1]), "an empty map": map_header(0), "a map without v": pack({"a": 1}),
        "an envelope without v": envelope(v=GONE), "v deeper inside": pack({"a": {"v": 1}}), "V": pack({"V": 1}),
        "the key v as bin": pairs((binary(b"v"), integer(1))), "the byte that msgpack never uses": b"\xc1",
        "an ext type": extension(), "a map cut off before v": map_header(2) + text("a"),
        "a map cut off behind the key v": map_header(1) + text("v"),
        "a map cut off inside the value of v": map_header(1) + text("v") + b"\xcd\0",
        "an ext type before v": pairs((text("a"), extension()), (text("v"), integer(1))),
        "too deep before v": pairs((text("a"), array_header(1) * 8 + nil()), (text("v"), integer(1))),
        "an array that takes v in": map_header(2) + text("a") + array_header(100, 2) + text("v") + integer(1),
        "the value of v is an ext type": pairs((text("v"), extension())),
        "a map that claims 2^32 - 1 pairs": map_header(2**32 - 1, 4), "a long run of zeros": b"\0" * 1000,
        "an array that claims 2^32 - 1 elements": array_header(2**32 - 1, 4),
    }
    for name, message in foreign.items():
        group.refused(f"foreign: {name}", message, "foreign")
    group.refused("foreign: 100,000 maps inside each other", [(b"\x81\xa1a", 100_000)], "foreign")
    versions = {
        "2": 2, "0": 0, "-1": -1, "1.5": 1.5, "NaN": float("nan"), "text": "1", "nil": None, "true": True, "an array": [1],
        "2^64 - 1": BIG, "a map": {"v": 1},
    }
    for name, value in versions.items():
        limit = ("kVersion", "over") if name == "2" else (None, None)
        group.refused(f"v is {name}", envelope(v=value), "version", *limit)
    group.refused("v 2 with other shapes", pack({"v": 2, "inc": "x", "met": 7}), "version")
    group.refused("v 2 behind keys that version 1 would refuse", pack({"inc": 1, "v": 2}), "version")
    group.refused("v 2, then cut off", envelope(v=2)[:30], "version")
    group.refused("v 2, then an ext type", pairs((text("v"), integer(2)), (text("a"), extension())), "version")
    group.refused("v 2 and v 1", pairs((text("v"), integer(2)), (text("v"), integer(1))), "version")
    group.refused("v 1 and v 2", pairs((text("v"), integer(1)), (text("v"), integer(2))))
    group.refused("v alone", pack({"v": 1}))
    return group


GROUPS = (accepted, resources, malformed, other_messages)
