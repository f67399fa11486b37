"""alpaca-py against `ringfence venue`: every kind of order, the account around them, both streams, and a replayed year.

Usage: venue.py http://127.0.0.1:PORT
It prints a line for each part and ends with 0 when everything was as it must be.
"""

import asyncio
import sys
import threading
import time
from decimal import Decimal

import requests
from alpaca.common.exceptions import APIError
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.live import StockDataStream
from alpaca.data.requests import StockBarsRequest, StockLatestQuoteRequest
from alpaca.data.timeframe import TimeFrame
from alpaca.trading.client import TradingClient
from alpaca.trading.enums import (
    CorporateActionType, OrderClass, OrderSide, OrderStatus, QueryOrderStatus, TimeInForce,
)
from alpaca.trading.requests import (
    ClosePositionRequest, CreateWatchlistRequest, GetAssetsRequest, GetCalendarRequest,
    GetCorporateAnnouncementsRequest, GetOrdersRequest, GetPortfolioHistoryRequest, LimitOrderRequest,
    MarketOrderRequest, ReplaceOrderRequest, StopLimitOrderRequest, StopLossRequest, StopOrderRequest,
    TakeProfitRequest, TrailingStopOrderRequest, UpdateWatchlistRequest,
)
from alpaca.trading.stream import TradingStream

BASE = sys.argv[1]
SOCKETS = BASE.replace("http://", "ws://")
BUY, SELL, DAY, GTC = OrderSide.BUY, OrderSide.SELL, TimeInForce.DAY, TimeInForce.GTC
ANYBODY = {"APCA-API-KEY-ID": "anybody", "APCA-API-SECRET-KEY": "anything"}


def control(method, path, body=None, headers=ANYBODY):
    answer = requests.request(method, f"{BASE}/ringfence/v1/{path}", json=body, headers=headers)
    assert answer.status_code < 300, (path, answer.status_code, answer.text)
    return answer.json() if answer.text else None


