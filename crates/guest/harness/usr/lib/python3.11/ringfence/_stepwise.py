"""Point in time: bars come one by one, and each is answered before the next is sent, so that no later bar is in the sandbox.

Each step is the time of a bar and five numbers a symbol; each answer is a word (`STEP`) and a weight a symbol. The end of
the input ends it, with a word (`DONE` or `FAIL`) and a text.
"""

import json
import os
import types

import numpy

from . import _answers, _trial
from ._answers import BadAnswer
from .history import History

NUMBERS = _trial.NUMBERS


class Growing:
    """Bars so far, in arrays with room for more."""

    def __init__(self, symbols):
        self.symbols = symbols
        self.rows = 0
        self._make(256)

    def _make(self, room):
        times = numpy.zeros(room, numpy.int64)
        blocks = [numpy.full((NUMBERS, room), numpy.nan) for _ in self.symbols]
        if self.rows:
            times[:self.rows] = self.times[:self.rows]
            for new, old in zip(blocks, self.blocks):
                new[:, :self.rows] = old[:, :self.rows]
        self.times, self.blocks = times, blocks
        self.history = History(self.symbols, times, blocks)

    def add(self, step):
        """A bar more, as it was sent."""
        if self.rows == len(self.times):
            self._make(2 * self.rows)
        self.times[self.rows] = int.from_bytes(step[:8], "little", signed=True)
        for block, values in zip(self.blocks, numpy.frombuffer(step, offset=8).reshape(-1, NUMBERS)):
            block[:, self.rows] = values
        self.history.row = self.rows
        self.rows += 1

    def tables(self, intraday):
        """As tables, made anew: what a strategy does to one must not reach the next."""
        labels = _trial.index(self.times[:self.rows].copy(), intraday)
        return labels, _trial.tables(self.symbols, labels, [block[:, :self.rows].copy() for block in self.blocks])


def run(trial):
    """Answers bars until there are no more, and ends the process."""
    try:
        _answer_all(trial)
    except BaseException as error:
        fail(trial, error)
    _end(trial, b"DONE", trial.log.text())


def fail(trial, error):
    """Says what went wrong, and ends the process."""
    _end(trial, b"FAIL", {**trial.log.text(), "error": _trial.described(error, trial.main)})


def _answer_all(trial):
    name, function = _trial.strategy(trial)
    if name not in ("signals", "on_bar") or trial.reported is not None:
        raise BadAnswer("only a file that defines signals or on_bar can be run point in time")
    parameters = trial.parameters()
    bars = Growing(trial.symbols)
    state = types.SimpleNamespace()
    size = 8 + 8 * NUMBERS * len(trial.symbols)
    while (step := _step(size)) is not None:
        bars.add(step)
        if name == "on_bar":
            answer = function(bars.history, state, **parameters)
            wanted = numpy.array(_answers.wish(answer, trial.symbols))
        else:
            labels, tables = bars.tables(trial.asked["intraday"])
            wanted = _answers.weights(function(tables, **parameters), labels, trial.symbols)[-1]
        _trial._write(trial.out, b"STEP" + wanted.tobytes())


def _step(size):
    step = bytearray()
    while len(step) < size:
        read = os.read(0, size - len(step))
        if not read:
            if step:
                raise BadAnswer("a bar was cut off")
            return None
        step += read
    return step


def _end(trial, word, text):
    text = json.dumps(text).encode("utf-8", "replace")
    _trial._write(trial.out, word + len(text).to_bytes(4, "little") + text)
    os._exit(0 if word == b"DONE" else 1)
