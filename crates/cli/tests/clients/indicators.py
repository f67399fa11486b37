"""The figures of technical analysis and risk once more, by pandas and numpy. A program for the agents of a swarm."""

import json
import numpy, pandas
bars = pandas.read_csv("/data/adjusted/AAPL.csv").iloc[-500:]
close, high, low = bars["close"], bars["high"], bars["low"]


def ema(values, span):
    return values.ewm(span=span, adjust=False).mean()


macd = ema(close, 12) - ema(close, 26)
change = close.diff().iloc[1:]


def wilder(values, n=14):
    first = values.iloc[:n].mean()
    return pandas.concat([pandas.Series([first]), values.iloc[n:]]).ewm(alpha=1 / n, adjust=False).mean().iloc[-1]


up, down = wilder(change.clip(lower=0)), wilder(-change.clip(upper=0))
before = close.shift(1)
ranges = pandas.concat([high - low, (high - before).abs(), (low - before).abs()], axis=1).max(axis=1).iloc[1:]
rolling = close.rolling(20)
closes = [pandas.read_csv(f"/data/adjusted/{symbol}.csv", index_col="date")["close"] for symbol in ["AAPL", "IBM"]]
two = pandas.concat(closes, axis=1, join="inner").iloc[-253:]
held = numpy.array([100.0, -20.0]) * two.iloc[-1].to_numpy()
value = held.sum() + 1000.0
made = ((two / two.shift(1) - 1).iloc[1:].to_numpy() * held).sum(axis=1) / value
growth = pandas.Series(numpy.concatenate([[1.0], (1 + made).cumprod()]))
print(json.dumps({
    "sma_50": close.iloc[-50:].mean(), "sma_200": close.iloc[-200:].mean(), "macd": macd.iloc[-1],
    "macd_signal": ema(macd, 9).iloc[-1],
    "rsi_14": 100 * up / (up + down), "atr_14": wilder(ranges), "return_126": close.iloc[-1] / close.iloc[-127] - 1,
    "bollinger_high": rolling.mean().iloc[-1] + 2 * rolling.std(ddof=0).iloc[-1],
    "var_95": -numpy.percentile(made, 5), "var_99": -numpy.percentile(made, 1), "volatility": made.std(ddof=1) * 252 ** 0.5,
    "cvar_95": -numpy.sort(made)[:int(251 * 0.05) + 1].mean(), "max_drawdown": (growth / growth.cummax() - 1).min(), "value": value,
}))
