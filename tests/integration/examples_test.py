# SPDX-License-Identifier: Apache-2.0
"""Every example of every command is run as it stands in --help and the manual, against a real broker. A command
without one fails, and so does one that prints nothing of what it promises."""
import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

import pytest
from bus import INSIGHTCTL, PATIENCE, Process, http_request, wait_until
from recording import frame
from shell import Shell
from short_publisher import P, ShortPublisher, counter, gauge, span

# What a command prints, on both channels or into the file that the example names; by its words. A command that is
# not here must print something.
PRINTS = {
    "bus run": r"publishers connect to +tcp://.*\n(.*\n)*.*next: insightctl status",
    "status": r"healthy +up ",
    "metrics list": r"^METRIC +KIND(.*\n)*.*rl_|\"source\":\"aggregate\"",
    "metrics explain": r"^insight_publishers +gauge\nPublishers known",
    "publishers": r"^STATE +PUBLISHER(.*\n)*alive +rl/",
    "tap": r"rl_|rollout|jobs",
    "bench": r"reached +[\d,]+ records/s of|\"adds_up\": true",
    "replay": r"replayed [1-9]\d* envelope",
    "config init": r"\[collectors\.bus\]|right",
    "config check": r"right\n  collector bus",
    "config print": r"\[limits\]\nseries = 1000000",
    "components": r"file",
    "completion": r"insightctl",
    "man": r"\.SH NAME|\"commands\"",
    "emit": r"\A\Z",
    "run": r"\A(done\n)?\Z",
    "version": r"insightctl \d+\.\d+\.\d+ ",
}
# What the broker shows then, in /metrics or its records, of an example that publishes and says nothing; by its end.
ARRIVES = {
    "emit counter backups_total 1 -l host=db1": [r'^backups_total\{host="db1"\} 1$'],
    "emit gauge queue_depth 7 --hold 2s": [r"^queue_depth 7$"],
    "emit histogram backup_seconds 12.5": [r"^backup_seconds_count 1$", r"^backup_seconds_sum 12\.5$"],
    "emit span backup 12.5s --lane cron -l host=db1": [r'"name":"backup".*"lane":"cron".*"host":"db1"'],
    "emit -": [r"^lines_total 3$", r'^depth\{queue="a"\} 2$'],
    "run -- sleep 1": [r'^insight_run_exits_total\{code="0",command="sleep"\} 1$'],
    "sh -c 'echo done'": [r'^insight_run_exits_total\{code="0",command="sh",role="backup",run="nightly"\} 1$'],
}
# These go on until Ctrl+C.
ENDLESS = {"bus run"}


