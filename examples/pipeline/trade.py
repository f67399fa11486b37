# Buys one share of each symbol that the analysis names, and waits until the orders are filled.
import json
import time

from alpaca.trading.client import TradingClient
from alpaca.trading.enums import OrderSide, TimeInForce
from alpaca.trading.requests import MarketOrderRequest

signal = json.load(open("signal.json"))
# At the simulated exchange any key leads to the default account.
client = TradingClient("any", "any", paper=True)
done = []
for symbol, found in signal["symbols"].items():
    if not found["buy"]:
        continue
    order = client.submit_order(
        MarketOrderRequest(symbol=symbol, qty=1, side=OrderSide.BUY, time_in_force=TimeInForce.DAY)
    )
    while order.status.value not in ("filled", "canceled", "expired", "rejected"):
        time.sleep(0.2)
        order = client.get_order_by_id(order.id)
    done.append({"symbol": symbol, "status": order.status.value, "qty": order.filled_qty, "price": order.filled_avg_price})
    print(symbol, order.status.value, order.filled_qty, order.filled_avg_price)
json.dump({"signal_of": signal["day"], "orders": done}, open("orders.json", "w"), indent=1)
