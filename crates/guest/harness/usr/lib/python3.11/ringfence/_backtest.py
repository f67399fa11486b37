"""What a program in a backtest calls: its bars, its parameters, a log, and a report of its own."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import pandas

    from ._trial import Trial

# Set by `_trial` once it knows that this program is one.
trial: "Trial | None" = None


class NotABacktest(RuntimeError):
    """This program was not started by a backtest, so there are no bars, no parameters and nobody to report to."""


def _here(what: str) -> "Trial":
    if trial is None:
        from . import _trial

        if not _trial.is_trial():
            raise NotABacktest(f"ringfence.{what}() is for backtests, and this program was not started by one: "
                               "run it with `ringfence sweep`")
        return _trial.begin()
    return trial


def bars() -> "pandas.DataFrame | dict[str, pandas.DataFrame]":
    """The bars of this backtest: a table with open, high, low, close and volume by date for one symbol, and a dict of such
    tables by symbol for several.

    All tables of a dict have the same dates; where a symbol has no bar its row is NaN. Prices are adjusted for splits and
    dividends. Bars within a day are named by the time at which they begin, in New York.

    Raises NotABacktest outside of a backtest, and RuntimeError where bars come one by one (point in time).
    """
    return _here("bars").bars()


def parameters() -> "dict[str, Any]":
    """The parameters of this run, by name; those that `PARAMETERS` declares and nobody gave have their defaults.

    Raises NotABacktest outside of a backtest.
    """
    return dict(_here("parameters").parameters())


def log(*values: object) -> None:
    """Writes a line to the log of this run, as `print` does; 200 lines of 1,000 characters are kept.

    Outside of a backtest it is printed to standard error.
    """
    line = " ".join(map(str, values))
    try:
        here = _here("log")
    except NotABacktest:
        import sys

        print(line, file=sys.stderr)
        return
    here.log.line(line)


def report(*, equity: "Any" = None, trades: "Any" = None) -> None:
    """Reports what the program itself has computed, instead of positions. It is shown as self-reported: nobody has
    checked fills, costs or knowledge of the future.

    `equity`: the account at the close of each bar, as a Series by date, or as many numbers as there are bars. `trades`: a
    DataFrame or a list of dicts with symbol, side ("long" or "short"), entry, exit (dates), quantity, entry_price,
    exit_price and profit, and bars, costs and open where they are known.

    Raises NotABacktest outside of a backtest, and ValueError where neither is given.
    """
    _here("report").report(equity, trades)
