"""What the portfolio of today would have made of each of the past days: loss at 95 and 99 %, volatility, drawdown.

Reads symbols, shares, cash and adjusted closes as JSON, and prints vote, weight and figures. Definitions are in
docs/concepts/swarms.md. Historical simulation: it knows no worse day than the worst that it has seen.
"""

import json
import math
import sys


def quantile(ascending, at):
    """Between two values by their distance, as numpy's percentile."""
    place = at * (len(ascending) - 1)
    low = int(place)
    high = min(low + 1, len(ascending) - 1)
    return ascending[low] + (place - low) * (ascending[high] - ascending[low])


def total(values):
    found = 0.0
    for value in values:
        found += value
    return found


def main():
    asked = json.load(sys.stdin)
    shares, closes, cash = asked["shares"], asked["closes"], asked["cash"]
    held = [count * prices[-1] for count, prices in zip(shares, closes)]
    value = total(held) + cash
    gross = total([abs(part) for part in held])
    figures = {"value": value, "gross": gross, "net": total(held), "first_bar": asked["first"], "last_bar": asked["last"],
               "days": len(closes[0]) - 1, "var_max": asked["var_max"], "method": "historical simulation"}
    if value <= 0.0:
        figures["problem"] = "the portfolio is worth nothing or less"
        print(json.dumps({"vote": "sell", "weight": 1.0, "figures": figures}))
        return
    # Each past day's returns, applied to what is held now.
    days = range(1, len(closes[0]))
    changes = [total([part * (prices[day] / prices[day - 1] - 1.0) for part, prices in zip(held, closes)]) / value
               for day in days]
    ascending = sorted(changes)
    for name, at in (("95", 0.05), ("99", 0.01)):
        worst = ascending[:int((len(ascending) - 1) * at) + 1]
        figures[f"var_{name}"] = -quantile(ascending, at)
        figures[f"cvar_{name}"] = -total(worst) / len(worst)
    average = total(changes) / len(changes)
    variance = total([(change - average) * (change - average) for change in changes]) / (len(changes) - 1)
    figures["volatility"] = math.sqrt(variance) * math.sqrt(252.0)
    growth, high, depth = 1.0, 1.0, 0.0
    for change in changes:
        growth *= 1.0 + change
        high = max(high, growth)
        depth = min(depth, growth / high - 1.0)
    figures["max_drawdown"] = depth
    figures["worst_day"], figures["best_day"] = ascending[0], ascending[-1]
    figures["parts"] = {symbol: part / value for symbol, part in zip(asked["symbols"], held)}
    # It never says buy: within the limit it has no objection, and beyond it it says sell, the more the further.
    over = figures["var_95"] / asked["var_max"]
    figures["var_95_by_limit"] = over
    vote, weight = ("sell", min(1.0, over - 1.0)) if over > 1.0 else ("hold", min(1.0, max(0.0, 1.0 - over)))
    print(json.dumps({"vote": vote, "weight": weight, "figures": figures}))


main()
