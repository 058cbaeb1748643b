# SPDX-License-Identifier: Apache-2.0
"""A real inference engine publishes by the C++ library; what it counted itself is what comes out."""
import json
import os
import signal
import subprocess

import pytest
from bus import BUILD, PATIENCE, ROOT, Process, promtool_check, wait_until

ENGINE = BUILD / "tests/examples/engine/engine"
TEXTS = [ROOT / "README.md", ROOT / "bus/wire/ENVELOPE.md", ROOT / "bus/broker/CONFIG.md", ROOT / "publishers/README.md"]
LABELS = {"model_name": "ngram", "role": "rollout"}


def engine(*arguments, endpoint="", prompts="", env=None):
    """Its exit, what it answered and what it counted."""
    done = subprocess.run([ENGINE, *arguments, *TEXTS], input=prompts, capture_output=True, text=True, timeout=60 * PATIENCE,
                          env={**os.environ, "INSIGHT_ENDPOINT": endpoint, **(env or {})})
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(done.stderr.splitlines()[-1])


def golden(page):
    """{metric: value} of what the engine publishes, and of its finished requests by reason."""
    found = {name: value for (name, labels), value in page.items() if labels == tuple(sorted(LABELS.items()))}
    finished = {dict(labels)["finished_reason"]: value for (name, labels), value in page.items()
                if name == "engine_request_success_total"}
    return found, finished


def check(bus, totals):
    """The golden signals agree with the engine's own totals, and with each other, once its last records are shown."""
    wait_until(lambda: [p["state"] for p in bus.publishers().values()] == ["ended"], 15, "the engine has ended")
    done = sum(totals["finished"].values())
    expected = {
        "engine_prompt_tokens_total": totals["prompt_tokens"],
        "engine_prefix_cache_queries_total": totals["prompt_tokens"],
        "engine_prefix_cache_hits_total": totals["cache_hits"],
        "engine_generation_tokens_total": totals["generation_tokens"],
        "engine_time_to_first_token_seconds_count": totals["first_tokens"],
        "engine_inter_token_latency_seconds_count": totals["generation_tokens"] - totals["first_tokens"],
        "engine_request_queue_time_seconds_count": totals["started"],
        "engine_e2e_request_latency_seconds_count": done,
        "engine_num_requests_running": 0, "engine_num_requests_waiting": 0, "engine_kv_cache_usage_perc": 0,
    }
    different = []

    def is_shown():
        found, finished = golden(bus.scrape())
        shown = {name: found.get(name) for name in expected} | {"finished": finished}
        different[:] = [(k, shown[k], v) for k, v in (expected | {"finished": totals["finished"]}).items() if shown[k] != v]
        return not different

    try:
        wait_until(is_shown, 10)
    except AssertionError:
        raise AssertionError(f"(metric, shown, counted): {different}") from None
    found, _ = golden(bus.scrape())
    assert found["engine_request_queue_time_seconds_sum"] <= found["engine_e2e_request_latency_seconds_sum"]
    return done


@pytest.mark.sanitize
def test_the_golden_signals_are_what_the_engine_counted(bus):
    _, totals = engine("--rate", "2000", "--requests", "200", "--cache-blocks", "64", endpoint=bus.tcp)

    assert check(bus, totals) == totals["started"] == 200
    assert totals["finished"]["abort"] == 0 < totals["finished"]["stop"] < 200
    assert totals["prompt_tokens"] / 2 < totals["cache_hits"] < totals["prompt_tokens"]
    assert bus.value("insight_progress_period_seconds", name="engine_loop", role="rollout") == 1
    assert promtool_check(bus.metrics_text())[0] != 1

    def is_written():
        sink, = (s for s in bus.api("status")["sinks"] if s["name"] == "file")
        return sink["delivered"] == sink["received"] and sink["delivered"]["spans"] == 400

    wait_until(is_written, 10, "all spans are in the file")
    records = bus.records()
    spans = [r for r in records if r["type"] == "span"]
    requests = {r["span_id"]: r for r in spans if r["name"] == "generate"}
    prefills = [r for r in spans if r["name"] == "prefill"]
    assert len(requests) == len(prefills) == 200
    assert all(requests[p["parent_id"]]["trace_id"] == p["trace_id"] for p in prefills)
    assert all([e["name"] for e in r["events"]] == ["first_token"] for r in requests.values())
    assert sum(r["attributes"]["generated_tokens"] for r in requests.values()) == totals["generation_tokens"]
    exemplars = {r["name"]: r["exemplar"]["span_id"] for r in records if "exemplar" in r}
    assert set(exemplars) == {name for name in {r["name"] for r in records} if name.endswith("_seconds")
                              and name.startswith("engine_")}
    assert set(exemplars.values()) <= set(requests)
    assert {r["lane"] for r in spans} <= {f"slot_{i}" for i in range(8)}


def test_a_loaded_engine_shows_what_runs_and_waits_and_stops_cleanly(bus):
    env = {"INSIGHT_ENDPOINT": bus.tcp, "INSIGHT_FLUSH_INTERVAL": "20ms"}
    argv = [ENGINE, "--rate", "200", "--step-ms", "5", "--batch", "4", "--max-tokens", "200", *TEXTS]
    with Process(argv, bus.directory / "engine.log", env) as process:
        wait_until(lambda: bus.value("engine_num_requests_running", **LABELS) == 4
                   and bus.value("engine_num_requests_waiting", 0, **LABELS) > 4
                   and 0 < bus.value("engine_kv_cache_usage_perc", **LABELS) < 1, 20, "the engine is under load")
        assert process.stop(signal.SIGTERM, 20) == 0
        totals = json.loads(process.log.splitlines()[-1])

    check(bus, totals)
    assert totals["finished"]["abort"] > 4
    assert totals["started"] < sum(totals["finished"].values())


def test_prompts_are_answered_and_the_same_seed_says_the_same():
    prompts = "The broker \nA counter that\n"
    disabled = {"INSIGHT_DISABLED": "1"}
    first, totals = engine("--batch", "1", prompts=prompts, env=disabled)
    again, _ = engine("--batch", "1", prompts=prompts, env=disabled)

    assert first == again
    assert first.startswith("The broker ") and "\nA counter that" in first
    assert totals["started"] == 2
    assert totals["generation_tokens"] > 10


def test_a_request_larger_than_the_cache_is_refused_and_the_next_one_is_answered():
    answers, totals = engine("--cache-blocks", "8", "--max-tokens", "32", prompts="x" * 200 + "\nThe broker\n",
                             env={"INSIGHT_DISABLED": "1"})

    assert totals["finished"]["abort"] == 1 == totals["started"]
    assert "The broker" in answers


@pytest.mark.parametrize("arguments, says", [
    (["--rate"], "--rate: a value is missing"),
    (["--rate", "many"], '--rate: "many" is not a number'),
    (["--speed", "1"], "there is no option --speed"),
    (["--rate", "1"], "no text to learn from"),
    (["/nonexistent"], "/nonexistent: cannot be read"),
])
def test_wrong_use_is_told(arguments, says):
    done = subprocess.run([ENGINE, *arguments], capture_output=True, text=True, timeout=10 * PATIENCE)

    assert done.returncode == 2
    assert says in done.stderr
