"""What a zygote imports beyond its list, and what it and its children run so that a program's first steps are quick.

The work here is invented for the purpose: a bit of everything that such libraries are used for, no program of anybody.
"""

import importlib
import io
import os
import sys

# Each costs a millisecond or two here, and a program that uses it several times that.
STANDARD = (
    "base64", "bisect", "collections", "concurrent.futures", "contextlib", "copy", "csv", "dataclasses", "datetime",
    "decimal", "enum", "functools", "glob", "hashlib", "heapq", "inspect", "io", "itertools", "json", "linecache",
    "logging", "math", "operator", "pathlib", "pickle", "random", "re", "shutil", "signal", "statistics", "string",
    "subprocess", "tempfile", "textwrap", "threading", "time", "traceback", "typing", "uuid", "warnings", "zoneinfo",
)

# Libraries that start a thread for each processor unless they are told not to. A zygote must have one.
THREAD_COUNTS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
                 "VECLIB_MAXIMUM_THREADS", "BLIS_NUM_THREADS")


def import_all(names):
    """Imports the standard modules and `names`, with one thread."""
    before = {name: os.environ.get(name) for name in THREAD_COUNTS}
    os.environ.update(dict.fromkeys(THREAD_COUNTS, "1"))
    try:
        for name in (*STANDARD, *names):
            importlib.import_module(name)
        if "pandas" in sys.modules:
            _import_runner()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _import_runner():
    """What runs backtests (ringfence/_trial.py): compiling it would cost each 10 ms, because a sandbox cannot
    keep the result."""
    try:
        runner = importlib.import_module("ringfence._trial")
        for name in runner.STRATEGIES:
            importlib.import_module(f"ringfence.strategies.{name}")
    except ImportError:
        # A Python that does not look there, or a pandas that is too old: whoever wants it finds out.
        pass


def exercise():
    """Runs a little of everything that is imported, quietly.

    Several times: CPython adapts code while it runs, and what has settled in the zygote is not written to by children.
    """
    for _ in range(ROUNDS):
        _quietly(_language, _arrays, _tables, _runner)


def touch_language():
    """In every child: makes the pages its own that any program writes to. About 1 MiB."""
    _quietly(_language)


def touch_libraries():
    """In a child that is likely to be used soon: the pages that numpy and pandas write to. About 6 MiB with both."""
    _quietly(_few_tables)


def _quietly(*works):
    for work in works:
        try:
            work()
        except Exception:
            # A version of a library that has it otherwise: its first use is slower, that is all.
            pass


# From then on more rounds change nothing that can be measured.
ROUNDS = 12

_SOURCE = """
class Shelf:
    def __init__(self, jars): self.jars = jars
    def __iter__(self): return (jar for jar in self.jars if jar)
total = sum(len(jar) for jar in Shelf(["plum", "", "quince"]))
names = {jar: f"{index:>4} {jar!r:<10}" for index, jar in enumerate(Shelf(["fig", "pear"]))}
try:
    names["none"]
except KeyError as missing:
    text = str(missing)
"""


def _language():
    exec(compile(_SOURCE, "<warm>", "exec", dont_inherit=True), {"__name__": "warm"})
    import datetime
    import json
    import random
    import traceback

    random.Random(3).sample(range(50), 5)
    json.loads(json.dumps({"a": [1, 2.5, None, True, "é"], "b": {"c": "d"}}, indent=1, sort_keys=True))
    datetime.datetime(2001, 2, 3, 4, 5).strftime("%Y-%m-%d %H:%M") + datetime.date(2001, 2, 3).isoformat()
    try:
        raise LookupError("warm")
    except LookupError:
        traceback.format_exc()
    print("warm", 1, 2.5, file=io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))


def _arrays():
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return
    ramp = numpy.arange(120.0).reshape(12, 10)
    wave = numpy.sin(ramp) + numpy.random.default_rng(7).normal(size=ramp.shape)
    for each in (wave.mean(axis=0), wave.std(), wave.max(), wave.argmin(), numpy.cumsum(wave), numpy.diff(wave),
                 numpy.where(wave > 0, wave, 0), numpy.sqrt(numpy.abs(wave)), wave @ wave.T, numpy.percentile(wave, 30),
                 numpy.sort(wave, axis=None), numpy.isnan(wave).any(), numpy.concatenate([wave, ramp]),
                 numpy.log1p(numpy.abs(wave)), numpy.exp(-ramp), wave[wave > 0.5], numpy.round(wave, 2)):
        str(each)
    numpy.random.RandomState(7).standard_normal(50)
    numpy.linalg.solve(wave[:10] @ wave[:10].T + numpy.eye(10), numpy.ones(10))


def _tables():
    pandas, numpy = sys.modules.get("pandas"), sys.modules.get("numpy")
    if pandas is None or numpy is None:
        return
    days = pandas.date_range("2001-03-01", periods=90, freq="D")
    table = pandas.DataFrame({"shelf": ["left", "mid", "right"] * 30, "jars": numpy.arange(90), "weight": numpy.linspace(1, 4, 90)},
                             index=days)
    table["heavy"] = table["weight"] > table["weight"].rolling(7).mean().fillna(0)
    table["change"] = table["weight"].pct_change().fillna(0.0)
    table.loc[table["heavy"], "jars"] += 1
    for each in (table.head(), table.tail(2), table.describe(), table["weight"].shift(1).diff().dropna(),
                 (1 + table["change"]).cumprod().cummax(), table.groupby("shelf")["jars"].agg(["sum", "mean"]),
                 table.resample("7D")["jars"].sum(), table["weight"].ewm(span=5).mean().iloc[-1],
                 table["weight"].rolling(5).std().max(), table.sort_values("jars", ascending=False).iloc[:3],
                 table[["jars", "weight"]].corr(), table["shelf"].value_counts(), table["heavy"].astype(int).sum(),
                 pandas.concat([table["jars"], table["weight"]], axis=1), table["jars"].apply(lambda n: n + 1).to_list(),
                 table.merge(table, on="shelf").shape, table["weight"].std() * 2, table["weight"].to_numpy()):
        str(each)
    table["weight"].rolling(3).apply(lambda window: window[0], raw=True)
    numpy.where(table["weight"] > table["weight"].shift(), 1, -1)
    text = io.StringIO()
    table.to_csv(text)
    pandas.read_csv(io.StringIO(text.getvalue()), parse_dates=[0], index_col=0).to_string()
    for day, row in table.head(3).iterrows():
        f"{day:%Y-%m-%d} {row['weight']:.2f}"


def _runner():
    runner = sys.modules.get("ringfence._trial")
    if runner is not None:
        runner.exercise()


def _few_tables():
    """The steps that most programs with tables take."""
    pandas, numpy = sys.modules.get("pandas"), sys.modules.get("numpy")
    if pandas is None or numpy is None:
        return
    days = pandas.date_range("2001-03-01", periods=40, freq="D")
    table = pandas.DataFrame({"jars": numpy.arange(40), "weight": numpy.linspace(1, 4, 40)}, index=days)
    table["mean"] = table["weight"].rolling(7).mean()
    table["heavy"] = numpy.where(table["weight"] > table["mean"], 1, 0)
    change = table["weight"].pct_change().fillna(0.0) * table["heavy"].shift(1)
    str(((1 + change).cumprod().iloc[-1], change.mean(), change.std()))
    str(table.tail(3))
