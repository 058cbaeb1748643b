# SPDX-License-Identifier: Apache-2.0
"""What integration tests stand on: real processes on loopback, awaited with deadlines."""
import fcntl
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from prometheus_client.parser import text_string_to_metric_families

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("INSIGHT_BUILD", ROOT / "build")).resolve()
INSIGHTCTL = BUILD / "cli" / "insightctl"
FULL = os.environ.get("INSIGHT_FULL") == "1"
# Sanitizers slow processes down; only deadlines know it, no expected value does.
PATIENCE = float(os.environ.get("INSIGHT_PATIENCE", "1"))

SANITIZER_REPORT = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:")


def wait_until(predicate, timeout=10.0, what="", interval=0.02):
    """The first truthy value of predicate(); AssertionError when the deadline passes."""
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        value = predicate()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {timeout * PATIENCE:g} s: {what or predicate}"
        time.sleep(interval)


_port_locks = []


def free_port():
    """A port below the ephemeral range (a listener inside it could be taken by an outgoing connection),
    kept for this process alone by a lock file until it ends."""
    directory = pathlib.Path(tempfile.gettempdir()) / f"insight-test-ports-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    for step in range(20_000):
        port = 10_000 + (os.getpid() * 61 + len(_port_locks) + step) % 20_000
        lock = open(directory / str(port), "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        _port_locks.append(lock)
        return port
    raise RuntimeError("no free port")


def rss_anon(pid):
    """Bytes of anonymous memory that a process holds."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no RssAnon for {pid}")


def key(metric, /, **labels):
    """How scrape() names a series: key("jobs_total", route="/v1")."""
    return metric, tuple(sorted(labels.items()))


def parse_metrics(text):
    """{key: value} of a page in Prometheus' text format; a series twice is an error."""
    series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name, tuple(sorted(sample.labels.items()))
            assert name not in series, f"series twice: {name}"
            series[name] = sample.value
    return series


def promtool_check(text):
    """(exit code, messages) of promtool check metrics: 0 clean, 1 not parsable, 3 lint."""
    done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True)
    return done.returncode, done.stdout + done.stderr


def http_request(address, path, method="GET", headers=None, timeout=10):
    """(status, headers, body) of one request to "host:port"."""
    host, port = address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=timeout * PATIENCE)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


