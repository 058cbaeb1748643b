# SPDX-License-Identifier: Apache-2.0
"""Prints "passed failed skipped" of one suite: tally.py meson testlog.json | tally.py pytest junit.xml

A skip that tests/skips.txt does not list with its reason is a failure, and so is a suite that left no report."""
import fnmatch
import json
import pathlib
import re
import sys
import xml.etree.ElementTree

SUMMARY = re.compile(r"\[doctest\] test cases: *(\d+) \| *(\d+) passed \| *(\d+) failed \| *(\d+) skipped")


def allowed_skips():
    """Patterns of test ids; a line is `id: reason`."""
    lines = (pathlib.Path(__file__).parent / "skips.txt").read_text().splitlines()
    rows = [line.rsplit(": ", 1) for line in lines if line.strip() and not line.startswith("#")]
    for row in rows:
        assert len(row) == 2 and row[1].strip(), f"tests/skips.txt: no reason given: {row[0]}"
    return [row[0] for row in rows]


def of_meson(path):
    """(test id, "passed" | "failed" | "skipped") of every doctest case; of a program without cases, its own."""
    for line in path.read_text().splitlines():
        program = json.loads(line)
        text = re.sub(r"\x1b\[[0-9;]*m", "", program.get("stdout", ""))
        summary = SUMMARY.search(text)
        if summary:
            _, passed, failed, skipped = map(int, summary.groups())
            yield from [(program["name"], "passed")] * passed + [(program["name"], "failed")] * failed
            yield from [(program["name"], "skipped")] * skipped
            if program["result"] == "OK" or failed:
                continue
        yield program["name"], {"OK": "passed", "SKIP": "skipped"}.get(program["result"], "failed")


def of_pytest(path):
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        id = f"{case.get('file') or case.get('classname')}::{case.get('name')}"
        results = {child.tag for child in case}
        yield id, "failed" if results & {"failure", "error"} else "skipped" if "skipped" in results else "passed"


def main(kind, path):
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    try:
        cases = list({"meson": of_meson, "pytest": of_pytest}[kind](pathlib.Path(path)))
    except (OSError, ValueError, xml.etree.ElementTree.ParseError) as error:
        print(f"no report of the suite: {error}", file=sys.stderr)
        cases = [(path, "failed")]
    allowed = allowed_skips()
    for id, result in cases:
        if result == "skipped" and not any(fnmatch.fnmatchcase(id, pattern) for pattern in allowed):
            print(f"skipped, but not on tests/skips.txt: {id}", file=sys.stderr)
            result = "failed"
        counts[result] += 1
    print(*counts.values())


if __name__ == "__main__":
    main(*sys.argv[1:])
