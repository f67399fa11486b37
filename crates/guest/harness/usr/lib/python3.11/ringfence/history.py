"""What `on_bar` sees: every bar so far, and none after it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy
    from numpy.typing import NDArray

    Array = NDArray[numpy.float64]

COLUMNS = ("open", "high", "low", "close", "volume")


class Bars:
    """The bars of one symbol so far, as arrays: the last value is this bar's. NaN where the symbol has no bar."""

    __slots__ = ("_block", "_history", "symbol")

    def __init__(self, symbol: str, history: History, block: Array) -> None:
        self.symbol = symbol
        self._history = history
        self._block = block

    def __len__(self) -> int:
        return self._history.row + 1

    @property
    def open(self) -> Array:
        """First prices."""
        return self._block[0, :self._history.row + 1]

    @property
    def high(self) -> Array:
        """Highest prices."""
        return self._block[1, :self._history.row + 1]

    @property
    def low(self) -> Array:
        """Lowest prices."""
        return self._block[2, :self._history.row + 1]

    @property
    def close(self) -> Array:
        """Last prices."""
        return self._block[3, :self._history.row + 1]

    @property
    def volume(self) -> Array:
        """Shares traded."""
        return self._block[4, :self._history.row + 1]


class History:
    """All bars so far. `history["AAPL"]` are those of a symbol; of a single symbol, `history.close` and so on are its own.

    `row` is the number of this bar, from 0.
    """

    __slots__ = ("_bars", "_only", "_times", "row")

    def __init__(self, symbols: list[str], times: NDArray[numpy.int64], blocks: list[Array]) -> None:
        self.row = -1
        self._times = times
        self._bars = {symbol: Bars(symbol, self, block) for symbol, block in zip(symbols, blocks)}
        self._only = self._bars[symbols[0]] if len(symbols) == 1 else None

    def __getitem__(self, symbol: str) -> Bars:
        return self._bars[symbol]

    def __iter__(self) -> Iterator[str]:
        return iter(self._bars)

    def __len__(self) -> int:
        return self.row + 1

    @property
    def symbols(self) -> list[str]:
        """The symbols, in the order of the backtest."""
        return list(self._bars)

    @property
    def date(self) -> numpy.datetime64:
        """When this bar begins: its day, or, within a day, the time in UTC."""
        return self._times[self.row].view("datetime64[us]")

    @property
    def dates(self) -> NDArray[numpy.datetime64]:
        """When each bar so far begins."""
        return self._times[:self.row + 1].view("datetime64[us]")

    def _single(self) -> Bars:
        if self._only is None:
            raise AttributeError(f"there are several symbols ({', '.join(self._bars)}): write history[symbol].close")
        return self._only

    @property
    def open(self) -> Array:
        """First prices of the only symbol."""
        return self._single().open

    @property
    def high(self) -> Array:
        """Highest prices of the only symbol."""
        return self._single().high

    @property
    def low(self) -> Array:
        """Lowest prices of the only symbol."""
        return self._single().low

    @property
    def close(self) -> Array:
        """Last prices of the only symbol."""
        return self._single().close

    @property
    def volume(self) -> Array:
        """Shares traded of the only symbol."""
        return self._single().volume
