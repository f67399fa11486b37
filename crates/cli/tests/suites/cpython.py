"""Runs modules of CPython's own tests, named as arguments, each in a process of its own, and prints what became of them as a line
of JSON each: how many passed, how many were skipped and why, and each that failed, with the last line of why. Runs inside a
sandbox, and outside of one for the control."""

import io
import json
import os
import subprocess
import sys
import tempfile
import unittest
from collections import Counter


class Result(unittest.TextTestResult):
    passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1


def run(name: str) -> dict:
    from test import support

    # What needs the network, minutes of CPU or gigabytes is asked for by name in CPython, and not asked for here.
    support.use_resources = []
    support.verbose = 0
    suite = unittest.defaultTestLoader.loadTestsFromName(f"test.{name}")
    said = io.StringIO()
    result = unittest.TextTestRunner(stream=said, resultclass=Result).run(suite)
    failed = {}
    for test, trace in result.failures + result.errors:
        # One test may fail in several of its parts.
        failed.setdefault(test.id(), []).append(trace.strip().splitlines()[-1])
    skipped = Counter(reason for _, reason in result.skipped)
    return {"module": name, "passed": result.passed, "skipped": skipped, "failed": failed}


def main() -> None:
    if sys.argv[1] == "--one":
        found = run(sys.argv[2])
        with open(sys.argv[3], "w", encoding="utf-8") as report:
            json.dump(found, report)
        return
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as place:
            report = os.path.join(place, "report.json")
            command = [sys.executable, os.path.abspath(__file__), "--one", name, report]
            ended = subprocess.run(command, cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            try:
                with open(report, encoding="utf-8") as text:
                    print(text.read(), flush=True)
            except FileNotFoundError:
                said = ended.stdout.decode(errors="replace")[-4000:]
                print(json.dumps({"module": name, "ended": ended.returncode, "said": said}), flush=True)


if __name__ == "__main__":
    main()
