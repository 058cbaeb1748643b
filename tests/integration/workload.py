# SPDX-License-Identifier: Apache-2.0
"""The C++ program tests/support/workload.cpp: a publisher that does what it is told, line by line."""
import json
import os
import pathlib
import select
import subprocess
import tempfile

from bus import BUILD, PATIENCE, Process

PROGRAM = BUILD / "tests" / "workload"


def words(labels):
    return "".join(f" {name}={value}" for name, value in labels.items())


class Workload(Process):
    """`log` is what the publisher itself says on stderr."""

    def __init__(self, endpoint, env=None, program=PROGRAM):
        handle, path = tempfile.mkstemp(prefix="insight-workload-", suffix=".log")
        self.log_path, self.argv = pathlib.Path(path), [str(program)]
        self.popen = subprocess.Popen(
            self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=handle, text=True, bufsize=1,
            env={**os.environ, "INSIGHT_ENDPOINT": endpoint, **(env or {})})
        os.close(handle)

    def tell(self, command, timeout=30):
        """Sends one command; returns what its answer says after `ok`."""
        self.send(command)
        return self.answer(timeout)

    def send(self, command):
        self.popen.stdin.write(command + "\n")

    def answer(self, timeout=30):
        # Commands are answered one by one, so nothing of a next line waits in the reader's buffer.
        readable, _, _ = select.select([self.popen.stdout], [], [], timeout * PATIENCE)
        assert readable, f"no answer within {timeout * PATIENCE:g} s"
        line = self.popen.stdout.readline()
        assert line.startswith("ok"), f"{line!r}; {self.log[-2000:]}"
        return line[2:].strip()

    def counter(self, name, n, **labels):
        self.tell(f"counter {name} {n}{words(labels)}")

    def gauge(self, name, value, **labels):
        self.tell(f"gauge {name} {value}{words(labels)}")

    def bounds(self, name, bounds):
        self.tell(f"bounds {name} {','.join(map(str, bounds))}")

    def histogram(self, name, value, **labels):
        self.tell(f"histogram {name} {value}{words(labels)}")

    def span(self, name, lane, **attributes):
        self.tell(f"span {name} {lane}{words(attributes)}")

    def state(self, name, lane, **attributes):
        """Begins a state."""
        self.tell(f"state {name} {lane}{words(attributes)}")

    def end(self, name):
        self.tell(f"end {name}")

    def status(self):
        return json.loads(self.tell("status"))

    def finish(self, timeout=10):
        """Ends its input, so that it says bye and exits normally; the exit code."""
        self.popen.stdin.close()
        return self.wait(timeout)

    def close(self):
        try:
            super().close()
        finally:
            self.popen.stdout.close()
            self.log_path.unlink(missing_ok=True)
