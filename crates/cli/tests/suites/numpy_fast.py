"""Runs NumPy's own fast tests, and prints what became of them as a line of JSON: how many passed and were skipped, and each that
failed, with the last line of why."""

import contextlib
import importlib.util
import io
import json
import os
import tempfile

import pytest


class Seen:
    def __init__(self):
        self.passed, self.skipped, self.failed = 0, 0, {}

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed[report.nodeid] = str(report.longrepr).strip().splitlines()[-1]
        elif report.skipped:
            self.skipped += 1
        elif report.when == "call":
            self.passed += 1

    def pytest_collectreport(self, report):
        if report.failed:
            self.failed[report.nodeid] = str(report.longrepr).strip().splitlines()[-1]


NUMPY = os.path.dirname(importlib.util.find_spec("numpy").origin)
started, seen = os.getpid(), Seen()
os.chdir(tempfile.mkdtemp())
with contextlib.redirect_stdout(io.StringIO()):
    # As `numpy.test("fast")` does, but for f2py, which is tested with compilers that no template has.
    what = ["-q", "-p", "no:cacheprovider", "-m", "not slow", "-W", "ignore", f"--ignore={NUMPY}/f2py"]
    pytest.main([*what, "--pyargs", "numpy"], plugins=[seen])
# A test forks, and the child comes here too.
if os.getpid() != started:
    os._exit(0)
print(json.dumps({"module": "numpy", "passed": seen.passed, "skipped": {"": seen.skipped}, "failed": seen.failed}))