class Desk:
    """An account of its own, with clients for it."""

    def __init__(self, name, **wish):
        made = control("POST", "accounts", {"name": name, "mode": "stepped", "profile": {"partial_fill_rate": 0}, **wish})
        self.name, self.key, self.secret = name, made["key_id"], made["secret_key"]
        self.headers = {"APCA-API-KEY-ID": self.key, "APCA-API-SECRET-KEY": self.secret}
        self.client = TradingClient(self.key, self.secret, url_override=BASE)
        self.data = StockHistoricalDataClient(self.key, self.secret, url_override=BASE)

    def step(self, **how):
        return control("POST", "clock/step", how, self.headers)

    def get(self, path, **params):
        answer = requests.get(f"{BASE}/v2/{path}", params=params, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def order(self, kind=MarketOrderRequest, **fields):
        fields = {"symbol": "AAPL", "side": BUY, "time_in_force": DAY, **fields}
        if not {"qty", "notional"} & fields.keys():
            fields["qty"] = 1
        return self.client.submit_order(kind(**fields))

    def status(self, order):
        return self.client.get_order_by_id(order.id).status


def refused(status, code, call):
    try:
        call()
    except APIError as error:
        assert (error.status_code, error.code) == (status, code), (error.status_code, error.code, error.message)
        return error.message
    raise AssertionError("it was not refused")


def kinds():
    desk = Desk("kinds")
    market = desk.order(qty=10)
    assert market.status == OrderStatus.PENDING_NEW and desk.status(market) == OrderStatus.FILLED
    price = float(desk.client.get_open_position("AAPL").current_price)
    at = lambda factor: round(price * factor, 2)
    standing = [
        desk.order(LimitOrderRequest, limit_price=at(0.5), time_in_force=GTC),
        desk.order(LimitOrderRequest, limit_price=at(0.5), extended_hours=True),
        desk.order(StopOrderRequest, stop_price=at(1.5)),
        desk.order(StopLimitOrderRequest, stop_price=at(1.5), limit_price=at(1.6), time_in_force=GTC),
        desk.order(TrailingStopOrderRequest, trail_percent=20, time_in_force=GTC),
        desk.order(TrailingStopOrderRequest, trail_price=100),
    ]
    assert all(desk.status(order) == OrderStatus.NEW for order in standing)
    assert desk.order(LimitOrderRequest, limit_price=at(0.5), time_in_force=TimeInForce.IOC).status
    for tif in (TimeInForce.IOC, TimeInForce.FOK):
        assert desk.status(desk.order(LimitOrderRequest, limit_price=at(0.5), time_in_force=tif)) == OrderStatus.CANCELED
    assert desk.status(desk.order(time_in_force=TimeInForce.FOK)) == OrderStatus.FILLED
    notional = desk.client.get_order_by_id(desk.order(notional=100).id)
    assert notional.status == OrderStatus.FILLED and Decimal(notional.filled_qty) < 1
    at_close = desk.order(time_in_force=TimeInForce.CLS)
    assert "opg" in refused(422, 42210000, lambda: desk.order(time_in_force=TimeInForce.OPG))
    found = desk.client.get_order_by_client_id(market.client_order_id)
    assert found.id == market.id
    assert refused(422, 40010001, lambda: desk.order(client_order_id=market.client_order_id)) == "client_order_id must be unique"
    assert "buying power" in refused(403, 40310000, lambda: desk.order(qty=10000))
    wash = refused(403, 40310000, lambda: desk.order(side=SELL, qty=1))
    assert wash.startswith("potential wash trade"), wash
    replaced = desk.client.replace_order_by_id(standing[0].id, ReplaceOrderRequest(qty=2, limit_price=at(0.6)))
    assert replaced.replaces == standing[0].id and Decimal(replaced.qty) == 2
    old = desk.client.get_order_by_id(standing[0].id)
    assert (old.status, old.replaced_by) == (OrderStatus.REPLACED, replaced.id)
    desk.client.cancel_order_by_id(replaced.id)
    assert desk.status(replaced) == OrderStatus.CANCELED
    refused(422, 42210000, lambda: desk.client.cancel_order_by_id(replaced.id))
    still = desk.client.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN, limit=500))
    assert {order.id for order in still} == {order.id for order in standing[1:]} | {at_close.id}
    outcomes = desk.client.cancel_orders()
    assert len(outcomes) == len(still) and all(outcome.status == 200 for outcome in outcomes)
    assert desk.client.get_orders(GetOrdersRequest(status=QueryOrderStatus.OPEN)) == []
    closed = desk.client.get_orders(GetOrdersRequest(status=QueryOrderStatus.CLOSED, symbols=["AAPL"], side=BUY))
    assert len(closed) >= 9
    print("kinds of orders")


def groups():
    desk = Desk("groups")
    desk.order(qty=10)
    price = float(desk.client.get_open_position("AAPL").current_price)
    at = lambda factor: round(price * factor, 2)
    exits = {"take_profit": TakeProfitRequest(limit_price=at(1.5)), "stop_loss": StopLossRequest(stop_price=at(0.5))}
    bracket = desk.order(order_class=OrderClass.BRACKET, time_in_force=GTC, **exits)
    assert [leg.status for leg in bracket.legs] == [OrderStatus.HELD] * 2
    nested = desk.client.get_orders(GetOrdersRequest(status=QueryOrderStatus.ALL, nested=True))
    rolled = next(order for order in nested if order.id == bracket.id)
    assert rolled.status == OrderStatus.FILLED and [leg.status for leg in rolled.legs] == [OrderStatus.NEW] * 2
    desk.client.cancel_order_by_id(rolled.legs[0].id)
    assert desk.status(rolled.legs[1]) == OrderStatus.CANCELED
    oco = desk.order(LimitOrderRequest, side=SELL, qty=11, order_class=OrderClass.OCO, time_in_force=GTC, **exits)
    position = desk.client.get_open_position("AAPL")
    assert Decimal(position.qty) == 11 and Decimal(position.qty_available) == 0
    refused(403, 40310000, lambda: desk.client.close_position("AAPL"))
    desk.client.cancel_order_by_id(oco.id)
    oto = desk.order(order_class=OrderClass.OTO, stop_loss=StopLossRequest(stop_price=at(0.5), limit_price=at(0.4)))
    assert len(oto.legs) == 1
    desk.client.cancel_orders()
    desk.client.close_position("AAPL", ClosePositionRequest(percentage="50"))
    desk.client.close_position("AAPL", ClosePositionRequest(qty="1"))
    assert Decimal(desk.client.get_open_position("AAPL").qty) == 5
    desk.order(symbol="MSFT", qty=3)
    outcomes = desk.client.close_all_positions(cancel_orders=True)
    assert {outcome.symbol for outcome in outcomes} == {"AAPL", "MSFT"} and all(o.status == 200 for o in outcomes)
    assert desk.client.get_all_positions() == []
    short = desk.client.get_order_by_id(desk.order(side=SELL, qty=2).id)
    position = desk.client.get_open_position("AAPL")
    assert short.status == OrderStatus.FILLED and position.side.value == "short" and Decimal(position.qty) == -2
    print("groups and positions")


