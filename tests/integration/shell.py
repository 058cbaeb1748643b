# SPDX-License-Identifier: Apache-2.0
"""A shell in which a reader of the documents types: a place of its own, `insightctl` in PATH, and ports of its own
behind the default ones."""
import itertools
import os
import pathlib
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from bus import INSIGHTCTL, PATIENCE, free_port

MARK = "\x1e"
# A person looks again when a value is not there yet; what changes something is typed once.
LOOKS = re.compile(r"(.*[;|&] *)?(insightctl (status|publishers|metrics|bus audit)|curl -s|grep|jq|tail|cat|ls|zcat|zstdcat)\b")


def fits(expected, output):
    """Whether the output is what a document shows: "..." stands for any text, alone on a line for any lines; how many
    blanks stand somewhere does not count."""
    def plain(text):
        return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())

    pattern = "".join(".*" if piece == "..." else re.escape(piece) for piece in re.split(r"(\.\.\.)", plain(expected)))
    return re.fullmatch(pattern, plain(output), re.DOTALL) is not None


class Shell:
    def __init__(self, env=None):
        # Not pytest's directory: an ipc path is limited to 107 bytes.
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="insight-"))
        self.home, self.bin = self.directory / "home", self.directory / "bin"
        self.home.mkdir()
        self.bin.mkdir()
        (self.directory / "run").mkdir(mode=0o700)
        self.ports = {5571: free_port(), 9092: free_port()}
        self._write_insightctl()
        self._logs = itertools.count()
        self.env = {
            **os.environ, "HOME": str(self.home), "XDG_STATE_HOME": str(self.home / ".local/state"),
            "XDG_RUNTIME_DIR": str(self.directory / "run"), "PATH": f"{self.bin}:{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
            "INSIGHT_HTTP": f"127.0.0.1:{self.ports[9092]}", "INSIGHT_ENDPOINT": f"tcp://127.0.0.1:{self.ports[5571]}",
            "INSIGHT_FLUSH_INTERVAL": "50ms", "LC_ALL": "C.UTF-8", **(env or {}),
        }
        for name in ("INSIGHT_CONFIG", "INSIGHT_DISABLED", "BASH_ENV"):
            self.env.pop(name, None)
        self.process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd=self.home, env=self.env, start_new_session=True)

    def _write_insightctl(self):
        """The program itself, but a broker whose file does not name the ports gets those of this shell."""
        path = self.bin / "insightctl"
        path.write_text(f"""#!/bin/bash
if [ "$1 $2" = "bus run" ]; then
  file=$(printf '%s\\n' "$@" | sed -n '/^--config$/{{n;p}}')
  grep -qs {self.ports[9092]} "$file" || set -- "$@" --http 127.0.0.1:{self.ports[9092]}
  grep -qs {self.ports[5571]} "$file" || set -- "$@" --listen tcp://127.0.0.1:{self.ports[5571]}
fi
exec {shlex.quote(str(INSIGHTCTL))} "$@"
""")
        path.chmod(0o755)

    def to_here(self, text):
        """What a document says, for the ports of this shell."""
        for documented, here in self.ports.items():
            text = re.sub(rf"\b{documented}\b", str(here), text)
        return text

    def from_here(self, text):
        for documented, here in self.ports.items():
            text = text.replace(str(here), str(documented))
        return text

    def write(self, name, text):
        (self.home / name).write_text(self.to_here(text))

    def run(self, command, timeout=30):
        """(exit code, output) of one command; what it leaves in the background writes elsewhere."""
        self.process.stdin.write(f"{self.to_here(command)}\n__code=$?; printf '{MARK}%s{MARK}' $__code; (exit $__code)\n".encode())
        self.process.stdin.flush()
        deadline, output = time.monotonic() + timeout * PATIENCE, b""
        while not (found := re.search(rf"{MARK}(\d+){MARK}".encode(), output)):
            left = deadline - time.monotonic()
            assert left > 0, f"{command!r} does not end; it printed:\n{output.decode(errors='replace')}"
            if select.select([self.process.stdout], [], [], left)[0]:
                piece = os.read(self.process.stdout.fileno(), 65536)
                assert piece, f"{command!r} ended the shell; it printed:\n{output.decode(errors='replace')}"
                output += piece
        return int(found[1]), self.from_here(output[: found.start()].decode(errors="replace"))

    def type(self, command, expected, may_fail=False, timeout=30):
        """Runs a command as a document shows it, and compares what it prints. One that ends with & prints for itself,
        as in a terminal of its own."""
        if command.rstrip().endswith("&"):
            log = self.directory / f"background-{next(self._logs)}.log"
            self.run(f"{command.rstrip()[:-1]} >{log} 2>&1 &")
            look = lambda: (0, self.from_here(log.read_text(errors="replace")) if log.exists() else "")  # noqa: E731
            patient = True
        else:
            look = lambda: self.run(command, timeout)  # noqa: E731
            patient = LOOKS.match(command)
        deadline = time.monotonic() + (20 * PATIENCE if patient else 0)
        while True:
            code, output = look()
            right = fits(expected, output) and (code == 0 or may_fail)
            if right or time.monotonic() >= deadline:
                break
            time.sleep(0.1)
        assert right, f"$ {command}\nexit code {code}, printed:\n{output}\n--- the document shows:\n{expected}"
        return code, output

    def close(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                break
            end = time.monotonic() + 5 * PATIENCE
            while time.monotonic() < end and self._group_lives():
                time.sleep(0.05)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _group_lives(self):
        self.process.poll()
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
