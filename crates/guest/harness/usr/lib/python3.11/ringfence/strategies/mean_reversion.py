"""Buys when the close has fallen some deviations below its average, and sells when it is back (Bollinger's bands)."""

import numpy
from ringfence.indicators import changes, held, mean_and_deviation

SYMBOLS = 1
PARAMETERS = {
    "lookback": {"type": "integer", "default": 20, "min": 2, "max": 1000, "text": "bars of average and deviation"},
    "entry": {"type": "number", "default": 2.0, "min": 0, "max": 20, "text": "deviations from the average at which it enters"},
    "exit": {"type": "number", "default": 0.0, "min": 0, "max": 20, "text": "deviations from the average at which it leaves"},
    "short": {"type": "boolean", "default": False, "text": "whether it sells short above the average in the same way"}
}


def signals(bars, lookback, entry, exit, short):
    """Long from close < mean - entry * deviation until close >= mean - exit * deviation; short is its mirror.

    A bar whose deviation is not above 1e-9 of the mean (prices that stand still) changes nothing.
    """
    if exit >= entry:
        raise ValueError(f"it must leave (exit {exit}) nearer to the average than it enters (entry {entry})")
    close = bars["close"].to_numpy()
    mean, deviation = mean_and_deviation(close, lookback)
    moves = deviation > 1e-9 * mean
    long = held(moves & (close < mean - entry * deviation), moves & (close >= mean - exit * deviation))
    position = numpy.where(long, 1.0, 0.0)
    if short:
        above = held(moves & (close > mean + entry * deviation), moves & (close <= mean + exit * deviation))
        position[above] = -1.0
    return changes(position)
