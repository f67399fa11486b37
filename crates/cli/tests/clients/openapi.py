"""Every answer of `ringfence venue` against Alpaca's own description of its API, as the package alpaca-mcp-server has it.

Usage: openapi.py http://127.0.0.1:PORT
It prints a line for each part, then which operations were seen, and ends with 0 when every answer fits.
"""

import importlib.resources
import json
import re
import sys
import time

import jsonschema
import referencing
import referencing.jsonschema
import requests

BASE = sys.argv[1]
TRADING, DATA = "paper-api.alpaca.markets", "data.alpaca.markets"


def described(name):
    """Alpaca's description. Where it and the clients disagree the clients decide (contracts/alpaca.md): each of these is said here."""
    spec = json.loads(importlib.resources.files("alpaca_mcp_server").joinpath(f"specs/{name}-api.json").read_text())
    if name == "trading":
        # "One of" two forms of which neither demands anything: the description's own example of a fill is both.
        items = spec["paths"]["/v2/account/activities/{activity_type}"]["get"]["responses"]["200"]["content"]["application/json"]
        items["schema"]["items"]["anyOf"] = items["schema"]["items"].pop("oneOf")
        # alpaca-py reads `dividend`, where the description has `Dividend`; and of the days it demands only the ex-date, which is all that
        # the replayed market knows.
        kinds = spec["components"]["schemas"]["CorporateActionCaType"]
        kinds["enum"] = [word.lower() for word in kinds["enum"]]
        announcement = spec["components"]["schemas"]["CorporateAnnouncement"]["properties"]
        for day in ("declaration_date", "payable_date", "record_date"):
            announcement[day] = {"type": ["string", "null"]}
    return spec


class Description:
    """An API that is described: which operation a request is, and whether an answer fits it."""

    def __init__(self, name):
        self.spec = described(name)
        resource = referencing.Resource.from_contents(self.spec, default_specification=referencing.jsonschema.DRAFT202012)
        self.registry = referencing.Registry().with_resource("urn:api", resource)
        self.seen = {}
        self.operations = []
        for path, operations in self.spec["paths"].items():
            pattern = re.compile("^" + re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(path)) + "$")
            for method, operation in operations.items():
                if method in ("get", "post", "put", "patch", "delete"):
                    self.operations.append((path.count("{"), pattern, method, path, operation))
        # `/a/b` before `/a/{x}`.
        self.operations.sort(key=lambda one: one[0])

    def resolve(self, value, pointer):
        while "$ref" in value:
            pointer = value["$ref"].removeprefix("#")
            value = self.spec
            for part in pointer.strip("/").split("/"):
                value = value[part.replace("~1", "/").replace("~0", "~")]
        return value, pointer

    def check(self, method, path, status, body):
        """What is wrong with an answer; None where its status is not described."""
        for _, pattern, verb, name, operation in self.operations:
            if verb == method.lower() and pattern.match(path):
                break
        else:
            raise SystemExit(f"{method} {path} is not described")
        key = f"{method} {name}"
        self.seen.setdefault(key, set()).add(status)
        response = operation["responses"].get(str(status))
        if response is None:
            return None
        response, pointer = self.resolve(response, f"/paths/{name.replace('~', '~0').replace('/', '~1')}/{verb}/responses/{status}")
        media = response.get("content", {}).get("application/json")
        if media is None or "schema" not in media:
            return []
        where = f"urn:api#{pointer}/content/application~1json/schema"
        validator = jsonschema.Draft202012Validator({"$ref": where}, registry=self.registry)
        return [f"{'/'.join(map(str, error.absolute_path)) or 'the answer'}: {error.message[:200]}" for error in validator.iter_errors(body)]


trading, data = Description("trading"), Description("market-data")
faults, undescribed = [], []


