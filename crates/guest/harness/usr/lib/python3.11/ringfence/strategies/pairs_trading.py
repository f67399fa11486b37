"""Two symbols: buys the one that has become cheap beside the other, and sells the other short, until they are back."""

import numpy
from ringfence.indicators import changes, held, mean_and_deviation

SYMBOLS = 2
PARAMETERS = {
    "lookback": {"type": "integer", "default": 60, "min": 2, "max": 1000, "text": "bars of average and deviation"},
    "entry": {"type": "number", "default": 2.0, "min": 0, "max": 20, "text": "deviations from the average at which it enters"},
    "exit": {"type": "number", "default": 0.5, "min": 0, "max": 20, "text": "deviations from the average at which it leaves"}
}


def signals(bars, lookback, entry, exit):
    """Of the ratio of closes, first by second, at the bars that both have.

    Half long the first and half short the second from ratio < mean - entry * deviation until
    ratio >= mean - exit * deviation, and the mirror above the mean.
    """
    if exit >= entry:
        raise ValueError(f"it must leave (exit {exit}) nearer to the average than it enters (entry {entry})")
    first, second = (frame["close"].to_numpy() for frame in bars.values())
    both = ~(numpy.isnan(first) | numpy.isnan(second))
    ratio = first[both] / second[both]
    mean, deviation = mean_and_deviation(ratio, lookback)
    moves = deviation > 1e-9 * mean
    cheap = held(moves & (ratio < mean - entry * deviation), moves & (ratio >= mean - exit * deviation))
    dear = held(moves & (ratio > mean + entry * deviation), moves & (ratio <= mean + exit * deviation))
    weights = numpy.full(len(first), numpy.nan)
    weights[both] = changes(numpy.where(cheap, 0.5, 0.0) - numpy.where(dear, 0.5, 0.0))
    return {symbol: side * weights for symbol, side in zip(bars, (1.0, -1.0))}
