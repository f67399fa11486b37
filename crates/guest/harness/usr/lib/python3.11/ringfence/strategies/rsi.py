"""Buys when Wilder's relative strength index is low, and sells when it has recovered."""

import numpy
from ringfence import indicators

SYMBOLS = 1
PARAMETERS = {
    "window": {"type": "integer", "default": 14, "min": 1, "max": 1000, "text": "bars of the index"},
    "low": {"type": "number", "default": 30.0, "min": 0, "max": 100, "text": "buys below it"},
    "high": {"type": "number", "default": 70.0, "min": 0, "max": 100, "text": "sells above it"},
    "short": {"type": "boolean", "default": False, "text": "whether it sells short above high, until the index is below low"}
}


def signals(bars, window, low, high, short):
    """1 from RSI < low until RSI > high, then 0, or -1 if short, until RSI < low again; 0 at first."""
    if low >= high:
        raise ValueError(f"low ({low}) must lie below high ({high})")
    index = indicators.rsi(bars["close"].to_numpy(), window)
    position = numpy.where(indicators.held(index < low, index > high), 1.0, 0.0)
    if short:
        position[indicators.held(index > high, index < low)] = -1.0
    return indicators.changes(position)
