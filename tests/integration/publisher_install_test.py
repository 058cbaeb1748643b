# SPDX-License-Identifier: Apache-2.0
"""Strangers build against what `meson install` leaves, outside of this tree, with pkg-config and nothing else."""
import os
import subprocess

import pytest
from bus import BUILD, PATIENCE, wait_until
from short_publisher import Receiver

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
  {
    auto span = publisher.span("decode", {.lane = "replica_0"});
    span.attribute("step", 10);
  }
  publisher.progress("engine_loop", 5s);
}
"""

C = r"""
#include <insight/insight.h>
#include <string.h>

int main(void) {
  /* Everything is safe before a publisher is there. */
  insight_counter_add(NULL, 1);
  insight_close(NULL, 10);
  insight_span_end(insight_span_begin(NULL, "a", "b", NULL));
  if (insight_counter_get(NULL, "a", "", NULL, 0) != NULL) return 1;

  insight_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.service = "engine";
  insight_label model = {"model", "qwen"};
  insight_publisher* publisher = insight_open(&options);
  insight_counter* tokens = insight_counter_get(publisher, "engine_tokens_total", "Tokens", &model, 1);
  insight_counter_add(tokens, 128);
  insight_counter_add(tokens, -1);
  insight_gauge* depth = insight_gauge_get(publisher, "engine_depth", NULL, INSIGHT_MERGE_LAST, NULL, 0);
  insight_gauge_set(depth, 3);
  double bounds[] = {1, 2, 4};
  insight_histogram* batch = insight_histogram_get(publisher, "engine_batch", "", bounds, 3, NULL, 0);
  insight_histogram_observe(batch, 3);
  insight_span* span = insight_span_begin(publisher, "decode", "replica_0", NULL);
  insight_span_attribute_int(span, "step", 10);
  insight_span_end(span);
  insight_progress(publisher, "engine_loop", 5);
  insight_close(publisher, 2000);

  /* And after it has closed. */
  insight_counter_add(tokens, 1);
  insight_gauge_set(depth, 9);
  insight_span_end(insight_span_begin(publisher, "late", "", NULL));
  insight_status status;
  memset(&status, 0, sizeof status);
  status.size = sizeof status;
  insight_get_status(publisher, &status);
  if (status.spans != 1 || status.envelopes_sent == 0 || insight_dropped(publisher, "bad_value") != 1) return 2;
  insight_counter_free(tokens);
  insight_gauge_free(depth);
  insight_histogram_free(batch);
  insight_free(publisher);
  return 0;
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


def build(source, compiler, tmp_path, environment):
    path = tmp_path / ("program.c" if "g++" not in compiler[0] else "program.cpp")
    path.write_text(source)
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "insight"], env=environment, check=True,
                           capture_output=True, text=True).stdout.split()
    program = tmp_path / "program"
    done = subprocess.run([*compiler, "-Wall", "-Wextra", "-Wpedantic", "-Werror", path, "-o", program, *flags],
                          cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


@pytest.mark.parametrize("source, compiler", [(CPP, ["g++", "-std=c++20"]), (C, ["gcc", "-std=c11"])], ids=["cpp", "c"])
def test_a_program_outside_of_the_tree_publishes(source, compiler, tmp_path, environment):
    program = build(source, compiler, tmp_path, environment)
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
    (span,) = [span for e in envelopes for span in e["spn"]]
    assert (span[4], span[5], span[9]) == ("decode", "replica_0", {"step": 10})
    assert envelopes[0]["res"]["service.name"] == "engine"


def test_the_library_shows_its_api_and_nothing_else(environment):
    library = os.path.join(environment["LD_LIBRARY_PATH"], "libinsight.so")
    listed = subprocess.run(["nm", "-DC", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    names = [line.split(maxsplit=2)[2] for line in listed.splitlines()]
    assert names
    assert [n for n in names if not n.startswith(("insight_", "insight::"))] == []
