# SPDX-License-Identifier: Apache-2.0
"""What is generated from the commands, in the programs that it is for: bash, zsh, fish and man."""
import json
import os
import pathlib
import re
import select
import shutil
import subprocess
import time

import pytest
from bus import INSIGHTCTL, PATIENCE, ROOT

CLEAR = "\x15"  # Ctrl+U: the line is empty again


def printed(*arguments):
    return subprocess.run([INSIGHTCTL, *arguments], check=True, capture_output=True, text=True, timeout=30 * PATIENCE).stdout


def tree():
    return json.loads(printed("man", "--format", "json"))


def commands(command, path=()):
    """(words, command) of all commands below."""
    for each in command["commands"]:
        yield (*path, each["name"]), each
        yield from commands(each, (*path, each["name"]))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with the scripts, the program on the path, and two files to offer."""
    directory = tmp_path_factory.mktemp("completion")
    (directory / "bin").mkdir()
    (directory / "bin" / "insightctl").symlink_to(INSIGHTCTL)
    (directory / "here").mkdir()
    (directory / "here" / "my bus.toml").touch()
    (directory / "here" / "other.txt").touch()
    for shell, name in [("bash", "insightctl.bash"), ("zsh", "_insightctl"), ("fish", "insightctl.fish")]:
        (directory / name).write_text(printed("completion", shell))
    return directory


class Shell:
    """An interactive shell on a terminal."""

    def __init__(self, argv, place, setup):
        self.master, slave = os.openpty()
        environment = {"PATH": f"{place}/bin:{os.environ['PATH']}", "HOME": str(place), "TERM": "xterm", "LC_ALL": "C.UTF-8",
                       "COLUMNS": "200", "LINES": "80"}
        self.process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, cwd=place / "here", env=environment,
                                        start_new_session=True)
        os.close(slave)
        self.send(setup + "\n")
        self.send("echo re''ady\n")
        self.wait_for("ready\r")

    def send(self, text):
        os.write(self.master, text.encode())

    def wait_for(self, *words):
        """What came until all words are in it."""
        seen, deadline = "", time.monotonic() + 20 * PATIENCE
        while not all(word in seen for word in words):
            assert time.monotonic() < deadline, f"{words} not in {seen!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                seen += os.read(self.master, 65536).decode(errors="replace")
                seen = re.sub(r".\x08", "", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen))
        return seen

    def offers(self, line, *words):
        self.send(line + "\t\t")
        self.wait_for(*words)
        self.send(CLEAR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.master)


def bash(place):
    return Shell(["bash", "--norc", "--noprofile", "-i"], place, f"PS1='> '; bind 'set bell-style none'; source {place}/insightctl.bash")


def zsh(place):
    return Shell(["zsh", "-f", "-i"], place,
                 f"PS1='> '; fpath=({place} $fpath); autoload -Uz compinit; compinit -u -D; setopt no_beep list_ambiguous")


OFFERS = [
    ("insightctl ", ["status", "publishers", "completion"]),
    ("insightctl config ", ["check", "init", "print"]),
    ("insightctl publishers --", ["--http", "--state", "--limit", "--help"]),
    ("insightctl publishers --state ", ["alive", "late", "lost", "ended"]),
    ("insightctl publishers --http status --state ", ["alive", "ended"]),
    ("insightctl completion ", ["bash", "zsh", "fish"]),
    ("insightctl config check ", ["other.txt", "bus.toml"]),
    ("insightctl bus run --config ", ["other.txt", "bus.toml"]),
    ("insightctl run -- printe", ["printenv"]),
]


@pytest.mark.parametrize("start", [bash, zsh], ids=["bash", "zsh"])
def test_a_shell_offers_commands_options_choices_and_files(start, place):
    with start(place) as shell:
        for line, words in OFFERS:
            shell.offers(line, *words)


def test_bash_and_zsh_finish_what_is_unambiguous(place):
    for start in (bash, zsh):
        with start(place) as shell:
            shell.send("insightctl publi\t--st\tal\t")
            shell.wait_for("publishers --state alive")
            shell.send(CLEAR + "insightctl bus run --config my\t")
            shell.wait_for("my\\ bus.toml")


def fish_offers(place, line):
    script = f"source {place}/insightctl.fish; complete -C {json.dumps(line)}"
    done = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True, text=True, cwd=place / "here",
                          env={"PATH": f"{place}/bin:{os.environ['PATH']}", "HOME": str(place), "LC_ALL": "C.UTF-8"}, timeout=60 * PATIENCE)
    assert done.stderr == ""
    return {row.split("\t")[0] for row in done.stdout.splitlines()}


def test_fish_offers_commands_options_choices_and_files(place):
    for line, words in OFFERS:
        offered = fish_offers(place, line)
        assert all(any(word in each for each in offered) for word in words), (line, offered)
    assert fish_offers(place, "insightctl publishers --state ") == {"alive", "late", "lost", "ended"}
    assert not any("other.txt" in each for each in fish_offers(place, "insightctl "))


def bash_offers(place, *words):
    script = ("source \"$1/insightctl.bash\"; shift; COMP_WORDS=(insightctl \"$@\"); COMP_CWORD=$#; _insightctl; "
              "printf '%s\\n' \"${COMPREPLY[@]}\"")
    done = subprocess.run(["bash", "-c", script, "-", place, *words], capture_output=True, text=True, cwd=place / "here", check=True)
    assert done.stderr == ""
    return {line for line in done.stdout.splitlines() if line}


def test_every_command_option_and_choice_is_offered(place):
    root = tree()
    assert bash_offers(place, "") == {c["name"] for c in root["commands"]}
    for words, command in commands(root):
        options = [a for a in command["arguments"] if a["name"].startswith("-")]
        names = {name for a in options for name in a["name"].split(",")}
        assert bash_offers(place, *words, "-") == names | {"-h", "--help"}, words
        assert names <= fish_offers(place, " ".join(["insightctl", *words, "-"])) | {n for n in names if len(n) == 2}, words
        for argument in options:
            if argument["choices"]:
                name = argument["name"].split(",")[-1]
                assert bash_offers(place, *words, name, "") == set(argument["choices"])
                assert bash_offers(place, *words, name, "=", "") == set(argument["choices"])
        if command["commands"]:
            assert bash_offers(place, *words, "") == {c["name"] for c in command["commands"]}


def man(source, width):
    done = subprocess.run(["man", "--warnings=mac,break,font,missing,delim,reg,char", "-l", source], capture_output=True, text=True,
                          env={**os.environ, "MANWIDTH": str(width), "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""}, check=True)
    return done.stdout, done.stderr


@pytest.mark.parametrize("width", [60, 80])
def test_the_manual_has_all_its_parts_and_no_warnings(width, tmp_path):
    page = tmp_path / "insightctl.1"
    page.write_text(printed("man"))
    text, warnings = man(page, width)

    assert warnings == ""
    for part in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES"]:
        assert re.search(rf"^{part}$", text, re.M), part
    assert "insightctl - " in text
    flat = re.sub(r"\s+", " ", text)
    for words, command in commands(tree()):
        if command["commands"]:
            continue
        assert re.search(rf"^   {re.escape(' '.join(words))}$", text, re.M), words
        for argument in command["arguments"]:
            name = argument["name"].split(",")[-1]
            assert (name if name.startswith("-") else argument["value"]) in flat
        for example in command["examples"]:
            assert re.sub(r"\s+", " ", example) in flat
    outside = [line for line in text.splitlines() if len(line) > width and "insightctl " not in line]
    assert outside == []


def test_the_manual_is_right_roff(tmp_path):
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z"], input=printed("man"), capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")


def test_the_reference_in_the_repository_is_what_the_program_prints():
    written = (pathlib.Path(ROOT) / "cli" / "REFERENCE.md").read_text()

    assert written == printed("man", "--format", "markdown"), "write it anew: insightctl man --format markdown > cli/REFERENCE.md"


def test_no_tool_is_missing():
    assert [tool for tool in ["bash", "zsh", "fish", "man", "groff"] if not shutil.which(tool)] == []
