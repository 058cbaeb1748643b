# SPDX-License-Identifier: Apache-2.0
"""insightctl run: a command and its life."""
import contextlib
import ctypes
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import time

import pytest
from bus import BUILD, INSIGHTCTL, PATIENCE, Process, free_port, key, wait_until

pytestmark = pytest.mark.sanitize
PR_SET_CHILD_SUBREAPER = 36
NOWHERE = {"INSIGHT_ENDPOINT": f"tcp://127.0.0.1:{free_port()}"}


def run(*command, options=(), env=NOWHERE, **more):
    return subprocess.run([INSIGHTCTL, "run", *options, "--", *command], capture_output=True, timeout=60 * PATIENCE,
                          env={**os.environ, **env}, **more)


@pytest.fixture
def start(resources, tmp_path):
    """start(*command, ...) runs a command that goes on; its output is in `log`."""
    def begin(*command, options=(), env=NOWHERE):
        return resources.enter_context(Process([INSIGHTCTL, "run", *options, "--", *command], tmp_path / f"{time.monotonic_ns()}.log", env))
    return begin


def says(process, text):
    wait_until(lambda: text in process.log, what=text)


@pytest.mark.parametrize("command, code", [
    (["true"], 0), (["sh", "-c", "exit 7"], 7), (["sh", "-c", "exit 255"], 255), (["sh", "-c", "kill -TERM $$"], 128 + 15),
    (["sh", "-c", "kill -KILL $$"], 128 + 9),
])
def test_it_ends_with_the_code_of_the_command_broker_or_not(command, code):
    done = run(*command)

    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")


def test_what_cannot_be_started_is_told(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("no program")

    done = run("no-such-command")
    assert (done.returncode, done.stderr) == (127, b"insightctl: run: no-such-command: No such file or directory\n")
    done = run(plain)
    assert (done.returncode, done.stderr) == (126, f"insightctl: run: {plain}: Permission denied\n".encode())


def test_input_and_output_pass_untouched():
    data = os.urandom(1 << 20)

    done = run("sh", "-c", "tee /dev/stderr", input=data)

    assert (done.returncode, done.stdout, done.stderr) == (0, data, data)


def test_arguments_environment_and_directory_are_those_of_the_command(tmp_path):
    script = 'printf "%s\\n" "$@" "$PWD" "$INSIGHT_RUN" "$INSIGHT_ROLE" "$INSIGHT_RANK" "$INSIGHT_ENDPOINT" "$OTHER"'
    done = run("sh", "-c", script, "sh", "-x", "a b", "", "[a,b]", "[]", "{}", "--", cwd=tmp_path, env={**NOWHERE, "OTHER": "kept", "INSIGHT_ROLE": "old"},
               options=["--run", "r1", "--role", "trainer", "--rank", "3", "--endpoint", "tcp://127.0.0.1:1"])

    assert done.stdout.decode().split("\n") == ["-x", "a b", "", "[a,b]", "[]", "{}", "--", str(tmp_path), "r1", "trainer", "3", "tcp://127.0.0.1:1", "kept", ""]


@pytest.mark.parametrize("word", ["[a,b]", "[]", "{}"])
def test_the_first_word_stays_whole(word):
    assert run(word).stderr == f"insightctl: run: {word}: No such file or directory\n".encode()


def test_signals_that_it_blocks_or_ignores_do_not_reach_the_command():
    done = run("sh", "-c", "grep -E 'Sig(Blk|Ign)' /proc/self/status", preexec_fn=lambda: signal.signal(signal.SIGPIPE, signal.SIG_DFL))

    masks = [int(line.split()[1], 16) for line in done.stdout.splitlines()]
    for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
        assert not any(mask & 1 << number - 1 for mask in masks), number
    assert run("true", preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN)).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGWINCH])
def test_signals_are_passed_on(start, number):
    process = start("sh", "-c", f"trap 'echo caught; exit 3' {number.name[3:]}; echo ready; while :; do sleep 0.05; done")
    says(process, "ready")

    process.send_signal(number)

    assert process.wait() == 3
    assert "caught" in process.log


def test_processes_that_are_left_to_it_do_not_stay_as_zombies():
    adopt = ctypes.CDLL(None, use_errno=True).prctl
    process = subprocess.Popen([INSIGHTCTL, "run", "--", "sh", "-c", "(sleep 0.01 & echo $!); read line"], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, env={**os.environ, **NOWHERE}, preexec_fn=lambda: adopt(PR_SET_CHILD_SUBREAPER, 1))
    with process:
        orphan = int(process.stdout.readline())
        wait_until(lambda: not os.path.exists(f"/proc/{orphan}"), what="it is waited for")
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.wait(20 * PATIENCE) == 0