class Process:
    """A child process with its output in a file; nothing of it outlives the test."""

    def __init__(self, argv, log, env=None, stdin=subprocess.DEVNULL, cwd=None):
        self.log_path = pathlib.Path(log)
        self.argv = [str(a) for a in argv]
        with open(self.log_path, "ab") as out:
            self.popen = subprocess.Popen(
                self.argv, stdin=stdin, stdout=out, stderr=subprocess.STDOUT, cwd=cwd, env={**os.environ, **(env or {})}
            )

    @property
    def pid(self):
        return self.popen.pid

    @property
    def is_running(self):
        return self.popen.poll() is None

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def send_signal(self, number):
        self.popen.send_signal(number)

    def pause(self):
        """SIGSTOP, and waits until each thread stands still: some run on until the first has seen the signal."""
        self.send_signal(signal.SIGSTOP)

        def stands_still():
            try:
                stats = [task.read_text() for task in pathlib.Path(f"/proc/{self.popen.pid}/task").glob("*/stat")]
            except OSError:  # a thread has ended meanwhile
                return False
            return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)

        wait_until(stands_still, 10)

    def resume(self):
        self.send_signal(signal.SIGCONT)

    def kill(self):
        """kill -9, and waits until the process is gone."""
        if self.is_running:
            self.send_signal(signal.SIGKILL)
        self.popen.wait()

    def wait(self, timeout=10):
        """The exit code."""
        return self.popen.wait(timeout * PATIENCE)

    def stop(self, number=signal.SIGTERM, timeout=10):
        """Asks the process to stop; its exit code."""
        if self.is_running:
            self.send_signal(number)
        return self.wait(timeout)

    def close(self):
        self.kill()
        if self.popen.stdin:
            self.popen.stdin.close()
        found = SANITIZER_REPORT.search(self.log)
        assert not found, f"{self.argv[0]} reported:\n{self.log[found.start():][:4000]}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Bus:
    """`insightctl bus run` with ports, configuration and state of its own; start() again after kill() or
    stop() continues on the same ports and the same state.

    config: TOML text, HEAD and some sinks; {directory}, {tcp}, {http} and {state} are replaced in it.
    prefix: words before the command, such as faketime's."""

    HEAD = """
[broker]
name = "test"
state_dir = "{state}"

[http]
listen = "127.0.0.1:{http}"

[collectors.bus]
type = "zmq"
endpoints = ["tcp://127.0.0.1:{tcp}", "ipc://{directory}/bus.ipc"]
"""
    CONFIG = HEAD + """
[sinks.prometheus]

[sinks.file]
directory = "{state}/telemetry"
format = "jsonl"
"""

    def __init__(self, config=None, extra="", env=None, prefix=(), arguments=()):
        # Not pytest's directory: an ipc path is limited to 107 bytes.
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="insight-"))
        self.state = self.directory / "state"
        self.tcp_port, self.http_port = free_port(), free_port()
        self.tcp = f"tcp://127.0.0.1:{self.tcp_port}"
        self.ipc = f"ipc://{self.directory}/bus.ipc"
        self.http = f"127.0.0.1:{self.http_port}"
        self.config_path = self.directory / "bus.toml"
        self.write_config((config or self.CONFIG) + extra)
        self.env = {"XDG_RUNTIME_DIR": str(self.directory), **(env or {})}
        self.prefix, self.arguments = list(prefix), list(arguments)
        self.process = None

    def write_config(self, text):
        words = {"directory": self.directory, "state": self.state, "tcp": self.tcp_port, "http": self.http_port}
        self.config_path.write_text(re.sub(r"\{(directory|state|tcp|http)\}", lambda m: str(words[m[1]]), text))

    @property
    def pid(self):
        return self.process.pid

    @property
    def log(self):
        return self.process.log

    def launch(self):
        """Starts the process and returns at once."""
        argv = [*self.prefix, INSIGHTCTL, "bus", "run", "--config", self.config_path, *self.arguments]
        self.process = Process(argv, self.directory / "bus.log", self.env)
        return self

    def is_ready(self):
        if not self.process.is_running:
            raise AssertionError(f"the broker ended with {self.process.wait()}:\n{self.log[-4000:]}")
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def start(self, timeout=20):
        self.launch()
        wait_until(self.is_ready, timeout, "the broker is ready")
        return self

    def kill(self):
        self.process.kill()

    def stop(self, number=signal.SIGTERM, timeout=10):
        return self.process.stop(number, timeout)

    def pause(self):
        self.process.pause()

    def resume(self):
        self.process.resume()

    def restart(self):
        """kill -9, then start on the same ports and state."""
        self.kill()
        return self.start()

    def get(self, path, **options):
        return http_request(self.http, path, **options)

    def metrics_text(self):
        status, _, body = self.get("/metrics")
        assert status == 200, f"/metrics answered {status}: {body[:500]!r}"
        return body.decode()

    def scrape(self):
        """{key: value} of /metrics."""
        return parse_metrics(self.metrics_text())

    def value(self, metric, /, default=None, **labels):
        return self.scrape().get(key(metric, **labels), default)

    def wait_value(self, metric, expected, /, timeout=10, **labels):
        """Waits until a series has this value."""
        seen = []

        def reached():
            seen[:] = [self.value(metric, **labels)]
            return seen[0] == expected

        try:
            wait_until(reached, timeout, interval=0.1)
        except AssertionError:
            raise AssertionError(f"{metric}{labels} is {seen[0]}, not {expected}") from None

    def api(self, path):
        """The JSON of /api/v1/<path>."""
        status, _, body = self.get(f"/api/v1/{path}")
        assert status == 200, f"/api/v1/{path} answered {status}: {body[:500]!r}"
        return json.loads(body)

    def publishers(self):
        """{incarnation in hex: its object in /api/v1/publishers}."""
        return {p["incarnation"]: p for p in self.api("publishers")["publishers"]}

    def ctl(self, *arguments, check=False):
        """Runs insightctl against this broker."""
        return subprocess.run(
            [INSIGHTCTL, *arguments], capture_output=True, text=True, check=check, timeout=60 * PATIENCE,
            env={**os.environ, **self.env, "INSIGHT_HTTP": self.http},
        )

    def records(self):
        """All lines of the file sink, oldest file first."""
        files = sorted((self.state / "telemetry").rglob("*.jsonl"), key=lambda p: p.stat().st_mtime_ns)
        return [json.loads(line) for f in files for line in f.read_text().splitlines()]

    def close(self):
        try:
            if self.process:
                self.process.close()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
