# SPDX-License-Identifier: Apache-2.0
"""insightctl emit: one record from a script."""
import json
import os
import signal
import subprocess

import pytest
from bus import FULL, INSIGHTCTL, PATIENCE, Process, free_port, wait_until

pytestmark = pytest.mark.sanitize


def emit(bus, *arguments, stdin=None, env=None):
    if "--timeout" not in arguments:
        arguments += "--timeout", f"{20 * PATIENCE:g}s"
    return subprocess.run([INSIGHTCTL, "emit", *arguments], input=stdin, capture_output=True, text=True, timeout=60 * PATIENCE,
                          env={**os.environ, "INSIGHT_ENDPOINT": bus.ipc, **(env or {})})


def right(done):
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_counters_of_many_calls_add_up(bus):
    calls = 1_000 if FULL else 100
    done = subprocess.run(["xargs", "-P2", "-n1", INSIGHTCTL, "emit", "-l", "host=db1", "counter", "calls_total"],
                          input="1\n" * calls, text=True, capture_output=True, timeout=300 * PATIENCE,
                          env={**os.environ, "INSIGHT_ENDPOINT": bus.ipc})

    assert done.returncode == 0, done.stderr
    bus.wait_value("calls_total", calls, host="db1")


def test_every_kind_arrives(bus):
    right(emit(bus, "gauge", "depth", "-7.5", "--run", "r1", "--role", "backup", "--rank", "3"))
    right(emit(bus, "histogram", "took_seconds", "0.3"))
    right(emit(bus, "histogram", "took_seconds", "+3"))
    right(emit(bus, "span", "backup", "1h", "--lane", "cron", "-l", "host=db1"))
    right(emit(bus, "span", "pause", "0.25"))

    bus.wait_value("depth", -7.5, run="r1", role="backup", rank="3")
    bus.wait_value("took_seconds_count", 2)
    assert bus.value("took_seconds_sum") == pytest.approx(3.3)

    def spans():
        return {r["name"]: r for r in bus.records() if r["type"] == "span"}

    wait_until(lambda: len(spans()) == 2)
    backup = spans()["backup"]
    assert (backup["lane"], backup["attributes"]) == ("cron", {"host": "db1"})
    assert 3600e9 <= backup["end_ns"] - backup["start_ns"] < 3600e9 + 60e9
    assert 0.25e9 <= spans()["pause"]["end_ns"] - spans()["pause"]["start_ns"] < 60e9


def test_names_may_be_those_of_commands(bus):
    right(emit(bus, "counter", "run", "1"))
    right(emit(bus, "span", "bench", "12s"))

    bus.wait_value("run_total", 1)
    wait_until(lambda: [r["name"] for r in bus.records() if r["type"] == "span"] == ["bench"])


def test_lines_are_read_from_standard_input(bus):
    lines = ["counter lines_total 3 queue=a", "", 'counter lines_total 4 queue=a',
             json.dumps({"kind": "gauge", "name": "depth", "value": 2, "labels": {"queue": "a b"}}),
             json.dumps({"kind": "span", "name": "job", "value": "20ms", "lane": "l1"}), "histogram took_seconds 1"]
    right(emit(bus, "-", stdin="\n".join(lines)))  # without a line end behind the last one

    bus.wait_value("lines_total", 7, queue="a")
    bus.wait_value("depth", 2, queue="a b")
    bus.wait_value("took_seconds_count", 1)
    wait_until(lambda: [r["lane"] for r in bus.records() if r["type"] == "span"] == ["l1"])


