"""The same backtests without sandboxes: a pool of processes of the template's own python3, as somebody without ringfence has it.

Reads {"indicators": code, "strategy": code, "bars": CSV, "pairs": [[fast, slow], ...], "workers": n} and writes {"wall": seconds, "cpu": seconds, "returns": [...]}.
Each backtest is the built-in strategy's own signals(), and what is computed of them: equity, Sharpe ratio, drawdown.
"""

import io
import json
import multiprocessing
import resource
import sys
import time

import types

import numpy
import pandas

asked = json.load(sys.stdin)


def module(name, code):
    """What sandboxes find in their interpreter, which a plain one does not have."""
    made = types.ModuleType(name)
    exec(compile(code, name, "exec"), made.__dict__)
    sys.modules[name] = made
    return made


module("ringfence", "")
module("ringfence.indicators", asked["indicators"])
sma_cross = module("sma_cross", asked["strategy"])
bars = pandas.read_csv(io.StringIO(asked["bars"]), index_col="date", parse_dates=["date"])
moves = bars["close"].to_numpy()
moves = numpy.concatenate([[0.0], moves[1:] / moves[:-1] - 1.0])
COST = 0.001


def backtest(pair):
    wanted = pandas.Series(sma_cross.signals(bars, pair[0], pair[1], False)).ffill().fillna(0.0).to_numpy()
    held = numpy.concatenate([[0.0], wanted[:-1]])
    changed = numpy.abs(numpy.diff(held, prepend=0.0))
    earned = held * moves - COST * changed
    equity = numpy.cumprod(1.0 + earned)
    sharpe = earned.mean() / earned.std(ddof=1) * 252**0.5 if earned.any() else None
    fall = (equity / numpy.maximum.accumulate(numpy.maximum(equity, 1.0)) - 1.0).min()
    return equity[-1] - 1.0, sharpe, fall


def used():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


if __name__ == "__main__":
    before, begun = used(), time.perf_counter()
    with multiprocessing.Pool(asked["workers"]) as pool:
        found = pool.map(backtest, asked["pairs"], chunksize=asked.get("chunk", 1))
        pool.close()
        pool.join()
    wall = time.perf_counter() - begun
    json.dump({"wall": wall, "cpu": used() - before, "returns": [one[0] for one in found]}, sys.stdout)
