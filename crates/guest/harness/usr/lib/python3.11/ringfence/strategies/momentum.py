"""Long while the close is higher than it was some bars ago, by more than a threshold; flat, or short, while it is not."""

import numpy
from ringfence.indicators import changes

SYMBOLS = 1
PARAMETERS = {
    "lookback": {"type": "integer", "default": 60, "min": 1, "max": 5000, "text": "bars to look back"},
    "threshold": {"type": "number", "default": 0.0, "min": 0, "max": 10, "text": "least change, as a fraction, to act upon"},
    "short": {"type": "boolean", "default": False, "text": "whether it is short after a fall by more than the threshold"}
}


def signals(bars, lookback, threshold, short):
    """With r = close[i] / close[i-lookback] - 1: 1 where r > threshold; -1 where r < -threshold, if short; else 0."""
    close = bars["close"].to_numpy()
    position = numpy.zeros(len(close))
    change = close[lookback:] / close[:-lookback] - 1.0
    position[lookback:][change > threshold] = 1.0
    if short:
        position[lookback:][change < -threshold] = -1.0
    return changes(position)
