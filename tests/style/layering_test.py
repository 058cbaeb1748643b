# SPDX-License-Identifier: Apache-2.0
"""The rules that the linker cannot check: who includes whom, and what a file looks like."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOP_LEVEL = {
    "meson.build", "meson_options.txt", "pyproject.toml", "README.md", "LICENSE", "dev",
    "bus", "publishers", "sinks", "cli", "compose", "tests",
}

# What a folder may include beside itself. `tests` may include everything.
MODEL = {"bus/base", "bus/model"}
MAY_INCLUDE = {
    "bus/base": set(),
    "bus/model": {"bus/base"},
    "bus/wire": MODEL,
    "bus/recording": MODEL | {"bus/wire"},
    "bus/transport": MODEL,
    "bus/pipeline": MODEL,
    "bus/ledger": MODEL | {"bus/wire", "bus/pipeline"},
    "bus/aggregate": MODEL | {"bus/pipeline"},
    "bus/http": {"bus/base"},
    "bus/collectors": MODEL | {"bus/ledger", "bus/pipeline", "bus/wire", "bus/transport"},
    "bus/metrics": MODEL | {"bus/pipeline"},
    "bus/broker": MODEL | {"bus/collectors", "bus/ledger", "bus/pipeline", "bus/metrics", "bus/http"},
    "publishers": MODEL | {"bus/wire", "bus/transport"},
    "sinks": MODEL | {"bus/pipeline", "bus/aggregate", "bus/http", "bus/recording"},
    "cli": MODEL | {"bus/recording", "bus/wire", "bus/transport", "bus/broker", "bus/http", "bus/pipeline", "bus/collectors", "sinks", "publishers"},
}

# A third party's headers, and the one place that may include them.
THIRD_PARTIES = {
    r"msgpack": "bus/wire/",
    r"zmq": "bus/transport/",
    r"toml": "bus/broker/",
    r"microhttpd|curl/": "bus/http/",
    r"zlib": ("bus/http/", "bus/recording/"),
    r"spdlog/|fmt/": "bus/base/",
    r"prometheus/": "bus/metrics/",
    r"CLI/": "cli/parse.cpp",
    r"zstd": "bus/recording/",
    r"doctest/": "tests/",
}


def project_files():
    try:
        command = ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard"]
        names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):  # an unpacked archive, or no git
        walk = (pathlib.Path(folder, name).relative_to(ROOT) for folder, _, files in os.walk(ROOT) for name in files)
        names = [str(p) for p in walk if not re.match(r"\.(dev|git)/|build|.*__pycache__/", str(p))]
    return sorted(pathlib.Path(n) for n in names if (ROOT / n).is_file())


FILES = project_files()
CODE = [p for p in FILES if p.suffix in {".cpp", ".hpp", ".h", ".c"}]


def folder_of(path):
    """The row of MAY_INCLUDE that a path belongs to; a sink and the registry are `sinks`."""
    parts = pathlib.PurePath(path).parts
    return "/".join(parts[:2]) if parts[0] == "bus" else parts[0]


def includes(path):
    for number, line in enumerate((ROOT / path).read_text().splitlines(), 1):
        found = re.match(r'\s*#\s*include\s*([<"])([^>"]+)', line)
        if found:
            yield f"{path}:{number}", found[1], found[2]


def test_every_include_follows_the_direction_of_dependencies():
    wrong = []
    for path in CODE:
        here = folder_of(path)
        for at, kind, target in includes(path):
            there = folder_of(target)
            if here == "tests" or kind == "<" and not target.startswith("insight/"):
                continue
            if target.startswith("insight/"):  # the installed headers
                there = "publishers"
            if "/" not in target and not (ROOT / target).exists():
                continue  # generated beside the file
            if there != here and there not in MAY_INCLUDE[here]:
                wrong.append(f"{at}: {here} may not include {target}")
    assert not wrong, "\n".join(wrong)


def test_one_sink_never_includes_another():
    wrong = []
    for path in CODE:
        if path.parts[0] == "sinks" and len(path.parts) > 2:
            for at, _, target in includes(path):
                other = pathlib.PurePath(target).parts
                if len(other) > 2 and other[0] == "sinks" and other[1] != path.parts[1]:
                    wrong.append(at)
    assert not wrong, "\n".join(wrong)


def test_headers_of_a_third_party_are_included_in_one_folder_only():
    wrong = []
    for path in CODE:
        for at, kind, target in includes(path):
            for pattern, home in THIRD_PARTIES.items():
                if kind == "<" and re.match(pattern, target) and not str(path).startswith((*([home] if isinstance(home, str) else home), "tests/")):
                    wrong.append(f"{at}: <{target}> belongs to {home}")
    assert not wrong, "\n".join(wrong)


def test_every_folder_of_the_bus_stands_in_the_table():
    folders = {folder_of(p) for p in CODE if p.parts[0] != "tests"}

    assert folders == MAY_INCLUDE.keys()


def test_every_source_begins_with_its_licence():
    wrong = []
    for path in FILES:
        if path.suffix in {".cpp", ".hpp", ".h", ".c", ".py"} or path.name == "dev" or str(path) == ".ci/run":
            lines = (ROOT / path).read_text().splitlines()
            first = lines[1] if lines and lines[0].startswith("#!") else lines[0] if lines else ""
            if first not in ("// SPDX-License-Identifier: Apache-2.0", "# SPDX-License-Identifier: Apache-2.0"):
                wrong.append(str(path))
    assert not wrong, "\n".join(wrong)


def test_every_header_guards_itself_and_no_file_is_long():
    wrong = [str(p) for p in CODE if p.suffix in {".hpp", ".h"} and "#pragma once" not in (ROOT / p).read_text()]
    sources = CODE + [p for p in FILES if p.suffix == ".py"]
    wrong += [f"{p}: more than 600 lines" for p in sources if (ROOT / p).read_text().count("\n") > 600]
    assert not wrong, "\n".join(wrong)


def test_nothing_is_left_undone():
    words = re.compile("|".join([r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b", r"not imple" + r"mented", r"unimple" + r"mented"]), re.I)
    wrong = []
    for path in FILES:
        if path.suffix in {".cpp", ".hpp", ".h", ".c", ".py", ".build", ".md", ".toml", ".sh", ".txt"} or path.name == "dev":
            for number, line in enumerate((ROOT / path).read_text(errors="replace").splitlines(), 1):
                if words.search(line):
                    wrong.append(f"{path}:{number}: {line.strip()}")
    assert not wrong, "\n".join(wrong)


def test_the_top_level_holds_what_the_layout_names():
    top = {p.parts[0] for p in FILES}

    assert {name for name in top if not name.startswith(".")} <= TOP_LEVEL


PUBLIC_HEADERS = sorted((ROOT / "publishers/include").rglob("*.h*"))


@pytest.mark.parametrize("header", PUBLIC_HEADERS, ids=[p.name for p in PUBLIC_HEADERS])
def test_a_public_header_compiles_alone(header, tmp_path):
    name = header.relative_to(ROOT / "publishers/include")
    languages = [("g++-12", "-std=c++20", "cpp")] + ([("gcc-12", "-std=c11", "c")] if header.suffix == ".h" else [])
    for compiler, standard, suffix in languages:
        source = tmp_path / f"alone.{suffix}"
        source.write_text(f"#include <{name}>\n#include <{name}>\n")
        done = subprocess.run(
            [compiler, standard, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only",
             "-I", ROOT / "publishers/include", source],
            capture_output=True, text=True,
        )
        assert done.returncode == 0, done.stderr


def test_there_are_public_headers_for_both_languages():
    assert {"insight.hpp", "insight.h"} <= {p.name for p in PUBLIC_HEADERS}


def test_the_scripts_parse():
    for script in ("dev", ".ci/run"):
        assert os.access(ROOT / script, os.X_OK)
        assert subprocess.run([shutil.which("bash"), "-n", ROOT / script]).returncode == 0
