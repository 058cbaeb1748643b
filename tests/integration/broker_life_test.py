# SPDX-License-Identifier: Apache-2.0
"""How the broker starts and stops, and what it survives."""
import os
import signal
import socket
import subprocess
import time

import pytest
from bus import INSIGHTCTL, PATIENCE, Process, free_port, wait_until
from short_publisher import ShortPublisher, counter, span

# A broker with a sink that hangs ends without waiting for its threads; ThreadSanitizer would call that a leak.
LEAVES_THREADS = {"TSAN_OPTIONS": os.environ.get("TSAN_OPTIONS", "") + ":report_thread_leaks=0"}


def run_default(resources, tmp_path, arguments=(), env=None, log="bus.log", **options):
    """`insightctl bus run` on its embedded default, in a home of its own."""
    http, tcp = f"127.0.0.1:{free_port()}", f"tcp://127.0.0.1:{free_port()}"
    home = {"HOME": str(tmp_path), "XDG_STATE_HOME": "", "XDG_RUNTIME_DIR": str(tmp_path / "run"), "INSIGHT_CONFIG": ""}
    argv = [INSIGHTCTL, "bus", "run", "--http", http, "--listen", tcp, *arguments]
    process = resources.enter_context(Process(argv, tmp_path / log, {**home, **(env or {})}, **options))
    process.http, process.tcp = http, tcp
    return process


def starts(process):
    return wait_until(lambda: "next: insightctl status" in process.log or not process.is_running, 20, "it has started")


@pytest.mark.sanitize
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_drains_prints_what_became_of_everything_and_ends_with_0(bus, number):
    with ShortPublisher(bus.tcp) as publisher:
        for i in range(50):
            publisher.send_all(met=[counter("jobs_total", i + 1)])
            publisher.send_all(spn=[span("job")])
        wait_until(lambda: bus.value("insight_bus_records_received_total", collector="bus", signal="spans") == 50)

        assert bus.stop(number) == 0

    assert "stopped after" in bus.log
    assert "100 records received; sink prometheus: 50 delivered, none lost; sink file: 100 delivered, none lost" in bus.log
    assert len([r for r in bus.records() if r["type"] == "span"]) == 50


def test_what_waits_in_the_sockets_is_read_before_a_stop_ends(bus):
    with ShortPublisher(bus.tcp, hwm=1000) as publisher:
        publisher.send_all(met=[counter("jobs_total", 1)])
        wait_until(lambda: bus.value("jobs_total") == 1)
        bus.pause()
        for i in range(2, 102):
            publisher.send_all(met=[counter("jobs_total", i)])
        bus.process.send_signal(signal.SIGTERM)
        bus.resume()
        assert bus.process.wait() == 0

    assert "101 records received" in bus.log


def test_the_embedded_default_says_what_it_does_and_what_to_type_next(resources, tmp_path):
    process = run_default(resources, tmp_path)
    starts(process)

    assert process.tcp in process.log
    assert f"http://{process.http}/metrics" in process.log
    assert f"{tmp_path}/.local/state/insight/telemetry" in process.log
    assert f"insightctl status --http {process.http}" in process.log
    assert process.stop() == 0
    assert (tmp_path / ".local/state/insight/telemetry").is_dir()


def test_the_file_is_found_by_INSIGHT_CONFIG(resources, tmp_path):
    http = free_port()
    file = tmp_path / "bus.toml"
    file.write_text(f"""
[broker]
name = "found"
state_dir = "{tmp_path}/state"
[http]
listen = "127.0.0.1:{http}"
[collectors.bus]
endpoints = ["tcp://127.0.0.1:{free_port()}"]
""")
    process = resources.enter_context(Process([INSIGHTCTL, "bus", "run"], tmp_path / "log", {"INSIGHT_CONFIG": str(file)}))
    starts(process)

    assert '"found"' in process.log
    assert process.stop() == 0


