"""The grid of two moving averages by vectorbt and by backtesting.py, each as its documentation shows it.

Argument: a JSON file with the bars and the grid. The last line printed is JSON: for each library its version, the seconds of a
combination in each round, and [index, total return, trades] of the combinations.
"""

import itertools
import json
import sys
import time
import warnings

import backtesting
import numpy
import pandas
import vectorbt

warnings.simplefilter("ignore")
given = json.load(open(sys.argv[1]))
index = pandas.DatetimeIndex(given["dates"])
bars = pandas.DataFrame({name: given[name.lower()] for name in ("Open", "High", "Low", "Close")}, index=index)
grid = list(itertools.product(given["fast"], given["slow"]))
CASH = 100_000.0


def by_vectorbt(pairs):
    """Columns are combinations: averages of each window once, signals of the close before, one portfolio."""
    windows = sorted({window for pair in pairs for window in pair})
    averages = vectorbt.MA.run(bars["Close"], window=windows).ma.to_numpy()
    column = {window: at for at, window in enumerate(windows)}
    above = averages[:, [column[fast] for fast, _ in pairs]] > averages[:, [column[slow] for _, slow in pairs]]
    before = numpy.vstack([numpy.zeros((1, len(pairs)), dtype=bool), above[:-1]])
    entries, exits = above & ~before, ~above & before
    later = lambda signals: numpy.vstack([numpy.zeros((1, len(pairs)), dtype=bool), signals[:-1]])
    portfolio = vectorbt.Portfolio.from_signals(
        bars["Close"], pandas.DataFrame(later(entries), index=index), pandas.DataFrame(later(exits), index=index),
        price=bars["Open"], fees=given["fees"], init_cash=CASH, freq="1D",
    )
    totals = portfolio.total_return().to_numpy()
    portfolio.sharpe_ratio(), portfolio.max_drawdown()
    return totals, portfolio.trades.count().to_numpy()


def of_vectorbt():
    # Columns at a time: the quickest of 100, 250 and 1000 here, and memory stays small.
    size = 250
    by_vectorbt(grid[:size])
    seconds, results = [], []
    for _ in range(min(given["rounds"], 3)):
        results, begin = [], time.perf_counter()
        for first in range(0, len(grid), size):
            totals, trades = by_vectorbt(grid[first:first + size])
            results += [[first + i, float(total), int(count)] for i, (total, count) in enumerate(zip(totals, trades))]
        seconds.append((time.perf_counter() - begin) / len(grid))
    return {"version": vectorbt.__version__, "seconds": seconds, "results": results}


def average(values, window):
    return pandas.Series(values).rolling(window).mean()


class Crossing(backtesting.Strategy):
    fast = slow = 1

    def init(self):
        self.quick = self.I(average, self.data.Close, self.fast)
        self.calm = self.I(average, self.data.Close, self.slow)

    def next(self):
        if self.quick[-1] > self.calm[-1]:
            if not self.position:
                self.buy(size=0.9999999)
        elif self.position:
            self.position.close()


def of_backtesting():
    # Whole shares: with so much cash that this does not show.
    cash = 1e10
    test = backtesting.Backtest(bars, Crossing, cash=cash, commission=given["fees"], finalize_trades=False)
    test.run(fast=5, slow=50)
    seconds, results = [], []
    for at in range(0, len(grid), given["each"]):
        fast, slow = grid[at]
        begin = time.perf_counter()
        found = test.run(fast=fast, slow=slow)
        seconds.append(time.perf_counter() - begin)
        equity = found["_equity_curve"]["Equity"].iloc[-1]
        is_open = len(found["_strategy"].trades)
        results.append([at, float(equity / cash - 1.0), int(found["# Trades"]) + is_open])
    return {"version": backtesting.__version__, "seconds": seconds, "results": results}


print(json.dumps({"vectorbt": of_vectorbt(), "backtesting.py": of_backtesting()}))
