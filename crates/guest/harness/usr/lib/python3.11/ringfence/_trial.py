"""A backtest inside a sandbox: reads bars and parameters, asks the strategy, and writes what it wants.

The other side is crates/research/src/strategy: `ask.rs` writes what is read here, `answer.rs` reads what is written. It
trusts none of it, because the strategy runs in this very process and can write whatever it likes.

The program is the strategy's file with `FOOTER` below it, so that its lines are where its author wrote them. A trial of
several parameter sets runs the file once for each, in a `__main__` of its own, with tables of bars of its own, in this one
process: a forked child for each would cost 50 times what a moving average does (docs/decisions, 41). What a set changes in
libraries, and their random numbers, reaches the next.
"""

import atexit
import builtins
import io
import json
import os
import signal
import struct
import sys
import traceback
import types

import numpy
import pandas

from . import _answers, _backtest
from ._answers import BadAnswer
from .history import COLUMNS, History

FOOTER = b"import ringfence._trial; ringfence._trial.finish()"

# Built in; a warm interpreter imports them.
STRATEGIES = ("breakout", "buy_and_hold", "mean_reversion", "momentum", "pairs_trading", "rsi", "sma_cross")

ASK = b"RFASK\x01\0\0"
ANSWER = b"RFANSWER\x01\0\0\0"
NUMBERS = 5  # open, high, low, close, volume
WEIGHTS, ORDERS, REPORTED, FAILED, END = range(1, 6)

LOG_LINES_MAX = 200
LOG_LINE_CHARS_MAX = 1000
TRACEBACK_CHARS_MAX = 8000
TEXT_BYTES_MAX = 4 << 20
DATA_BYTES_MAX = 64 << 20


class Log(io.TextIOBase):
    """Takes the place of standard output and error: lines of a log, as many as are kept."""

    def __init__(self):
        self.lines = []
        self.dropped = 0
        self._begun = ""

    def writable(self):
        return True

    def write(self, text):
        lines = (self._begun + str(text)).split("\n")
        self._begun = lines.pop()[:LOG_LINE_CHARS_MAX]
        for line in lines:
            self.line(line)
        return len(text)

    def line(self, line):
        if len(self.lines) < LOG_LINES_MAX:
            self.lines.append(line[:LOG_LINE_CHARS_MAX])
        else:
            self.dropped += 1

    def text(self):
        """What an answer says of it."""
        if self._begun:
            self.line(self._begun)
            self._begun = ""
        return {"log": self.lines, "log_dropped": self.dropped}


def is_trial():
    """Whether this program is one: its last line says so."""
    try:
        with open(sys.modules["__main__"].__file__, "rb") as file:
            file.seek(-min(len(FOOTER) + 1, file.seek(0, os.SEEK_END)), os.SEEK_END)
            return file.read().strip() == FOOTER
    except (AttributeError, OSError):
        return False


def begin():
    """Reads what is asked, once, and takes standard output for the answers."""
    if _backtest.trial is None:
        _backtest.trial = Trial()
    return _backtest.trial


def finish():
    """The end of every strategy's file: asks the strategy, for each set, and ends the process."""
    trial = begin()
    if trial.asked["mode"] == "stepwise":
        from . import _stepwise

        _stepwise.run(trial)
    trial.answer()
    trial.answer_rest()


def propose(trial):
    """Kind and data of what the strategy of this file wants."""
    name, function = strategy(trial)
    if trial.reported is not None:
        if function is not None:
            raise BadAnswer(f"the file both defines {name} and calls ringfence.report: one of them")
        return REPORTED, trial.reported
    if function is None:
        raise BadAnswer("the file defines none of signals, orders and on_bar, and has not called ringfence.report")
    parameters = trial.parameters()
    if name == "on_bar":
        return WEIGHTS, bar_by_bar(trial, function, parameters)
    answer = function(trial.bars(), **parameters)
    if name == "orders":
        return ORDERS, _answers.orders(answer, trial.index(), trial.symbols)
    return WEIGHTS, _answers.weights(answer, trial.index(), trial.symbols)


def strategy(trial):
    """Name and function of what the file defines; None twice where it defines nothing of it."""
    main = trial.main.__dict__
    found = [(name, main[name]) for name in ("signals", "orders", "on_bar") if callable(main.get(name))]
    if len(found) > 1:
        raise BadAnswer(f"the file defines both {found[0][0]} and {found[1][0]}: one of them")
    wanted = main.get("SYMBOLS")
    if found and isinstance(wanted, int) and wanted != len(trial.symbols):
        raise BadAnswer(f"the strategy takes {wanted} symbols, and was given {len(trial.symbols)}")
    return found[0] if found else (None, None)


def bar_by_bar(trial, on_bar, parameters):
    history = History(trial.symbols, trial.times, trial.blocks)
    state = types.SimpleNamespace()
    weights = numpy.full((len(trial.times), len(trial.symbols)), numpy.nan)
    for row in range(len(weights)):
        history.row = row
        answer = on_bar(history, state, **parameters)
        if answer is not None:
            weights[row] = _answers.wish(answer, trial.symbols)
    return weights


