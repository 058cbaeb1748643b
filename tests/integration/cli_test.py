# SPDX-License-Identifier: Apache-2.0
"""insightctl as people and scripts use it."""
import fcntl
import json
import os
import re
import struct
import subprocess
import termios

import pytest
from bus import INSIGHTCTL, PATIENCE, free_port, wait_until
from short_publisher import ShortPublisher, counter


def ctl(*arguments, env=None, **options):
    return subprocess.run([INSIGHTCTL, *arguments], capture_output=True, text=True, timeout=30 * PATIENCE,
                          env={**os.environ, "INSIGHT_HTTP": "", **(env or {})}, **options)


def on_terminal(*arguments, columns=80, env=None):
    """What a command writes to a window of this width, and its exit code."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen([INSIGHTCTL, *arguments], stdin=slave, stdout=slave, stderr=subprocess.DEVNULL,
                               env={**os.environ, "TERM": "xterm", "NO_COLOR": "", **(env or {})})
    os.close(slave)
    out = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:
            break
        if not piece:
            break
        out += piece
    os.close(master)
    return process.wait(), out.decode()


@pytest.mark.parametrize("arguments, says", [
    ([], "insightctl bus run"),
    (["statsu"], 'there is no command "statsu", did you mean "status"?'),
    (["statsu", "--help"], 'there is no command "statsu", did you mean "status"?'),
    (["bus"], "insightctl bus --help"),
    (["bus", "runn"], 'did you mean "run"?'),
    (["bus", "run", "--confg", "x"], 'there is no option "--confg", did you mean "--config"?'),
    (["bus", "run", "--log-format", "xml"], '"xml": expected text|json'),
    (["bus", "run", "--config", "/nonexistent.toml"], "/nonexistent.toml: cannot be read: No such file or directory"),
    (["bus", "run", "--listen", "5571"], '--listen: "5571": expected tcp://HOST:PORT'),
    (["status", "--http", "nonsense"], '--http: "nonsense": the port is missing'),
    (["status", "extra"], '"extra" is one word too many'),
    (["publishers", "--state", "dead"], '"dead": expected alive|late|lost|ended'),
    (["publishers", "--limit", "many"], '--limit: "many": expected a whole number'),
    (["config", "check"], "file is required"),
    (["config", "check", "[a,b]"], "[a,b]: cannot be read"),
    (["status", "[a,b]"], '"[a,b]" is one word too many'),
    (["publishers", "--state", "[a]"], '"[a]": expected alive|late|lost|ended'),
    (["replay", "[a,b]"], "[a,b]: "),
    (["status", "publishers"], '"publishers" is one word too many'),
    (["components", "version"], 'no collector or sink "version" is built in'),
    (["config", "check", "/nonexistent.toml"], "/nonexistent.toml: cannot be read"),
])
def test_wrong_use_is_told_and_ends_with_2(arguments, says):
    done = ctl(*arguments)

    assert done.returncode == 2
    assert says in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("command", [[], ["bus"], ["bus", "run"], ["status"], ["publishers"], ["config"], ["config", "check"], ["version"]])
def test_help_begins_with_an_example(command):
    done = ctl(*command, "--help")

    assert done.returncode == 0
    assert done.stdout.splitlines()[0].startswith(" ".join(["insightctl", *command]))
    assert "Usage:" in done.stdout


def test_help_that_cannot_be_written_is_told():
    with open("/dev/full", "w") as full:
        done = subprocess.run([INSIGHTCTL, "--help"], stdout=full, stderr=subprocess.PIPE, text=True)

    assert (done.returncode, done.stderr) == (1, "insightctl: standard output: No space left on device\n")


@pytest.mark.parametrize("width", [60, 80])
def test_help_is_broken_between_words(width):
    code, text = on_terminal("tap", "--help", columns=width)

    lines = [line for line in text.splitlines() if not line.startswith("insightctl ")]
    assert code == 0
    assert max(len(line) for line in lines) <= width
    assert " ".join(text.split()) == " ".join(ctl("tap", "--help").stdout.split())


def test_no_broker_ends_with_3_and_says_how_to_start_one():
    port = free_port()
    for command in ["status", "publishers"]:
        done = ctl(command, env={"INSIGHT_HTTP": f"127.0.0.1:{port}"})
        assert done.returncode == 3
        assert f"no broker answers at 127.0.0.1:{port} (INSIGHT_HTTP)" in done.stderr
        assert '"insightctl bus run"' in done.stderr


def test_a_word_may_be_called_as_a_command_is():
    port = free_port()

    done = ctl("metrics", "list", "status", "--http", f"127.0.0.1:{port}")

    assert done.returncode == 3
    assert done.stderr.startswith(f"insightctl: no broker answers at 127.0.0.1:{port} (--http)")
    assert done.stdout == ""


def test_something_else_that_answers_is_no_broker(bus, prometheus):
    done = ctl("status", "--http", prometheus.address)

    assert done.returncode == 3
    assert "is not a broker" in done.stderr


@pytest.mark.sanitize
def test_status_fits_one_screen_and_tells_health_by_its_exit_code(bus):
    with ShortPublisher(bus.tcp) as publisher:
        publisher.send_all(met=[counter("jobs_total", 1)])
        wait_until(lambda: bus.value("jobs_total") == 1)
        done = bus.ctl("status")

    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) <= 24
    assert lines[0].startswith("test  healthy  up ")
    assert re.search(r"^bus +open +1 +0 +0 +0 ", done.stdout, re.M)
    assert re.search(r"^prometheus +up +1 +0 +0B +64MiB ", done.stdout, re.M)
    assert "publishers  1 alive, 0 late, 0 lost, 0 ended" in done.stdout
    assert "series      1 of 1,000,000" in done.stdout
    assert "\x1b" not in done.stdout


def test_status_as_json_is_what_the_broker_says(bus):
    done = bus.ctl("status", "--json")
    status = json.loads(done.stdout)

    assert done.returncode == 0
    assert status["health"] == "healthy" and status["name"] == "test"
    assert [s["name"] for s in status["sinks"]] == ["prometheus", "file"]


def test_a_broker_with_a_sink_that_is_down_is_degraded(new_bus):
    bus = new_bus()
    bus.state.write_text("in the way of the files")
    bus.write_config(bus.config_path.read_text().replace(f'state_dir = "{bus.state}"', f'state_dir = "{bus.directory}/s"'))
    bus.launch()
    wait_until(lambda: "next: insightctl status" in bus.log, 20)

    done = bus.ctl("status")
    assert done.returncode == 1
    assert "degraded" in done.stdout and "problem: sink file is down: " in done.stdout
    assert bus.ctl("status", "--json").returncode == 1


def test_publishers_are_a_table_or_json(bus):
    assert bus.ctl("publishers").stdout == "no publishers\n"
    with ShortPublisher(bus.tcp, resource={"run": "r7", "rank": 2, "host.name": "node1"}) as publisher:
        publisher.send_all(met=[counter("jobs_total", 1)])
        wait_until(lambda: bus.publishers())
        done = bus.ctl("publishers")
        assert done.returncode == 0
        head, row = done.stdout.splitlines()
        assert head.split() == ["STATE", "PUBLISHER", "RUN", "ROLE", "RANK", "SERIES", "POINTS", "SPANS", "GAPS", "HEARD", "INCARNATION"]
        assert re.match(rf"alive +short/node1/\d+ +r7 +2 +1 +1 +0 +0 +\S+ ago +{publisher.incarnation}$", row)
        [shown] = json.loads(bus.ctl("publishers", "--json").stdout)["publishers"]
        assert shown["incarnation"] == publisher.incarnation
        assert bus.ctl("publishers", "--state", "lost").stdout == "no publishers\n"


def test_text_of_strangers_does_not_steer_the_terminal(bus):
    with ShortPublisher(bus.tcp, resource={"service.name": "evil\x1b[2J\x07\x9b31m\nname"}) as publisher:
        publisher.send_all(met=[counter("jobs_total", 1)])
        wait_until(lambda: bus.publishers())
        done = bus.ctl("publishers")

    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", done.stdout)
    assert "evil?[2J??31m?name" in done.stdout
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_nothing_but_a_long_word_is_wider_than_the_window(bus, columns):
    with ShortPublisher(bus.tcp, resource={"run": "größe-" * 10}) as publisher:
        publisher.send_all(met=[counter("jobs_total", 1)])
        wait_until(lambda: bus.publishers())
        for command in ["status", "publishers"]:
            code, text = on_terminal(command, "--http", bus.http, columns=columns)
            assert code == 0
            lines = [re.sub(r"\x1b\[\d*m", "", line) for line in text.splitlines()]
            assert [line for line in lines if len(line) > columns and len(line.split()) > 1] == []


def test_colours_only_on_a_terminal_that_wants_them(bus):
    assert "\x1b[32m" in on_terminal("status", "--http", bus.http)[1]
    assert "\x1b" not in on_terminal("status", "--http", bus.http, env={"NO_COLOR": "1"})[1]
    assert "\x1b" not in on_terminal("status", "--http", bus.http, env={"TERM": "dumb"})[1]


def test_a_reader_that_goes_away_is_no_error(bus):
    done = subprocess.run(["bash", "-c", f'"{INSIGHTCTL}" status --http {bus.http} | true; echo "${{PIPESTATUS[0]}}"'],
                          capture_output=True, text=True, timeout=30 * PATIENCE)

    assert done.stdout == "0\n" and done.stderr == ""


def test_output_that_cannot_be_written_is_an_error(bus):
    with open("/dev/full", "w") as full:
        done = subprocess.run([INSIGHTCTL, "status", "--http", bus.http], stdout=full, stderr=subprocess.PIPE, text=True)

    assert done.returncode == 1
    assert done.stderr == "insightctl: standard output: No space left on device\n"


def test_version_says_what_this_is():
    assert re.fullmatch(r"insightctl \d+\.\d+\.\d+ \(\w+\)\n", ctl("version").stdout)
    assert set(json.loads(ctl("version", "--json").stdout)) == {"version", "revision"}


def test_config_check_tells_all_errors_with_their_places(tmp_path):
    file = tmp_path / "bus.toml"
    file.write_text("[brokr]\n[http]\nlisten = 9092\n[collectors.bus]\n[sinks.fil]\n[sinks.file]\nrotate = { keep = 0 }\n")
    done = ctl("config", "check", str(file))

    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"{file}:1:2: unknown table [brokr]")
    assert lines[1].startswith(f"{file}:3:10: http.listen: expected a string")
    assert lines[2].startswith(f'{file}:5:8: sinks.fil: no sink "fil" is built in; did you mean "file"?')
    assert lines[3].startswith(f"{file}:7:19: sinks.file.rotate.keep: expected ")
    assert lines[-1] == "4 errors"
    assert ctl("bus", "run", "--config", str(file)).stderr.splitlines() == lines[:-1]


def test_config_check_of_a_right_file_shows_what_it_means(tmp_path):
    file = tmp_path / "bus.toml"
    file.write_text('[collectors.bus]\nendpoints = ["tcp://127.0.0.1:1"]\n[sinks.archive]\ntype = "file"\n')
    done = ctl("config", "check", str(file))

    assert done.returncode == 0
    assert done.stdout == f"{file}: right\n  collector bus  tcp://127.0.0.1:1\n  sink archive  file\n"
    assert list(tmp_path.iterdir()) == [file]  # nothing was created


def test_the_sample_of_each_sink_is_a_right_file(tmp_path):
    from bus import ROOT

    for sample in sorted((ROOT / "sinks").glob("*/sample.toml")):
        file = tmp_path / "bus.toml"
        text = sample.read_text()
        # With every key in it, too.
        full = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.M)
        for body in (text, full):
            file.write_text("[collectors.bus]\n" + body)
            done = ctl("config", "check", str(file))
            assert done.returncode == 0, f"{sample}: {done.stderr}"
