# SPDX-License-Identifier: Apache-2.0
"""config check, print and init, and components."""
import itertools
import json
import os
import re
import subprocess
import tomllib

import pytest
from bus import INSIGHTCTL, PATIENCE


def ctl(*arguments, env=None, **options):
    return subprocess.run([INSIGHTCTL, *arguments], capture_output=True, text=True, timeout=30 * PATIENCE,
                          env={**os.environ, **(env or {})}, **options)


def components():
    return json.loads(ctl("components", "--json").stdout)["components"]


SINKS = [c["name"] for c in components() if c["kind"] == "sink"]

FULL = """
[broker]
name = "he\\u0001ad \\"one\\""
state_dir = "state"
[limits]
series = 7
[collectors.bus]
endpoints = ["tcp://127.0.0.1:5999", "ipc://{runtime_dir}/x.ipc"]
[sinks."my file"]
type = "file"
directory = "{state_dir}/a/../b"
queue = { bytes = "1.5MiB" }
[sinks.null]
signals = ["spans"]
delay = "${DELAY:-3s}"
"""


def test_what_is_printed_reads_back_the_same(tmp_path):
    (tmp_path / "bus.toml").write_text(FULL)
    env = {"XDG_RUNTIME_DIR": "/tmp/run"}
    first = ctl("config", "print", "bus.toml", cwd=tmp_path, env=env)
    again = ctl("config", "print", "-", input=first.stdout, cwd="/", env={"DELAY": "9s"})

    assert (first.returncode, first.stderr) == (0, "")
    assert again.stdout == first.stdout
    printed = tomllib.loads(first.stdout)
    assert printed["broker"]["name"] == 'he\x01ad "one"'
    assert printed["broker"]["state_dir"] == f"{tmp_path}/state"
    assert printed["http"]["listen"] == "127.0.0.1:9092"
    assert printed["collectors"]["bus"]["type"] == "zmq"
    assert printed["collectors"]["bus"]["endpoints"] == ["tcp://127.0.0.1:5999", "ipc:///tmp/run/insight/x.ipc"]
    assert printed["sinks"]["my file"]["directory"] == f"{tmp_path}/state/b"
    assert printed["sinks"]["my file"]["queue"]["bytes"] == "1.5MiB"
    assert printed["sinks"]["my file"]["signals"] == ["metrics", "spans"]
    assert printed["sinks"]["null"]["delay"] == "3s" and printed["sinks"]["null"]["signals"] == ["spans"]


def test_print_shows_every_key_with_its_default(tmp_path):
    for component in components():
        if component["kind"] != "sink":
            continue
        text = f"[collectors.bus]\n[sinks.it]\ntype = \"{component['name']}\"\n"
        table = tomllib.loads(ctl("config", "print", "-", input=text, env={"HOME": str(tmp_path)}).stdout)["sinks"]["it"]
        for key in component["keys"]:
            value = table
            for part in key["name"].split("."):
                value = value.get(part) if value is not None else None
            if key["default"] is not None:
                assert value is not None, (component["name"], key)


def test_the_embedded_default_is_printed_without_a_file(tmp_path):
    printed = ctl("config", "print", env={"HOME": str(tmp_path), "XDG_STATE_HOME": ""}).stdout

    assert tomllib.loads(printed)["sinks"]["file"]["directory"] == f"{tmp_path}/.local/state/insight/telemetry"
    assert ctl("config", "print", "-", input=printed).stdout == printed


def test_secrets_are_not_shown(tmp_path):
    text = ('[broker]\nname = "${BUS_TOKEN}-${NODE}"\n[collectors.bus]\n[sinks.archive]\ntype = "file"\n'
            'directory = "/tmp/${MY_PASSWORD}/x"\n')
    env = {"BUS_TOKEN": "hunter2", "MY_PASSWORD": "hunter3", "NODE": "n1"}
    done = ctl("config", "print", "-", input=text, env=env)

    assert "hunter" not in done.stdout
    assert 'name = "${BUS_TOKEN}-${NODE}"' in done.stdout and 'directory = "/tmp/${MY_PASSWORD}/x"' in done.stdout
    assert ctl("config", "print", "-", input=done.stdout, env=env).stdout == done.stdout
    url = ctl("config", "print", "-", input='[broker]\nname = "http://me:hunter4@host/x"\n[collectors.bus]\n')
    assert "hunter4" not in url.stdout and 'name = "http://me:***@host/x"' in url.stdout
    assert url.stdout.startswith("# 1 value is masked")


