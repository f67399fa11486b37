"""Five indicators over daily bars, each a vote of -1, 0 or 1; their mean is the signal.

Reads symbol, last, high, low and close as JSON, and prints vote, weight and figures. Definitions are in
docs/concepts/swarms.md. Nothing but + - * / is used, in one order: the same bars give the same figures everywhere.
"""

import json
import math
import sys

BUY = 0.3  # a mean of the five votes from here on is a signal


def mean(values):
    total = 0.0
    for value in values:
        total += value
    return total / len(values)


def sma(close, window):
    return mean(close[-window:]) if len(close) >= window else None


def ema(values, span):
    """Exponential averages, from the first value on."""
    weight, found = 2.0 / (span + 1.0), []
    for value in values:
        found.append(value if not found else found[-1] + weight * (value - found[-1]))
    return found


def wilder(values, window):
    """Wilder's average: the mean of the first `window`, then each new one has the weight 1 / window."""
    if len(values) < window:
        return None
    found = mean(values[:window])
    for value in values[window:]:
        found += (value - found) / window
    return found


def rsi(close, window):
    changes = [after - before for before, after in zip(close, close[1:])]
    up, down = (wilder([max(side * change, 0.0) for change in changes], window) for side in (1.0, -1.0))
    if up is None:
        return None
    return 50.0 if up + down == 0.0 else 100.0 * up / (up + down)


def sign(value):
    return (value > 0) - (value < 0)


def main():
    asked = json.load(sys.stdin)
    high, low, close = asked["high"], asked["low"], asked["close"]
    last = close[-1]
    votes, figures = {}, {"symbol": asked["symbol"], "last_bar": asked["last"], "close": last, "bars": len(close)}

    averages = {window: sma(close, window) for window in (20, 50, 200)}
    figures.update({f"sma_{window}": value for window, value in averages.items()})
    if averages[200] is not None:
        votes["trend"] = (averages[50] > averages[200]) + (last > averages[50]) - 1

    fast, slow = ema(close, 12), ema(close, 26)
    macd = [a - b for a, b in zip(fast, slow)]
    figures["macd"], figures["macd_signal"] = macd[-1], ema(macd, 9)[-1]
    if len(close) >= 35:
        votes["macd"] = sign(figures["macd"] - figures["macd_signal"])

    figures["rsi_14"] = strength = rsi(close, 14)
    if strength is not None:
        votes["rsi"] = (strength < 30.0) - (strength > 70.0)

    if averages[20] is not None:
        deviation = math.sqrt(mean([(value - averages[20]) * (value - averages[20]) for value in close[-20:]]))
        figures["bollinger_low"], figures["bollinger_high"] = averages[20] - 2.0 * deviation, averages[20] + 2.0 * deviation
        votes["bollinger"] = (last < figures["bollinger_low"]) - (last > figures["bollinger_high"])

    if len(close) > 126:
        figures["return_126"] = last / close[-127] - 1.0
        votes["momentum"] = sign(figures["return_126"])

    ranges = [max(h - l, abs(h - before), abs(l - before)) for h, l, before in zip(high[1:], low[1:], close)]
    figures["atr_14"] = wilder(ranges, 14)

    score = mean([float(vote) for vote in votes.values()]) if votes else 0.0
    figures["votes"], figures["score"] = votes, score
    vote = "buy" if score >= BUY else "sell" if score <= -BUY else "hold"
    print(json.dumps({"vote": vote, "weight": abs(score), "figures": figures}))


main()