ENDED = BadAnswer("the program ended itself before its last line")


class OutOfTime(BaseException):
    """A set has taken longer than it may."""


class Trial:
    """What is asked, and for which parameters the file is run just now."""

    def __init__(self):
        self.asked = self._read()
        self.symbols = self.asked["symbols"]
        self.sets = self.asked["parameters"]
        self.set = 0
        self.main = sys.modules["__main__"]
        self.log = Log()
        self.reported = None
        self._bars = self._index = self._parameters = None
        # What a set does to its bars must not reach the next.
        self._pristine = [block.copy() for block in self.blocks] if len(self.sets) > 1 else None
        self._take_output()

    def _read(self):
        head = memoryview(bytearray(len(ASK) + 4))
        _fill(head)
        if bytes(head[:len(ASK)]) != ASK:
            raise SystemExit("ringfence: standard input is not what a backtest is asked with")
        text = memoryview(bytearray(int.from_bytes(head[len(ASK):], "little")))
        _fill(text)
        asked = json.loads(bytes(text))
        bars = asked["bars"]
        self.times = numpy.empty(bars, dtype=numpy.int64)
        self.blocks = []
        if bars:
            _fill(memoryview(self.times).cast("B"))
            for _ in asked["symbols"]:
                block = numpy.empty((NUMBERS, bars))
                _fill(memoryview(block).cast("B"))
                self.blocks.append(block)
        return asked

    def _take_output(self):
        """From here on what is printed is logged, and what other code writes to descriptor 1 goes to 2."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, OSError, ValueError):
                pass
        self.out = os.dup(1)
        os.dup2(2, 1)
        self._process = os.getpid()
        sys.stdout = sys.stderr = self.log
        sys.excepthook = self._uncaught
        atexit.register(self._exited)
        _write(self.out, ANSWER)
        self._wind()

    def _wind(self):
        """The time of a set begins. A trial of one set is ended from outside."""
        if len(self.sets) > 1:
            signal.signal(signal.SIGALRM, self._out_of_time)
            signal.setitimer(signal.ITIMER_REAL, self.asked["timeout"])

    def _out_of_time(self, *_):
        raise OutOfTime(f"it was not done after {self.asked['timeout']:g} seconds")

    def _uncaught(self, _kind, error, _trace):
        """The file has failed before its end, for this set."""
        if os.getpid() == self._process:
            self.fail(error)
            self.answer_rest()

    def _exited(self):
        """The file has ended itself before its last line."""
        if os.getpid() == self._process and self.set == 0:
            if self.reported is not None:
                self.answer()
            else:
                self.fail(ENDED)
            self.answer_rest()

    def parameters(self):
        """Those of this set, with what the file declares."""
        if self._parameters is None:
            declared = self.main.__dict__.get("PARAMETERS")
            given = self.sets[self.set]
            self._parameters = checked(declared, given) if isinstance(declared, dict) else given
        return self._parameters

    def index(self):
        """When the bars begin: days, or times in New York."""
        if self._index is None:
            self._index = index(self.times, self.asked["intraday"])
        return self._index

    def bars(self):
        """A table, or a dict of tables."""
        if not self.blocks:
            raise RuntimeError("bars come one by one here (point in time): define signals or on_bar")
        if self._bars is None:
            self._bars = tables(self.symbols, self.index(), self.blocks)
        return self._bars

    def report(self, equity, trades):
        """Keeps what the program reports of itself."""
        if equity is None and trades is None:
            raise ValueError("report an equity curve, trades, or both")
        if not self.blocks:
            raise RuntimeError("a program that reports its own figures is not run point in time")
        times, amounts = numpy.empty(0, numpy.int64), numpy.empty(0)
        if equity is not None:
            times, amounts = _answers.equity(equity, self.index())
        found = _answers.trades(trades) if trades is not None else []
        self.reported = (found, numpy.ascontiguousarray(times, numpy.int64), numpy.ascontiguousarray(amounts))

    def answer(self):
        """Asks the strategy for this set, and says what came of it."""
        try:
            kind, wanted = propose(self)
            text = self.log.text()
            parts = (wanted,)
            if kind == REPORTED:
                text["trades"], *parts = wanted
            self._say(kind, text, [part.tobytes() for part in parts])
        except BaseException as error:
            self.fail(error)

    def fail(self, error):
        """Says what went wrong for this set."""
        if self.asked["mode"] == "stepwise":
            from . import _stepwise

            _stepwise.fail(self, error)
        self._say(FAILED, {**self.log.text(), "error": described(error, self.main)}, [])

    def answer_rest(self):
        """Runs the file anew for each other set, and ends the process."""
        if len(self.sets) > 1:
            path = self.main.__file__
            try:
                with open(path, "rb") as file:
                    code = compile(file.read().rpartition(FOOTER)[0], path, "exec", dont_inherit=True)
            except BaseException:
                code = None  # it has changed itself: sets without an answer have failed
            while code is not None and self.set + 1 < len(self.sets):
                self._run_anew(code, path)
        _write(self.out, _head(END, len(self.sets), 0, 0))
        os._exit(0)

    def _run_anew(self, code, path):
        self.set += 1
        self.reported = self._parameters = self._bars = None
        self.log = sys.stdout = sys.stderr = Log()
        self.blocks = [block.copy() for block in self._pristine]
        self.main = sys.modules["__main__"] = types.ModuleType("__main__")
        self.main.__dict__.update(__file__=path, __builtins__=builtins)
        try:
            self._wind()
            exec(code, self.main.__dict__)
        except SystemExit:
            if self.reported is None:
                self.fail(ENDED)
                return
        except BaseException as error:
            self.fail(error)
            return
        self.answer()

    def _say(self, kind, text, data):
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            text = json.dumps(text, allow_nan=False).encode()
        except ValueError:
            raise BadAnswer("trades must hold finite numbers") from None
        size = sum(map(len, data))
        if len(text) > TEXT_BYTES_MAX or size > DATA_BYTES_MAX:
            raise BadAnswer(f"the answer is too large: {len(text)} bytes of text (at most {TEXT_BYTES_MAX}) and {size} of "
                            f"numbers (at most {DATA_BYTES_MAX})")
        _write(self.out, b"".join((_head(kind, self.set, len(text), size), text, *data)))


def index(times, intraday):
    """Labels of bars: days, or times in New York."""
    found = pandas.DatetimeIndex(times.view("datetime64[us]"), name="date")
    return found.tz_localize("UTC").tz_convert("America/New_York") if intraday else found


def tables(symbols, labels, blocks):
    """A table of bars, or a dict of them where there are several symbols."""
    made = {symbol: pandas.DataFrame(block.T, index=labels, columns=COLUMNS, copy=False)
            for symbol, block in zip(symbols, blocks)}
    return made[symbols[0]] if len(symbols) == 1 else made


KINDS = {"integer": int, "number": (int, float), "boolean": bool, "text": str}


def checked(declared, given):
    """Parameters with defaults, held to what `PARAMETERS` declares."""
    strangers = [name for name in given if name not in declared]
    if strangers:
        raise BadAnswer(f"there is no parameter {strangers[0]!r}: {', '.join(declared) or 'the strategy has none'}")
    result = {}
    for name, about in declared.items():
        if name not in given and "default" not in about:
            raise BadAnswer(f"the parameter {name!r} is missing")
        value = given.get(name, about.get("default"))
        kind = about.get("type", "number")
        right = isinstance(value, KINDS.get(kind, object)) and (kind == "boolean" or not isinstance(value, bool))
        # 20.0 is a whole number wherever it was written as one.
        if kind == "integer" and isinstance(value, float) and value.is_integer():
            right, value = True, int(value)
        if not right:
            raise BadAnswer(f"the parameter {name} must be of the type {kind}, not {value!r}")
        if kind in ("integer", "number") and not about.get("min", value) <= value <= about.get("max", value):
            raise BadAnswer(f"the parameter {name} is {value}, and must lie from {about.get('min')} to {about.get('max')}")
        result[name] = value
    return result


def described(error, main):
    """Message and traceback of an error as its author would see it: of this file nothing."""
    if isinstance(error, (BadAnswer, OutOfTime)):
        return {"message": str(error)[:2000], "traceback": ""}
    if isinstance(error, SystemExit):
        return {"message": f"the program ended itself ({error.code})"[:2000], "traceback": ""}
    own = os.path.dirname(__file__)
    path = getattr(main, "__file__", "")
    try:
        shown = traceback.TracebackException(type(error), error, error.__traceback__)
        frames = [frame for frame in shown.stack if os.path.dirname(frame.filename) != own]
        shown.stack = traceback.StackSummary.from_list(frames)
        text = "".join(shown.format())
        message = "".join(shown.format_exception_only()).strip().splitlines()[-1]
    except Exception:
        text, message = "", type(error).__name__
    text = text.replace(path, "strategy.py") if path else text
    if len(text) > TRACEBACK_CHARS_MAX:
        text = text[:1000] + "\n...\n" + text[1005 - TRACEBACK_CHARS_MAX:]
    return {"message": message[:2000], "traceback": text}


def exercise():
    """A little of what a backtest does, over bars that are none, for a warm interpreter."""
    block = numpy.ones((NUMBERS, 8))
    labels = index(numpy.arange(8) * 86_400_000_000, False)
    bars = tables(["NONE"], labels, [block])
    for answer in (bars["close"] > bars["close"].shift(1), bars["close"].to_numpy()):
        _answers.weights(answer, labels, ["NONE"])
    Log().write("none\n")
    checked({"none": {"type": "integer", "default": 1, "min": 0, "max": 2}}, json.loads('{"none": 1}'))
    from . import indicators

    indicators.changes(indicators.sma(block[0], 3))


def _head(kind, number, text_bytes, data_bytes):
    return struct.pack("<IIQQ", kind, number, text_bytes, data_bytes)


def _fill(view):
    while view:
        read = os.readv(0, [view])
        if read == 0:
            raise SystemExit("ringfence: standard input ended early")
        view = view[read:]


def _write(fd, *parts):
    for part in parts:
        rest = memoryview(part)
        while rest:
            rest = rest[os.write(fd, rest):]
