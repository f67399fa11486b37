"""A built-in strategy over bars: reads both as JSON, and prints what part of equity it wants to hold at each bar.

No figure is computed here: fills, costs and equity are made outside of the sandbox from what is printed.
"""

import importlib
import json
import sys

import numpy
import pandas

from ringfence import _trial

COLUMNS = ["open", "high", "low", "close", "volume"]


def table(column, index):
    values = numpy.array(column["bars"], dtype=numpy.float64)
    return pandas.DataFrame(values.T, index=index, columns=COLUMNS)


def main():
    asked = json.load(sys.stdin)
    strategy = importlib.import_module("ringfence.strategies." + asked["strategy"])
    try:
        parameters = _trial.checked(strategy.PARAMETERS, asked["parameters"])
    except _trial.BadAnswer as wrong:
        sys.exit(str(wrong))
    index = pandas.DatetimeIndex(asked["dates"], name="date")
    tables = {column["symbol"]: table(column, index) for column in asked["columns"]}
    bars = next(iter(tables.values())) if len(tables) == 1 else tables
    wanted = strategy.signals(bars, **parameters)
    columns = [wanted[symbol] for symbol in tables] if isinstance(wanted, dict) else [wanted]
    rows = numpy.column_stack([numpy.asarray(column, dtype=numpy.float64) for column in columns])
    print(json.dumps({"weights": [[None if weight != weight else weight for weight in row] for row in rows.tolist()]}))


main()
