"""What a program in a sandbox may want of ringfence: the clock of a simulated account, and backtests.

    ringfence.clock, ringfence.trading     the simulated exchange's clock; what kind of trading this is
    ringfence.bars()                       the bars of a backtest
    ringfence.parameters()                 the parameters of this run of it
    ringfence.log(...)                     a line of its log
    ringfence.report(equity=...)           an equity curve of the program's own
    ringfence.indicators                   averages, deviations, highs and lows, RSI
    ringfence.strategies                   the built-in strategies

A strategy is one file that defines `signals`, `orders` or `on_bar`; docs/reference/python.md says how.

Importing this loads nothing: each part is loaded when it is first used.
"""

# What a type checker takes for true; importing `typing` for it would cost every program a millisecond.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import indicators as indicators, strategies as strategies
    from ._backtest import (
        NotABacktest as NotABacktest, bars as bars, log as log, parameters as parameters, report as report,
    )
    from ._exchange import Error as Error, clock as clock, trading as trading
    from .history import Bars as Bars, History as History

__all__ = ["Bars", "Error", "History", "NotABacktest", "bars", "clock", "indicators", "log", "parameters", "report",
           "strategies", "trading"]

_WHERE = {
    "Bars": "history", "Error": "_exchange", "History": "history", "NotABacktest": "_backtest", "bars": "_backtest",
    "clock": "_exchange", "log": "_backtest", "parameters": "_backtest", "report": "_backtest", "trading": "_exchange",
}


def __getattr__(name: str):
    import importlib

    if name in ("indicators", "strategies"):
        return importlib.import_module(f"ringfence.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module 'ringfence' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ringfence.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> "list[str]":
    return sorted({*globals(), *__all__})
