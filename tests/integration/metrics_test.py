# SPDX-License-Identifier: Apache-2.0
"""insightctl metrics, and what it asks the broker for."""
import json

import pytest
from bus import wait_until
from cli_test import on_terminal
from short_publisher import ShortPublisher, counter, family, gauge, histogram, point


@pytest.fixture
def busy_bus(bus, resources):
    """Two publishers, one of which disagrees with the other."""
    one = resources.enter_context(ShortPublisher(bus.tcp, resource={"service.name": "one"}))
    two = resources.enter_context(ShortPublisher(bus.tcp, resource={"service.name": "two"}))
    one.send_all(met=[
        counter("rl_tokens_total", 7, unit="tokens", help="Tokens generated", worker="a\"\n\x1b[31m"),
        [family("rl_requests", "counter", ["route", "code"]), [point(1, f"/v{i}", "200") for i in range(30)]],
        histogram("rl_wait_seconds", [0.1, 1], [0.05], unit="seconds"), gauge("level", 1),
    ])
    bus.wait_value("rl_wait_seconds_count", 1)
    two.send_all(met=[gauge("rl_tokens_total", 9), gauge("level", 2, merge="sum")])
    wait_until(lambda: bus.api("series")["refusals"] and bus.value("level") == 2)
    return bus


def test_the_list_is_sorted_filtered_and_cut_by_the_broker(busy_bus):
    listed = busy_bus.ctl("metrics", "list", check=True).stdout.splitlines()
    assert [line.split()[0] for line in listed[1:5]] == ["rl_requests_total", "level", "rl_tokens_total", "rl_wait_seconds"]
    assert "Tokens generated" in listed[3] and "counter" in listed[3] and "tokens" in listed[3]
    assert listed[2].split()[1:4] == ["gauge", "1", "2"]
    assert listed[5] == "4 metrics, 33 series"

    page = json.loads(busy_bus.ctl("metrics", "list", "rl_*", "--sort", "name", "--limit", "1", "--offset", "1", "--json", check=True).stdout)
    assert page["matched"] == 3 and [m["metric"] for m in page["metrics"]] == ["rl_tokens_total"]
    short = busy_bus.ctl("metrics", "list", "--limit", "1", check=True).stdout
    assert "3 more: see --limit and --offset" in short
    assert "no metric matches zz*" in busy_bus.ctl("metrics", "list", "zz*", check=True).stdout
    own = busy_bus.ctl("metrics", "list", "insight_pub*", check=True).stdout
    assert "insight_publisher_up" in own and "Publishers known, by state." in own and "rl_" not in own
    for arguments in (["--limit", "1001"], ["--sort", "size"], ["a", "b"]):
        assert busy_bus.ctl("metrics", "list", *arguments).returncode == 2
    for query in ("limit=1001", "sort=size", "colour=red", "explain="):
        assert busy_bus.get(f"/api/v1/series?{query}")[0] == 400


def test_one_metric_is_explained(busy_bus):
    shown = busy_bus.ctl("metrics", "explain", "rl_tokens", check=True).stdout
    assert "rl_tokens_total  counter, unit tokens\nTokens generated\n" in shown
    assert "from       1 publisher" in shown and "declared   by one/" in shown
    assert "\x1b" not in shown
    assert "rl_tokens_total: conflict: 1 points of two/" in shown and "declared before by one/" in shown
    requests = busy_bus.ctl("metrics", "explain", "rl_requests_total", check=True).stdout.splitlines()
    assert [line.split()[:2] for line in requests if line.startswith(("code ", "route "))] == [["code", "1"], ["route", "30"]]
    assert any(line.startswith("code ") and "200 (30)" in line for line in requests)
    assert "bounds     0.1 1.0 +Inf" in busy_bus.ctl("metrics", "explain", "rl_wait_seconds_bucket", check=True).stdout
    detail = json.loads(busy_bus.ctl("metrics", "explain", "level", "--json", check=True).stdout)["metric"]
    assert (detail["merge"], detail["publishers"], detail["series"]) == ("last", 2, 1)
    assert {p["name"].split("/")[0] for p in detail["top_publishers"]} == {"one", "two"}
    own = busy_bus.ctl("metrics", "explain", "insight_publishers", check=True).stdout
    assert "Publishers known, by state." in own and "declared   by the bus itself" in own and "alive (1)" in own


@pytest.mark.parametrize("name, says", [
    ("rl_tokns_total", "nobody sends a metric rl_tokns_total; did you mean rl_tokens_total"),
    ("wait", "did you mean rl_wait_seconds"),
    ("insight_publisherz", "did you mean insight_publishers"),
    ("nothing_like_it", "nobody sends a metric nothing_like_it"),
])
def test_an_unknown_name_is_a_problem_with_near_names(busy_bus, name, says):
    done = busy_bus.ctl("metrics", "explain", name)
    assert done.returncode == 1 and done.stdout == ""
    assert says in done.stderr and done.stderr.count("\n") == 1


def test_without_a_list_it_says_where_there_would_be_one(new_bus):
    bus = new_bus(config=new_bus().CONFIG.replace("[sinks.prometheus]", "")).start()
    for arguments in (["list"], ["explain", "rl_tokens"]):
        done = bus.ctl("metrics", *arguments)
        assert done.returncode == 1 and done.stdout == ""
        assert "keeps no list of series" in done.stderr and "[sinks.prometheus]" in done.stderr
    assert "insight_publishers" in bus.ctl("metrics", "list", "insight_*", check=True).stdout
    assert bus.ctl("metrics", "explain", "insight_publishers").returncode == 0
    bus.stop()
    done = bus.ctl("metrics", "list")
    assert done.returncode == 3 and done.stderr.count("\n") == 1


def test_many_series_and_publishers_stop_neither_the_broker_nor_the_terminal(new_bus, resources):
    bus = new_bus(extra="\n[limits]\nseries = 200_000\n").start()
    for p in range(5):
        publisher = resources.enter_context(ShortPublisher(bus.tcp, hwm=1000))
        for block in range(10):
            publisher.send_all(met=[[family("wide_total", "counter", ["publisher_number", "route"]),
                                     [point(1, str(p), f"/{block}/{i}") for i in range(1000)]]])
        publisher.send_all(met=[counter(f"narrow_{i}_total", 1) for i in range(2000)])
    wait_until(lambda: bus.api("series?limit=1")["series"] == 50_000 + 2000, 60)

    shown = bus.ctl("metrics", "explain", "wide_total", check=True).stdout
    listed = bus.ctl("metrics", "list", check=True).stdout
    assert "50,000 of at most 100,000" in shown and "10,000 " in shown
    assert len(listed.splitlines()) == 52 and "1,951 more" in listed
    assert len(bus.api("series?limit=1000")["metrics"]) == 1000
    code, screen = on_terminal("metrics", "list", columns=20, env={"INSIGHT_HTTP": bus.http})
    assert code == 0 and max(map(len, screen.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines())) <= 20
