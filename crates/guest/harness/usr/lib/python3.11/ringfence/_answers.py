"""From what a strategy returns to the numbers that leave the sandbox. What does not fit is refused in a sentence."""

import math

import numpy

ORDER = numpy.dtype([("row", "<u4"), ("symbol", "<u4"), ("shares", "<f8")])


class BadAnswer(Exception):
    """The strategy has returned something that is no answer. It is shown without a traceback."""


def _numbers(values, what):
    """Values of any kind of column as doubles; NaN where nothing is said."""
    try:
        if hasattr(values, "to_numpy"):
            if str(values.dtype) in ("object", "str", "string"):
                values = values.to_numpy()
            else:
                return values.to_numpy(dtype=numpy.float64, na_value=numpy.nan)
        return numpy.asarray(values, dtype=numpy.float64)
    except (TypeError, ValueError) as error:
        raise BadAnswer(f"{what} must be numbers: {error}") from None


def _rows(values, index, what):
    """One column for every bar: as it is, or by its labels."""
    found = _numbers(values, what)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        raise BadAnswer(f"{what} must be one column, not {found.ndim} dimensions")
    labels = getattr(values, "index", None)
    if labels is None or callable(labels) or str(type(labels).__name__) == "RangeIndex":
        if len(found) != len(index):
            raise BadAnswer(f"{what} has {len(found)} values for {len(index)} bars")
        return found
    if labels is index or labels.equals(index):
        return found
    if not labels.is_unique:
        raise BadAnswer(f"{what} names a date twice")
    rows = index.get_indexer(labels)
    if (rows < 0).any():
        raise BadAnswer(f"{what} has a value at {labels[int((rows < 0).argmax())]}, which is no bar")
    column = numpy.full(len(index), numpy.nan)
    column[rows] = found
    return column


def weights(answer, index, symbols, what="signals"):
    """bars x symbols. A symbol of which nothing is said gets NaN, no position."""
    if answer is None:
        raise BadAnswer(f"{what} returned nothing: return a weight for each bar")
    if isinstance(answer, dict) or hasattr(answer, "columns"):
        columns = {str(name): answer[name] for name in (answer if isinstance(answer, dict) else answer.columns)}
        if len(symbols) == 1 and len(columns) == 1:
            columns = {symbols[0]: next(iter(columns.values()))}
        strangers = [name for name in columns if name not in symbols]
        if strangers:
            raise BadAnswer(f"{what} has a column {strangers[0]!r}, which is none of {', '.join(symbols)}")
        result = numpy.full((len(index), len(symbols)), numpy.nan)
        for place, symbol in enumerate(symbols):
            if symbol in columns:
                result[:, place] = _rows(columns[symbol], index, f"{what}[{symbol!r}]")
        return result
    if numpy.ndim(answer) == 0:
        raise BadAnswer(f"{what} returned {type(answer).__name__}: return a weight for each bar")
    if len(symbols) > 1:
        found = _numbers(answer, what)
        if found.shape != (len(index), len(symbols)):
            raise BadAnswer(f"{what} has the shape {found.shape} for {len(index)} bars of {len(symbols)} symbols: return "
                            "a dict or a DataFrame with a column for each")
        return numpy.ascontiguousarray(found)
    return _rows(answer, index, what)[:, numpy.newaxis]


def wish(answer, symbols):
    """What `on_bar` wants: a weight, a dict of weights by symbol, or None for no change."""
    if isinstance(answer, dict):
        strangers = [name for name in answer if name not in symbols]
        if strangers:
            raise BadAnswer(f"on_bar returned a weight for {strangers[0]!r}, which is none of {', '.join(symbols)}")
        return [_weight(answer.get(symbol)) for symbol in symbols]
    if len(symbols) > 1:
        raise BadAnswer(f"on_bar returned {type(answer).__name__}: of several symbols, return a dict of weights by symbol")
    return [_weight(answer)]


def _weight(value):
    if value is None:
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise BadAnswer(f"on_bar must return a number: {error}") from None


def _row(when, index):
    if isinstance(when, (int, numpy.integer)) and not isinstance(when, bool):
        if not 0 <= when < len(index):
            raise BadAnswer(f"orders has one at bar {when}, and there are {len(index)}")
        return int(when)
    try:
        row = index.get_loc(when)
    except (KeyError, TypeError, ValueError):
        row = None
    # A month, say, is a slice of several.
    if not isinstance(row, (int, numpy.integer)):
        raise BadAnswer(f"orders has one at {when}, which is no bar")
    return row


def orders(answer, index, symbols):
    """(bar or date, symbol, shares) each, or a DataFrame with the columns symbol and shares by date; of one symbol, the
    symbol may be left out. Sorted by bar."""
    if hasattr(answer, "columns"):
        if "shares" not in answer.columns or len(symbols) > 1 and "symbol" not in answer.columns:
            raise BadAnswer("orders must have the columns symbol and shares")
        names = answer["symbol"] if "symbol" in answer.columns else [symbols[0]] * len(answer)
        when = answer["date"] if "date" in answer.columns else answer.index
        answer = list(zip(when, names, answer["shares"]))
    elif not isinstance(answer, (list, tuple)):
        raise BadAnswer(f"orders returned {type(answer).__name__}: return a list of (date, symbol, shares)")
    result = numpy.empty(len(answer), dtype=ORDER)
    places = {symbol: place for place, symbol in enumerate(symbols)}
    for number, order in enumerate(answer):
        if isinstance(order, (list, tuple)) and len(order) == 2 and len(symbols) == 1:
            order = order[0], symbols[0], order[1]
        if not isinstance(order, (list, tuple)) or len(order) != 3:
            raise BadAnswer(f"order {number} is not (date, symbol, shares)")
        if order[1] not in places:
            raise BadAnswer(f"order {number} is for {order[1]!r}, which is none of {', '.join(symbols)}")
        try:
            result[number] = _row(order[0], index), places[order[1]], float(order[2])
        except (TypeError, ValueError) as error:
            raise BadAnswer(f"order {number} must say a number of shares: {error}") from None
    return result[numpy.argsort(result["row"], kind="stable")]


def equity(answer, index):
    """Times (microseconds of UTC) and amounts."""
    labels = getattr(answer, "index", None)
    found = _numbers(answer, "equity")
    if found.ndim != 1:
        raise BadAnswer(f"equity must be one column, not {found.ndim} dimensions")
    times = index
    if labels is not None and hasattr(labels, "as_unit"):
        times = labels
    elif len(found) != len(index):
        raise BadAnswer(f"equity has {len(found)} values for {len(index)} bars: give it dates, as a Series")
    return times.as_unit("us").asi8, found


TRADE_TEXTS = ("symbol", "side", "entry", "exit")
TRADE_NUMBERS = ("quantity", "entry_price", "exit_price", "profit", "costs", "bars")


def trades(answer):
    """A list of plain dicts."""
    if hasattr(answer, "to_dict") and hasattr(answer, "columns"):
        answer = answer.to_dict("records")
    if not isinstance(answer, (list, tuple)):
        raise BadAnswer("trades must be a DataFrame or a list of dicts")
    result = []
    for number, trade in enumerate(answer):
        if not isinstance(trade, dict):
            raise BadAnswer(f"trade {number} is not a dict")
        plain = {name: str(trade[name])[:64] for name in TRADE_TEXTS if name in trade}
        try:
            plain.update({name: float(trade[name]) for name in TRADE_NUMBERS if name in trade})
        except (TypeError, ValueError) as error:
            raise BadAnswer(f"trade {number}: {error}") from None
        plain["open"] = bool(trade.get("open", False))
        result.append(plain)
    return result
