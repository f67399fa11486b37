# Which symbols stand above their average of 50 days, and above that of 20 days.
import json

import pandas as pd

bars = json.load(open("bars.json"))
closes = pd.DataFrame({symbol: pd.Series({bar["day"]: bar["close"] for bar in rows}) for symbol, rows in bars.items()})
last = closes.iloc[-1]
short, long = closes.rolling(20).mean().iloc[-1], closes.rolling(50).mean().iloc[-1]
signal = {
    symbol: {"close": float(last[symbol]), "buy": bool(last[symbol] > short[symbol] > long[symbol])}
    for symbol in closes.columns
}
json.dump({"day": closes.index[-1], "symbols": signal}, open("signal.json", "w"), indent=1)
print(json.dumps({symbol: found["buy"] for symbol, found in signal.items()}))