@contextlib.contextmanager
def on_terminal(*command):
    """(pid, type, read): types bytes, reads on until a pattern has come."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(INSIGHTCTL, ["insightctl", "run", "--", *command], {**os.environ, **NOWHERE})
    seen = b""

    def read(pattern):
        nonlocal seen
        while not re.search(pattern, seen):
            assert select.select([terminal], [], [], 20 * PATIENCE)[0], seen
            seen += os.read(terminal, 4096)
        return seen

    try:
        yield pid, lambda text: os.write(terminal, text), read
    except AssertionError:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        raise
    finally:
        os.close(terminal)


def test_ctrl_c_of_a_terminal_reaches_the_command():
    script = "n=0; trap 'n=$((n+1)); echo caught $n' INT; echo ready; while [ $n -lt 2 ]; do sleep 0.05; done; exit 5"
    with on_terminal("sh", "-c", script) as (pid, type_in, read):
        read(b"ready")
        type_in(b"\x03")
        read(b"caught 1")
        type_in(b"\x03")
        read(b"caught 2")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5


def test_ctrl_c_of_a_terminal_is_not_passed_on_too():
    # In a session of its own the command hears only what is passed on; two at once could be one to it.
    script = "n=0; trap n=1 INT; trap 'echo heard $n.; exit 5' USR1; echo ready; while :; do sleep 0.05; done"
    with on_terminal("setsid", "sh", "-c", script) as (pid, type_in, read):
        read(b"ready")
        type_in(b"\x03")
        read(rb"\^C")  # the terminal shows it when it has sent the signal
        os.kill(pid, signal.SIGUSR1)  # is looked at after the other one
        assert b"heard 0." in read(rb"heard \d\.")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5


def test_the_life_of_a_command_is_published(bus, start):
    env = {"INSIGHT_ENDPOINT": bus.tcp}
    busy = "import time; x = bytearray(64 << 20)\nwhile time.process_time() < 0.3: pass\nprint('ready', flush=True)\ninput()"
    labels = {"command": "python3", "run": "r1", "role": "trainer", "rank": "0"}
    program = subprocess.Popen([INSIGHTCTL, "run", "--run", "r1", "--role", "trainer", "--rank", "0", "--", "/usr/bin/env", "true"],
                               env={**os.environ, **env})
    assert program.wait(20 * PATIENCE) == 0
    process = subprocess.Popen([INSIGHTCTL, "run", "--run", "r1", "--role", "trainer", "--rank", "0", "--", "python3", "-c", busy],
                               env={**os.environ, **env}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process:
        assert process.stdout.readline() == b"ready\n"
        bus.wait_value("insight_run_running", 1, **labels)
        wait_until(lambda: bus.value("insight_run_resident_bytes", 0, **labels) > 64 << 20, 20)
        wait_until(lambda: bus.value("insight_run_cpu_seconds_total", 0, mode="user", **labels)
                   + bus.value("insight_run_cpu_seconds_total", 0, mode="system", **labels) >= 0.29, 20)
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.wait(20 * PATIENCE) == 0
    for code in ("7", "SIGKILL"):
        end = "exit 7" if code == "7" else "kill -KILL $$"
        run("sh", "-c", end, env=env)

    bus.wait_value("insight_run_exits_total", 1, code="0", **labels)
    scraped = bus.scrape()
    assert scraped[key("insight_run_starts_total", **labels)] == 1
    assert scraped[key("insight_run_running", **labels)] == 0
    assert scraped[key("insight_run_duration_seconds_count", **labels)] == 1
    assert scraped[key("insight_run_duration_seconds_sum", **labels)] >= 0.3
    assert scraped[key("insight_run_max_resident_bytes", **labels)] > 64 << 20
    assert scraped[key("insight_run_resident_bytes", **labels)] == 0
    cpu = sum(scraped[key("insight_run_cpu_seconds_total", mode=mode, **labels)] for mode in ("user", "system"))
    assert 0.3 <= cpu < 60
    bus.wait_value("insight_run_exits_total", 1, code="7", command="sh")
    bus.wait_value("insight_run_exits_total", 1, code="SIGKILL", command="sh")
    bus.wait_value("insight_run_exits_total", 1, code="0", command="env", run="r1", role="trainer", rank="0")


def test_children_of_the_command_count(bus, start):
    script = "python3 -c 'import time\nwhile time.process_time() < 0.3: pass' & wait; echo done; sleep 60"
    process = start("sh", "-c", script, env={"INSIGHT_ENDPOINT": bus.tcp})
    says(process, "done")

    wait_until(lambda: sum(bus.value("insight_run_cpu_seconds_total", 0, command="sh", mode=m) for m in ("user", "system")) >= 0.29, 20)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + 15


def test_a_broker_that_comes_late_or_goes_does_not_disturb(bus, start):
    bus.kill()
    process = start("sh", "-c", "echo ready; read line; exit 4", env={"INSIGHT_ENDPOINT": bus.tcp})
    assert process.wait() == 4  # its input is empty

    process = start("sleep", "60", env={"INSIGHT_ENDPOINT": bus.tcp})
    bus.start()
    bus.wait_value("insight_run_running", 1, timeout=20, command="sleep")
    bus.kill()
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + 15


def test_a_publisher_below_finds_its_broker_and_run(bus):
    program = BUILD / "tests" / "workload"
    run(program, options=["--run", "r9", "--endpoint", bus.tcp], input=b"counter jobs_total 2\n", env={})

    bus.wait_value("jobs_total", 2, run="r9")
    bus.wait_value("insight_run_exits_total", 1, run="r9", command="workload", code="0")


def test_wrong_use_is_told():
    for arguments, text in [([], "command is required"), (["--endpoint", "5571", "--", "true"], '--endpoint: "5571": expected tcp://HOST:PORT'),
                            (["--rn", "x", "--", "true"], 'there is no option "--rn", did you mean "--run"?')]:
        done = subprocess.run([INSIGHTCTL, "run", *arguments], capture_output=True, text=True)

        assert done.returncode == 2
        assert text in done.stderr and done.stderr.count("\n") == 1
