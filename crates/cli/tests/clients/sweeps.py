"""Exercises 1 and 2 of the seed document over MCP: five symbols, and three pairs of parameters.

    python sweeps.py --stdio PROGRAM ARGUMENT...
"""

import argparse
import base64
import json

import anyio

import sdk

SYMBOLS = ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
PAIRS = [{"fast": 10, "slow": 20}, {"fast": 20, "slow": 50}, {"fast": 50, "slow": 100}]


def figures(answer):
    return [{**row, "log": None} for row in answer["results"]]


async def swept(tools, arguments, progress=None):
    """Sweeps to the end. A call waits 50 s at most; on a busy machine it takes more than one."""
    answer = await tools.call("backtest_sweep", arguments, progress)
    while answer["status"] == "running":
        answer = await tools.call("backtest_status", {"sweep_id": answer["sweep_id"], "wait": 50}, progress)
    failed = [(row["symbols"], row["parameters"], row["error"]) for row in answer["results"] if row.get("error")]
    assert answer["status"] == "completed" and not failed, (answer["status"], answer["progress"], failed)
    return answer


async def run(stdio):
    async with sdk.connect(stdio=stdio) as tools:
        names = {tool.name for tool in await tools.list()}
        assert {"backtest_sweep", "backtest_status"} <= names, names

        told = []

        async def progress(done, total, message):
            told.append(message)

        # Exercise 1: the same strategy on five symbols; compare, and name the best.
        one = await swept(tools, {"strategy": "sma_cross", "symbols": SYMBOLS}, progress)
        assert sorted(row["symbols"][0] for row in one["results"]) == SYMBOLS, one["results"]
        assert told and "of 5 runs" in told[-1], told
        # FB has 196 bars: the slow average of 50 is there, and trades.
        assert one["best"]["rank"] == 1 and one["best"]["run"] == one["results"][0]["run"]
        scores = [row["metrics"]["sharpe"] for row in one["results"] if row.get("rank")]
        assert scores == sorted(scores, reverse=True), scores
        assert [by["symbols"] for by in one["by_symbol"]] == [[s] for s in SYMBOLS]
        for row in one["results"]:
            assert row["beats_buy_and_hold"] == (row["metrics"]["total_return"] > row["buy_and_hold_return"]), row

        # Exercise 2: three pairs in parallel; the best, and how likely it is luck.
        asked = {"strategy": "sma_cross", "symbols": SYMBOLS, "combinations": PAIRS, "name": "pairs"}
        two = await swept(tools, asked)
        done, failed = two["progress"]["done"], two["progress"]["failed"]
        assert (done, failed) == (15, 0), (done, failed)
        assert two["look_ahead"]["verdict"] == "honest", two["look_ahead"]
        luck = two["overfitting"]
        assert luck["trials"] + luck["still"] == 15 and 0 <= luck["probability_of_luck"] <= 1, luck
        assert luck["verdict"] in two["summary"], two["summary"]
        beaten = sum(row["beats_buy_and_hold"] for row in two["results"])
        said = "None of 15" if beaten == 0 else f"{beaten} of 15"
        assert two["summary"].startswith(said), two["summary"]

        # Again: the same to the bit.
        again = await swept(tools, asked)
        assert again["table_sha256"] == two["table_sha256"] and figures(again) == figures(two)
        assert again["sweep_id"] != two["sweep_id"]

        status = await tools.call("backtest_status", {"sweep_id": two["sweep_id"], "chart": True, "top": 3})
        assert len(status["results"]) == 3 and status["best"] == two["best"]
        (image,) = [block for block in status.content if block.type == "image"]
        assert base64.b64decode(image.data)[:4] == b"\x89PNG", image
        (chart,) = status["artifacts"]
        assert "content_base64" not in chart, "the image is not told twice"

        for arguments, code in [
            ({"strategy": "nothing"}, "INVALID_ARGUMENT"),
            ({"strategy": "sma_cross", "parameters": {"quick": [1]}}, "INVALID_ARGUMENT"),
            ({"strategy": "sma_cross", "parameters": {"fast": [0]}}, "INVALID_ARGUMENT"),
            ({"strategy": "sma_cross", "symbols": ["NOPE"]}, "INVALID_ARGUMENT"),
        ]:
            try:
                raise AssertionError(await tools.call("backtest_sweep", arguments))
            except sdk.Refused as refused:
                assert refused.code == code, refused
        try:
            raise AssertionError(await tools.call("backtest_status", {"sweep_id": "sweep_0000000000000000"}))
        except sdk.Refused as refused:
            assert refused.code == "SWEEP_NOT_FOUND", refused
        print(json.dumps({"summary": two["summary"], "by_symbol": [
            (by["symbols"], by["metrics"]["total_return"], by["buy_and_hold"]["total_return"]) for by in two["by_symbol"]
        ]}, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--stdio", nargs=argparse.REMAINDER, required=True)
    anyio.run(run, parser.parse_args().stdio)