class Desk:
    """An account of its own, stepped by hand."""

    def __init__(self, name, **wish):
        answer = requests.post(f"{BASE}/ringfence/v1/accounts", json={"name": name, "mode": "stepped", "profile": {"partial_fill_rate": 0}, **wish},
            headers={"APCA-API-KEY-ID": "any", "APCA-API-SECRET-KEY": "any"})
        assert answer.status_code == 201, answer.text
        made = answer.json()
        self.headers = {"APCA-API-KEY-ID": made["key_id"], "APCA-API-SECRET-KEY": made["secret_key"]}

    def step(self, **how):
        answer = requests.post(f"{BASE}/ringfence/v1/clock/step", json=how, headers=self.headers)
        assert answer.status_code == 200, answer.text

    def ask(self, method, target, body=None, expect=None, api=trading):
        host = TRADING if api is trading else DATA
        answer = requests.request(method, BASE + target, json=body, headers={**self.headers, "Host": host})
        said = answer.json() if answer.content else None
        wrong = api.check(method, target.split("?")[0], answer.status_code, said)
        if wrong is None:
            # An error in a status that is not described has Alpaca's shape all the same.
            undescribed.append(f"{method} {target.split('?')[0]} {answer.status_code}")
            ok = isinstance(said, dict) and isinstance(said.get("message"), str)
            wrong = [] if ok and answer.status_code >= 400 else [f"status {answer.status_code} is not described: {said}"]
        for fault in wrong:
            faults.append(f"{method} {target} {answer.status_code}: {fault}")
        if expect is not None and answer.status_code != expect:
            faults.append(f"{method} {target}: {answer.status_code} in place of {expect}: {said}")
        return said

    def data(self, target, expect=200):
        return self.ask("GET", target, None, expect, data)


def part(function):
    before = len(faults)
    try:
        function()
    except Exception as error:
        faults.append(f"{function.__name__}: {type(error).__name__}: {error}")
    print(function.__name__.replace("_", " "), "ok" if len(faults) == before else f"{len(faults) - before} faults", flush=True)


def order(desk, expect=200, **fields):
    body = {"symbol": "AAPL", "qty": "1", "side": "buy", "type": "market", "time_in_force": "day", **fields}
    return desk.ask("POST", "/v2/orders", {name: value for name, value in body.items() if value is not None}, expect)


def the_account_and_what_is_set_there():
    desk = Desk("oa-account")
    desk.ask("GET", "/v2/account", expect=200)
    configured = desk.ask("GET", "/v2/account/configurations", expect=200)
    desk.ask("PATCH", "/v2/account/configurations", {"no_shorting": not configured["no_shorting"]}, 200)
    desk.ask("PATCH", "/v2/account/configurations", {"nonsense": 1})
    for query in ["", "?period=1M&timeframe=1D", "?period=1D&timeframe=5Min", "?timeframe=1H&period=1W", "?period=nonsense"]:
        desk.ask("GET", f"/v2/account/portfolio/history{query}")
    for query in ["", "?status=active", "?asset_class=us_equity&exchange=NASDAQ"]:
        desk.ask("GET", f"/v2/assets{query}", expect=200)
    asset = desk.ask("GET", "/v2/assets/AAPL", expect=200)
    desk.ask("GET", f"/v2/assets/{asset['id']}", expect=200)
    desk.ask("GET", "/v2/assets/NONE", expect=404)
    desk.ask("GET", "/v2/clock", expect=200)
    desk.ask("GET", "/v2/calendar?start=2012-01-01&end=2012-12-31", expect=200)
    desk.ask("GET", "/v2/calendar?start=nonsense")


def orders_of_every_kind():
    desk = Desk("oa-orders", start="2012-01-03T10:00:00-05:00")
    placed = [
        order(desk),
        order(desk, qty=None, notional="250.55"),
        order(desk, qty="1.5"),
        order(desk, type="limit", limit_price="300", time_in_force="gtc"),
        order(desk, type="stop", stop_price="600"),
        order(desk, type="stop_limit", stop_price="600", limit_price="610"),
        order(desk, type="trailing_stop", trail_percent="5"),
        order(desk, type="trailing_stop", trail_price="5"),
        order(desk, type="limit", limit_price="300", time_in_force="day", extended_hours=True),
        order(desk, type="limit", limit_price="300", order_class="bracket", take_profit={"limit_price": "700"},
            stop_loss={"stop_price": "200", "limit_price": "199"}),
        order(desk, type="limit", limit_price="300", order_class="oto", take_profit={"limit_price": "700"}),
        order(desk, time_in_force="ioc"), order(desk, time_in_force="fok"), order(desk, time_in_force="cls"),
        order(desk, client_order_id="named"),
    ]
    # Opposite to an order that rests.
    order(desk, 403, type="limit", side="sell", limit_price="200", extended_hours=True)
    desk.step(by="PT5M")
    early = Desk("oa-early", start="2012-01-04T08:00:00-05:00")
    order(early, time_in_force="opg")
    early.step(to="2012-01-04T10:00:00-05:00")
    order(early, side="sell", type="limit", qty="1", order_class="oco", take_profit={"limit_price": "700"}, stop_loss={"stop_price": "200"})
    early.ask("GET", "/v2/orders?nested=true", expect=200)
    early.ask("GET", "/v2/orders?nested=false", expect=200)
    for query in ["", "?status=all&limit=500", "?status=closed&nested=true", "?status=all&nested=true&direction=asc&symbols=AAPL,MSFT", "?status=nonsense"]:
        desk.ask("GET", f"/v2/orders{query}")
    for one in placed:
        if "id" in one:
            desk.ask("GET", f"/v2/orders/{one['id']}?nested=true", expect=200)
    desk.ask("GET", "/v2/orders:by_client_order_id?client_order_id=named", expect=200)
    desk.ask("GET", "/v2/orders:by_client_order_id?client_order_id=nobody")
    desk.ask("GET", "/v2/orders/904837e3-3b76-47ec-b432-046db621571b")
    low = placed[3]["id"]
    new = desk.ask("PATCH", f"/v2/orders/{low}", {"limit_price": "301"}, 200)
    desk.ask("PATCH", f"/v2/orders/{low}", {"limit_price": "302"})
    desk.ask("DELETE", f"/v2/orders/{new['id']}", expect=204)
    desk.ask("DELETE", f"/v2/orders/{new['id']}", expect=422)
    desk.ask("DELETE", "/v2/orders/904837e3-3b76-47ec-b432-046db621571b")
    desk.ask("DELETE", "/v2/orders", expect=207)
    desk.ask("DELETE", "/v2/orders", expect=207)


