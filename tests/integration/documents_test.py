# SPDX-License-Identifier: Apache-2.0
"""Every block of every document is run, compiled or checked: what a reader copies works and shows what is shown."""
import json
import os
import re
import subprocess
import tomllib

import pytest
from bus import BUILD, ROOT
from documents import blocks, commands, documents
from shell import Shell

# What cannot be run here, by document and first line (of a console block: by command), and why.
NOT_RUN = {
    ("README.md", "$ ./dev run"): "builds for minutes and runs until Ctrl+C; its parts are run by rl_trainer_test and engine_test",
    ("README.md", "$ ./dev test"): "is what runs this test",
    **{("README.md", f"$ {command}"): "installs for the whole machine; install_test does it in a temporary directory"
       for command in ["meson setup build --buildtype=release -Dtests=false && sudo meson install -C build",
                       "sudo systemctl enable --now insight", "sudo ninja -C build uninstall"]},
}
CPP, C = ["c++", "-std=c++20"], ["cc", "-std=c11"]
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The variables by which compilers and loaders find what `meson install` leaves."""
    root = tmp_path_factory.mktemp("installed")
    subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", root], check=True, capture_output=True)
    return {"PKG_CONFIG_PATH": str(next(root.rglob("insight.pc")).parent), "PKG_CONFIG_SYSROOT_DIR": str(root),
            "LD_LIBRARY_PATH": str(next(root.rglob("libinsight.so")).parent)}


def compile_block(block, compiler, tmp_path, env):
    """A whole file must compile as it is; of a fragment includes stand outside of a function, all else inside."""
    text = block.text
    if not block.file:
        includes = "".join(line + "\n" for line in text.splitlines() if line.startswith("#include"))
        rest = "".join(line + "\n" for line in text.splitlines() if not line.startswith("#include"))
        before = "#include <insight/insight.hpp>\nusing namespace std::chrono_literals;\n" if compiler is CPP else "#include <insight/insight.h>\n"
        text = f"{includes}{before}void f(void);\nvoid f(void) {{\n{rest}}}\n"
    path = tmp_path / (block.file or "fragment" + (".cpp" if compiler is CPP else ".c"))
    path.write_text(text)
    flags = subprocess.run(["pkg-config", "--cflags", "insight"], env={**os.environ, **env}, check=True, capture_output=True,
                           text=True).stdout.split()
    done = subprocess.run([*compiler, *WARNINGS, "-Wno-unused-variable", "-fsyntax-only", path, *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def check_toml(block, shell):
    text = block.text
    if block.file:
        shell.write(block.file, text)
    # A fragment is a part of a file that says what listens, too.
    shell.write("checked.toml", text if "[collectors" in text else "[collectors.bus]\ntype = \"zmq\"\n" + text)
    code, output = shell.run("insightctl config check ~/checked.toml")
    assert code == 0, output


def check_yaml(block, shell):
    shell.write("prometheus.yml", block.text)
    code, output = shell.run("promtool check config ~/prometheus.yml")
    assert code == 0, output


def run_python(block, shell):
    shell.write(block.file or "block.py", block.text)
    code, output = shell.run(f"python3 {'-m py_compile ' if block.file else ''}~/{block.file or 'block.py'}")
    assert code == 0, output


def run_console(block, shell, document, skipped):
    typed = commands(block)
    for i, (command, expected) in enumerate(typed):
        key = document, "$ " + re.sub(r"\s+#.*", "", command)
        if key in NOT_RUN:
            skipped.add(key)
            continue
        fails = i + 1 < len(typed) and typed[i + 1][0] == "echo $?"
        # A machine that has other things to do may not reach a rate.
        shell.type(command, expected, may_fail=fails or "insightctl bench" in command)


def check(block, document, shell, installed, tmp_path, skipped):
    if (document, block.first) in NOT_RUN:
        skipped.add((document, block.first))
    elif block.language == "console":
        run_console(block, shell, document, skipped)
    elif block.language in ("c++", "c"):
        compile_block(block, CPP if block.language == "c++" else C, tmp_path, installed)
        if block.file:
            shell.write(block.file, block.text)
    elif block.language == "python":
        run_python(block, shell)
    elif block.language == "toml":
        check_toml(block, shell)
    elif block.language == "yaml":
        check_yaml(block, shell)
    elif block.language == "json":
        json.loads(block.text)
    else:
        # A drawing says nothing that could be typed.
        assert not block.language and re.search("[┌─│▶]", block.text), f"nothing checks a block of {block.language or 'text'}"


def skipped_in(document):
    text = (ROOT / document).read_text()
    return {key for key in NOT_RUN if key[0] == document and key[1] in text}


@pytest.mark.parametrize("document", [d for d in documents() if blocks((ROOT / d).read_text())])
def test_what_a_document_shows_works(document, installed, tmp_path):
    skipped = set()
    with Shell(installed) as shell:
        (shell.home / "insight-bus").symlink_to(ROOT)
        for block in blocks((ROOT / document).read_text()):
            try:
                check(block, document, shell, installed, tmp_path, skipped)
            except AssertionError as e:
                raise AssertionError(f"{document}:{block.line}: {e}") from None
    assert skipped == skipped_in(document), "something on the list was not met"


def test_the_list_of_what_is_not_run_names_what_is_there():
    missing = [key for key in NOT_RUN if key[1] not in (ROOT / key[0]).read_text()]
    assert not missing


def test_links_lead_somewhere():
    wrong = []
    for document in documents():
        text = re.sub(r"```.*?```|`[^`\n]*`", "", (ROOT / document).read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"https?:|mailto:", target):
                continue
            path, _, anchor = target.partition("#")
            there = (ROOT / document).parent / path if path else ROOT / document
            if not there.exists() or anchor and anchor not in anchors(there):
                wrong.append(f"{document}: {target}")
    assert not wrong, "\n".join(wrong)


def anchors(path):
    """How GitHub names the headings of a document."""
    headings = re.findall(r"^#+ (.*)", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


def test_what_prometheus_is_asked_is_right(tmp_path):
    """Queries of the table for those on call: they parse, and name only metrics that there are."""
    table = [line for line in (ROOT / "compose/README.md").read_text().splitlines() if line.startswith("| ")]
    queries = [query for line in table for query in re.findall(r"`([^`]+)`", line.split(" | ")[1]) if "insight" in query]
    assert len(queries) >= 8
    rules = {"groups": [{"name": "on-call", "rules": [{"alert": f"a{i}", "expr": query} for i, query in enumerate(queries)]}]}
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps(rules))  # JSON is YAML
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    known = {m["name"] for m in tomllib.loads((ROOT / "compose/catalogue.toml").read_text())["metric"]}
    assert {name for query in queries for name in re.findall(r"\binsight_\w+", query)} <= known


def test_a_wrong_document_would_be_seen():
    with Shell() as shell:
        shell.type("echo one; echo two", "one\n...")
        for command, shown in [("echo one", "two"), ("false", ""), ("echo one; echo two", "one")]:
            with pytest.raises(AssertionError):
                shell.type(command, shown)
