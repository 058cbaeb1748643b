# SPDX-License-Identifier: Apache-2.0
"""Live records: insightctl tap and /api/v1/tap."""
import fcntl
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import termios

import pytest
from bus import INSIGHTCTL, PATIENCE, Process, free_port, key, wait_until
from workload import Workload

pytestmark = pytest.mark.sanitize


class Tap(Process):
    """`insightctl tap` with its lines on a pipe; `log` is its standard error."""

    def __init__(self, bus, *arguments, stdout=subprocess.PIPE):
        self.log_path = bus.directory / f"tap-{os.urandom(4).hex()}.log"
        self.argv = [str(INSIGHTCTL), "tap", *arguments]
        with open(self.log_path, "wb") as err:
            self.popen = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=err, bufsize=0,
                                          env={**os.environ, **bus.env, "INSIGHT_HTTP": bus.http})
        self.text = b""

    def line(self, timeout=20):
        while b"\n" not in self.text:
            ready, _, _ = select.select([self.popen.stdout], [], [], timeout * PATIENCE)
            assert ready, f"no line within {timeout * PATIENCE:g} s; {self.log}"
            piece = os.read(self.popen.stdout.fileno(), 65536)
            assert piece, f"ended with {self.wait()}; {self.log}"
            self.text += piece
        line, self.text = self.text.split(b"\n", 1)
        return line.decode()

    def rest(self):
        rest = self.text + self.popen.stdout.read()
        self.text = b""
        return rest.decode().splitlines()

    def close(self):
        super().close()
        if self.popen.stdout:
            self.popen.stdout.close()


@pytest.fixture
def tap(resources):
    """tap(bus, ...) starts a tap and returns when the broker sees it."""
    def start(bus, *arguments, **options):
        before = bus.value("insight_taps")
        made = resources.enter_context(Tap(bus, *arguments, **options))
        wait_until(lambda: bus.value("insight_taps") > before, what="the tap is open")
        return made
    return start


@pytest.fixture
def workload(resources, bus):
    program = resources.enter_context(Workload(bus.tcp, {"INSIGHT_ROLE": "rollout"}))
    program.tell("connected 10")
    return program


def test_records_are_shown_as_they_come_and_only_what_changed(bus, workload, tap):
    live = tap(bus, "--name", "jobs_total")
    workload.counter("jobs_total", 1, route="a")
    first = json.loads(live.line())
    workload.gauge("depth", 7)
    workload.counter("jobs_total", 2, route="a")
    second = json.loads(live.line())

    assert (first["type"], first["name"], first["value"], first["labels"]) == ("point", "jobs_total", 1, {"route": "a"})
    assert first["resource"]["role"] == "rollout"
    assert second["value"] == 3
    assert live.stop(signal.SIGINT) == 0
    assert live.rest() == [] and live.log == ""


def test_filters_and_formats(bus, workload, tap):
    taps = {
        "template": tap(bus, "-n", "1", "--name", "jobs*", "-l", "route=b*", "-f", r"%n{%l} %v %{role} %p\t%k%%"),
        "spans": tap(bus, "-n", "1", "--signal", "spans", "-l", "lane=gpu?", "-f", "%n %L %{step} %k"),
        "nobody": tap(bus, "--publisher", "nobody"),
        "publisher": tap(bus, "-n", "1", "--publisher", "work*", "--name", "ttft*", "-f", "%v"),
        "line": tap(bus, "-n", "1", "--name", "jobs*", "-f", "line"),
    }
    workload.counter("jobs_total", 5, route="b1")
    workload.span("decode", "gpu0", step=3)
    workload.histogram("ttft_seconds", 0.25)

    assert re.fullmatch(rf"jobs_total\{{route=b1\}} 5 rollout workload/\S+/{workload.pid}\tcounter%", taps["template"].line())
    assert taps["spans"].line() == "decode gpu0 3 span"
    assert taps["publisher"].line() == "count=1 sum=0.25"
    assert re.fullmatch(rf"\d\d:\d\d:\d\d\.\d{{3}}  jobs_total  5  \{{route=b1\}}  workload/\S+/{workload.pid}", taps["line"].line())
    for name in ("template", "spans", "publisher", "line"):
        assert taps[name].wait() == 0, name
        assert taps[name].rest() == [] and taps[name].log == "", name
    assert taps["nobody"].stop(signal.SIGINT) == 0 and taps["nobody"].rest() == []


def test_a_count_is_exact_and_the_figures_close(bus, workload, tap):
    live = tap(bus, "-n", "150", "--name", "many_total")
    workload.tell("repeat 100 counter many_total 1 i={i}")
    for _ in range(100):
        live.line()
    workload.tell("repeat 100 counter many_total 1 i={i}")

    assert live.wait() == 0
    assert len(live.rest()) == 50
    wait_until(lambda: bus.value("insight_taps") == 0)
    scraped = bus.scrape()
    assert scraped[key("insight_tap_records_total", outcome="sent")] == 150


