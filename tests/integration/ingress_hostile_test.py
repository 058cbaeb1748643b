# SPDX-License-Identifier: Apache-2.0
"""Hostile bytes cost at most themselves: an honest publisher beside them loses nothing, memory stays flat, every
message is either taken or counted by its reason."""
import itertools
import json
import multiprocessing
import os
import random
import re
import socket
import time

import pytest
import zmq
from bus import FULL, ROOT, promtool_check, rss_anon, wait_until
from short_publisher import ShortPublisher, counter, family, point

RATE = 10_000
SECONDS = 60 if FULL else 6
# Larger ones come seldom: a rate of messages is meant here, not the bandwidth of the loopback.
SMALL_BYTES = 2_000
ONE_LARGE_IN = 500


def corpus():
    """The messages of all test vectors: (small, large)."""
    small, large = [], []
    for path in sorted((ROOT / "bus/wire/vectors").glob("*.json")):
        for vector in json.loads(path.read_text())["vectors"]:
            message = vector["message"]
            if isinstance(message, str):
                message = [[message, 1]]
            data = b"".join(bytes.fromhex(digits) * times for digits, times in message)
            (small if len(data) <= SMALL_BYTES else large).append(data)
    assert len(small) > 500 and large
    return small, large


def mutated(data, chance):
    """The same with a few bytes changed, cut, repeated or replaced by others."""
    out = bytearray(data)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(out) + 1)
        kind = chance.randrange(5)
        if kind == 0 and at < len(out):
            out[at] = chance.randrange(256)
        elif kind == 1 and at < len(out):
            out[at] ^= 1 << chance.randrange(8)
        elif kind == 2:
            del out[at:at + chance.randrange(1, 9)]
        elif kind == 3:
            out[at:at] = out[at:at + chance.randrange(1, 9)]
        else:
            out[at:at] = chance.choice([b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
                                        b"\x91" * 50, b"\xc1", b"\xff" * 9, b"\xdb\x7f\xff\xff\xff"])
    return bytes(out)


INC = re.compile(rb"\xa3inc\xc4\x10.{16}", re.S)
SEQ = re.compile(rb"\xa3seq(?:[\x00-\x7f]|[\xcc\xd0].|[\xcd\xd1]..|[\xca\xce\xd2].{4}|[\xcb\xcf\xd3].{8})", re.S)
INCARNATIONS = [b"\xa3inc\xc4\x10" + os.urandom(16) for _ in range(50)]


def renumbered(data, n):
    """The same as the n-th envelope of one of 50 incarnations: repeated, all but the first would be refused."""
    data = INC.sub(lambda _: INCARNATIONS[n % len(INCARNATIONS)], data, 1)
    return SEQ.sub(lambda _: b"\xa3seq\xcf" + (n + 1).to_bytes(8, "big"), data, 1)


def attack(endpoint, seconds, sent):
    """Sends the corpus, changed and unchanged, at RATE messages a second; counts what ZeroMQ took."""
    chance = random.Random(1)
    small, large = corpus()
    pool = small * 15 + [mutated(chance.choice(small), chance) for _ in range(10_000)]
    chance.shuffle(pool)
    big = itertools.cycle(large + [b"x" * (1 << 20), b"x" * ((1 << 20) + 1), b"\x80" * (3 << 20)])
    with ShortPublisher(endpoint, linger_ms=30_000) as peer:
        start, n = time.monotonic(), 0
        for message in itertools.cycle(pool):
            due = int((time.monotonic() - start) * RATE)
            if n >= due:
                time.sleep(0.001)
            if time.monotonic() - start > seconds:
                break
            frames = (renumbered(message, n) if n % 10 else message,)
            if n % ONE_LARGE_IN == 0:
                frames = (next(big),)
            elif n % 97 == 0:
                frames = (message, message[:5], b"")
            while not peer.send_bytes(*frames):
                peer.socket.poll(100, zmq.POLLOUT)
            n += 1
            with sent.get_lock():
                sent.value = n


def noise(port, stop):
    """Connections that speak no ZMTP, wrong ZMTP, claim huge frames, or never end a message."""
    chance = random.Random(2)
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
    ready = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x04PUSH"
    talks = [
        lambda: b"GET /metrics HTTP/1.1\r\n\r\n",
        lambda: b"\xff" + chance.randbytes(1_000),
        lambda: greeting + chance.randbytes(500),
        lambda: greeting + ready + b"\x02" + (1 << 62).to_bytes(8, "big"),
        lambda: greeting + ready + b"\x02" + (1 << 33).to_bytes(8, "big") + bytes(10_000),
        lambda: greeting + ready + b"\x01\x01x" * 300_000,
        lambda: b"",
    ]
    silent = []
    for talk in itertools.cycle(talks):
        if stop.wait(0.02):
            return
        try:
            peer = socket.create_connection(("127.0.0.1", port), timeout=5)
            peer.sendall(talk())
        except OSError:
            continue  # cut: that is the answer
        silent.append(peer)
        if len(silent) > 50:
            silent.pop(0).close()


