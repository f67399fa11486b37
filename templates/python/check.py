"""Last step of the build: what the template promises, tried before anybody depends on it.

Runs as the user, without network. It leaves one thing behind, in the user's home: matplotlib's list of fonts.
"""

import importlib
import importlib.metadata
import json
import os
import sys
import tempfile
import time

PRELOAD = os.environ["PRELOAD"].split()
LOCK = "/build/requirements.lock"


def tried(name, function):
    started = time.monotonic()
    function()
    print(f"check: {name} ({(time.monotonic() - started) * 1000:.0f} ms)", flush=True)


def preload():
    for module in PRELOAD:
        tried(f"import {module}", lambda: importlib.import_module(module))
    # A warm interpreter forks, which is only sound with one thread.
    threads = os.listdir("/proc/self/task")
    assert len(threads) == 1, f"after importing {PRELOAD} there are {len(threads)} threads"
    with open("/proc/self/status") as status:
        print("check: " + next(line for line in status if line.startswith("VmRSS")).strip())


def lock():
    normal = lambda name: name.lower().replace("_", "-").replace(".", "-")
    # Of two with one name the first is the one that counts: pip is Debian's too.
    installed = {}
    for each in importlib.metadata.distributions():
        installed.setdefault(normal(each.name), each.version)
    with open(LOCK) as lines:
        wanted = [line.split()[0].split("==") for line in lines if "==" in line and not line.startswith("#")]
    for name, version in wanted:
        assert installed.get(normal(name)) == version, f"{name} is {installed.get(normal(name))}, not {version}"


def frames():
    import numpy as np
    import pandas as pd

    frame = pd.DataFrame({"day": pd.date_range("2024-01-02", periods=64, freq="B", tz="America/New_York")})
    frame["close"] = 100 + np.sin(np.arange(64) / 5.0)
    with tempfile.TemporaryDirectory() as where:
        path = os.path.join(where, "bars.parquet")
        frame.to_parquet(path)
        assert pd.read_parquet(path).equals(frame)
    assert abs(frame["close"].rolling(8).mean().iloc[-1]) > 0


def talib():
    import numpy as np
    import talib

    prices = np.arange(1.0, 40.0)
    assert talib.SMA(prices, timeperiod=3)[-1] == 38.0
    assert 99 < talib.RSI(prices, timeperiod=14)[-1] <= 100


def scipy():
    import numpy as np
    import numpy.testing
    import scipy.linalg
    import scipy.optimize
    import scipy.signal
    import scipy.sparse.linalg
    import scipy.stats

    numpy.testing.assert_allclose(scipy.linalg.inv(np.diag([2.0, 4.0])), np.diag([0.5, 0.25]))
    assert scipy.optimize.minimize_scalar(lambda x: (x - 3) ** 2).x > 2.99
    assert scipy.stats.norm.cdf(0) == 0.5


def plot():
    import matplotlib

    assert matplotlib.get_backend().lower() == "agg", matplotlib.get_backend()
    from matplotlib import pyplot

    with tempfile.TemporaryDirectory() as where:
        path = os.path.join(where, "plot.png")
        pyplot.plot([1, 3, 2])
        pyplot.savefig(path)
        assert os.path.getsize(path) > 1000


def fonts():
    """Sorts the list of fonts, which is in the order of a directory: the same tree must get the same digest."""
    import matplotlib

    for name in os.listdir(matplotlib.get_cachedir()):
        path = os.path.join(matplotlib.get_cachedir(), name)
        with open(path) as file:
            cache = json.load(file)
        for kind in ("afmlist", "ttflist"):
            cache[kind].sort(key=lambda font: font["fname"])
        with open(path, "w") as file:
            json.dump(cache, file, indent=2)
    matplotlib.font_manager._load_fontmanager(try_read_cache=True)


def alpaca():
    from alpaca.data.historical import StockHistoricalDataClient
    from alpaca.trading.client import TradingClient

    TradingClient("key", "secret", paper=True)
    StockHistoricalDataClient("key", "secret")


def ipython():
    with tempfile.TemporaryDirectory() as where:
        os.environ["IPYTHONDIR"] = where
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        # Its history starts a thread.
        shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
        assert shell.run_cell("6 * 7").result == 42


def pip():
    import subprocess

    listed = subprocess.run([sys.executable, "-m", "pip", "list", "--format", "json"], capture_output=True, check=True)
    names = {package["name"].lower() for package in json.loads(listed.stdout)}
    assert {"numpy", "pandas", "pip"} <= names, names


def main():
    assert os.getuid() == 1000 and os.environ["HOME"] == os.path.expanduser("~user"), "the user is not as planned"
    preload()
    for name, function in [
        ("the lock", lock),
        ("data frames and Parquet", frames),
        ("TA-Lib", talib),
        ("SciPy", scipy),
        ("a plot", plot),
        ("the list of fonts", fonts),
        ("alpaca-py", alpaca),
        ("IPython", ipython),
        ("pip list", pip),
    ]:
        tried(name, function)
    packages = [{"name": d.name, "version": d.version} for d in importlib.metadata.distributions()]
    packages.sort(key=lambda package: package["name"].lower())
    # The builder keeps this line as the template's list of packages.
    print("@packages " + json.dumps(packages), flush=True)


main()
