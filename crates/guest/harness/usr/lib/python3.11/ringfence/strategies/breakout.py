"""Buys when the close leaves the range of the bars before it upwards, and sells when it leaves a shorter one downwards
(Donchian's channels)."""

import numpy
from ringfence.indicators import before, changes, held, highest, lowest

SYMBOLS = 1
PARAMETERS = {
    "entry": {"type": "integer", "default": 20, "min": 1, "max": 1000, "text": "bars of the range that it enters on"},
    "exit": {"type": "integer", "default": 10, "min": 1, "max": 1000, "text": "bars of the range that it leaves on"},
    "short": {"type": "boolean", "default": False, "text": "whether it sells short below the range in the same way"}
}


def signals(bars, entry, exit, short):
    """Long from close > highest high of the `entry` bars before, until close < lowest low of the `exit` bars before.

    Short is its mirror.
    """
    if exit > entry:
        raise ValueError(f"the range that it leaves on ({exit} bars) must not be longer than that of its entry ({entry} bars)")
    close, high, low = (bars[name].to_numpy() for name in ("close", "high", "low"))
    long = held(close > before(highest(high, entry)), close < before(lowest(low, exit)))
    position = numpy.where(long, 1.0, 0.0)
    if short:
        position[held(close < before(lowest(low, entry)), close > before(highest(high, exit)))] = -1.0
    return changes(position)
