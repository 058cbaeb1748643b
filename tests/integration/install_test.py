# SPDX-License-Identifier: Apache-2.0
"""What `meson install` leaves, and that all of it works from there."""
import json
import os
import re
import shutil
import subprocess

import pytest
from bus import BUILD, PATIENCE, ROOT, free_port, http_request, Process, wait_until


def meson_option(name):
    options = json.loads(subprocess.run(["meson", "introspect", "--buildoptions", BUILD], check=True, capture_output=True, text=True).stdout)
    return next(o["value"] for o in options if o["name"] == name)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The prefix below a temporary root."""
    root = tmp_path_factory.mktemp("root")
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", root], check=True, capture_output=True)
    return root / meson_option("prefix").lstrip("/")


def text_files(installed):
    for path in sorted(installed.rglob("*")):
        if path.is_file() and not path.is_symlink() and not path.read_bytes().startswith((b"\x7fELF", b"!<arch>")):
            yield path


def test_every_file_lies_where_it_is_looked_for(installed):
    lib, share = installed / meson_option("libdir"), installed / meson_option("datadir")
    for path in [installed / "bin/insightctl", lib / "libinsight.so", lib / "pkgconfig/insight.pc",
                 installed / "include/insight/insight.h", installed / "include/insight/insight.hpp",
                 installed / "lib/systemd/system/insight.service", installed / meson_option("mandir") / "man1/insightctl.1",
                 share / "bash-completion/completions/insightctl", share / "zsh/site-functions/_insightctl",
                 share / "fish/vendor_completions.d/insightctl.fish", share / "doc/insight/bus.toml"]:
        assert path.is_file() and path.stat().st_size > 0, path


def test_nothing_tells_where_it_was_built(installed, tmp_path):
    for path in text_files(installed):
        assert str(ROOT) not in path.read_text() and str(BUILD) not in path.read_text(), path
    for path in [installed / "bin/insightctl", installed / meson_option("libdir") / "libinsight.so"]:
        dynamic = subprocess.run(["readelf", "-d", path], check=True, capture_output=True, text=True).stdout
        assert not re.search(r"R(UN)?PATH", dynamic), path
        # What a debugger reads may name sources.
        stripped = tmp_path / path.name
        subprocess.run(["strip", "-o", stripped, path], check=True)
        assert str(ROOT).encode() not in stripped.read_bytes(), path


@pytest.mark.sanitize
def test_the_program_runs_from_there(installed, tmp_path):
    program = installed / "bin/insightctl"
    http = f"127.0.0.1:{free_port()}"
    env = {"HOME": str(tmp_path), "XDG_STATE_HOME": "", "XDG_RUNTIME_DIR": str(tmp_path), "INSIGHT_CONFIG": ""}
    assert subprocess.run([program, "config", "check", installed / meson_option("datadir") / "doc/insight/bus.toml"],
                          capture_output=True, env={**os.environ, **env}).returncode == 0
    with Process([program, "bus", "run", "--http", http, "--listen", f"tcp://127.0.0.1:{free_port()}"], tmp_path / "log", env, cwd=tmp_path) as bus:
        wait_until(lambda: "next: " in bus.log, 20)
        assert http_request(http, "/readyz")[0] == 200
        assert bus.stop() == 0


def test_man_and_the_shells_find_their_files(installed, tmp_path):
    env = {**os.environ, "PATH": f"{installed}/bin:{os.environ['PATH']}", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8",
           "XDG_DATA_DIRS": str(installed / meson_option("datadir")), "MANPATH": str(installed / meson_option("mandir"))}

    def run(*argv):
        done = subprocess.run(argv, capture_output=True, text=True, env=env, timeout=60 * PATIENCE, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "insightctl config check" in run("man", "-P", "cat", "insightctl")
    assert "publishers" in run("fish", "-c", "complete -C 'insightctl publi'")
    zsh = f"fpath=({installed}/share/zsh/site-functions $fpath); autoload -Uz compinit; compinit -u -D; echo $_comps[insightctl]"
    assert run("zsh", "-f", "-c", zsh) == "_insightctl\n"
    bash = f"source {installed}/share/bash-completion/completions/insightctl; complete -p insightctl"
    assert "_insightctl insightctl" in run("bash", "-c", bash)


def test_the_service_is_right_and_hardened(installed, tmp_path):
    text = (installed / "lib/systemd/system/insight.service").read_text()
    assert f"ExecStart={meson_option('prefix')}/{meson_option('bindir')}/insightctl bus run\n" in text
    for key in ["DynamicUser=yes", "StateDirectory=insight", "RuntimeDirectory=insight", "Restart=on-failure",
                "NoNewPrivileges=yes", "ProtectSystem=strict"]:
        assert f"\n{key}\n" in text
    assert "Type=notify" not in text  # nothing here says that it is ready
    if not shutil.which("systemd-analyze"):
        return
    unit = tmp_path / "insight.service"
    unit.write_text(text.replace(f"{meson_option('prefix')}/{meson_option('bindir')}", str(installed / "bin")).replace("man:insightctl(1)", "man:true(1)"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_service_s_directories_are_those_that_the_broker_uses(installed, tmp_path):
    """What systemd makes of StateDirectory and RuntimeDirectory is what the broker finds by the unit's environment."""
    text = (installed / "lib/systemd/system/insight.service").read_text()
    environment = dict(pair.split("=") for line in re.findall(r"^Environment=(.*)", text, re.M) for pair in line.split())
    done = subprocess.run([installed / "bin/insightctl", "config", "print"], capture_output=True, text=True, check=True,
                          env={"PATH": os.environ["PATH"], **environment})

    assert 'state_dir = "/var/lib/insight"' in done.stdout
    assert '"ipc:///run/insight/bus.ipc"' in done.stdout


@pytest.mark.alone  # every install from this build writes the same list
def test_uninstall_takes_everything_away(tmp_path):
    root = tmp_path / "root"
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", root], check=True, capture_output=True)
    assert any(p.is_file() for p in root.rglob("*"))
    # What ninja's target `uninstall` calls.
    subprocess.run(["meson", "--internal", "uninstall"], cwd=BUILD, check=True, capture_output=True)

    assert [p for p in root.rglob("*") if not p.is_dir()] == []