def around():
    desk = Desk("around", cash=50000)
    account = desk.client.get_account()
    assert (account.status.value, account.cash, account.multiplier) == ("ACTIVE", "50000", "2")
    before = desk.client.get_account_configurations()
    before.no_shorting = True
    assert desk.client.set_account_configurations(before).no_shorting
    assert "not allowed to short" in refused(403, 40310000, lambda: desk.order(side=SELL))
    clock = desk.client.get_clock()
    assert clock.is_open and clock.timestamp.isoformat() == "2012-01-03T10:00:00-05:00"
    days = desk.client.get_calendar(GetCalendarRequest(start="2012-11-19", end="2012-11-23"))
    assert [(day.date.day, day.close.hour) for day in days] == [(19, 16), (20, 16), (21, 16), (23, 13)]
    assets = desk.client.get_all_assets(GetAssetsRequest())
    assert len(assets) >= 5 and desk.client.get_asset("AAPL").easy_to_borrow
    assert desk.client.get_asset(assets[0].id).symbol == assets[0].symbol
    refused(404, 40410000, lambda: desk.client.get_asset("NOBODY"))
    refused(404, 40410000, lambda: desk.client.get_open_position("AAPL"))
    watched = desk.client.create_watchlist(CreateWatchlistRequest(name="mine", symbols=["AAPL"]))
    assert [a.symbol for a in desk.client.add_asset_to_watchlist_by_id(watched.id, "MSFT").assets] == ["AAPL", "MSFT"]
    desk.client.update_watchlist_by_id(watched.id, UpdateWatchlistRequest(name="ours"))
    assert [a.symbol for a in desk.client.remove_asset_from_watchlist_by_id(watched.id, "AAPL").assets] == ["MSFT"]
    assert desk.get("watchlists:by_name", name="ours")["id"] == str(watched.id)
    assert len(desk.client.get_watchlists()) == 1
    desk.client.delete_watchlist_by_id(watched.id)
    desk.order(qty=2)
    desk.step(to="next_close")
    desk.step(bars=2)
    history = desk.client.get_portfolio_history(GetPortfolioHistoryRequest(period="1W", timeframe="1D"))
    assert len(history.equity) == 3 and history.timeframe == "1D"
    hourly = desk.client.get_portfolio_history(GetPortfolioHistoryRequest(period="1D", timeframe="1H"))
    assert len(hourly.equity) >= 6
    [fill] = desk.get("account/activities/FILL")
    assert (fill["qty"], fill["side"], fill["type"]) == ("2", "buy", "fill")
    assert desk.get("account/activities", page_token=fill["id"]) == []
    actions = desk.client.get_corporate_announcements(GetCorporateAnnouncementsRequest(
        ca_types=[CorporateActionType.SPLIT], since="2011-12-01", until="2012-02-01"))
    assert actions == []
    bars = desk.data.get_stock_bars(StockBarsRequest(symbol_or_symbols="AAPL", timeframe=TimeFrame.Day))
    assert all(bar.timestamp <= desk.client.get_clock().timestamp for bar in bars.data["AAPL"])
    quote = desk.data.get_stock_latest_quote(StockLatestQuoteRequest(symbol_or_symbols="AAPL"))["AAPL"]
    assert quote.bid_price < quote.ask_price
    print("account, assets, calendar, history, activities, watchlists, data")