def orders_that_are_refused():
    desk = Desk("oa-refused", start="2012-01-03T10:00:00-05:00")
    order(desk, 403, qty="100000")
    order(desk, 422, qty="-1")
    order(desk, 422, symbol="NONE")
    order(desk, 422, notional="5")
    order(desk, 422, type="limit")
    order(desk, 422, time_in_force="nonsense")
    order(desk, 200, client_order_id="twice")
    order(desk, 422, client_order_id="twice")


def positions_and_what_became_of_them():
    desk = Desk("oa-positions", start="2012-01-03T10:00:00-05:00")
    for symbol in ("AAPL", "MSFT", "IBM", "GOOG"):
        order(desk, symbol=symbol, qty="4")
    desk.step(by="PT2M")
    desk.ask("GET", "/v2/positions", expect=200)
    one = desk.ask("GET", "/v2/positions/AAPL", expect=200)
    desk.ask("GET", f"/v2/positions/{one['asset_id']}", expect=200)
    desk.ask("GET", "/v2/positions/NONE")
    desk.ask("DELETE", "/v2/positions/AAPL?qty=1", expect=200)
    desk.ask("DELETE", "/v2/positions/MSFT?percentage=50", expect=200)
    desk.ask("DELETE", "/v2/positions/NONE")
    desk.step(by="PT2M")
    desk.ask("DELETE", "/v2/positions?cancel_orders=true", expect=207)
    desk.step(by="PT2M")
    desk.ask("DELETE", "/v2/positions", expect=207)
    order(desk, symbol="AAPL", side="sell", qty="3")
    desk.step(bars=3)
    desk.ask("GET", "/v2/positions", expect=200)
    for query in ["", "?activity_types=FILL", "?page_size=2&direction=asc", "?date=2012-01-03", "?category=trade_activity"]:
        desk.ask("GET", f"/v2/account/activities{query}", expect=200)
    for kind in ("FILL", "DIV", "FEE"):
        desk.ask("GET", f"/v2/account/activities/{kind}", expect=200)
    desk.ask("GET", "/v2/account/portfolio/history?period=1W&timeframe=1D", expect=200)
    desk.ask("GET", "/v2/account", expect=200)


def watchlists_and_announcements():
    desk = Desk("oa-lists", start="2012-09-03T10:00:00-04:00")
    made = desk.ask("POST", "/v2/watchlists", {"name": "mine", "symbols": ["AAPL", "IBM"]}, 200)
    desk.ask("POST", "/v2/watchlists", {"name": "mine", "symbols": []})
    desk.ask("GET", "/v2/watchlists", expect=200)
    one = f"/v2/watchlists/{made['id']}"
    desk.ask("GET", one, expect=200)
    desk.ask("PUT", one, {"name": "ours", "symbols": ["MSFT"]}, 200)
    desk.ask("POST", one, {"symbol": "AAPL"}, 200)
    desk.ask("DELETE", f"{one}/AAPL", expect=200)
    desk.ask("GET", "/v2/watchlists:by_name?name=ours", expect=200)
    desk.ask("PUT", "/v2/watchlists:by_name?name=ours", {"name": "ours", "symbols": ["IBM"]}, 200)
    desk.ask("POST", "/v2/watchlists:by_name?name=ours", {"symbol": "GOOG"}, 200)
    desk.ask("DELETE", one, expect=204)
    desk.ask("DELETE", one, expect=404)
    desk.ask("POST", "/v2/watchlists", {"name": "again", "symbols": ["IBM"]}, 200)
    desk.ask("DELETE", "/v2/watchlists:by_name?name=again", expect=204)
    found = desk.ask("GET", "/v2/corporate_actions/announcements?ca_types=dividend&since=2012-08-01&until=2012-08-31", expect=200)
    assert found, "there were dividends"
    desk.ask("GET", f"/v2/corporate_actions/announcements/{found[0]['id']}", expect=200)


