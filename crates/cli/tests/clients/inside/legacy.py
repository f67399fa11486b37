"""alpaca-trade-api 3.2, Alpaca's older client, unmodified, in a sandbox: orders, positions, data, both streams."""
import asyncio
import os
import threading
import time

import alpaca_trade_api
from alpaca_trade_api.rest import APIError, REST, TimeFrame
from alpaca_trade_api.stream import Stream

assert not [name for name in os.environ if "proxy" in name.lower()]
api = REST(base_url="https://paper-api.alpaca.markets")


def say(*words):
    print(*words, flush=True)


def until(order, *statuses):
    for _ in range(300):
        found = api.get_order(order.id)
        if found.status in statuses:
            return found
        time.sleep(0.1)
    raise SystemExit(f"the order is {found.status}")


events, quoted = [], threading.Event()


async def update(update):
    events.append(f"{update.event} {update.order['symbol']}")


async def quote(quote):
    quoted.set()


def streams():
    asyncio.set_event_loop(asyncio.new_event_loop())
    stream = Stream(base_url="https://paper-api.alpaca.markets", data_feed="iex")
    stream.subscribe_trade_updates(update)
    stream.subscribe_quotes(quote, "AAPL")
    stream.run()


threading.Thread(target=streams, daemon=True).start()
account, clock = api.get_account(), api.get_clock()
say(account.status, account.equity, clock.is_open)
time.sleep(3)
bought = until(api.submit_order(symbol="AAPL", qty=3, side="buy", type="market", time_in_force="day"), "filled")
say(bought.filled_qty, api.get_position("AAPL").qty)
low = api.submit_order(symbol="MSFT", qty=2, side="buy", type="limit", limit_price=20, time_in_force="day")
new = api.replace_order(low.id, qty=1, limit_price=21)
say(new.qty, new.limit_price, len(api.list_orders()))
api.cancel_order(new.id)
say(until(new, "canceled").status)
say(until(api.close_position("AAPL"), "filled").side, len(api.list_positions()))
try:
    api.submit_order(symbol="AAPL", qty=5000, side="buy", type="market", time_in_force="day")
except APIError as error:
    say(error.status_code, error.code)
bars = api.get_bars("AAPL", TimeFrame.Day, "2011-12-01", "2012-01-03").df
say(len(bars) > 15, sorted(bars.columns)[:2], bars.index.max().date())
say(api.get_latest_quote("AAPL").ap > 0, len(api.list_assets(status="active")) > 3, len(api.get_activities()) >= 2)
say(quoted.wait(60), sorted(set(events)))
os._exit(0)
