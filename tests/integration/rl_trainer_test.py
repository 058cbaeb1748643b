# SPDX-License-Identifier: Apache-2.0
"""A real training program publishes with the short publisher alone; what it counted itself is what comes out."""
import json
import subprocess
import sys

import pytest
from bus import PATIENCE, ROOT, key, parse_metrics, promtool_check, wait_until

TRAINER = ROOT / "tests/examples/rl_trainer/train.py"
RESOURCE = {"run": "cartpole", "role": "trainer", "rank": "0"}


def train(bus, *arguments):
    done = subprocess.run(
        [sys.executable, TRAINER, "--endpoint", bus.tcp, *arguments], capture_output=True, text=True, timeout=120 * PATIENCE)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def expected_series(values):
    """What /metrics shows of the trainer's own values."""
    bounds = {"rl_step_duration_seconds": [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5],
              "rl_episode_return": [10, 20, 50, 100, 200, 300, 400, 499]}
    series = {}
    for name, labels, value in values:
        if name not in bounds:
            series[key(name, **RESOURCE, **({"stat": labels[0]} if labels else {}))] = value
            continue
        count, total, buckets = value
        series[key(name + "_count", **RESOURCE)] = count
        series[key(name + "_sum", **RESOURCE)] = total
        running = 0
        for bound, n in zip([*bounds[name], float("inf")], buckets):
            running += n
            le = "+Inf" if bound == float("inf") else f"{bound:g}"
            series[key(name + "_bucket", **RESOURCE, le=le)] = running
    return series


def jq(bus, program):
    files = sorted((bus.state / "telemetry").rglob("*.jsonl"))
    done = subprocess.run(["jq", "-c", program, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.sanitize
def test_the_numbers_of_a_real_training_run_are_right_everywhere(bus):
    truth = train(bus, "--episodes", "600", "--seed", "1")

    assert truth["mean_of_last_20"] >= 3 * truth["mean_of_first_20"]
    wait_until(lambda: bus.publishers().get(truth["incarnation"], {}).get("state") == "ended", 15, "the trainer has ended")
    text = bus.metrics_text()
    scraped = {(n, tuple((k, f"{float(v):g}" if k == "le" and v != "+Inf" else v) for k, v in labels)): value
               for (n, labels), value in parse_metrics(text).items()}
    for series, value in expected_series(truth["values"]).items():
        assert scraped.get(series) == value, f"{series}: {scraped.get(series)}, not {value}"
    assert promtool_check(text)[0] != 1

    wait_until(lambda: len(jq(bus, 'select(.type == "span")')) == truth["spans"], 10, "all spans are in the file")
    for state in ("rollout", "update"):
        lines = jq(bus, f'select(.type == "span" and .name == "{state}")')
        assert len(lines) == truth["spans"] / 2
        assert {line["lane"] for line in lines} == {"trainer_0"}
    newest = jq(bus, 'select(.name == "rl_env_steps_total") | .value')[-1]
    assert newest == dict((name, value) for name, _, value in truth["values"])["rl_env_steps_total"]


def test_the_same_seed_learns_the_same(bus):
    one, two = (train(bus, "--episodes", "100", "--seed", "7") for _ in range(2))

    assert one["mean_of_last_20"] == two["mean_of_last_20"]