def market_data_in_every_form():
    desk = Desk("oa-data", start="2012-08-15T15:00:00-04:00")
    day = "start=2012-08-13&end=2012-08-15"
    hour = "start=2012-08-15T14:30:00Z&end=2012-08-15T14:31:00Z&limit=50"
    for target in [
        f"/v2/stocks/bars?symbols=AAPL,MSFT&timeframe=1Day&{day}", f"/v2/stocks/bars?symbols=AAPL&timeframe=1Min&{hour}",
        f"/v2/stocks/bars?symbols=NONE&timeframe=1Day&{day}", f"/v2/stocks/AAPL/bars?timeframe=1Day&{day}&adjustment=all",
        f"/v2/stocks/AAPL/bars?timeframe=1Hour&{day}&limit=2", f"/v2/stocks/AAPL/bars?timeframe=1Week&start=2012-01-01&end=2012-08-01&sort=desc",
        f"/v2/stocks/trades?symbols=AAPL,MSFT&{hour}", f"/v2/stocks/AAPL/trades?{hour}", f"/v2/stocks/quotes?symbols=AAPL,MSFT&{hour}",
        f"/v2/stocks/AAPL/quotes?{hour}", f"/v2/stocks/auctions?symbols=AAPL&{day}", f"/v2/stocks/AAPL/auctions?{day}",
        "/v2/stocks/bars/latest?symbols=AAPL,MSFT", "/v2/stocks/AAPL/bars/latest", "/v2/stocks/trades/latest?symbols=AAPL,MSFT",
        "/v2/stocks/AAPL/trades/latest", "/v2/stocks/quotes/latest?symbols=AAPL,MSFT", "/v2/stocks/AAPL/quotes/latest",
        "/v2/stocks/snapshots?symbols=AAPL,MSFT", "/v2/stocks/AAPL/snapshot", "/v2/stocks/meta/exchanges", "/v2/stocks/meta/conditions/trade?tape=A",
        "/v2/stocks/meta/conditions/quote?tape=C", "/v1/corporate-actions?symbols=AAPL,IBM&start=2012-01-01&end=2012-08-14",
        "/v1/corporate-actions?symbols=AAPL&types=forward_split&start=2000-01-01&limit=1", "/v1beta1/screener/stocks/most-actives?by=trades&top=2",
        "/v1beta1/screener/stocks/movers?top=2",
    ]:
        desk.data(target)
    for target, status in [
        ("/v2/stocks/bars?timeframe=1Day", 400), ("/v2/stocks/bars?symbols=AAPL&timeframe=1Year", 400),
        ("/v2/stocks/NONE/quotes/latest", 404), ("/v1beta1/news", 404), ("/v1beta3/crypto/us/bars?symbols=BTC/USD&timeframe=1Day", 404),
        ("/v1beta1/options/snapshots?symbols=X", 404),
    ]:
        desk.data(target, status)
    night = Desk("oa-night", start="2012-08-15T23:30:00-04:00")
    night.data("/v2/stocks/AAPL/snapshot")
    night.data("/v2/stocks/AAPL/quotes/latest")
    # Not a day of FB's yet.
    night.data("/v2/stocks/FB/snapshot")


for function in (
    the_account_and_what_is_set_there, orders_of_every_kind, orders_that_are_refused, positions_and_what_became_of_them,
    watchlists_and_announcements, market_data_in_every_form,
):
    part(function)
seen = sum(len(statuses) for api in (trading, data) for statuses in api.seen.values())
print(f"{sum(len(api.seen) for api in (trading, data))} operations, {seen} kinds of answers, {len(set(undescribed))} of them in a status that is not described")
for fault in sorted(set(faults)):
    print("FAULT", fault)
sys.exit(1 if faults else 0)
