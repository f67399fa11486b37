# Moving averages of 20 and 50 days on real daily bars. Decided at a day's close, filled at the next day's open, 10 bp of
# the traded value a side, everything or nothing invested, gains reinvested, what is still held valued at the last close.
import json
import os

import numpy as np
import pandas as pd

FAST, SLOW, COST, DAYS_A_YEAR = 20, 50, 0.001, 252

symbol = os.environ["SYMBOL"]
bars = pd.read_parquet(f"/data/adjusted/{symbol}.parquet")
opens, closes = bars["open"].to_numpy(), bars["close"].to_numpy()
fast, slow = bars["close"].rolling(FAST).mean().to_numpy(), bars["close"].rolling(SLOW).mean().to_numpy()

wanted = fast > slow  # before the slow average exists this is False
held = np.concatenate(([False], wanted[:-1]))
before = np.concatenate(([False], held[:-1]))
last_closes = np.concatenate(([closes[0]], closes[:-1]))

growth = np.ones(len(bars))
growth = np.where(held & before, closes / last_closes, growth)
growth = np.where(held & ~before, closes / opens * (1 - COST), growth)
growth = np.where(~held & before, opens / last_closes * (1 - COST), growth)

market = closes / last_closes
market[0] = 1 - COST  # bought at the first close


def figures(growth):
    equity = np.cumprod(growth)
    daily = growth[1:] - 1
    result = {
        "total_return": equity[-1] - 1,
        "max_drawdown": (equity / np.maximum.accumulate(np.maximum(equity, 1.0)) - 1).min(),
        "cagr": None,
        "sharpe": None,
    }
    # Less than a year says nothing about a year.
    if len(growth) >= DAYS_A_YEAR:
        result["cagr"] = equity[-1] ** (DAYS_A_YEAR / len(daily)) - 1
        result["sharpe"] = daily.mean() / daily.std(ddof=1) * np.sqrt(DAYS_A_YEAR)
    return {name: None if value is None else float(value) for name, value in result.items()}


print(
    json.dumps(
        {
            "symbol": symbol,
            "days": len(bars),
            "first": str(bars["date"].iloc[0].date()),
            "last": str(bars["date"].iloc[-1].date()),
            "trades": int((held & ~before).sum()),
            "is_open": bool(held[-1]),
            "strategy": figures(growth),
            "buy_and_hold": figures(market),
        }
    )
)
