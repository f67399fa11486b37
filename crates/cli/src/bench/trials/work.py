"""Three backtests, of a whole series at once, bar by bar, and with objects as frameworks have them: what is measured in a trial, in
a pool and in a fresh interpreter alike. Standard input: a line of JSON (how, and pairs of lengths), then the closes as doubles."""

import collections
import dataclasses
import json
import statistics
import sys

import numpy as np
import pandas as pd

head, _, raw = sys.stdin.buffer.read().partition(b"\n")
asked = json.loads(head)
close = np.frombuffer(raw, "<f8")


def vectorised(fast, slow):
    series = pd.Series(close)
    held = (series.rolling(fast).mean() > series.rolling(slow).mean()).astype(float).shift(1).fillna(0.0)
    change = series.pct_change().fillna(0.0) * held - 0.001 * held.diff().abs().fillna(0.0)
    equity = (1.0 + change).cumprod()
    return float(equity.iloc[-1]), float(change.mean() / change.std() * 252**0.5), float((equity / equity.cummax()).min() - 1)


def bar_by_bar(fast, slow):
    prices, equity, peak, worst, held, before = [], 1.0, 1.0, 0.0, 0.0, None
    for price in close.tolist():
        if before is not None:
            equity *= 1.0 + held * (price / before - 1.0)
        prices.append(price)
        if len(prices) >= slow:
            wanted = float(sum(prices[-fast:]) / fast > sum(prices[-slow:]) / slow)
            equity *= 1.0 - 0.001 * abs(wanted - held)
            held = wanted
        peak = max(peak, equity)
        worst = min(worst, equity / peak - 1.0)
        before = price
    return equity, worst, peak


@dataclasses.dataclass
class Bar:
    number: int
    close: float


class Broker:
    def __init__(self):
        self.cash, self.units, self.trades = 1_000_000.0, 0, []

    def target(self, bar, share):
        worth = self.cash + self.units * bar.close
        units = int(worth * share / bar.close) - self.units
        if units:
            self.cash -= units * bar.close + abs(units) * bar.close * 0.001
            self.units += units
            self.trades.append((bar.number, units))
        return worth


def with_events(fast, slow):
    """Bands of standard deviations, computed anew at each bar as the textbook says."""
    broker, worths = Broker(), []
    few, many = collections.deque(maxlen=fast), collections.deque(maxlen=slow)
    for bar in (Bar(number, close) for number, close in enumerate(close.tolist())):
        few.append(bar.close)
        many.append(bar.close)
        share = 0.0
        if len(many) == slow:
            middle, width = statistics.fmean(many), statistics.pstdev(many)
            share = 1.0 if statistics.fmean(few) > middle + 0.2 * width else 0.0
        worths.append(broker.target(bar, share))
    return worths[-1], len(broker.trades), max(worths)


for fast, slow in asked["pairs"]:
    how = {"vectorised": vectorised, "bar_by_bar": bar_by_bar, "with_events": with_events}[asked["how"]]
    print(fast, slow, *map(repr, how(fast, slow)))