@pytest.mark.sanitize
def test_a_sink_that_hangs_does_not_hold_up_a_stop(new_bus):
    bus = new_bus(extra='\n[sinks.slow]\ntype = "null"\ndelay = "1h"\n', env=LEAVES_THREADS)
    bus.write_config(bus.config_path.read_text().replace("[http]", 'stop_timeout = "1s"\n[http]'))
    bus.start()
    with ShortPublisher(bus.tcp) as publisher:
        for i in range(10):
            publisher.send_all(met=[counter("jobs_total", i + 1)])
        wait_until(lambda: bus.value("jobs_total") == 10)

        began = time.monotonic()
        assert bus.stop() == 0

    assert time.monotonic() - began < 1 + 2 * PATIENCE
    assert "stopped at the deadline, something hangs" in bus.log
    assert "sink prometheus: 10 delivered, none lost" in bus.log
    assert "sink slow: 0 delivered, lost" in bus.log


@pytest.mark.sanitize
def test_a_second_signal_cuts_the_stop_short(new_bus):
    bus = new_bus(extra='\n[sinks.slow]\ntype = "null"\ndelay = "1h"\n', env=LEAVES_THREADS)
    bus.start()
    with ShortPublisher(bus.tcp) as publisher:
        publisher.send_all(met=[counter("jobs_total", 1)])
        wait_until(lambda: bus.value("insight_sink_queue_records", sink="slow") == 1)
        bus.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "stopping within" in bus.log)

        assert bus.stop(signal.SIGINT) == 130

    assert "a second signal cuts the stop short" in bus.log


def test_SIGHUP_is_one_line_in_the_log_and_nothing_more(bus):
    bus.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "SIGHUP" in bus.log)

    assert bus.get("/healthz")[0] == 200
    assert bus.log.count("SIGHUP") == 1


def test_a_port_in_use_is_told_with_its_holder(new_bus):
    first = new_bus().start()
    for own, taken in [("http_port", "tcp_port"), ("http_port", "http_port"), ("tcp_port", "tcp_port")]:
        second = new_bus()
        second.write_config(second.config_path.read_text().replace(str(getattr(second, own)), str(getattr(first, taken))))
        second.launch()

        assert second.process.wait() == 1
        assert f"in use by pid {first.pid} (insightctl)" in second.log
        assert str(getattr(first, taken)) in second.log
        assert second.log.count("\n") <= 3
    assert first.is_ready()


def test_two_brokers_on_one_ipc_path_the_second_refuses_and_names_the_first(new_bus):
    first = new_bus().start()
    second = new_bus()
    second.write_config(second.config_path.read_text().replace(str(second.directory) + "/bus.ipc", first.ipc[6:]))
    second.launch()

    assert second.process.wait() == 1
    assert f"{first.ipc[6:]} is in use by pid {first.pid} (insightctl)" in second.log
    with ShortPublisher(first.ipc) as publisher:
        publisher.send_all(met=[counter("jobs_total", 1)])
        wait_until(lambda: first.value("jobs_total") == 1)


def test_a_stale_ipc_file_is_replaced(bus):
    bus.kill()
    assert os.path.exists(bus.ipc[6:])
    bus.start()

    with ShortPublisher(bus.ipc) as publisher:
        publisher.send_all(met=[counter("jobs_total", 1)])
        wait_until(lambda: bus.value("jobs_total") == 1)


def test_two_brokers_with_one_state_directory_the_second_refuses_and_names_the_first(new_bus):
    first = new_bus().start()
    second = new_bus()
    second.write_config(second.config_path.read_text().replace(f'state_dir = "{second.state}"', f'state_dir = "{first.state}"'))
    second.launch()

    assert second.process.wait() == 1
    assert f"is in use by pid {first.pid} (insightctl)" in second.log
    assert "state_dir" in second.log


@pytest.mark.parametrize("arguments, table", [
    (["--http", "0.0.0.0:0"], "insecure = true in [http]"),
    (["--listen", "tcp://*:0"], "insecure = true in [collectors.bus]"),
    (["--listen", "tcp://[::]:0"], "insecure = true in [collectors.bus]"),
])
def test_what_other_machines_could_reach_is_refused_with_the_reason(tmp_path, arguments, table):
    done = subprocess.run([INSIGHTCTL, "bus", "run", *arguments], capture_output=True, text=True, timeout=30 * PATIENCE,
                          env={**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "INSIGHT_CONFIG": ""})

    assert done.returncode == 2
    assert "can be reached from other machines" in done.stderr and table in done.stderr


