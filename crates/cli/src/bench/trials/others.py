"""Runs programs without any sandbox: in a pool of as many processes as there are processors, forked from one that has imported
pandas, or each in a new interpreter. A plan of JSON comes on standard input; what each program printed goes out, with the seconds
that each took, those of the whole, and those of the processors."""

import base64
import contextlib
import io
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy
import pandas

plan = json.loads(sys.stdin.buffer.read())
workers = plan["workers"]
bars = base64.b64decode(plan["bars"])
codes = [compile(text, "<work>", "exec", dont_inherit=True) for text in plan["codes"]]


def given(number):
    return plan["heads"][number].encode() + b"\n" + bars if plan["heads"][number] else b""


def in_pool(number):
    begin = time.perf_counter()
    sys.stdin = io.TextIOWrapper(io.BytesIO(given(number)))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(codes[number % len(codes)], {"__name__": "__main__"})
    return printed.getvalue(), time.perf_counter() - begin


def in_new_interpreter(number):
    begin = time.perf_counter()
    text = plan["codes"][number % len(codes)]
    done = subprocess.run([sys.executable, "-c", text], input=given(number), capture_output=True, check=True)
    return done.stdout.decode(), time.perf_counter() - begin


count = len(plan["heads"])
begin = time.perf_counter()
if plan["who"] == "pool":
    with multiprocessing.Pool(workers) as pool:
        results = pool.map(in_pool, range(count), chunksize=1)
        pool.close()
        pool.join()
else:
    with ThreadPoolExecutor(workers) as threads:
        results = list(threads.map(in_new_interpreter, range(count)))
wall = time.perf_counter() - begin
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
# What imports had taken before the clock began is not counted.
print(json.dumps({
    "printed": [printed for printed, _ in results],
    "seconds": [seconds for _, seconds in results],
    "wall": wall,
    "cpu": used[1].ru_utime + used[1].ru_stime,
}))
