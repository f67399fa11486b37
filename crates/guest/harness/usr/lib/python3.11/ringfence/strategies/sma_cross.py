"""Long while the fast moving average of closes lies above the slow one; flat, or short, while it does not."""

import numpy
from ringfence.indicators import changes, sma

SYMBOLS = 1
PARAMETERS = {
    "fast": {"type": "integer", "default": 20, "min": 1, "max": 5000, "text": "bars of the fast average"},
    "slow": {"type": "integer", "default": 50, "min": 2, "max": 5000, "text": "bars of the slow average"},
    "short": {"type": "boolean", "default": False, "text": "whether it is short where it would be flat"}
}


def signals(bars, fast, slow, short):
    """1 where fast > slow, else 0 or -1; 0 until both are known."""
    if fast >= slow:
        raise ValueError(f"the fast average ({fast} bars) must be shorter than the slow one ({slow} bars)")
    close = bars["close"].to_numpy()
    quick, calm = sma(close, fast), sma(close, slow)
    position = numpy.where(quick > calm, 1.0, -1.0 if short else 0.0)
    position[numpy.isnan(calm)] = 0.0
    return changes(position)