def test_insecure_binds_every_address(new_bus):
    bus = new_bus()
    text = bus.config_path.read_text()
    text = text.replace(f'listen = "127.0.0.1:{bus.http_port}"', f'listen = "*:{bus.http_port}"\ninsecure = true')
    text = text.replace(f'"tcp://127.0.0.1:{bus.tcp_port}"', f'"tcp://*:{bus.tcp_port}"')
    text = text.replace('type = "zmq"', 'type = "zmq"\ninsecure = true')
    bus.write_config(text)
    bus.start()

    for host in ["127.0.0.1", "[::1]"]:
        with ShortPublisher(f"tcp://{host}:{bus.tcp_port}") as publisher:
            publisher.send_all(met=[counter("jobs_total", 1, host=host)])
            bus.wait_value("jobs_total", 1, host=host)


def test_IPv6_is_served(new_bus):
    bus = new_bus()
    bus.write_config(bus.config_path.read_text().replace("127.0.0.1", "[::1]"))
    bus.http = f"[::1]:{bus.http_port}"
    bus.start()

    with ShortPublisher(f"tcp://[::1]:{bus.tcp_port}") as publisher:
        publisher.send_all(met=[counter("jobs_total", 1)])
        bus.wait_value("jobs_total", 1)
    assert bus.ctl("status").returncode == 0


def test_a_state_directory_that_cannot_be_used_is_told_and_survived(new_bus):
    bus = new_bus()
    (bus.directory / "file").write_text("in the way")
    text = bus.config_path.read_text().replace(f'state_dir = "{bus.state}"', f'state_dir = "{bus.directory}/file/state"')
    bus.write_config(text)
    bus.start()

    with ShortPublisher(bus.tcp) as publisher:
        publisher.send_all(met=[counter("jobs_total", 1)])
        bus.wait_value("jobs_total", 1)
    assert "the state directory cannot be used" in bus.log
    assert bus.api("status")["state_directory"] is None
    status = bus.ctl("status")
    assert status.returncode == 1 and "in memory only" in status.stdout and "totals are lost" in status.stdout
    assert bus.stop() == 0


def test_without_a_home_the_default_runs_in_memory_and_says_so(resources, tmp_path):
    process = run_default(resources, tmp_path, env={"HOME": ""})
    starts(process)

    assert "there is no home" in process.log and "memory only" in process.log
    assert "telemetry" not in process.log
    assert process.stop() == 0


def test_a_state_directory_in_the_way_leaves_the_default_ready(resources, tmp_path):
    (tmp_path / ".local").write_text("in the way")
    process = run_default(resources, tmp_path)
    starts(process)

    status = subprocess.run([INSIGHTCTL, "status", "--http", process.http], capture_output=True, text=True)
    assert status.returncode == 1 and "in memory only" in status.stdout
    assert "no files are written either" in process.log
    assert process.stop() == 0


@pytest.mark.sanitize
def test_a_sink_that_cannot_be_opened_makes_the_broker_unready_and_is_tried_again(new_bus):
    bus = new_bus()
    bus.state.write_text("in the way")
    bus.write_config(bus.config_path.read_text().replace(f'state_dir = "{bus.state}"', f'state_dir = "{bus.directory}/s"'))
    bus.launch()
    wait_until(lambda: "next: insightctl status" in bus.log, 20)

    status, _, reasons = bus.get("/readyz")
    assert status == 503 and b"sink file is not open" in reasons
    assert bus.get("/healthz")[0] == 200
    assert bus.get("/metrics")[0] == 200

    bus.state.unlink()
    wait_until(bus.is_ready, 30, "the file sink is open")


def test_closed_standard_descriptors_are_survived(resources, new_bus):
    bus = new_bus()
    argv = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", INSIGHTCTL, "bus", "run", "--config", bus.config_path]
    bus.process = resources.enter_context(Process(argv, bus.directory / "closed.log"))
    wait_until(bus.is_ready, 20)

    with ShortPublisher(bus.tcp) as publisher:
        publisher.send_all(met=[counter("jobs_total", 1)])
        bus.wait_value("jobs_total", 1)
    for fd in (0, 1, 2):
        assert os.readlink(f"/proc/{bus.pid}/fd/{fd}") == "/dev/null"
    assert bus.stop() == 0