def test_a_value_that_looks_like_a_variable_is_printed_as_it_stood_in_the_file():
    text = '[broker]\nname = "${NODE}"\n[collectors.bus]\n'
    done = ctl("config", "print", "-", input=text, env={"NODE": "${OTHER}"})

    assert 'name = "${NODE}"' in done.stdout


@pytest.mark.parametrize("command", ["check", "print"])
def test_errors_are_told_by_check_and_print_alike(command, tmp_path):
    done = ctl("config", command, "-", input="[brokr]\n[collectors.bus]\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0].startswith("standard input:1:2: unknown table [brokr]")
    assert done.stderr.splitlines()[-1] == "1 error"
    assert ctl("config", command, "/dev/zero").stderr.startswith("/dev/zero: larger than 1 MiB")
    assert ctl("config", command, str(tmp_path)).returncode == 2
    assert ctl("config", command, "-", input="[collectors.bus").stderr.startswith("standard input:1:")


def test_check_of_several_files_tells_of_all(tmp_path):
    (tmp_path / "a").write_text("[collectors.bus]\n")
    (tmp_path / "b").write_text("[nothing]\n")
    done = ctl("config", "check", "a", "b", "-", "missing", cwd=tmp_path, input="[collectors.bus]\nx = 1\n")

    assert done.returncode == 2
    assert done.stdout.splitlines()[0] == "a: right"
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["b", "b", "standard input", "missing", "4 errors"]


@pytest.mark.parametrize("sinks", [s for n in range(1, len(SINKS) + 1) for s in itertools.combinations(SINKS, n)], ids=",".join)
def test_what_init_prints_is_right_as_it_is_and_with_every_key(sinks, tmp_path):
    done = ctl("config", "init", "zmq/" + ",".join(sinks))
    assert (done.returncode, done.stderr) == (0, "")
    assert set(tomllib.loads(done.stdout)["sinks"]) == set(sinks)
    # Every line that is a key, taken out of its comment; the first of a key is the sample's.
    seen, lines, table = set(), [], ""
    for line in done.stdout.splitlines():
        table = line if line.startswith("[") else table
        key = re.match(r"# ([a-z_.]+) = ", line)
        if key and (table, key[1]) not in seen:
            seen.add((table, key[1]))
            line = line[2:]
        lines.append(line)
    for text in (done.stdout, "\n".join(lines)):
        checked = ctl("config", "check", "-", input=text, env={"HOME": str(tmp_path)})
        assert checked.returncode == 0, checked.stderr
    # Nothing is left out: whatever a component knows stands there.
    for component in components():
        if component["name"] in (*sinks, "zmq"):
            for key in component["keys"]:
                assert re.search(rf"^(# )?({re.escape(key['name'])}|{key['name'].split('.')[0]}) = ", done.stdout, re.M), key


@pytest.mark.parametrize("spec, says", [("zmq/promtheus", 'did you mean "prometheus"?'), ("zmk/null", 'did you mean "zmq"?'),
                                        ("null", "expected COLLECTOR/SINK"), ("zmq/null,null", "twice"), ("zmq/", "no sink")])
def test_init_of_what_is_not_there(spec, says):
    done = ctl("config", "init", spec)

    assert (done.returncode, done.stdout) == (2, "") and says in done.stderr


def test_components_are_shown_to_people_and_programs():
    assert {c["name"] for c in components()} >= {"zmq", "null"}
    text = ctl("components", "null").stdout
    assert text.startswith("sink null: metrics, spans\n") and re.search(r"^  delay +duration +0s +each write", text, re.M)
    assert [c["name"] for c in json.loads(ctl("components", "null", "--json").stdout)["components"]] == ["null"]
    wrong = ctl("components", "nul")
    assert (wrong.returncode, wrong.stdout) == (2, "") and 'did you mean "null"?' in wrong.stderr


def test_version_is_an_option_too():
    assert ctl("--version").stdout == ctl("version").stdout != ""
    assert 'did you mean "--version"?' in ctl("--verion").stderr