def streams():
    desk = Desk("streams")
    trading = TradingStream(desk.key, desk.secret, url_override=f"{SOCKETS}/stream")
    data = StockDataStream(desk.key, desk.secret, url_override=f"{SOCKETS}/v2/iex")
    updates, bars = [], []

    async def on_update(update):
        updates.append((getattr(update.event, "value", update.event), update.order.client_order_id, update.qty and float(update.qty)))

    async def on_bar(bar):
        bars.append(bar)

    trading.subscribe_trade_updates(on_update)
    data.subscribe_bars(on_bar, "AAPL")
    threads = [threading.Thread(target=stream.run, daemon=True) for stream in (trading, data)]
    for thread in threads:
        thread.start()
    time.sleep(1.5)
    desk.order(qty=3, client_order_id="a")
    desk.order(LimitOrderRequest, limit_price=1, client_order_id="b")
    desk.client.cancel_order_by_id(desk.client.get_order_by_client_id("b").id)
    desk.order(LimitOrderRequest, limit_price=1, client_order_id="c")
    desk.step(by="PT5M")
    told = desk.step(to="next_close")
    assert told["events"] == 1, told
    expected = [
        ("pending_new", "a", None), ("new", "a", None), ("fill", "a", 3.0),
        ("pending_new", "b", None), ("new", "b", None), ("canceled", "b", None),
        ("pending_new", "c", None), ("new", "c", None), ("expired", "c", None),
    ]
    for _ in range(100):
        if len(updates) >= len(expected) and len(bars) > 300:
            break
        time.sleep(0.1)
    assert updates == expected, updates
    assert len(bars) > 300 and bars[-1].symbol == "AAPL", len(bars)
    trading.stop()
    data.stop()
    print("streams")


def year():
    """A strategy that trades for a year through HTTP, and the same sum on paper."""
    desk = Desk("year", profile={"partial_fill_rate": "0.3"}, seed=11)
    cash, shares = Decimal(100000), {}
    for day in range(250):
        desk.step(to="next_open")
        desk.step(by=1800)
        symbol = ["AAPL", "MSFT"][day % 2]
        held = {p.symbol: Decimal(p.qty) for p in desk.client.get_all_positions()}
        if held.get(symbol, 0) > 20:
            desk.client.close_position(symbol, ClosePositionRequest(percentage="50"))
        else:
            desk.order(symbol=symbol, qty=5 + day % 7)
        desk.step(to="next_close")
    fills, token = [], None
    while page := desk.get("account/activities/FILL", direction="asc", page_size=100, **({"page_token": token} if token else {})):
        fills, token = fills + page, page[-1]["id"]
    partial = sum(fill["type"] == "partial_fill" for fill in fills)
    assert len(fills) > 250 and partial > 10, (len(fills), partial)
    for fill in fills:
        sign = 1 if fill["side"] == "buy" else -1
        qty = sign * Decimal(fill["qty"])
        cash -= qty * Decimal(fill["price"])
        shares[fill["symbol"]] = shares.get(fill["symbol"], 0) + qty
    for split in desk.get("account/activities/SPLIT"):
        shares[split["symbol"]] += Decimal(split["qty"])
    prices = {p.symbol: Decimal(p.current_price) for p in desk.client.get_all_positions()}
    worth = cash + sum(qty * prices[symbol] for symbol, qty in shares.items() if qty)
    account = desk.client.get_account()
    assert (Decimal(account.cash), Decimal(account.equity)) == (cash, worth), (account.cash, cash, account.equity, worth)
    history = desk.client.get_portfolio_history(GetPortfolioHistoryRequest(period="2A", timeframe="1D"))
    assert Decimal(str(history.equity[-1])) == round(worth, 2), (history.equity[-1], worth)
    print(f"a year: {len(fills)} fills, {partial} of them partial, equity {account.equity}")


for part in (kinds, groups, around, streams, year):
    begun = time.time()
    part()
    print(f"  {time.time() - begun:.1f} s", flush=True)