def test_many_lines_lose_nothing(bus):
    count = 20_000
    lines = [f"span step 1ms step={i}" if i % 2 else "counter steps_total 1" for i in range(count)]

    right(emit(bus, "-", stdin="\n".join(lines) + "\n"))

    bus.wait_value("steps_total", count // 2)
    wait_until(lambda: bus.value("insight_bus_records_received_total", collector="bus", signal="spans") == count // 2, 30)


def test_large_lines_lose_nothing(bus):
    labels = " ".join(f"key_{i}={'x' * 1000}" for i in range(10))

    right(emit(bus, "-", stdin=f"span step 1ms {labels}\n" * 200))

    wait_until(lambda: bus.value("insight_bus_records_received_total", collector="bus", signal="spans") == 200, 30)


def test_attributes_that_are_too_many_do_not_hide_spans(bus):
    labels = " ".join(f"key_{i}=x" for i in range(100))

    done = emit(bus, "-", stdin=f"span step 1ms {labels}\n" * 2_000)

    assert (done.returncode, done.stderr) == (1, "insightctl: emit: not all of it could be kept: 72000 span_attribute\n")
    wait_until(lambda: bus.value("insight_bus_records_received_total", collector="bus", signal="spans") == 2_000, 30)


def test_wrong_lines_are_told_and_the_others_sent(bus):
    lines = ["counter good_total 1", "counter bad_total", "counter bad_total -1", "gauge good_total 1", "{broken",
             '{"kind": "counter", "name": "x_total"}', "meter x 1", "counter x_total 1 nolabel", "counter good_total 1"]

    done = emit(bus, "-", stdin="\n".join(lines))

    assert done.returncode == 1
    assert [line.removeprefix("insightctl: emit: ") for line in done.stderr.splitlines()] == [
        "line 2: expected KIND NAME VALUE [key=value...]",
        'line 3: "-1": expected a number of at least 0, because a counter only grows',
        "line 4: good_total was of another kind before, or there are too many metrics",
        "line 5: not a JSON object",
        'line 6: there is no "value"',
        'line 7: "meter": expected counter, gauge, histogram or span',
        'line 8: "nolabel": expected key=value',
        "7 of 9 lines were wrong and left out",
    ]
    bus.wait_value("good_total", 2)


def test_hold_keeps_a_gauge_alive_until_it_is_interrupted(bus, tmp_path):
    with Process([INSIGHTCTL, "emit", "gauge", "held", "1", "--hold", "1h"], tmp_path / "emit.log",
                 {"INSIGHT_ENDPOINT": bus.tcp}) as process:
        bus.wait_value("held", 1)
        assert [p["state"] for p in bus.publishers().values()] == ["alive"]
        bus.restart()
        bus.wait_value("held", 1, timeout=30)

        assert process.stop(signal.SIGINT) == 0
        assert process.log == ""
    wait_until(lambda: [p["state"] for p in bus.publishers().values()] == ["ended"])


def test_a_short_hold_ends_by_itself(bus):
    right(emit(bus, "gauge", "held", "1", "--hold", "100ms"))

    bus.wait_value("held", 1)


def test_nobody_listens():
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    for more in ([], ["--hold", "1h", "--timeout", "300ms"]):
        done = subprocess.run([INSIGHTCTL, "emit", "counter", "x_total", "1", "--endpoint", endpoint, *more],
                              capture_output=True, text=True, timeout=30 * PATIENCE)

        assert done.returncode == 3
        assert done.stderr == (f'insightctl: emit: no broker takes it at {endpoint}; start one with "insightctl bus run" '
                               "or name another with --endpoint\n")


def test_a_broker_that_does_not_answer_is_waited_for_until_the_deadline(bus):
    bus.pause()
    try:
        done = emit(bus, "counter", "x_total", "1", "--timeout", "300ms")
    finally:
        bus.resume()

    assert done.returncode == 3
    assert done.stderr.count("\n") == 1


def test_where_publishing_is_disabled_it_does_nothing(bus):
    done = emit(bus, "counter", "x_total", "1", env={"INSIGHT_DISABLED": "1"})

    assert done.returncode == 0
    assert "nothing is published" in done.stderr
    assert bus.publishers() == {}


@pytest.mark.parametrize("arguments, says", [
    (["metre", "x", "1"], '"metre": expected counter|gauge|histogram|span|-'),
    (["countr", "x", "1"], 'did you mean "counter"?'),
    (["counter", "x"], "expected KIND NAME VALUE"),
    (["counter", "x", "many"], '"many": expected a number of at least 0'),
    (["counter", "", "1"], '"" is no name'),
    (["counter", "x" * 300, "1"], "is no name: expected 1 to 255 bytes of UTF-8"),
    (["histogram", "x", "nan"], '"nan": expected a finite number'),
    (["span", "x", "long"], '"long": expected a duration like "1.5s", or seconds'),
    (["gauge", "x", "1", "-l", "novalue"], '--label "novalue": expected key=value'),
    (["gauge", "x", "1", "--lane", "l"], "--lane is for spans"),
    (["gauge", "x", "1", "--hold", "5"], '"5": expected a duration like "30s"'),
    (["gauge", "x", "1", "--endpoint", "5571"], '--endpoint: "5571": expected tcp://HOST:PORT'),
    (["-", "x"], 'with "-" everything is read from standard input'),
])
def test_wrong_use_is_told(bus, arguments, says):
    done = emit(bus, *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr and done.stderr.count("\n") == 1


def test_a_metric_that_the_bus_knows_otherwise_is_told(bus):
    with_http = {"INSIGHT_HTTP": bus.http}
    right(emit(bus, "counter", "jobs_total", "1", env=with_http))
    right(emit(bus, "counter", "jobs_total", "2", env=with_http))

    done = emit(bus, "gauge", "jobs_total", "3", env=with_http)

    assert done.returncode == 1
    assert done.stderr.startswith("insightctl: emit: the bus refuses jobs_total: it was declared otherwise by insightctl emit/")
    bus.wait_value("jobs_total", 3)


def test_a_label_that_cannot_be_kept_is_told(bus):
    done = emit(bus, "counter", "x_total", "1", "-l", "a=1", "-l", "a=2")

    assert done.returncode == 1
    assert done.stderr == "insightctl: emit: not all of it could be kept: 1 bad_label\n"
