"""Indicators over arrays, each defined to the bit.

Every result at bar i is made of values up to bar i, and is NaN until there are enough of them. Each definition names the
order of its additions, uses nothing but + - * / and the square root, and is therefore the same on every machine and in
ringfence's native kernel (crates/backtest/src/kernel.rs), which computes the same bits. That is why there is no pandas
here: its rolling sums correct themselves for rounding on the way, in an order of their own.

Values must be finite: the bars of one symbol are. Where a symbol of several lacks a bar, leave that row out first.
"""

from __future__ import annotations

import numpy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[numpy.float64]


def _values(values: ArrayLike, window: int) -> Array:
    if isinstance(window, bool) or int(window) != window or window < 1:
        raise ValueError(f"a window is a whole number of bars from 1, not {window!r}")
    found = numpy.ascontiguousarray(values, dtype=numpy.float64)
    if found.ndim != 1:
        raise ValueError("an indicator is taken of one column")
    return found


def _empty(values: Array) -> Array:
    return numpy.full(len(values), numpy.nan)


def sma(values: ArrayLike, window: int) -> Array:
    """Simple moving average.

    With s[i] = s[i-1] + v[i] from s[0] = v[0], added one after the other: s[window-1] / window at bar window-1, and after
    it (s[i] - s[i-window]) / window.
    """
    values = _values(values, window)
    result = _empty(values)
    if window <= len(values):
        total = numpy.cumsum(values)
        result[window - 1] = total[window - 1] / window
        result[window:] = (total[window:] - total[:-window]) / window
    return result


def _window_sum(values: Array, window: int) -> Array:
    """For each full window, its values added one after the other, the oldest first, from 0."""
    count = len(values) - window + 1
    total = numpy.zeros(count)
    for offset in range(window):
        total += values[offset:offset + count]
    return total


def mean_and_deviation(values: ArrayLike, window: int) -> tuple[Array, Array]:
    """Mean and standard deviation of the last `window` values, those of the window itself (divided by `window`).

    mean = (((0 + v[i-window+1]) + v[i-window+2]) + ... + v[i]) / window; with d = v - mean, the squares d * d are added in
    the same order from 0, divided by window, and the square root is taken.
    """
    values = _values(values, window)
    mean, deviation = _empty(values), _empty(values)
    if window <= len(values):
        means = _window_sum(values, window) / window
        squares = numpy.zeros(len(means))
        for offset in range(window):
            difference = values[offset:offset + len(means)] - means
            squares += difference * difference
        mean[window - 1:] = means
        deviation[window - 1:] = numpy.sqrt(squares / window)
    return mean, deviation


def highest(values: ArrayLike, window: int) -> Array:
    """The highest of the last `window` values, this bar's among them."""
    values = _values(values, window)
    result = _empty(values)
    if window <= len(values):
        result[window - 1:] = numpy.lib.stride_tricks.sliding_window_view(values, window).max(axis=1)
    return result


def lowest(values: ArrayLike, window: int) -> Array:
    """The lowest of the last `window` values, this bar's among them."""
    return -highest(-_values(values, window), window)


def before(values: ArrayLike) -> Array:
    """Each value one bar later: what was known at the bar before."""
    values = _values(values, 1)
    result = _empty(values)
    result[1:] = values[:-1]
    return result


def rsi(values: ArrayLike, window: int) -> Array:
    """Wilder's relative strength index (New Concepts in Technical Trading Systems, 1978), from 0 to 100.

    c[i] = v[i] - v[i-1]; gain = c where c > 0, else 0; loss = -c where c < 0, else 0. At bar `window` the averages are the
    sums of gains and of losses of bars 1 to window, added in that order from 0, divided by window; after it
    average = (average * (window - 1) + this) / window. RSI = 100 * gains / (gains + losses), and 50 where both are 0.
    """
    values = _values(values, window)
    result = _empty(values)
    if window < len(values):
        changes = numpy.diff(values).tolist()
        gains = losses = 0.0
        for change in changes[:window]:
            gains += change if change > 0 else 0.0
            losses += -change if change < 0 else 0.0
        gains, losses = gains / window, losses / window
        found = [(gains, losses)]
        for change in changes[window:]:
            gains = (gains * (window - 1) + (change if change > 0 else 0.0)) / window
            losses = (losses * (window - 1) + (-change if change < 0 else 0.0)) / window
            found.append((gains, losses))
        up, down = numpy.array(found).T
        total = up + down
        result[window:] = numpy.where(total > 0, 100.0 * up / numpy.where(total > 0, total, 1.0), 50.0)
    return result


def held(on: ArrayLike, off: ArrayLike) -> NDArray[numpy.bool_]:
    """True from a bar where `on` is true to the bar before the next where `off` is; `on` wins where both are."""
    on, off = numpy.asarray(on, dtype=bool), numpy.asarray(off, dtype=bool)
    bar = numpy.arange(1, len(on) + 1)
    return numpy.maximum.accumulate(numpy.where(on, bar, 0)) > numpy.maximum.accumulate(numpy.where(off & ~on, bar, 0))


def changes(weights: ArrayLike) -> Array:
    """The weights where they change, and NaN, which leaves a position as it is, where they do not.

    Without it a position is brought back to its weight at every bar, as prices move it; before the first bar it is 0.
    """
    weights = numpy.asarray(weights, dtype=numpy.float64)
    return numpy.where(weights != numpy.concatenate(([0.0], weights[:-1])), weights, numpy.nan)
