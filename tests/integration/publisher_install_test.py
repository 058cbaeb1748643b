# SPDX-License-Identifier: Apache-2.0
"""Strangers build against what `meson install` leaves, outside of this tree, with pkg-config and nothing else."""
import os
import re
import shutil
import subprocess

import pytest
from bus import BUILD, PATIENCE, ROOT, wait_until
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from short_publisher import Receiver

FOREIGN = ROOT / "tests/support/foreign"

CPP = r"""
#include <insight/insight.hpp>

int main() {
  using namespace std::chrono_literals;
  insight::Publisher publisher{{.service = "engine", .resource = {{"role", "rollout"}, {"replica", "0"}}}};
  insight::Counter tokens = publisher.counter("engine_tokens_total", "Tokens generated", {{"model", "qwen"}});
  insight::Histogram ttft = publisher.histogram("engine_time_to_first_token_seconds", insight::buckets::seconds);
  insight::Gauge depth = publisher.gauge("engine_depth");
  tokens.add(128);
  ttft.observe(0.031);
  depth.set(3);
  publisher.histogram("engine_batch", {1, 2, 4}).observe(3);
  auto state = publisher.state("rollout", {.lane = "trainer_0", .attributes = {{"step", 10}}});
  {
    auto span = publisher.span("decode", {.lane = "replica_0"});
    span.attribute("step", 10);
    span.event("preempted", {{"free_blocks", 3}});
    state.link(span.context());
  }
  publisher.progress("engine_loop", 5s);
}
"""