def tree():
    done = subprocess.run([INSIGHTCTL, "man", "--format", "json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def commands(command, path=()):
    for each in command["commands"]:
        yield " ".join((*path, each["name"])), each
        yield from commands(each, (*path, each["name"]))


ROOT_COMMAND = tree()
LEAVES = {words: c for words, c in commands(ROOT_COMMAND) if not c["commands"]}
EXAMPLES = sorted({e for _, c in [("", ROOT_COMMAND), *commands(ROOT_COMMAND)] for e in c["examples"]})


def words_of(example):
    """The leaf commands that an example runs, in order."""
    return re.findall(rf"insightctl ({'|'.join(sorted(LEAVES, key=len, reverse=True))})\b", example)


class Busy(threading.Thread):
    """A trainer that goes on sending: jobs, rl_* metrics, and rollouts in the lane trainer_0."""

    def __init__(self, endpoint):
        super().__init__()
        self.endpoint, self.done = endpoint, threading.Event()

    def run(self):
        with ShortPublisher(self.endpoint, resource={"service.name": "rl", "run": "r7", "role": "trainer", "host.name": "node1"}) as publisher:
            n = 0
            while not self.done.wait(0.1):
                n += 1
                publisher.send(met=[counter("rl_episodes_total", n), counter("jobs_total", n, route="/a"), gauge("rl_reward", n)])
                publisher.send(spn=[span("rollout", "trainer_0", time.time_ns() - 10**6, time.time_ns())])
            publisher.bye()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join()


@pytest.fixture(scope="module")
def place(resources_of_module):
    """A shell's environment with a broker on the default ports, a trainer, a configuration and a recording."""
    shell = resources_of_module.enter_context(Shell())
    shell.run("insightctl config init > bus.toml")
    (shell.home / "telemetry").mkdir()
    for i in (1, 2):
        envelope = P({"v": 1, "inc": bytes([i]) * 16, "seq": 1, "t0": 1, "sent": time.time_ns(), "res": P({"service.name": "old"}),
                      "met": [counter("old_jobs_total", i)]})
        for name in ("recording.envelope", f"recording-{i}.envelope"):
            (shell.home / "telemetry" / name).write_bytes(frame(time.time_ns(), envelope))
    (shell.home / "bus.log").touch()  # a job of the shell may open its file later than this is read
    shell.run("insightctl bus run > bus.log 2>&1 &")
    log = shell.home / "bus.log"
    wait_until(lambda: log.exists() and "next: " in log.read_text(), 20)
    resources_of_module.enter_context(Busy(shell.env["INSIGHT_ENDPOINT"]))
    http = shell.env["INSIGHT_HTTP"]
    wait_until(lambda: b"rl_reward" in http_request(http, "/metrics")[2], 20)
    return shell


@pytest.fixture(scope="module")
def resources_of_module():
    import contextlib

    with contextlib.ExitStack() as stack:
        yield stack


def test_every_command_has_an_example_that_names_it():
    assert LEAVES
    assert [words for words, c in LEAVES.items() if not any(words in words_of(e) for e in c["examples"])] == []
    assert [e for e in ROOT_COMMAND["examples"] if not words_of(e)] == []


def test_the_table_names_only_what_is_there():
    assert set(PRINTS) - set(LEAVES) == set()


def check_output(example, output, shell):
    words = words_of(example)[-1]
    assert "Traceback" not in output and not re.search(r"^insightctl: ", output, re.M), output
    target = re.search(r"> (\S+)$", example)
    text = (shell.home / target[1]).read_text() if target else output
    if "--json" in example:
        json.loads(text[text.index("{"):])
    if example.startswith("source "):
        return
    pattern = PRINTS.get(words, r"\S")
    assert re.search(pattern, text, re.M), f"{example} printed:\n{text}"


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_does_what_it_says(example, place):
    if words_of(example)[0] in ENDLESS:
        return run_endless(example)
    # A run that takes a while for a reader need not take it here.
    command = re.sub(r"--seconds \d+", "--seconds 1", example) if "bench" in example else example
    if example.endswith("bench --own"):
        command += " --seconds 1"
    done = subprocess.run(["bash", "-c", command], cwd=place.home, env=place.env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120 * PATIENCE)

    # A machine that has other things to do may not reach a rate, or confirm a limit.
    codes = (0, 1) if words_of(example)[-1] == "bench" else (0,)
    assert done.returncode in codes, f"{example} ended with {done.returncode}:\n{done.stdout}"
    check_output(example, done.stdout, place)
    if words_of(example)[-1] in ("emit", "run"):
        arrives, = (patterns for end, patterns in ARRIVES.items() if example.endswith(end))
        wait_until(lambda: all(re.search(a, shown_by_the_broker(place), re.M) for a in arrives), 20, f"{example}: {arrives}")


def shown_by_the_broker(place):
    records = [f.read_text() for f in place.home.rglob("telemetry/*.jsonl")]
    return http_request(place.env["INSIGHT_HTTP"], "/metrics")[2].decode() + "".join(records)


def run_endless(example):
    with Shell() as shell:
        shell.run("insightctl config init zmq/null > bus.toml")
        log = pathlib.Path(shell.directory) / "log"
        with Process(["bash", "-c", f"exec {example}"], log, shell.env, cwd=shell.home) as process:
            pattern = re.compile(PRINTS[words_of(example)[0]], re.M)
            wait_until(lambda: pattern.search(process.log), 20, example)
            assert process.stop(signal.SIGINT, 20) == 0
            check_output(example, process.log, shell)


def test_help_shows_the_same_examples_first():
    for words, command in [("", ROOT_COMMAND), *commands(ROOT_COMMAND)]:
        done = subprocess.run([INSIGHTCTL, *words.split(), "--help"], capture_output=True, text=True, env={**os.environ})
        assert done.returncode == 0
        assert done.stdout.splitlines()[: len(command["examples"])] == command["examples"], words
