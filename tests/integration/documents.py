# SPDX-License-Identifier: Apache-2.0
"""Reads the fenced blocks of the documents."""
import dataclasses
import re
import subprocess

from bus import ROOT


@dataclasses.dataclass
class Block:
    language: str
    file: str  # what follows the language: "```toml bus.toml" is a file that the blocks after it use
    text: str
    line: int

    @property
    def first(self):
        return self.text.splitlines()[0] if self.text else ""


def documents():
    """All Markdown files, relative to the root."""
    try:
        # In a container the files may belong to somebody else.
        command = ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard", "*.md"]
        names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):  # an unpacked archive, or no git
        names = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*.md")]
        names = [n for n in names if not re.match(r"build|.*site-packages/", n)]
    return sorted(n for n in names if (ROOT / n).is_file() and not n.startswith("."))


def blocks(text):
    found, block = [], None
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.match(r"```(.*)", line)
        if fence and block is None:
            language, _, file = fence[1].strip().partition(" ")
            block = Block(language, file, "", number)
        elif fence:
            found.append(block)
            block = None
        elif block:
            block.text += line + "\n"
    assert block is None, f"the block of line {block.line} does not end"
    return found


def commands(block):
    """(command, what it prints) of a console block: lines after "$ ", gone on with by "> "."""
    found = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append([line[2:], ""])
        elif line.startswith("> ") and found and not found[-1][1]:
            found[-1][0] += "\n" + line[2:]
        else:
            assert found, f"line {block.line}: a console block begins with \"$ \""
            found[-1][1] += line + "\n"
    return [tuple(each) for each in found]
