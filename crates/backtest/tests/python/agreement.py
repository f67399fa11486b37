"""What empyrical-reloaded, quantstats and ffn say of the curves and searches that are given, in JSON."""

import json
import math
import sys
import warnings

import numpy as np
import pandas as pd

warnings.filterwarnings("ignore")
import empyrical
import ffn
import quantstats.stats as qs
import scipy.stats


def finite(value):
    value = float(value)
    return value if math.isfinite(value) else None


def safely(call):
    """A figure, or None where the library has none or fails (ffn divides by zero years, quantstats by zero bars)."""
    try:
        return finite(call())
    except (ZeroDivisionError, ValueError, IndexError, TypeError, KeyError):
        return None


def returns(curve, index):
    equity = pd.Series(curve["equity"], index=index, dtype=float)
    before = equity.shift(1)
    before.iloc[0] = curve["capital"]
    return equity / before - 1.0


def drawdown(r):
    """The deepest: the day before it began, its lowest day, and the day on which the high was reached again."""
    details = qs.drawdown_details(qs.to_drawdown_series(r))
    if len(details) == 0:
        return None
    worst = details.loc[details["max drawdown"].idxmin()]
    days = [str(day.date()) for day in r.index]
    start, end = days.index(worst["start"]), days.index(worst["end"])
    return {
        "peak": days[max(start - 1, 0)],
        "trough": worst["valley"],
        "recovery": days[end + 1] if end + 1 < len(days) else None,
    }


def months(r):
    table = qs.monthly_returns(r, compounded=True)
    return {year: [float(v) for v in row] for year, row in zip(table.index, table.values)}


def metrics(case):
    index = pd.DatetimeIndex(case["curve"]["dates"])
    r = returns(case["curve"], index)
    n, rf = len(r), case["risk_free"]
    per_bar = (1.0 + rf) ** (1.0 / 252) - 1.0
    prices = pd.Series([case["curve"]["capital"], *case["curve"]["equity"]])
    found = {
        "empyrical": {
            "total_return": safely(lambda: empyrical.cum_returns_final(r)),
            "cagr": safely(lambda: empyrical.cagr(r)),
            "volatility": safely(lambda: empyrical.annual_volatility(r)),
            "sharpe": safely(lambda: empyrical.sharpe_ratio(r, risk_free=per_bar)),
            "sortino": safely(lambda: empyrical.sortino_ratio(r, required_return=per_bar)),
            "calmar": safely(lambda: empyrical.calmar_ratio(r)),
            "max_drawdown": safely(lambda: empyrical.max_drawdown(r)),
            "value_at_risk": safely(lambda: empyrical.value_at_risk(r)),
            "expected_shortfall": safely(lambda: empyrical.conditional_value_at_risk(r)),
        },
        "quantstats": {
            "total_return": safely(lambda: qs.comp(r)),
            "cagr": safely(lambda: qs.cagr(r)),
            "volatility": safely(lambda: qs.volatility(r)),
            "sharpe": safely(lambda: qs.sharpe(r, rf=rf)),
            "sortino": safely(lambda: qs.sortino(r, rf=rf)),
            "calmar": safely(lambda: qs.calmar(r)),
            "max_drawdown": safely(lambda: qs.max_drawdown(r)),
            "skew": safely(lambda: qs.skew(r)),
            "kurtosis": safely(lambda: qs.kurtosis(r)),
            "ulcer_index": safely(lambda: qs.ulcer_index(r)),
            "expected_shortfall": safely(lambda: qs.conditional_value_at_risk(r, method="historical")),
            "best_day": safely(lambda: qs.best(r)),
            "worst_day": safely(lambda: qs.worst(r)),
        },
        "ffn": {
            "sharpe": safely(lambda: ffn.calc_sharpe(r, rf=rf, nperiods=252)),
            "sortino": safely(lambda: ffn.calc_sortino_ratio(r, rf=rf, nperiods=252)),
            "max_drawdown": safely(lambda: ffn.calc_max_drawdown(prices)),
            "ulcer_index": safely(lambda: ffn.to_ulcer_index(prices) / 100.0),
        },
        "drawdown": drawdown(r),
        "months": months(r),
    }
    if case["benchmark"] is not None:
        b = returns(case["benchmark"], index)
        found["empyrical"] |= {
            "alpha": safely(lambda: empyrical.alpha(r, b, risk_free=per_bar)),
            "beta": safely(lambda: empyrical.beta(r, b, risk_free=per_bar)),
            "information_ratio": safely(lambda: empyrical.excess_sharpe(r, b)),
        }
        found["quantstats"] |= {
            "beta": safely(lambda: qs.greeks(r, b)["beta"]),
            "information_ratio": safely(lambda: qs.information_ratio(r, b)),
        }
        found["ffn"]["information_ratio"] = safely(lambda: ffn.calc_information_ratio(r, b))
    profits = pd.Series(case["profits"], dtype=float)
    if len(profits):
        raw = {"prepare_returns": False}
        found["quantstats"] |= {
            "win_rate": safely(lambda: qs.win_rate(profits, **raw)),
            "profit_factor": safely(lambda: qs.profit_factor(profits, **raw)),
            "payoff": safely(lambda: qs.payoff_ratio(profits, **raw)),
        }
        found["pandas"] = {
            "expectancy": safely(lambda: profits.mean()),
            "sqn": safely(lambda: np.sqrt(len(profits)) * profits.mean() / profits.std()),
        }
    return found


def search(case):
    index = pd.bdate_range("2010-01-04", periods=len(case["trials"][0]))
    trials = pd.DataFrame({str(i): t for i, t in enumerate(case["trials"])}, index=index, dtype=float)
    best = trials[str(case["best"])]
    sharpes = trials.mean() / trials.std(ddof=1)
    n = trials.shape[1]
    found = {
        "deflated_sharpe": safely(lambda: ffn.calc_deflated_sharpe_ratio(best, sharpes * math.sqrt(252), nperiods=252)),
        "expected_maximum_sharpe": safely(
            lambda: ffn.core.calc_expected_max_sharpe(n, sharpes.std(ddof=1)) * math.sqrt(252)
        ),
        "probabilistic_sharpe": safely(lambda: qs.probabilistic_sharpe_ratio(best)),
    }
    if n > 1:
        corr = np.corrcoef(trials.to_numpy().T)
        found["correlation"] = finite((corr.sum() - n) / (n * (n - 1)))
        full = ffn.calc_prob_backtest_overfitting(trials, n_blocks=case["blocks"], full_output=True)
        found["overfitting"] = finite(full["pbo"])
        found["mean_rank"] = finite(full["mean_oos_rank"])
    return found


asked = json.load(sys.stdin)
json.dump(
    {
        "metrics": [metrics(case) for case in asked["metrics"]],
        "searches": [search(case) for case in asked["searches"]],
        "cumulative": [float(v) for v in scipy.stats.norm.cdf(asked["numbers"])],
        "quantile": [float(v) for v in scipy.stats.norm.ppf(asked["probabilities"])],
    },
    sys.stdout,
)