def received_and_refused(bus):
    collector = bus.api("status")["collectors"][0]
    return sum(collector["envelopes"].values()), sum(collector["refused"].values())


@pytest.mark.alone
def test_hostile_bytes_leave_an_honest_publisher_unaffected(new_bus, resources):
    bus = new_bus().start()
    spawn = multiprocessing.get_context("spawn")
    sent, stop = spawn.Value("Q", 0), spawn.Event()
    attacker = spawn.Process(target=attack, args=(bus.tcp, SECONDS, sent))
    honest = resources.enter_context(ShortPublisher(bus.tcp, {"role": "honest"}, every_ms=2_000))
    rounds, memory = 0, []

    attacker.start()
    resources.callback(attacker.kill)
    wait_until(lambda: sent.value > 0, 30, "the attack begins")
    while attacker.is_alive():
        rounds += 1
        honest.send_all(met=[counter("honest_total", rounds)])
        time.sleep(0.02)
        memory.append(rss_anon(bus.pid))
    attacker.join()
    assert attacker.exitcode == 0
    honest.send_all(met=[counter("honest_total", rounds)], life="bye")

    bus.wait_value("honest_total", rounds, role="honest")
    shown = wait_until(lambda: (p := bus.publishers()[honest.incarnation])["state"] == "ended" and p)
    assert (shown["sequence_gaps"], shown["duplicates"], shown["late"]) == (0, 0, 0)
    assert shown["envelopes"] == rounds + 1
    # Every message was either taken or refused, and is counted once.
    total = sent.value + rounds + 1
    wait_until(lambda: sum(received_and_refused(bus)) == total, what=f"{total} messages are counted")
    received, refused = received_and_refused(bus)
    reasons = {r for r, n in bus.api("status")["collectors"][0]["refused"].items() if n}
    assert {"malformed", "foreign", "version", "multipart", "too_large"} <= reasons
    assert promtool_check(bus.metrics_text())[0] != 1
    # The first third fills what is bounded: tables of those incarnations that the corpus names, and batches.
    third = max(memory[len(memory) // 3:len(memory) // 2])
    assert max(memory) < third + (48 << 20), [m >> 20 for m in memory[::20]]
    print(f"{sent.value / SECONDS:.0f} messages/s, {received} taken, {refused} refused; memory {memory[0] >> 20}, "
          f"{third >> 20}, {max(memory) >> 20} MiB at the start, after a third, at most")
    assert bus.stop() == 0


@pytest.mark.sanitize
def test_connections_that_speak_no_zeromq_leave_an_honest_publisher_unaffected(new_bus, resources):
    bus = new_bus().start()
    spawn = multiprocessing.get_context("spawn")
    stop = spawn.Event()
    noisy = spawn.Process(target=noise, args=(bus.tcp_port, stop))
    honest = resources.enter_context(ShortPublisher(bus.tcp, every_ms=2_000))
    noisy.start()
    resources.callback(noisy.kill)

    deadline = time.monotonic() + SECONDS
    rounds = 0
    while time.monotonic() < deadline:
        rounds += 1
        honest.send_all(met=[counter("honest_total", rounds)])
        time.sleep(0.01)
    stop.set()
    noisy.join()

    bus.wait_value("honest_total", rounds)
    shown = bus.publishers()[honest.incarnation]
    assert (shown["sequence_gaps"], shown["envelopes"], shown["state"]) == (0, rounds, "alive")
    assert rss_anon(bus.pid) < 512 << 20
    assert bus.stop() == 0


@pytest.mark.sanitize
def test_values_of_any_kind_and_repeated_numbers_are_refused_one_by_one(bus, resources):
    honest = resources.enter_context(ShortPublisher(bus.tcp))
    values = family("odd_total", "counter", ["case"])
    tomorrow = time.time_ns() + 86_400 * 10**9
    wrong = [point(-1, "negative"), point(float("nan"), "nan"), point(float("inf"), "inf"), point("text", "text"),
             point(2, b"no text")]
    honest.send_all(met=[[values, [point(1, "good"), *wrong, point(4, "early", time_ns=tomorrow)]]])
    honest.send_all(met=[[values, [point(3, "x" * 5_000)]]])  # over the limit of a point: costs the envelope
    again = honest.envelope(met=[counter("odd_total", 9, case="good")])
    honest.send_bytes(again)
    honest.send_bytes(again)

    bus.wait_value("odd_total", 9, case="good")
    wait_until(lambda: bus.api("status")["collectors"][0]["refused"].get("duplicate"))
    dropped = bus.api("status")["collectors"][0]["dropped"]
    assert (dropped["bad_value"], dropped["bad_time"]) == (len(wrong), 1)
    assert bus.api("status")["collectors"][0]["refused"] == {"duplicate": 1, "malformed": 1}
    assert promtool_check(bus.metrics_text())[0] in (0, 3)
