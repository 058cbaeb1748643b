# SPDX-License-Identifier: Apache-2.0
"""Recorded by the file sink, published again by `insightctl replay`: the same /metrics, and one clear line where
something is wrong."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import msgpack
import pytest
from bus import INSIGHTCTL, PATIENCE, Bus, Process, wait_until
from recording import frame, frames
from short_publisher import P, Receiver, ShortPublisher, counter, gauge, histogram, span
from workload import Workload

CONFIG = Bus.HEAD + """
[sinks.prometheus]
"""

RECORDING = """
[sinks.recording]
type = "file"
format = "envelope"
rotate.bytes = "64KiB"
rotate.keep = 1000
"""

MODES = ("last", "sum", "min", "max", "mean", "each")


def shown(bus, names=None):
    """/metrics without what the bus says of itself; incarnations in labels by the names given."""
    out = {}
    for (metric, labels), value in bus.scrape().items():
        if not metric.startswith("insight_"):
            out[metric, tuple((k, (names or {}).get(v, v)) for k, v in labels)] = value
    return out


def publish(bus):
    """Several publishers, of which one restarts, one ends, one is killed, one is refused, and one is a real program."""
    def everything(publisher, n):
        publisher.send_all(met=[
            counter("jobs_total", 10 * n, route="/a"), counter("jobs_total", n, route="/b"),
            *(gauge(f"level_{mode}", n + 0.5, merge=mode) for mode in MODES),
            histogram("latency_seconds", [0.1, 1], [0.05] * n + [5.0] * n)])

    opened = []

    def publisher(**options):
        opened.append(ShortPublisher(bus.tcp, **options))
        opened[-1].send_all(life="hello")
        return opened[-1]

    ended = publisher(resource={"run": "r", "rank": 0})
    for n in (1, 2, 3):
        everything(ended, n)
    ended.bye()
    again = publisher(resource={"run": "r", "rank": 0})  # the same rank, counted from 0
    lost = publisher(resource={"run": "r", "rank": 1}, every_ms=100)
    everything(lost, 40)
    refused = publisher(resource={"run": "r", "rank": 2})
    refused.send_all(met=[gauge("jobs_total", 7), gauge("level_sum", 100.0, merge="sum")])
    refused.send_all(spn=[span("rollout", "lane_0")])
    with Workload(bus.ipc, env={"INSIGHT_RUN": "r"}) as program:
        program.tell("repeat 300 counter work_total 2 shard={i}")
        program.histogram("work_seconds", 0.25)
        program.span("step", "trainer", step=1)
        assert program.finish() == 0
    for n in (5, 6):
        everything(again, n)
    wait_until(lambda: bus.publishers()[lost.incarnation]["state"] == "lost", 30, "one is given up")
    # The silence is in the recording only when somebody speaks after it.
    again.send_all(life="beat")
    refused.send_all(life="beat")
    wait_until(lambda: all(bus.publishers()[p.incarnation]["highest_seq"] == p.seq for p in opened), 20, "all has come")
    return opened


def settled(read):
    """What two scrapes in a row agree on."""
    last = [None]

    def same():
        before, last[0] = last[0], read()
        return before == last[0]

    wait_until(same, 20, "nothing changes", interval=0.3)
    return last[0]


@pytest.fixture
def recorded(new_bus, tmp_path):
    """(files, what /metrics showed) of a bus that recorded all of publish()."""
    bus = new_bus(config=CONFIG, extra=RECORDING).start()
    opened = publish(bus)
    page = settled(lambda: shown(bus))
    assert bus.stop() == 0
    for publisher in opened:
        publisher.close()
    files = sorted((bus.state / "telemetry").glob("recording*.envelope"))
    assert len(files) >= 1
    return files, page


def replay(bus, *arguments):
    done = bus.ctl("replay", "--endpoint", bus.tcp, *map(str, arguments))
    return done.returncode, done.stdout, done.stderr


def one_line(text):
    assert text.startswith("insightctl: ") and text.endswith("\n") and text.count("\n") == 1, text
    return text


@pytest.mark.sanitize
@pytest.mark.parametrize("speed, transport", [("max", "tcp"), ("max", "ipc"), ("1", "tcp"), ("20x", "ipc")])
def test_a_recording_gives_the_same_metrics(recorded, new_bus, speed, transport):
    files, page = recorded
    assert any(k[0] == "jobs_total" for k in page) and len(page) > 300
    bus = new_bus(config=CONFIG).start()

    done = bus.ctl("replay", "--json", "--speed", speed, "--endpoint", getattr(bus, transport), *map(str, reversed(files)))

    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["envelopes"] == report["of"] == sum(len(frames(f.read_bytes())) for f in files)
    names = {p["replayed"]: p["recorded"] for p in report["publishers"]}
    assert len(names) == 5 and not set(names) & set(names.values())
    # What fell silent is given up after a moment; the rest said bye and is shown a while longer.
    different = []

    def same():
        now = shown(bus, names)
        different[:] = [(k, page.get(k), now.get(k)) for k in page.keys() | now.keys() if page.get(k) != now.get(k)]
        return not different

    try:
        wait_until(same, 25, interval=0.2)
    except AssertionError:
        raise AssertionError(f"(series, recorded, replayed): {different[:5]}") from None
    states = [p["state"] for p in bus.api("publishers")["publishers"]]
    assert sorted(states) == ["ended"] * 4 + ["lost"]
    assert all(p["sequence_gaps"] == p["spans_lost"] == 0 for p in bus.api("publishers")["publishers"])


def test_times_are_moved_together_and_nothing_lies_ahead(recorded, new_bus):
    files, _ = recorded
    with Receiver() as receiver:
        began = time.time_ns()
        command = [INSIGHTCTL, "replay", "--speed", "max", "--endpoint", receiver.endpoint, *files]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        came = []
        while process.poll() is None or receiver.socket.poll(1000):
            if (frame_of := receiver.receive(1)) is not None:
                came.append(msgpack.unpackb(frame_of[0]))
        assert process.wait() == 0
        ended = time.time_ns()

    before = [msgpack.unpackb(message) for f in files for _, message in frames(f.read_bytes())]
    starts, moved = sorted({e["t0"] for e in before}), sorted({e["t0"] for e in came})
    assert len(starts) == len(moved) == 5
    shift, = {new - old for old, new in zip(starts, moved)}
    assert all(began <= e["sent"] <= ended for e in came)
    spans = [s for e in came for s in e.get("spn", [])]
    old_spans = [s for e in before for s in e.get("spn", [])]
    assert len(spans) == len(old_spans) > 0
    assert sorted(s[6] - shift for s in spans) == sorted(s[6] for s in old_spans)
    assert all(s[7] <= ended for s in spans)


def test_compressed_recordings_and_a_restarted_sink(new_bus):
    compressed = RECORDING.replace("1000", '1000\nrotate.compress = "zstd"')
    bus = new_bus(config=CONFIG, extra=compressed).start()
    with ShortPublisher(bus.tcp) as publisher:
        for n in range(1, 601):
            publisher.send_all(met=[counter("padded_total", n, help="x" * 400)])
            if n == 300:
                bus.wait_value("padded_total", n)
                assert bus.stop() == 0
                bus.start()
        bus.wait_value("padded_total", 600)
        telemetry = bus.state / "telemetry"
        wait_until(lambda: len(list(telemetry.glob("*.zst"))) >= 3 and not list(telemetry.glob("recording-*.envelope")),
                   30, "all whole files are compressed")
    assert bus.stop() == 0
    files = sorted(telemetry.glob("recording*.envelope*"))
    files = [f for f in files if f.suffix != ".lock"]
    fresh = new_bus(config=CONFIG).start()

    code, out, err = replay(fresh, "--speed", "max", *files)

    assert (code, err) == (0, ""), out
    fresh.wait_value("padded_total", 600)
    assert fresh.api("status")["collectors"][0]["sequence_gaps"] == 0


def recording_of(path, count, every_ns=1_000_000, padding=0):
    """A recording of one publisher whose counter goes up to `count`; the sizes of its frames."""
    inc, resource, start = os.urandom(16), P({"service.name": "made", "pad": "x" * padding}), 1_700_000_000 * 10**9
    data = []
    for n in range(1, count + 1):
        at = start + n * every_ns
        data.append(frame(at, P({"v": 1, "inc": inc, "seq": n, "t0": start, "sent": at, "res": resource,
                                 "met": [counter("made_total", n)]})))
    path.write_bytes(b"".join(data))
    return [len(each) for each in data]


def test_a_torn_recording_is_replayed_up_to_its_last_whole_frame(new_bus, tmp_path):
    bus = new_bus(config=CONFIG).start()
    whole = tmp_path / "whole.envelope"
    sizes = recording_of(whole, 5)
    data, torn = whole.read_bytes(), tmp_path / "torn.envelope"
    for size in (1, 15, 16, sizes[0] - 1, sizes[0], sizes[0] + 7, sum(sizes[:3]) + 20, len(data) - 1):
        torn.write_bytes(data[:size])
        count = max(n for n in range(6) if sum(sizes[:n]) <= size)
        at, left = sum(sizes[:count]), size - sum(sizes[:count])

        code, out, err = replay(bus, "--speed", "max", torn)

        statement = f"{torn}: {count} whole envelopes, then cut off at byte {at}: {left} byte{'s are' if left > 1 else ' is'} left over"
        assert (code, err) == ((1, "") if left else (0, "")), out
        assert (statement in out) == bool(left) and f"replayed {count} envelope" in out, out
    damaged = bytearray(data)
    damaged[sum(sizes[:2]) + 30] ^= 1
    torn.write_bytes(damaged)
    code, out, err = replay(bus, "--speed", "max", torn)
    assert code == 1 and f"2 whole envelopes, then damaged at byte {sum(sizes[:2])}" in out


def test_what_cannot_be_replayed_is_told_in_a_line(new_bus, tmp_path):
    bus = new_bus(config=CONFIG).start()
    text, newer, made = tmp_path / "lines.jsonl", tmp_path / "newer.envelope", tmp_path / "made.envelope"
    text.write_text('{"type":"point"}\n')
    newer.write_bytes(frame(1, P({"v": 2})))
    recording_of(made, 3)
    for arguments, why in (
        ([text], "is no recording of envelopes"),
        ([made, newer], "holds envelopes of another version than 1"),
        ([tmp_path / "none"], "No such file"),
        ([tmp_path], "not a regular file"),
        ([made, "--speed", "fast"], "--speed: expected a number"),
        ([made, "--speed", "0"], "--speed: expected a number"),
        ([made, "--endpoint", "udp://x"], "--endpoint"),
    ):
        code, out, err = replay(bus, *arguments)
        assert (code, out) == (2, "") and why in one_line(err)
    assert bus.api("publishers")["publishers"] == []


def test_without_a_broker_it_waits_a_while_and_says_so(new_bus, tmp_path):
    bus = new_bus(config=CONFIG)
    made = tmp_path / "made.envelope"
    recording_of(made, 3)

    code, out, err = replay(bus, "--wait", "300ms", made)

    assert (code, out) == (3, "") and f"no broker listens at {bus.tcp}" in one_line(err)


@pytest.mark.parametrize("left", [None, 2])
def test_a_file_that_changes_meanwhile_is_told(new_bus, resources, tmp_path, left):
    bus = new_bus(config=CONFIG)
    whole, changed = tmp_path / "whole.envelope", tmp_path / "changed.envelope"
    recording_of(whole, 4)
    sizes = recording_of(changed, 5)
    command = [INSIGHTCTL, "replay", "--speed", "max", "--wait", "1h", "--endpoint", bus.tcp, whole, changed]
    with socket.create_server(("127.0.0.1", bus.tcp_port)) as listener:
        process = resources.enter_context(Process(command, tmp_path / "replay.log"))
        listener.settimeout(20 * PATIENCE)
        listener.accept()[0].close()  # it has read the files, and looks for its broker
    if left is None:
        changed.unlink()
    else:
        os.truncate(changed, sum(sizes[:left]))
    bus.start()

    assert process.wait(30) == 1
    assert f"{changed}: changed while it was replayed: {left or 0} of 5 envelopes were read again\n" in process.log
    assert f"replayed {4 + (left or 0)} envelopes" in process.log


def slow_replay(bus, resources, tmp_path, *arguments, is_ipc=False):
    """A replay that goes on for a minute, past its first envelopes."""
    made = tmp_path / "made.envelope"
    recording_of(made, 6000, every_ns=10_000_000)
    command = [INSIGHTCTL, "replay", "--endpoint", bus.ipc if is_ipc else bus.tcp, *arguments, made]
    process = resources.enter_context(Process(command, tmp_path / "replay.log"))
    wait_until(lambda: bus.value("made_total", 0) > 3, 20, "it has begun")
    return process


def test_a_broker_that_dies_is_waited_for(new_bus, resources, tmp_path):
    bus = new_bus(config=CONFIG).start()
    process = slow_replay(bus, resources, tmp_path, "--wait", "60s", "--speed", "10")
    bus.kill()
    wait_until(lambda: "is gone; waiting up to 1m for it to come back" in process.log, 20)
    bus.start()

    assert process.wait(60) == 1
    assert f"the broker at {bus.tcp} is back" in process.log
    assert "replayed 6,000 envelopes of 1 publisher" in process.log
    assert "the broker was away once" in process.log
    bus.wait_value("made_total", 6000)


def test_a_broker_that_stays_away_ends_it(new_bus, resources, tmp_path):
    bus = new_bus(config=CONFIG).start()
    process = slow_replay(bus, resources, tmp_path, "--wait", "500ms")
    bus.kill()

    assert process.wait(30) == 3
    assert re.search(r"did not come back: [\d,]+ of 6,000 envelopes were sent\n$", process.log)
    assert len(process.log.splitlines()) == 2


def test_ctrl_c_ends_it_with_a_bye(new_bus, resources, tmp_path):
    bus = new_bus(config=CONFIG).start()
    process = slow_replay(bus, resources, tmp_path)

    assert process.stop(signal.SIGINT) == 0
    assert re.fullmatch(r"stopped after [\d,]+ of 6,000 envelopes of 1 publisher in \S+\n", process.log)
    wait_until(lambda: [p["state"] for p in bus.api("publishers")["publishers"]] == ["ended"], 20)


def test_a_broker_that_reads_no_more_is_told(new_bus, resources, tmp_path):
    bus = new_bus(config=CONFIG).start()
    process = slow_replay(bus, resources, tmp_path, "--wait", "300ms", is_ipc=True)
    bus.pause()

    assert process.stop(signal.SIGINT) == 1
    assert re.search(r"^stopped after [\d,]+ of 6,000 envelopes", process.log)
    assert f"the broker at {bus.ipc} has not read all of it" in process.log


def test_a_second_ctrl_c_ends_it_at_once(new_bus, resources, tmp_path):
    bus = new_bus(config=CONFIG).start()
    process = slow_replay(bus, resources, tmp_path, "--wait", "1h", is_ipc=True)
    bus.pause()

    def has_ended():
        if process.is_running:
            process.send_signal(signal.SIGINT)
        return not process.is_running

    wait_until(has_ended, 20, "two signals end it")
    assert (process.wait(), process.log) == (130, "")


def bytes_read(process):
    return int(re.search(r"rchar: (\d+)", pathlib.Path(f"/proc/{process.pid}/io").read_text())[1])


def test_a_slow_broker_loses_nothing(resources, tmp_path):
    made = tmp_path / "made.envelope"
    size = sum(recording_of(made, 3000, padding=3000))
    receiver = resources.enter_context(Receiver())
    command = [INSIGHTCTL, "replay", "--speed", "max", "--endpoint", receiver.endpoint, made]
    process = resources.enter_context(Process(command, tmp_path / "replay.log"))
    # It reads the file once to check it and once to send it; queues take a third of that.
    wait_until(lambda: bytes_read(process) > 1.1 * size, 20, "it has begun")
    assert settled(lambda: bytes_read(process)) < 1.9 * size and process.is_running

    came = []
    while not came or came[-1].get("life") != "bye":
        envelope = receiver.envelope(20 * PATIENCE)
        assert envelope, f"{len(came)} came; {process.log}"
        came.append(envelope)

    assert process.wait(60) == 0
    assert [e["seq"] for e in came] == [*range(1, 3002)]
    assert [e["met"][0][1][0][1] for e in came[:-1]] == [*range(1, 3001)]


def test_a_large_file_takes_no_memory(new_bus, tmp_path):
    bus = new_bus(config=CONFIG)
    made = tmp_path / "made.envelope"
    recording_of(made, 50, padding=3500)
    block = made.read_bytes()
    with open(made, "wb") as out:
        for _ in range(128 * 1024 * 1024 // len(block)):
            out.write(block)
    # Through a small process: what a child took most includes what its parent had when it was started.
    measured = """if True:
        import resource, subprocess, sys
        code = subprocess.call(sys.argv[1:])
        print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
        sys.exit(code)"""

    done = subprocess.run([sys.executable, "-c", measured, INSIGHTCTL, "replay", "--wait", "1ms", "--endpoint", bus.tcp,
                           made], capture_output=True, text=True, timeout=60 * PATIENCE)

    assert "no broker listens" in done.stderr
    assert done.returncode == 3
    assert int(done.stdout) < 100 * 1024 * max(PATIENCE, 1)  # KiB; sanitizers take more
