"""The closes of skfolio's data set, and what a vectorised backtest in pandas makes of them.

Reads the path of skfolio's wheel from its input. Of the wheel only the table of prices is used; its code is not.
"""

import gzip
import io
import json
import sys
import zipfile

import pandas

COST = 0.001
SYMBOLS = ["AAPL", "JPM", "MSFT", "WMT", "XOM"]
PAIRS = [[10, 20], [20, 50], [50, 100]]


def returns(close: pandas.Series, position: pandas.Series, cost: float) -> pandas.Series:
    """Long where the position of the close before was 1; a change of it costs in the bar from which it is held."""
    held = position.shift(1).fillna(0.0)
    return held * close.pct_change().fillna(0.0) - cost * held.diff().abs().fillna(0.0)


table = zipfile.ZipFile(sys.stdin.read()).read("skfolio/datasets/data/sp500_dataset.csv.gz")
prices = pandas.read_csv(io.BytesIO(gzip.decompress(table)), index_col=0, parse_dates=True)
prices = prices["2010-01-04":"2022-12-28"][SYMBOLS]
answer = {"dates": [str(day.date()) for day in prices.index], "symbols": {}}
for symbol in SYMBOLS:
    close = prices[symbol]
    runs = []
    for fast, slow in PAIRS:
        position = (close.rolling(fast).mean() > close.rolling(slow).mean()).astype(float)
        runs.append(((1.0 + returns(close, position, COST)).cumprod() - 1.0).tolist())
    runs.append((close / close.iloc[0] - 1.0).tolist())
    answer["symbols"][symbol] = {"close": close.tolist(), "totals": runs}
print(json.dumps(answer))