def test_a_reader_of_the_log_that_goes_away_is_survived(new_bus):
    bus = new_bus()
    bus.launch_into_pipe = subprocess.Popen(
        [INSIGHTCTL, "bus", "run", "--config", bus.config_path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        bus.launch_into_pipe.stdout.close()
        wait_until(lambda: _answers(bus), 20)
        bus.launch_into_pipe.send_signal(signal.SIGHUP)
        assert _answers(bus)
        bus.launch_into_pipe.send_signal(signal.SIGTERM)
        assert bus.launch_into_pipe.wait(20 * PATIENCE) == 0
    finally:
        bus.launch_into_pipe.kill()


def _answers(bus):
    try:
        return bus.get("/readyz")[0] == 200
    except OSError:
        return False


@pytest.mark.sanitize
def test_a_terminal_that_is_closed_is_survived(resources, tmp_path, new_bus):
    bus = new_bus()
    master, slave = os.openpty()
    process = subprocess.Popen([INSIGHTCTL, "bus", "run", "--config", bus.config_path], stdin=slave, stdout=slave,
                               stderr=slave, start_new_session=True)
    try:
        os.close(slave)
        wait_until(lambda: _answers(bus), 20)
        os.close(master)
        process.send_signal(signal.SIGHUP)
        with ShortPublisher(bus.tcp) as publisher:
            publisher.send_all(met=[counter("jobs_total", 1)])
            bus.wait_value("jobs_total", 1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20 * PATIENCE) == 0
    finally:
        process.kill()


def test_a_working_directory_that_vanishes_is_survived(resources, new_bus):
    bus = new_bus()
    bus.write_config(bus.config_path.read_text().replace(f'"{bus.state}/telemetry"', '"files"'))
    gone = bus.directory / "gone"
    gone.mkdir()
    bus.process = resources.enter_context(
        Process([INSIGHTCTL, "bus", "run", "--config", bus.config_path], bus.directory / "bus.log", cwd=gone))
    gone.rmdir()
    wait_until(bus.is_ready, 20)

    with ShortPublisher(bus.tcp) as publisher:
        publisher.send_all(met=[counter("jobs_total", 1)])
        bus.wait_value("jobs_total", 1)
    assert bus.stop() == 0
    assert (bus.state / "files").is_dir()


def test_a_working_directory_that_is_gone_before_the_start_is_survived(resources, new_bus):
    bus = new_bus()
    gone = bus.directory / "gone"
    gone.mkdir()
    argv = ["sh", "-c", 'rmdir "$PWD" && exec "$@"', "sh", INSIGHTCTL, "bus", "run", "--config", bus.config_path]
    bus.process = resources.enter_context(Process(argv, bus.directory / "bus.log", cwd=gone))

    wait_until(bus.is_ready, 20)
    assert bus.stop() == 0


def test_a_log_in_json_is_json(new_bus):
    import json

    bus = new_bus(arguments=["--log-format", "json"]).start()
    bus.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "SIGHUP" in bus.log)
    assert bus.stop() == 0

    lines = [json.loads(line) for line in bus.log.splitlines() if line.startswith("{")]
    assert any("SIGHUP" in line["message"] and line["level"] == "info" for line in lines)


def test_no_descriptor_and_no_thread_is_left_behind_by_clients_that_come_and_go(bus):
    def count(what):
        return len(os.listdir(f"/proc/{bus.pid}/{what}"))

    bus.get("/metrics")
    descriptors, threads = count("fd"), count("task")
    for _ in range(100):
        with socket.create_connection(("127.0.0.1", bus.http_port)) as client:
            client.sendall(b"GET /metrics HTTP/1.1\r\n")
    bus.get("/metrics")

    wait_until(lambda: count("fd") <= descriptors + 1, 20, "descriptors are closed")
    assert count("task") == threads