@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The variables that make a compiler and a loader find the installed library."""
    root = tmp_path_factory.mktemp("installed")
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", root], check=True, capture_output=True)
    package = next(root.rglob("insight.pc"))
    return {**os.environ, "PKG_CONFIG_PATH": str(package.parent), "PKG_CONFIG_SYSROOT_DIR": str(root),
            "LD_LIBRARY_PATH": str(next(root.rglob("libinsight.so")).parent)}


def flags(environment):
    return subprocess.run(["pkg-config", "--cflags", "--libs", "insight"], env=environment, check=True,
                          capture_output=True, text=True).stdout.split()


def build(command, tmp_path, environment):
    """What `command` makes as PROGRAM."""
    done = subprocess.run([str(tmp_path / "program") if word == "PROGRAM" else word for word in command], cwd=tmp_path,
                          env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return tmp_path / "program"


STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def test_a_cpp_program_outside_of_the_tree_publishes(tmp_path, environment):
    (tmp_path / "program.cpp").write_text(CPP)
    program = build(["g++", "-std=c++20", *STRICT, "program.cpp", "-o", "PROGRAM", *flags(environment)], tmp_path, environment)
    with Receiver() as receiver:
        done = subprocess.Popen([program], env={**environment, "INSIGHT_ENDPOINT": receiver.endpoint})
        envelopes = []
        wait_until(lambda: envelopes.extend(receiver.drain()) or any(e.get("life") == "bye" for e in envelopes), 10)
        assert done.wait(10 * PATIENCE) == 0

    series = {(family[0], *point[0]): point[1] for e in envelopes for family, points in e["met"] for point in points}
    assert series["engine_tokens_total", "qwen"] == 128
    assert series["engine_depth",] == 3
    assert series["engine_batch",] == [1, 3, [0, 0, 1, 0]]
    assert series["insight_progress_period_seconds", "engine_loop"] == 5
    spans = {(span[0], span[4]): span for e in envelopes for span in e["spn"]}
    assert spans.keys() == {("span", "decode"), ("begin", "rollout"), ("end", "rollout")}
    decode, begin, end = spans["span", "decode"], spans["begin", "rollout"], spans["end", "rollout"]
    assert (decode[5], decode[9], decode[10][0][1:]) == ("replica_0", {"step": 10}, ["preempted", {"free_blocks": 3}])
    assert (begin[5], begin[7], begin[9]) == ("trainer_0", None, {"step": 10})
    assert (end[2], end[3], end[11]) == (begin[2], None, [[decode[1], decode[2], {}]])
    assert envelopes[0]["res"]["service.name"] == "engine"


# The same program in three languages on the C interface, without any library but this one.
LANGUAGES = {
    "c": ("gcc", lambda env: ["gcc", "-std=c11", *STRICT, FOREIGN / "program.c", "-o", "PROGRAM", *flags(env)]),
    "rust": ("rustc", lambda env: ["rustc", "--edition=2021", "-Dwarnings", "-L", env["LD_LIBRARY_PATH"],
                                   FOREIGN / "program.rs", "-o", "PROGRAM"]),
    "go": ("go", lambda env: ["go", "build", "-o", "PROGRAM", FOREIGN / "program.go"]),
}


def build_foreign(language, tmp_path, environment):
    compiler, command = LANGUAGES[language]
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} on this machine")
    # Go's cache knows a program by these variables, but not by what pkg-config said.
    go = {"GOPROXY": "off", "GOTOOLCHAIN": "local", "GO111MODULE": "auto", "GOFLAGS": "",
          "CGO_CFLAGS": " ".join(f for f in flags(environment) if f[:2] == "-I"),
          "CGO_LDFLAGS": " ".join(f for f in flags(environment) if f[:2] != "-I")}
    return build(command(environment), tmp_path, {**environment, **go})


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_program_in_another_language_is_seen_at_the_broker_with_the_right_values(
        language, tmp_path, environment, bus, resources):
    program = build_foreign(language, tmp_path, environment)
    process = subprocess.Popen([program], env={**environment, "INSIGHT_ENDPOINT": bus.ipc}, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    resources.enter_context(process)
    resources.callback(process.kill)

    def records(**wanted):
        return [r for r in bus.records() if all(r.get(k) == v for k, v in wanted.items())]

    # It waits in the middle of a state: that is seen now.
    word, request_trace, request_span = process.stdout.readline().split()
    assert word == "request"
    word, state_trace, state_span = process.stdout.readline().split()
    assert word == "state"
    (begin,) = wait_until(lambda: records(name="rollout"), 20, "the state is seen")
    assert (begin["type"], begin["lane"], begin["attributes"], begin["end_ns"]) == ("begin", "trainer_0", {"step": 10}, None)
    assert (begin["trace_id"], begin["span_id"], begin["parent_id"]) == (state_trace, state_span, None)
    (point,) = wait_until(lambda: [r for r in records(name="engine_took_seconds", labels={}) if "exemplar" in r], 20)
    exemplar = point["exemplar"]
    assert (exemplar["value"], exemplar["trace_id"], exemplar["span_id"]) == (0.25, state_trace, state_span)
    assert exemplar["ts_ns"] >= begin["start_ns"]

    told, _ = process.communicate("\n", timeout=60 * PATIENCE)
    assert process.returncode == 0
    told = dict(line.split() for line in told.splitlines())
    wait_until(lambda: len([r for r in bus.records() if r["type"] != "point"]) == int(told["spans"]), 20,
               "all spans are written")
    assert told["spans_sent"] == told["spans"]
    (end,) = records(name="rollout", type="end")
    assert (end["span_id"], end["status"], end["attributes"]) == (state_span, "ok", {"step": 10})
    (event,), (link,) = end["events"], end["links"]
    assert event["name"] == "preempted"
    assert event["attributes"] == {"why": "memory", "free_blocks": 3, "share": 0.5, "is_last": True}
    assert link == {"trace_id": request_trace, "span_id": request_span, "attributes": {"why": "memory"}}
    (decode,) = records(name="decode")
    assert (decode["type"], decode["trace_id"], decode["parent_id"]) == ("span", state_trace, state_span)
    assert decode["status"] == "error"
    assert decode["attributes"] == {"model": "qwen", "tokens": -5, "loss": 2.0, "is_last": True}
    (request,) = records(name="request")
    assert (request["lane"], request["span_id"], request["parent_id"]) == ("frontend", request_span, None)
    assert [r["type"] for r in records(name="open")] == ["begin", "end"]
    (point,) = wait_until(
        lambda: [r for r in records(name="engine_took_seconds", labels={}) if r["value"]["count"] == 2], 20)
    exemplar = point["exemplar"]
    assert (exemplar["value"], exemplar["trace_id"], exemplar["span_id"]) == (0.5, request_trace, request_span)
    assert point["value"]["buckets"] == [0, 1, 1, 0]

    bus.wait_value("engine_took_seconds_sum", 0.75, role="rollout")
    # On /metrics each exemplar stands at the bucket that it fell into.
    page = bus.get("/metrics", headers={"Accept": "application/openmetrics-text"})[2].decode()
    found = {sample.labels["le"]: (sample.exemplar.value, sample.exemplar.labels["trace_id"], sample.exemplar.labels["span_id"])
             for family in text_string_to_metric_families(page) for sample in family.samples if sample.exemplar}
    assert found == {"0.3": (0.25, state_trace, state_span), "1.0": (0.5, request_trace, request_span)}
    assert bus.value("engine_tokens_total", role="rollout", model="qwen") == 128
    assert bus.value("engine_tokens_total", role="rollout", model="llama") == 0.5
    assert bus.value("engine_depth", role="rollout") == 2
    assert bus.value("engine_depth", role="rollout", model="llama") == 7
    assert bus.value("engine_took_seconds_count", role="rollout", model="llama") == 1
    assert bus.value("insight_progress_period_seconds", role="rollout", name="engine_loop") == 5
    assert told["bad_value"] == "1"
    assert told["version"]


def test_the_c_program_uses_every_function_of_the_c_interface():
    header = (ROOT / "publishers/include/insight/insight.h").read_text()
    functions = set(re.findall(r"\b(insight_\w+)\(", re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)))
    assert len(functions) > 30
    assert functions - set(re.findall(r"\binsight_\w+", (FOREIGN / "program.c").read_text())) == set()


def test_the_library_shows_its_api_and_nothing_else(environment):
    library = os.path.join(environment["LD_LIBRARY_PATH"], "libinsight.so")
    listed = subprocess.run(["nm", "-DC", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    names = [line.split(maxsplit=2)[2] for line in listed.splitlines()]
    assert names
    assert [n for n in names if not n.startswith(("insight_", "insight::"))] == []