def test_above_the_budget_it_says_that_it_samples(bus, workload, tap):
    live = tap(bus, "--all", "-f", "%n")
    flood = [f"repeat 1900 counter flood{i}_total 1 i={{i}}" for i in range(8)]
    for command in flood:
        workload.tell(command)

    def says_so():
        for command in flood:
            workload.tell(command)
        while select.select([live.popen.stdout], [], [], 0)[0]:
            piece = os.read(live.popen.stdout.fileno(), 1 << 20)
            assert piece, f"ended with {live.wait()}; {live.log}"
            live.text += piece
        return "this is a sample" in live.log

    wait_until(says_so, 60)
    live.send_signal(signal.SIGINT)
    shown = len(live.rest())
    assert live.wait() == 0
    last = live.log.splitlines()[-1]
    told = re.fullmatch(r"insightctl: tap: ([\d,]+) shown; of ([\d,]+) records that came by, ([\d,]+) were left out \(sampled\)", last)
    assert told, live.log
    figures = [int(n.replace(",", "")) for n in told.groups()]
    assert figures[0] == shown
    assert 0 < figures[2] < figures[1]


def test_a_client_that_does_not_read_is_cut_and_counted(bus, workload):
    with socket.create_connection(bus.http.split(":")) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(b"GET /api/v1/tap?all=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: bus.value("insight_taps") == 1)

        def is_cut():
            workload.tell("repeat 1900 counter flood_total 1 i={i}")
            return bus.value("insight_taps_cut_total") == 1

        wait_until(is_cut, 60, interval=0.1)
        wait_until(lambda: bus.value("insight_taps") == 0)
    assert bus.value("insight_tap_records_total", outcome="left_out") > 0


def test_there_are_at_most_eight(bus, workload, tap):
    for _ in range(8):
        tap(bus)

    ninth = bus.ctl("tap")

    assert ninth.returncode == 1
    assert ninth.stderr == "insightctl: the broker refuses: 8 taps are open, which is the limit; close one\n"
    assert bus.value("insight_taps_refused_total") == 1
    assert bus.stop() == 0


def test_it_goes_on_after_a_restart_of_the_broker(bus, workload, tap):
    live = tap(bus, "--name", "jobs_total", "-f", "%v", "-n", "2")
    workload.counter("jobs_total", 1)
    assert live.line() == "1"

    bus.restart()
    wait_until(lambda: bus.value("insight_taps") == 1, 20)
    workload.counter("jobs_total", 1)

    assert live.line() in ("1", "2")  # the new broker has not seen the old value
    assert live.wait() == 0
    assert live.log.splitlines() == [f"insightctl: tap: the broker at {bus.http} is gone; waiting until it is back",
                                     f"insightctl: tap: the broker at {bus.http} is back"]


def test_a_broker_that_stops_ends_its_taps_at_once(bus, workload, tap):
    live = tap(bus)

    assert bus.stop(timeout=4) == 0

    wait_until(lambda: "waiting until it is back" in live.log)
    assert live.stop(signal.SIGTERM) == 0


def test_it_ends_quietly_when_the_pipe_closes(bus, tap):
    live = tap(bus)
    live.popen.stdout.close()

    assert live.wait() == 0  # although nothing comes that could be written
    assert live.log == ""


def test_ctrl_c_ends_it_also_when_nobody_reads_the_pipe(bus, workload, tap):
    live = tap(bus, "--all")
    read, write = os.pipe()
    try:
        stuck = tap(bus, "--all", stdout=write)
        for _ in range(3):
            workload.tell("repeat 1900 counter flood_total 1 i={i}")
            live.line()
        wait_until(lambda: not select.select([], [write], [], 0)[1], what="the pipe is full")

        assert stuck.stop(signal.SIGINT) == 0
    finally:
        os.close(read)
        os.close(write)


def test_a_narrow_window_cuts_lines(bus, workload):
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 20, 0, 0))
    process = subprocess.Popen([INSIGHTCTL, "tap", "-n", "1"], stdin=slave, stdout=slave, stderr=subprocess.PIPE,
                               env={**os.environ, "INSIGHT_HTTP": bus.http})
    os.close(slave)
    with process:
        wait_until(lambda: bus.value("insight_taps") == 1)
        workload.counter("a_name_that_is_longer_than_the_window_total", 1)
        assert process.wait(20 * PATIENCE) == 0
        assert process.stderr.read() == b""
    line = os.read(master, 65536).decode().rstrip()
    os.close(master)
    assert len(line) == 20 and line.endswith("…")


@pytest.mark.parametrize("arguments, code, says", [
    (["--signal", "logs"], 2, '"logs": expected metrics|spans'),
    (["-f", "%x"], 2, 'there is no "%x"; known: %t'),
    (["-f", "xml"], 2, '--format "xml": expected json, line or a template'),
    (["-f", "%{role"], 2, '"%{" without "}"'),
    (["-l", "novalue"], 2, "the broker refuses: label must be key=value"),
    (["-n", "x"], 2, '"x": expected a whole number'),
    (["--nmae", "x"], 2, 'there is no option "--nmae", did you mean "--name"?'),
])
def test_wrong_use_is_told(bus, arguments, code, says):
    done = bus.ctl("tap", *arguments)

    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr and done.stderr.count("\n") == 1


def test_a_mistyped_name_is_told(bus, workload, tap):
    workload.counter("jobs_total", 1)
    bus.wait_value("jobs_total", 1, role="rollout")

    live = tap(bus, "--name", "jbos_total")

    assert live.stop(signal.SIGINT) == 0
    assert live.log == "insightctl: tap: nobody sends a metric jbos_total so far; did you mean jobs_total?\n"


def test_no_broker_and_what_is_none():
    address = f"127.0.0.1:{free_port()}"
    done = subprocess.run([INSIGHTCTL, "tap", "--http", address], capture_output=True, text=True, timeout=30 * PATIENCE)

    assert done.returncode == 3
    assert f"no broker answers at {address}" in done.stderr and done.stderr.count("\n") == 1
