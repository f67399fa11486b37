"""Alpaca's own MCP server, unmodified, in a sandbox, spoken with as a client does: account, order, position, data."""
import asyncio
import json
import os
import sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

assert not [name for name in os.environ if "proxy" in name.lower()]


def read(result):
    text = "".join(part.text for part in result.content if getattr(part, "text", None))
    try:
        return json.loads(text)
    except ValueError:
        return text


def find(said, name):
    """The value of that name, however deep the server has wrapped it."""
    if isinstance(said, dict):
        if name in said:
            return said[name]
        said = list(said.values())
    if isinstance(said, list):
        return next((found for found in (find(one, name) for one in said) if found is not None), None)
    return None


async def main():
    command = os.path.expanduser("~/.local/bin/alpaca-mcp-server")
    server = StdioServerParameters(command=command, args=sys.argv[1:], env=dict(os.environ))
    async with stdio_client(server, errlog=open(os.devnull, "w")) as (reading, writing), ClientSession(reading, writing) as session:
        await session.initialize()

        async def call(name, **arguments):
            return read(await session.call_tool(name, arguments))

        async def until(order, status):
            for _ in range(300):
                found = await call("get_order_by_id", order_id=order)
                if find(found, "status") == status:
                    return found
                await asyncio.sleep(0.1)
            raise SystemExit(f"the order is {found}")

        account, clock = await call("get_account_info"), await call("get_clock")
        print(find(account, "status"), find(account, "currency"), find(clock, "is_open"), flush=True)
        bought = await call("place_stock_order", symbol="AAPL", side="buy", qty="2", type="market", time_in_force="day")
        filled = await until(find(bought, "id"), "filled")
        position = await call("get_open_position", symbol_or_asset_id="AAPL")
        print(find(filled, "filled_qty"), find(position, "symbol"), find(position, "side"), flush=True)
        low = await call("place_stock_order", symbol="MSFT", side="buy", qty="1", type="limit", limit_price="20", time_in_force="day")
        await call("cancel_order_by_id", order_id=find(low, "id"))
        print(find(await until(find(low, "id"), "canceled"), "limit_price"), flush=True)
        closed = await call("close_position", symbol_or_asset_id="AAPL", qty=2)
        print(find(await until(find(closed, "id"), "filled"), "side"), flush=True)
        bars = await call("get_stock_bars", symbols="AAPL", timeframe="1Day", start="2011-12-01", end="2012-01-03")
        print(find(bars, "c") is not None, flush=True)
        refused = await call("place_stock_order", symbol="AAPL", side="buy", qty="5000", type="market", time_in_force="day")
        print("max_notional_per_order" in json.dumps(refused), flush=True)


asyncio.run(main())
