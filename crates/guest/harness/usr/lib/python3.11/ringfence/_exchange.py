"""The clock of a simulated account, and what kind of trading this is.

    import ringfence
    ringfence.clock.now()                  the time at the exchange
    ringfence.clock.step("next_open")      let it pass, where the clock is stepped
    ringfence.clock.step(by=60)
    ringfence.clock.set_speed(600)         ten minutes a second
    ringfence.trading.mode()               "simulated", or "broker"

Only the simulated exchange has a clock that can be set. It asks with the keys of the environment, as alpaca-py does, and each
account has a clock of its own.
"""

import datetime
import json
import os
import urllib.error
import urllib.request

_HOST = "https://paper-api.alpaca.markets"
_TIMEOUT_S = 60
_KEYS = ("APCA_API_KEY_ID", "ALPACA_API_KEY")
_SECRETS = ("APCA_API_SECRET_KEY", "ALPACA_SECRET_KEY", "ALPACA_SECRET", "ALPACA_API_SECRET")


class Error(Exception):
    """The exchange or the gate has refused. `status` is the HTTP status, `rule` the gate's rule where it was the gate."""

    def __init__(self, status: int, said: dict) -> None:
        super().__init__(said.get("message") or f"the exchange answered {status}")
        self.status = status
        self.rule = said.get("rule")


def _first(names: "tuple[str, ...]") -> "str | None":
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def _ask(method: str, path: str, body: "dict | None" = None) -> dict:
    headers = {"Accept": "application/json"}
    key, secret = _first(_KEYS), _first(_SECRETS)
    # Without keys it is the default account's clock.
    if key:
        headers["APCA-API-KEY-ID"] = key
    if secret:
        headers["APCA-API-SECRET-KEY"] = secret
    data = None
    if body is not None:
        data = json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(_HOST + path, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            return json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        try:
            said = json.loads(error.read())
        except ValueError:
            said = {}
        raise Error(error.code, said if isinstance(said, dict) else {}) from None


def _time(text: str) -> datetime.datetime:
    """A time of the exchange; finer than a microsecond is cut off."""
    head, dot, tail = text.partition(".")
    if dot:
        digits = len(tail) - len(tail.lstrip("0123456789"))
        text = f"{head}.{tail[:digits][:6]:0<6}{tail[digits:]}"
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def _text(value: "str | datetime.datetime") -> str:
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            raise ValueError("say in which time zone: use an aware datetime")
        return value.isoformat()
    return str(value)


class _Clock:
    """The clock of the account whose keys are in the environment."""

    def get(self) -> dict:
        """What the exchange says of it: now, mode, speed, is_open, next_open, next_close."""
        return _ask("GET", "/ringfence/v1/clock")

    def now(self) -> datetime.datetime:
        """The time there, as an aware datetime."""
        return _time(self.get()["now"])

    def is_open(self) -> bool:
        """Whether the market is open there."""
        return self.get()["is_open"]

    def set(self, *, now: "str | datetime.datetime | None" = None, mode: "str | None" = None,
            speed: "float | None" = None) -> dict:
        """Sets it: to a later time, to mode "replay", "stepped" or "real", to a speed."""
        wish = {"now": None if now is None else _text(now), "mode": mode, "speed": speed}
        wish = {name: value for name, value in wish.items() if value is not None}
        if not wish:
            raise ValueError("say what to set: now, mode or speed")
        return _ask("PUT", "/ringfence/v1/clock", wish)

    def set_speed(self, speed: float) -> dict:
        """Lets it run so many times as fast as time does."""
        return self.set(mode="replay", speed=speed)

    def step(self, to: "str | datetime.datetime | None" = None, *, by: "float | datetime.timedelta | None" = None,
             bars: "int | None" = None, timeframe: "str | None" = None) -> dict:
        """Moves it on: to a time, "next_open" or "next_close"; by seconds or a timedelta; by bars of a timeframe.

        Orders are filled on the way as they would have been.
        """
        if sum(given is not None for given in (to, by, bars)) != 1:
            raise ValueError("a step is one of to, by and bars")
        if to is not None:
            wish: "dict[str, object]" = {"to": _text(to)}
        elif by is not None:
            wish = {"by": by.total_seconds() if isinstance(by, datetime.timedelta) else by}
        else:
            wish = {"bars": bars}
            if timeframe is not None:
                wish["timeframe"] = timeframe
        return _ask("POST", "/ringfence/v1/clock/step", wish)


class _Trading:
    """What kind of trading this is."""

    def mode(self) -> str:
        """"simulated", or "broker" where orders go to a paper or a live account, which a program is not told apart."""
        try:
            _ask("GET", "/ringfence/v1/clock")
        except Error as error:
            if error.status == 403 and error.rule == "endpoint_allow_list":
                return "broker"
            raise
        return "simulated"


clock = _Clock()
trading = _Trading()
